"""Recorded runs: what is written can be read back, whenever writing ends, and nothing else is ever touched."""

import dataclasses
import json
import math
import os
import re
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from arli_core import records
from arli_core.config import METHODS, PROTOCOLS, keys, preset, protocols
from arli_core.errors import Busy, ConfigError, Diverged, RecordError
from arli_core.events import Finished, Fused, Saved, Started, Step, TaskDone
from arli_core.learn import learn
from arli_core.live import runs
from arli_core.networks import build
from arli_core.records import Frames, Record, checks, locks, store
from arli_core.theory import metrics
from arli_core.theory.consensus import check_row_stochastic
from tests.helpers import KINDS_OF_METHODS, same

ROOT = Path(__file__).parents[2]
each_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(autouse=True)
def checkpoints(tmp_path, monkeypatch):
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(tmp_path / "checkpoints"))
    return tmp_path / "checkpoints"


def tiny(method="ari", **changes):
    """Two tasks, two epochs of two iterations each at first: a dozen steps in all."""
    base = {"data.tasks": 2, "train.epochs": 2, "train.batch_size": 150, "memory.budget": 20,
            "recording.frames": 3, "recording.probes": 2, "recording.probe_frames": 2, "device": "cpu"}  # fmt: skip
    own = {key: value for key, value in base.items() if key in keys(method)}
    return preset("digits", method, **(own | changes))


KEPT = ("config", "started", "accuracy", "tasks", "begun", "weights", "test_samples", "saved", "samples", "finished",
        "error")  # fmt: skip


def differing(first, second, but=()):
    """The names of the kept parts in which two records differ."""
    names = [name for name in KEPT if name not in but]
    return [name for name in names if not same(getattr(first, name), getattr(second, name), nan=True)]


@pytest.fixture(scope="module")
def histories():
    """Per method, [(record, event)] after each event of the tiny run."""
    by_method = {}
    for method in METHODS:
        record, history = Record(tiny(method)), []
        for event in learn(record.config):
            record = record.after(event, seconds=0.25)
            history.append((record, event))
        by_method[method] = history
    return by_method


def final(histories, method="ari"):
    return histories[method][-1][0]


def written(record, path):
    path.mkdir(parents=True, exist_ok=True)
    records.save(record, path)
    return path


# Written and read


@each_method
def test_what_is_saved_comes_back_at_every_point(method, histories, tmp_path):
    """Also half-way through a task, with its frames so far and the state to resume from."""
    path, points = tmp_path / "run", 0
    path.mkdir()
    for record, event in histories[method]:
        if isinstance(event, Started | Saved | Finished):
            points += 1
            records.save(record, path)
            loaded = records.load(path)
            assert not differing(loaded, record)
            assert loaded.seconds == record.seconds and dict(loaded.environment) == dict(record.environment)
    assert points == 7


@each_method
def test_a_whole_run_saved_at_once_comes_back(method, histories, tmp_path):
    record = final(histories, method)
    loaded = records.load(written(record, tmp_path / "run"))
    assert not differing(loaded, record)
    assert loaded.status == "finished"


def test_weights_from_disk_are_a_model_again(histories, tmp_path):
    loaded = records.load(written(final(histories), tmp_path / "run"))
    model = build("conv", (1, 8, 8), 4)
    for task in (1, 2):
        phi = model.pack({name: torch.tensor(value) for name, value in loaded.weights[task].items()})
        assert len(phi) == loaded.started.parameters
    assert list(loaded.weights) == [1, 2] and len(loaded.weights) == 2
    with pytest.raises(KeyError):
        loaded.weights[3]


def test_arrays_without_dimensions_keep_their_shape(tmp_path):
    store._write_arrays(tmp_path / "a.safetensors", {"step": np.array(3.0, np.float32), "empty": np.zeros((0, 2))})
    arrays = store._read_arrays(tmp_path / "a.safetensors", {"schema": 1}, lambda header: None)
    assert arrays["step"].shape == () and arrays["step"] == 3 and arrays["empty"].shape == (0, 2)


def test_only_what_the_index_names_is_there(histories, tmp_path):
    path = tmp_path / "run"
    for record, event in histories["ari"]:
        if isinstance(event, Started | Saved | Finished):
            written(record, path)
            progress = [f"progress-{event.task}-{event.epoch}.safetensors"] if isinstance(event, Saved) else []
            assert sorted(p.name for p in path.glob("progress-*")) == progress
    done = [f"{kind}-{task}.safetensors" for kind in ("task", "weights") for task in (1, 2)]
    assert sorted(p.name for p in path.iterdir()) == sorted([*done, "probes.safetensors", "run.json"])


def test_a_record_is_never_changed_by_what_follows(histories):
    record, event = histories["ari"][6]
    before = json.dumps(record.summary())
    tasks, steps = record.tasks, record.steps
    record.after(event).after(Finished())
    assert json.dumps(record.summary()) == before
    assert record.tasks is tasks and record.steps is steps and not record.finished
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.finished = True


# Frames


def test_frames_are_the_recorded_steps(histories):
    steps = [event for _, event in histories["ari"] if isinstance(event, Step)]
    for task in (1, 2):
        frames = final(histories).frames(task)
        recorded = [step for step in steps if step.task == task and step.recorded]
        assert len(frames) == len(recorded) == 3 and frames.fuses
        assert frames.iterations == recorded[0].iterations
        for name in ("iteration", "loss", "learning_rate"):
            assert getattr(frames, name).tolist() == [getattr(step, name) for step in recorded]
        for number, step in enumerate(recorded):
            for name in ("distance", "dif_star", "gram"):
                assert np.array_equal(frames.matrix(name, number), getattr(step.fused, name))
            assert frames.losses[number].tolist() == step.fused.losses.tolist()
            assert frames.norm[number] == step.fused.norm and frames.alpha[number] == step.fused.alpha


def test_every_recorded_row_sums_to_one(histories, tmp_path):
    record = records.load(written(final(histories), tmp_path / "run"))
    for task in (1, 2):
        frames = record.frames(task)
        for number in range(len(frames)):
            matrix = frames.matrix("dif_star", number)
            assert check_row_stochastic(matrix, tolerance=1e-6) is None
            distance = frames.matrix("distance", number)
            assert (distance == distance.T).all() and (distance.diagonal() == 0).all() and (distance >= 0).all()


FUSING = ("ari", "ari-adam", "ari-paper")


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(FUSING)))
def test_frames_without_fusion_hold_no_matrices(method, histories, tmp_path):
    frames = records.load(written(final(histories, method), tmp_path / "run")).frames(2)
    assert len(frames) == 3 and not frames.fuses and np.isfinite(frames.loss).all()


def test_absent_tasks_leave_gaps_and_matrices_of_those_present():
    def fused(*present):
        m = len(present) + 1
        values = np.arange(m * m, dtype=float).reshape(m, m)
        losses = np.ones(m - 1), np.zeros(m - 1)
        return Fused(present, values, values + 100, values + 200, 1.0, 1.0, *losses, layers=values[None] + 300)

    steps = tuple(Step(3, k, 2, 0.5, 0.1, 8, True, fusion) for k, fusion in enumerate([fused(1, 3), fused(1, 2, 3)]))
    frames = Frames.of(3, steps, ())
    assert frames.present.tolist() == [[True, False, True], [True, True, True]]
    assert frames.distance.shape == (2, 4, 4)
    assert np.isnan(frames.distance[0, 1]).all() and np.isnan(frames.distance[0, :, 1]).all()
    assert np.isnan(frames.losses[0]).tolist() == [False, True, False]
    for number, step in enumerate(steps):
        for name in ("distance", "dif_star", "gram"):
            assert np.array_equal(frames.matrix(name, number), getattr(step.fused, name))
    layers = frames.layers
    assert layers.shape == (2, 1, 4, 4) and layers.dtype == np.float32
    assert np.array_equal(np.isnan(layers[:, 0]), np.isnan(frames.distance))
    assert np.array_equal(layers[0, 0][np.ix_([0, 2, 3], [0, 2, 3])], steps[0].fused.layers[0])


def test_frames_of_a_task_under_way_grow_with_every_recorded_step(histories):
    count, task = 0, 1
    for record, event in histories["ari"]:
        if isinstance(event, Step):
            count += event.recorded
        if isinstance(event, TaskDone):
            count, task = 0, task + 1
        if count:
            assert len(record.frames(task)) == count
            assert record.tasks_begun == task


def test_tasks_that_are_not_recorded_are_refused_with_those_that_are(histories):
    with pytest.raises(RecordError, match="task 3 is not recorded; this run has tasks 1 to 2"):
        final(histories).frames(3)
    with pytest.raises(RecordError, match="no task yet"):
        Record(tiny()).frames(1)
    with pytest.raises(RecordError, match="task 0"):
        final(histories).frames(0)


# The summary


@each_method
def test_the_summary_is_plain_json_with_the_promised_keys(method, histories, tmp_path):
    record = final(histories, method)
    summary = record.summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == json.loads(json.dumps(summary))
    assert summary.keys() >= {"config", "accuracy", "average", "forgetting", "bwt", "seconds", "samples_per_second",
                              "device"}  # fmt: skip
    assert records.load(written(record, tmp_path / "run")).summary() == summary
    for protocol in ("task_aware", "per_sample", "vote"):
        matrix = summary["accuracy"][protocol]
        assert [[value is None for value in row] for row in matrix] == [[False, True], [False, False]]
        assert summary["average"][protocol] == metrics.average_accuracy(matrix)
        assert summary["forgetting"][protocol] == metrics.forgetting(matrix)
        assert summary["bwt"][protocol] == metrics.backward_transfer(matrix)
    assert summary["seconds"] == 0.25 * len(histories[method])
    drawn = sum(event.samples for _, event in histories[method] if isinstance(event, Step))
    assert summary["samples_per_second"] == pytest.approx(drawn / summary["seconds"])
    assert summary["device"] == "cpu" and summary["config"]["method"] == method


@each_method
def test_a_run_that_has_not_begun_has_no_accuracy_of_any_protocol(method):
    config = tiny(method)
    assert Record(config).accuracy == dict.fromkeys(protocols(config), ())


def test_accuracies_after_adaptation_are_recorded_beside_the_others(tmp_path):
    record = last(runs.train(tiny("replay", **{"adaptation.epochs": 1}), tmp_path / "run"))
    loaded = records.load(tmp_path / "run")
    assert not differing(loaded, record) and set(record.accuracy) == set(protocols(record.config))
    summary = loaded.summary()
    for name in protocols(record.config):
        assert summary["accuracy"][name][1] == list(record.accuracy[name][1])
        assert summary["average"][name] == metrics.average_accuracy(summary["accuracy"][name])
    assert len(summary["accuracy"]) == 6
    assert set(records.load(tmp_path / "run").accuracy) == set(record.accuracy)


def test_the_summary_of_a_run_under_way_has_what_is_known(histories):
    for record, _ in histories["ari"]:
        summary = record.summary()
        json.dumps(summary, allow_nan=False)
        done = summary["tasks_done"]
        matrix = summary["accuracy"]["per_sample"]
        assert [sum(value is not None for value in row) for row in matrix] == [1, 2][:done] + [0] * (2 - done)
        assert (summary["average"]["vote"] is None) == (done == 0)
        assert (summary["forgetting"]["vote"] is None) == (done < 2)
    json.dumps(Record(tiny()).summary(), allow_nan=False)


def test_one_task_has_nothing_to_forget():
    record = Record(tiny(**{"data.tasks": 1, "train.epochs": 1}))
    for event in learn(record.config):
        record = record.after(event)
    summary = record.summary()
    for protocol in PROTOCOLS:
        assert summary["forgetting"][protocol] is None and summary["bwt"][protocol] is None
        assert 0 <= summary["average"][protocol] <= 1


# Interrupted and resumed


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def last(progress):
    """The record at the end."""
    return deque(progress, maxlen=1).pop()[0]


@each_method
def test_training_with_a_record_is_learning(method, histories, tmp_path):
    record = last(runs.train(tiny(method), tmp_path / "run"))
    assert not differing(record, final(histories, method))
    assert not differing(records.load(tmp_path / "run"), record)
    assert record.seconds > 0


@pytest.mark.parametrize("method", KINDS_OF_METHODS)
def test_a_run_left_after_any_event_resumes_to_the_same_end(method, histories, tmp_path):
    total = len(histories[method])
    stride = 2 if method == "ari" else 7
    for count in range(1, total, stride):
        path = tmp_path / str(count)
        progress = runs.train(tiny(method), path)
        for _ in range(count):
            next(progress)
        progress.close()
        saved = records.load(path)
        assert saved.status == "unfinished"
        assert not differing(last(runs.resume(path)), final(histories, method))
        assert not differing(records.load(path), final(histories, method))


def test_a_run_resumed_over_and_over_ends_the_same(histories, tmp_path):
    """Seven events at a time: each turn gets past one saved point."""
    progress, turns = runs.train(tiny(), tmp_path / "run"), 0
    while True:
        pairs = [pair for _, pair in zip(range(9), progress, strict=False)]
        progress.close()
        if records.load(tmp_path / "run").finished:
            break
        assert len(pairs) == 9 and turns < 20
        progress, turns = runs.resume(tmp_path / "run"), turns + 1
    assert turns > 1
    assert not differing(records.load(tmp_path / "run"), final(histories))


def without_layers(path):
    """A record as it was written before there were layers and fingerprints."""
    index = json.loads((path / "run.json").read_text()) | {"schema": 1}
    for key in ("layers", "data", "digests", "digest", "imported"):
        del index[key]
    (path / "run.json").write_text(json.dumps(index))
    for file in [*path.glob("task-*.safetensors"), *path.glob("progress-*.safetensors")]:
        arrays = load_file(file)
        arrays.pop("layers", None)
        save_file(arrays, file)


def test_a_record_older_than_layers_is_read_and_resumed(histories, tmp_path):
    path = written(final(histories), tmp_path / "whole")
    without_layers(path)
    old = records.load(path)
    assert old.started.layers == {} and old.frames(2).layers.shape == (len(old.frames(2)), 0, 3, 3)
    assert differing(old, final(histories)) == ["started", "tasks"]

    progress = runs.train(tiny(), tmp_path / "half")
    next(pair for pair in progress if isinstance(pair[1], Saved))  # within the first task: its frames so far
    progress.close()
    without_layers(tmp_path / "half")
    record = last(runs.resume(tmp_path / "half"))
    assert record.finished and [frames.layers.shape[1] for frames in record.tasks] == [0, 8]
    assert np.array_equal(record.frames(1).distance, final(histories).frames(1).distance, equal_nan=True)
    assert not differing(records.load(tmp_path / "half"), record)


def crash(monkeypatch, at, error):
    """The `at`-th move of a finished file to its place (from 0) fails. Returns the files that were to be moved."""
    moved, replace = [], os.replace

    def fail(source, target):
        moved.append(os.path.basename(target))
        if len(moved) == at + 1:
            raise error
        return replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    return moved


def writes(monkeypatch, path):
    with monkeypatch.context() as patch:
        moved = crash(patch, -1, Killed())
        last(runs.train(tiny(), path))
    return moved


def test_the_index_is_written_last(monkeypatch, tmp_path):
    """New files are in place before the index names them."""
    moved = writes(monkeypatch, tmp_path / "run")
    assert moved[:2] == ["probes.safetensors", "run.json"] and moved[-1] == "run.json"
    assert moved.count("run.json") == 7
    assert moved.index("weights-1.safetensors") < moved.index("task-1.safetensors")


def test_a_run_killed_between_any_two_files_resumes_to_the_same_end(histories, monkeypatch, tmp_path):
    total = len(writes(monkeypatch, tmp_path / "whole"))
    assert total > 10
    for at in range(2, total):
        path = tmp_path / str(at)
        with monkeypatch.context() as patch:
            crash(patch, at, Killed())
            with pytest.raises(Killed):
                last(runs.train(tiny(), path))
        assert records.load(path).status == "unfinished"
        assert not differing(last(runs.resume(path)), final(histories))
        assert not differing(records.load(path), final(histories))


@pytest.mark.parametrize("at", [0, 1])
def test_a_run_killed_before_its_first_index_leaves_its_place_free(at, histories, monkeypatch, tmp_path):
    """Nothing is recorded there yet, and nothing belongs to anyone else: the same command must work again."""
    with monkeypatch.context() as patch:
        crash(patch, at, Killed())
        with pytest.raises(Killed):
            last(runs.train(tiny(), tmp_path / "run"))
    assert not differing(last(runs.train(tiny(), tmp_path / "run", overwrite=True)), final(histories))


def test_a_full_disk_is_reported_and_what_was_saved_stays(histories, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        crash(patch, 4, OSError(28, "No space left on device"))
        with pytest.raises(RecordError, match=r"run cannot be written: No space left on device"):
            last(runs.train(tiny(), tmp_path / "run"))
    assert not list((tmp_path / "run").glob(".writing-*"))  # nothing half-written is left
    assert not differing(last(runs.resume(tmp_path / "run")), final(histories))


def test_finished_runs_are_not_resumed(histories, tmp_path):
    path = written(final(histories), tmp_path / "run")
    before = {p.name: p.read_bytes() for p in path.iterdir()}
    with pytest.raises(RecordError, match="finished"):
        runs.resume(path)
    assert {p.name: p.read_bytes() for p in path.iterdir()} == before


def test_a_diverged_run_keeps_what_it_had_and_says_why(tmp_path):
    config = tiny("finetune", **{"train.learning_rate": 1e30, "train.schedule": "constant"})
    with pytest.raises(Diverged) as raised:
        last(runs.train(config, tmp_path / "run"))
    record = records.load(tmp_path / "run")
    assert record.status == "failed" and record.error == str(raised.value)
    assert record.summary()["error"] == record.error
    with pytest.raises(RecordError, match=r"failed and would fail again: training diverged.*learning_rate"):
        runs.resume(tmp_path / "run")


# Names and places


def test_a_name_lives_under_the_root_and_a_path_where_it_says(checkpoints, tmp_path, monkeypatch):
    assert records.root() == checkpoints
    assert records.locate("mine") == checkpoints / "mine"
    assert records.locate(tmp_path / "mine") == tmp_path / "mine"
    assert records.locate("./there/mine").parts[-2:] == ("there", "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert records.locate("~/mine") == tmp_path / "mine"


def test_names_are_those_of_recorded_runs(checkpoints, histories):
    assert records.names() == []
    for name in ("b", "a"):
        written(final(histories, "finetune"), checkpoints / name)
    (checkpoints / "notes").mkdir()
    (checkpoints / "c.txt").write_text("")
    assert records.names() == ["a", "b"]
    assert not differing(records.load("a"), records.load(checkpoints / "b"))


def test_a_run_that_is_not_there_is_answered_with_those_that_are(checkpoints, histories):
    with pytest.raises(RecordError, match=r"no recorded run at .*nowhere.*none yet"):
        records.load("nowhere")
    written(final(histories, "finetune"), checkpoints / "mine")
    with pytest.raises(RecordError, match=r"no recorded run at .*nowhere; .*: mine"):
        records.load("nowhere")


def test_status_and_configuration_are_read_without_the_arrays(histories, tmp_path):
    path = written(histories["ari"][7][0], tmp_path / "run")
    for file in path.glob("*.safetensors"):
        file.unlink()
    assert records.config_of(path) == tiny() and records.status_of(path) == "unfinished"
    assert records.status_of(written(final(histories), tmp_path / "done")) == "finished"


def test_a_recorded_run_is_in_the_way_unless_it_may_be_overwritten(histories, tmp_path):
    path = written(final(histories), tmp_path / "run")
    with pytest.raises(RecordError, match=r"holds a recorded run already.*--overwrite"):
        runs.train(tiny("finetune"), path)
    assert records.load(path).config == tiny()
    record = last(runs.train(tiny("finetune"), path, overwrite=True))
    assert not differing(records.load(path), record) and record.config.method == "finetune"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_folders_of_others_are_refused_and_left_alone(overwrite, tmp_path):
    path = tmp_path / "thesis"
    path.mkdir()
    (path / "chapter.txt").write_text("years of work")
    with pytest.raises(RecordError, match=r"thesis holds chapter.txt, which is not part of a recorded run"):
        runs.train(tiny(), path, overwrite)
    assert [p.name for p in path.iterdir()] == ["chapter.txt"]


@pytest.mark.parametrize("content", ["{}", '{"schema": "of something else"}', "[1, 2]"])
def test_another_programs_run_json_is_no_recorded_run(content, tmp_path):
    path = tmp_path / "thesis"
    path.mkdir()
    (path / "run.json").write_text(content)
    (path / "chapter.txt").write_text("years of work")
    with pytest.raises(RecordError):
        runs.train(tiny(), path, overwrite=True)
    assert (path / "chapter.txt").read_text() == "years of work"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RecordError, match=r"file.* cannot be written: .*; choose another --out"):
            runs.train(tiny(), place)
    assert (tmp_path / "file").read_text() == ""


def test_what_cannot_run_leaves_an_earlier_run_in_place(histories, tmp_path):
    path = written(final(histories), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"memory\.budget"):
        runs.train(tiny(**{"memory.budget": 1}), path, overwrite=True)
    assert not differing(records.load(path), final(histories))


def test_an_empty_folder_is_a_place_for_a_run(tmp_path):
    (tmp_path / "run").mkdir()
    assert records.claim(tmp_path / "run") == tmp_path / "run"
    assert list((tmp_path / "run").iterdir()) == []


# Renamed, deleted, imported


def test_a_run_is_renamed_whole(checkpoints, histories):
    written(final(histories), checkpoints / "mine")
    records.rename("mine", "yours.2")
    assert records.names() == ["yours.2"] and not differing(records.load("yours.2"), final(histories))


IMPOSSIBLE = ["", ".", "..", ".hidden", "-o", "a/b", "../away", "/tmp/away", "a b", "a\\b", "a\n", "x" * 61, "a\0"]


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_names_are_refused(name, checkpoints, histories):
    written(final(histories), checkpoints / "mine")
    for action in (lambda: records.rename("mine", name), lambda: records.add(name, records.files("mine"))):
        with pytest.raises(RecordError, match="cannot name a run: use at most 60 letters"):
            action()
    assert [path.name for path in checkpoints.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("name", "why"),
    [(name, "is a device on Windows") for name in
     ("CON", "nul", "Prn", "aux", "COM1", "lpt9", "com³", "nul.txt", "CON.tar.gz", "Com1.run")]
    + [(name, "Windows drops a dot or space at the end") for name in ("dot.", "dots...", "CON.")],
)  # fmt: skip
def test_names_that_windows_cannot_have_are_refused(name, why, checkpoints, histories):
    written(final(histories), checkpoints / "mine")
    actions = (
        lambda: records.rename("mine", name),
        lambda: records.add(name, records.files("mine")),
        lambda: records.claim(name),
        lambda: records.claim(checkpoints / name),
    )
    for action in actions:
        with pytest.raises(RecordError, match=f"{name!r} cannot name a run: .*{why}"):
            action()
    assert [path.name for path in checkpoints.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["console", "null", "con-1", "COM10", "lpt", "my.con", "run.v1", "_nul"])
def test_names_that_only_look_so_are_taken(name, checkpoints, histories):
    written(final(histories), checkpoints / "mine")
    records.rename("mine", name)
    assert records.names() == [name]


def test_taken_names_are_refused_whatever_they_are_of(checkpoints, histories):
    written(final(histories), checkpoints / "mine")
    (checkpoints / "folder").mkdir()
    (checkpoints / "file").write_text("")
    (checkpoints / "dangling").symlink_to(checkpoints / "nowhere")
    for name in ("mine", "folder", "file", "dangling"):
        message = f"There is already a run or folder called {name}. Nothing was changed; choose another name."
        with pytest.raises(RecordError, match=message):
            records.rename("mine", name)
        with pytest.raises(RecordError, match=message):
            records.add(name, records.files("mine"))
    assert not differing(records.load("mine"), final(histories))


def test_a_run_is_deleted_and_nothing_beside_it(checkpoints, histories, tmp_path):
    for name in ("a", "b"):
        written(final(histories, "finetune"), checkpoints / name)
    written(final(histories, "finetune"), tmp_path / "elsewhere")
    (checkpoints / "link").symlink_to(tmp_path / "elsewhere")
    records.delete("a")
    records.delete("link")
    assert [path.name for path in checkpoints.iterdir()] == ["b"]
    assert not differing(records.load(tmp_path / "elsewhere"), final(histories, "finetune"))


def test_a_run_in_training_is_neither_deleted_nor_renamed_nor_is_its_name_taken(checkpoints, histories):
    for name in ("mine", "other"):
        written(final(histories), checkpoints / name)
    before = {path: path.read_bytes() for path in checkpoints.rglob("*.*")}
    with locks.hold(checkpoints / "mine"), locks.hold(checkpoints / "begun"):
        for action in (
            lambda: records.delete("mine"),
            lambda: records.rename("mine", "new"),
            lambda: records.rename("other", "begun"),
        ):
            with pytest.raises(Busy, match="is being trained elsewhere; nothing was changed"):
                action()
    assert {path: path.read_bytes() for path in checkpoints.rglob("*.*")} == before
    records.rename("other", "begun")
    records.delete("mine")
    assert records.names() == ["begun"]


def test_what_a_file_manager_left_in_a_run_hinders_nothing(checkpoints, histories):
    path = written(final(histories), checkpoints / "mine")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._run.json"):
        (path / name).write_bytes(b"")
    records.delete("mine")
    assert list(checkpoints.iterdir()) == []


def test_damaged_runs_can_be_renamed_and_deleted(checkpoints, histories):
    path = written(final(histories), checkpoints / "mine")
    cut(path / "run.json")
    records.rename("mine", "damaged")
    records.delete("damaged")
    assert list(checkpoints.iterdir()) == []


@pytest.mark.parametrize("action", [records.delete, lambda name: records.rename(name, "other")])
def test_what_is_no_own_run_is_neither_deleted_nor_renamed(action, checkpoints, histories, tmp_path):
    written(final(histories), checkpoints / "mine")
    written(final(histories), tmp_path / "elsewhere")
    for name in ("nobody", "../elsewhere", str(tmp_path / "elsewhere"), "", "."):
        with pytest.raises(RecordError, match=r"no recorded run is called .*: mine"):
            action(name)
    written(final(histories), checkpoints / records.SHIPPED[0])
    with pytest.raises(RecordError, match="comes with the lab"):
        action(records.SHIPPED[0])
    assert records.names() == ["mine", records.SHIPPED[0]] and (tmp_path / "elsewhere" / "run.json").exists()


def test_the_runs_that_ship_are_those_that_git_keeps():
    ignored = (ROOT / ".gitignore").read_text()
    assert sorted([*records.SHIPPED, "sweeps"]) == sorted(re.findall(r"^!/checkpoints/([\w.-]+)/$", ignored, re.M))


def test_a_folder_that_holds_anything_else_is_not_deleted(checkpoints, histories):
    path = written(final(histories), checkpoints / "mine")
    (path / "chapter.txt").write_text("years of work")
    with pytest.raises(
        RecordError, match=r"holds chapter\.txt, which is not part of a recorded run; nothing was deleted"
    ):
        records.delete("mine")
    (checkpoints / "thesis").mkdir()
    (checkpoints / "thesis" / "run.json").write_text("{}")
    with pytest.raises(RecordError, match=r"another program's run\.json; nothing was deleted"):
        records.delete("thesis")
    assert (path / "chapter.txt").exists() and len(list(path.iterdir())) == 7


@each_method
def test_the_files_of_a_run_make_an_equal_one(method, histories, checkpoints):
    for at, name in (
        (-1, "done"),
        (next(k for k, (_, e) in enumerate(histories[method]) if isinstance(e, Saved)), "half"),
    ):
        record = histories[method][at][0]
        written(record, checkpoints / name)
        files = records.files(name)
        assert next(iter(files)) == "run.json"
        assert set(files) == {file.name for file in (checkpoints / name).iterdir()}
        records.add(f"{name}-2", files)
        loaded = records.load(f"{name}-2")
        assert not differing(loaded, record)
        assert loaded.seconds == record.seconds and dict(loaded.environment) == dict(record.environment)


def test_half_a_run_that_was_taken_in_resumes_to_the_same_end(histories, checkpoints, tmp_path):
    at = next(k for k, (_, event) in enumerate(histories["ari"]) if isinstance(event, Saved))
    records.add("half", records.files(written(histories["ari"][at][0], tmp_path / "half")))
    assert not differing(last(runs.resume("half")), final(histories))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run.json": None}, r"no run\.json"),
        ({"run.json": b"{}"}, r"run\.json is not the index"),
        ({"run.json": b"[" * 100_000}, r"run\.json is not the index"),
        ({"weights-2.safetensors": None}, r"weights-2\.safetensors is missing or damaged"),
        ({"task-1.safetensors": b"short"}, r"task-1\.safetensors is missing or damaged"),
        ({"notes.txt": b""}, r"'notes\.txt' is not part of a recorded run"),
        ({"../task-3.safetensors": b""}, r"'\.\./task-3\.safetensors' is not part of a recorded run"),
        ({"/tmp/run.json": b""}, r"'/tmp/run\.json' is not part of a recorded run"),
        ({".writing-x": b""}, r"'\.writing-x' is not part of a recorded run"),
        ({"task-3.safetensors": b""}, r"'task-3\.safetensors' is not part of this run"),
        ({"progress-1-1.safetensors": b""}, r"'progress-1-1\.safetensors' is not part of this run"),
    ],
)
def test_what_is_no_whole_run_is_not_taken_in(change, message, histories, checkpoints, tmp_path):
    files = {**records.files(written(final(histories), tmp_path / "run")), **change}
    with pytest.raises(RecordError, match=message) as raised:
        records.add("mine", {name: content for name, content in files.items() if content is not None})
    assert str(checkpoints) not in str(raised.value)  # the place where it was checked is not shown
    assert not checkpoints.exists() or list(checkpoints.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir() if path != checkpoints) == ["run"]


def test_a_run_with_a_damaged_file_gives_no_files(histories, tmp_path):
    path = written(final(histories), tmp_path / "run")
    cut(path / "weights-1.safetensors")
    with pytest.raises(RecordError, match=r"weights-1\.safetensors"):
        records.files(path)


# Damaged


def damaged(histories, tmp_path, at=-1):
    """A saved run: finished, or as it was after the event `at`."""
    return written(histories["ari"][at][0], tmp_path / "run")


def cut(file):
    file.write_bytes(file.read_bytes()[:-20])


def garbage(file):
    file.write_bytes(b"\x00\xff not what it was" * 9)


def empty(file):
    file.write_bytes(b"")


def gone(file):
    file.unlink()


def foreign(file):
    """A sound file of the right kind, with other content."""
    store._write_arrays(file, {"something": np.zeros(3)})


DAMAGE = [cut, garbage, empty, gone, foreign]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["probes.safetensors", "task-1.safetensors", "task-2.safetensors"])
def test_damaged_arrays_are_named(name, damage, histories, tmp_path):
    path = damaged(histories, tmp_path)
    damage(path / name)
    with pytest.raises(RecordError, match=name):
        records.load(path)


@pytest.mark.parametrize("damage", [cut, garbage, empty, gone])
def test_damaged_weights_are_named_when_they_are_asked_for(damage, histories, tmp_path):
    path = damaged(histories, tmp_path)
    damage(path / "weights-2.safetensors")
    record = records.load(path)
    assert record.summary() == final(histories).summary() and record.weights[1]
    with pytest.raises(RecordError, match=r"weights-2\.safetensors"):
        record.weights[2]


@pytest.mark.parametrize("damage", [cut, garbage, empty, gone])
def test_damaged_progress_is_named(damage, histories, tmp_path):
    at = next(k for k, (_, event) in enumerate(histories["ari"]) if isinstance(event, Saved))
    path = damaged(histories, tmp_path, at)
    damage(path / "progress-1-1.safetensors")
    for read in (records.load, runs.resume):
        with pytest.raises(RecordError, match=r"progress-1-1\.safetensors"):
            read(path)


def edited(**changes):
    def edit(file):
        index = json.loads(file.read_text()) | changes
        file.write_bytes(checks.sealed({key: value for key, value in index.items() if value != "drop"}))

    return edit


@pytest.mark.parametrize(
    "damage",
    [cut, garbage, empty, lambda file: file.write_text("[]"), lambda file: file.write_text("3"),
     *(edited(**{key: "drop"}) for key in ("schema", "config", "accuracy", "classes", "seconds", "progress")),
     edited(schema=99), edited(config=3), edited(config={"method": "magic"}), edited(accuracy=None),
     edited(accuracy={"vote": []}), edited(classes=5), edited(progress=7)],
)  # fmt: skip
def test_a_damaged_index_is_named(damage, histories, tmp_path):
    path = damaged(histories, tmp_path)
    damage(path / "run.json")
    with pytest.raises(RecordError, match=r"run\.json"):
        records.load(path)


def test_a_newer_schema_is_distinguished_from_damage(histories, tmp_path):
    path = damaged(histories, tmp_path)
    edited(schema=99)(path / "run.json")
    with pytest.raises(RecordError, match=r"schema 99; this version reads schemas 1 to 2"):
        records.load(path)


def test_a_configuration_that_is_not_valid_here_is_reported_with_its_cause(histories, tmp_path):
    path = damaged(histories, tmp_path)
    edited(config=tiny().model_dump() | {"method": "magic"})(path / "run.json")
    with pytest.raises(RecordError, match=r"run\.json.*unknown method 'magic'.*ari"):
        records.load(path)


def test_seconds_and_samples_add_up(histories):
    record = final(histories)
    assert math.isclose(record.seconds, 0.25 * len(histories["ari"]))
    shares = [record.share_done for record, _ in histories["ari"]]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
