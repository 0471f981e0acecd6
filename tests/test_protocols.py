"""Unequal tasks in a given order, end to end: what every method trains and records, and all that is made of it."""

import json
import re

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from arli_core import datasets, networks, records
from arli_core.analysis.answers import answers_of
from arli_core.analysis.retrace import first_of
from arli_core.cli import commands, sweeps
from arli_core.config import METHODS, Ari, keys, parse, preset, protocols
from arli_core.errors import ConfigError
from arli_core.events import Step
from arli_core.learn import learn
from arli_core.live import runs
from arli_core.records import Record, exports
from arli_core.sweeps import name_of, plan
from arli_core.units import TaskUnits

INCREMENTS, ORDER = (4, 2, 2, 2), tuple("3145926087")
TASKS = (("3", "1", "4", "5"), ("9", "2"), ("6", "0"), ("8", "7"))  # the classes of each task
DIGITS = datasets.load("digits")


def configured(method, **settings):
    base = {"data.classes_per_task": INCREMENTS, "data.class_order": ORDER, "device": "cpu", "train.epochs": 1,
            "train.batch_size": 64, "memory.budget": 30, "adaptation.epochs": 1, "evaluation.group": 3,
            "recording.frames": 3, "recording.probes": 12, "recording.probe_frames": 2}  # fmt: skip
    return preset("digits", method, **({key: value for key, value in base.items() if key in keys(method)} | settings))


@pytest.fixture(scope="module", params=METHODS)
def run(request):
    """(record, its events) of a run of each method."""
    record, events = Record(configured(request.param)), []
    for event in learn(record.config):
        record, events = record.after(event), [*events, event]
    return record, events


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(tmp_path / "checkpoints"))
    return tmp_path / "checkpoints"


def lab(*words):
    result = CliRunner().invoke(commands.app, [str(word) for word in words], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_every_method_trains_them(run):
    record, events = run
    assert record.finished and record.started.classes == ORDER
    assert [len(frames) for frames in record.tasks] == [3] * 4
    done = [event.task for event in events if isinstance(event, Step)]
    assert done == sorted(done) and set(done) == {1, 2, 3, 4}
    assert record.started.probe_units.tolist() == [*range(10), 0, 1]  # the classes in turn
    assert {name: [len(row) for row in rows] for name, rows in record.accuracy.items()} == {
        name: [1, 2, 3, 4] for name in protocols(record.config)
    }


def test_what_is_recorded_equals_the_answers_counted_one_by_one(run):
    """From the recorded weights and the data's own labels: accuracies, and all that is made of them."""
    record, _ = run
    sizes = [sum(DIGITS.classes[label] in own for label in DIGITS.test.labels) for own in TASKS]
    assert record.test_samples == tuple(sizes)
    network = record.config.network
    model = networks.build(network.name, DIGITS.shape, 10, network.attention)
    images = (torch.tensor(DIGITS.test.images).float() / 255 - DIGITS.mean[0]) / DIGITS.std[0]
    for after in range(1, 5):
        phi = model.pack({name: torch.tensor(value) for name, value in record.weights[after].items()})
        with torch.no_grad():
            logits = model(phi, images)[0].numpy()
        learned = [name for own in TASKS[:after] for name in own]
        for on, own in enumerate(TASKS[:after]):
            aware, alone, count = 0, 0, 0
            for row, label in zip(logits, DIGITS.test.labels, strict=True):
                if (name := DIGITS.classes[label]) in own:
                    count += 1
                    scores = dict(zip(ORDER, row, strict=True))
                    aware += max(own, key=scores.__getitem__) == name
                    alone += max(learned, key=scores.__getitem__) == name
            assert record.accuracy["task_aware"][after - 1][on] == pytest.approx(aware / count, abs=1.5 / count)
            assert record.accuracy["per_sample"][after - 1][on] == pytest.approx(alone / count, abs=1.5 / count)

    summary = record.summary()
    for name, rows in record.accuracy.items():
        last = rows[-1]
        assert summary["average"][name] == pytest.approx(sum(last) / 4)
        right = sum(round(accuracy * size) for accuracy, size in zip(last, sizes, strict=True))
        assert summary["average_over_samples"][name] == pytest.approx(right / sum(sizes), abs=1e-12)
        best = [max(rows[i][j] for i in range(j, 3)) for j in range(3)]
        assert summary["forgetting"][name] == pytest.approx(sum(best[j] - last[j] for j in range(3)) / 3)
        assert summary["bwt"][name] == pytest.approx(sum(last[j] - rows[j][j] for j in range(3)) / 3)
    assert summary["test_samples"] == sizes and summary["config"]["data"]["tasks"] == 4


def test_a_record_on_disk_is_the_same_and_its_answers_are_the_recorded_ones(run, tmp_path):
    record, _ = run
    (tmp_path / "run").mkdir()
    records.save(record, tmp_path / "run")
    loaded = records.load(tmp_path / "run")
    assert loaded.config == record.config and loaded.summary() == record.summary()
    for task in (1, 3):
        answers = answers_of(loaded, task)
        for name, accuracies in answers.accuracies().items():
            np.testing.assert_allclose(accuracies, record.accuracy[name][task - 1], atol=0.04)
        counts = answers.confusion("task_aware")
        assert counts.shape == (len(answers.classes),) * 2 and answers.classes == ORDER[: (4, 6, 8)[task - 1]]
        for own in (range(4), range(4, 6), range(6, 8)):  # with a known task, no answer is another task's class
            inside = [unit for unit in own if unit < len(counts)]
            assert counts[inside].sum() == counts[np.ix_(inside, inside)].sum()


def test_a_task_s_first_iteration_is_made_again_from_the_record(run):
    record, _ = run
    if isinstance(record.config, Ari):
        for task in (1, 2, 4):
            assert first_of(record, task).departure(record.frames(task)) < 1e-3


@pytest.mark.parametrize("method", ["ari", "ari-adam", "der++", "ewc"])  # those that keep most from task to task
def test_an_interrupted_run_goes_on_to_the_same_end(method, home):
    config = configured(method)
    whole = [record for record, _ in runs.train(config, "whole")][-1]
    progress = runs.train(config, "cut")
    for _, event in progress:
        if isinstance(event, Step) and event.task == 3:
            progress.close()
            break
    again = [record for record, _ in runs.resume("cut")][-1]
    assert {name: again.summary()[name] for name in ("accuracy", "average_over_samples", "test_samples")} == {
        name: whole.summary()[name] for name in ("accuracy", "average_over_samples", "test_samples")
    }


@pytest.mark.parametrize("method", ["replay", "ari", "der++"])
def test_a_memory_too_small_for_all_classes_is_refused_before_training(method):
    """Ten of them where the last task's exemplars are adapted to; else eight, after the third task."""
    for settings, count in (({"adaptation.epochs": 1}, 10), ({"adaptation.epochs": 0}, 8)):
        with pytest.raises(ConfigError, match=rf"memory.budget: 7 .*each of {count} classes.*at least {count}"):
            learn(configured(method, **{"memory.budget": 7}, **settings))


def test_progress_counts_classes():
    """A first task of four classes of ten is four tenths of the way."""
    record, shares = Record(configured("finetune")), []
    for event in learn(record.config):
        record = record.after(event)
        shares.append((event, record.share_done))
    done = [share for event, share in shares if isinstance(event, Step) and event.iteration + 1 == event.iterations]
    np.testing.assert_allclose(done, [0.4, 0.6, 0.8, 1])
    assert [share for _, share in shares] == sorted(share for _, share in shares)


# Written, and read elsewhere


TRAIN = ["train", "--preset", "digits", "--method", "finetune", "--device", "cpu", "--set", "train.epochs=1"]
OWN = ["--set", "data.classes_per_task=4,2,2,2", "--set", "data.class_order=3,1,4,5,9,2,6,0,8,7"]


def test_the_command_line_trains_shows_and_exports_them(home, tmp_path):
    code, out, _ = lab(*TRAIN, *OWN, "--out", "mine", "--json")
    summary = json.loads(out)
    assert code == 0 and summary["classes"] == list(ORDER)
    data = summary["config"]["data"]
    assert (data["tasks"], data["classes_per_task"], data["class_order"]) == (4, [4, 2, 2, 2], list(ORDER))
    record = records.load("mine")
    assert record.config.data.units == TaskUnits(INCREMENTS)
    code, output, _ = lab("show", "mine")
    assert "finished, 4 of 4 tasks of 4, 2, 2, 2 classes" in output
    for name in protocols(record.config):
        average, over = summary["average"][name], summary["average_over_samples"][name]
        assert f"{name}: average {average:.3f}, average over samples {over:.3f}, forgetting" in output
    assert parse(json.loads(exports.configuration(record.config))) == record.config
    cells = json.loads(exports.notebook(record))["cells"]
    (written,) = ("".join(cell["source"]) for cell in cells if "config = parse(" in "".join(cell["source"]))
    for text in (exports.script(record), written):
        settings = re.search(r"config = parse\(\n(.*?)\n\)$", text, re.DOTALL | re.MULTILINE)
        assert parse(eval(settings[1])) == record.config
    assert lab("export", "mine", "--out", tmp_path / "mine.zip")[0] == 0
    assert lab("import", tmp_path / "mine.zip", "--name", "yours")[0] == 0
    assert records.load("yours").summary() == record.summary()


def test_a_record_without_numbers_of_samples_says_so_and_opens_as_it_did(home):
    lab(*TRAIN, "--set", "data.tasks=2", "--out", "old")
    index = home / "old" / "run.json"
    content = json.loads(index.read_text()) | {"schema": 1}
    for key in ("test_samples", "data", "digests", "digest"):  # which records had not then
        del content[key]
    index.write_text(json.dumps(content))
    record = records.load("old")
    assert record.test_samples == () and record.summary()["test_samples"] is None
    assert set(record.summary()["average_over_samples"].values()) == {None}
    assert "average over samples not recorded, forgetting" in lab("show", "old")[1]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["data.classes_per_task=4,2,2,4"], ["data.tasks", "4 tasks of 4, 2, 2, 4 classes need 12", "has 10"]),
        (["data.classes_per_task=4,2,2,2", "data.tasks=5"], ["data.classes_per_task", "5 tasks", "not 4"]),
        (["data.classes_per_task=4,,2"], ["data.classes_per_task", "as in 4,2,2,2"]),
        (["data.class_order=3,1,4"], ["data.class_order", "all 10 classes of the tasks", "3 are named"]),
        (["data.class_order=3,1,4,5,9,2,6,0,8,cat"], ["data.class_order", "no class 'cat'", "0,1,2,3,4,5,6,7,8,9"]),
        (
            ["data.class_order=3,1,4,5,9,2,6,0,8,3"],
            ["data.class_order", "each class once", "named more than once: 3"],
        ),
    ],
)
def test_impossible_settings_are_refused_before_training(words, parts, home):
    settings = [word for setting in words for word in ("--set", setting)]
    code, out, err = lab(*TRAIN, *settings, "--out", "never")
    assert code == 2 and not out and not (home / "never").exists()
    assert all(part in err for part in parts) and "Traceback" not in err


def test_a_smoke_run_keeps_the_requested_settings():
    code, out, _ = lab(*TRAIN, *OWN, "--smoke", "--json")
    data = json.loads(out)["config"]["data"]
    assert code == 0 and (data["classes_per_task"], data["class_order"]) == ([4, 2, 2, 2], list(ORDER))
    code, out, _ = lab(*TRAIN, "--set", "data.classes_per_task=1", "--smoke", "--json")
    data = json.loads(out)["config"]["data"]
    assert code == 0 and (data["tasks"], data["classes_per_task"]) == (2, 1)


def test_a_smoke_run_on_generated_data_leaves_out_an_order_of_classes_they_lack():
    settings = ["--set", "data.classes_per_task=2,1", "--set", "data.class_order=owl,fox,elk"]
    code, out, err = lab(*TRAIN, *settings, "--set", "data.name=folder:animals", "--smoke", "--json")
    assert code == 0 and "data.class_order is left out" in err
    data = json.loads(out)["config"]["data"]
    assert (data["classes_per_task"], data["class_order"], data["name"]) == ([2, 1], None, "folder:generated")
    order = ["--set", "data.classes_per_task=2,1", "--set", "data.class_order=waves,dots,lines"]
    code, out, _ = lab(*TRAIN, *order, "--set", "data.name=folder:mine", "--smoke", "--json")
    assert code == 0 and json.loads(out)["classes"] == ["waves", "dots", "lines"]


def test_increments_can_be_varied_in_a_sweep():
    varied = sweeps._varied(["data.classes_per_task=[4,2,2,2],2", "fusion.eta=0.1, 1"])
    assert varied == {"data.classes_per_task": [[4, 2, 2, 2], 2], "fusion.eta": [0.1, 1]}
    assert sweeps._varied(["train.optimiser=adam,sgd"]) == {"train.optimiser": ["adam", "sgd"]}
    arms = plan("digits", ["finetune"], 1, {"data.classes_per_task": [[4, 2, 2, 2], 2]})
    assert [arm.label for arm in arms] == [
        "finetune data.classes_per_task=4,2,2,2",
        "finetune data.classes_per_task=2",
    ]
    assert [arm.runs[0].data.units for arm in arms] == [TaskUnits(INCREMENTS), TaskUnits((2,) * 5)]


def test_tasks_of_one_size_are_the_same_run_however_they_are_written():
    one, other = (preset("digits", **{"data.classes_per_task": sizes}) for sizes in (2, (2,) * 5))
    assert one == other and name_of(one) == name_of(other)
    assert name_of(one) != name_of(preset("digits", **{"data.classes_per_task": INCREMENTS}))


def test_presets_say_how_many_classes_their_tasks_have():
    assert "10 tasks of 20 classes" in lab("presets")[1]
