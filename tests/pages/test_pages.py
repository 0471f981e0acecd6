"""Every page, headless: whole, empty, damaged, unfinished, and with an address that does not exist."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from streamlit.testing.v1 import AppTest

from arli_core import config, records
from arli_core.config import preset
from arli_core.errors import LabError
from arli_core.live import runs
from arli_core.records import exports
from arli_core.theory import fusion, metrics

ROOT = Path(__file__).parents[2]
LAB = ["train", "matrix", "spectrum", "masks", "forgetting", "compare", "runs"]
TINY = {"data.tasks": 2, "train.epochs": 1, "train.batch_size": 200, "recording.probes": 2}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs of ari and finetune, one of ari cut short in its second task and one before its first frame."""
    root = tmp_path_factory.mktemp("pages")
    for method in ("ari", "finetune"):
        for _ in runs.train(preset("digits", method, **TINY), root / f"digits-{method}"):
            pass
    for _ in runs.train(preset("digits", "ari", **TINY, **{"train.schedule": "constant"}), root / "digits-steady"):
        pass
    for _ in islice(runs.train(preset("digits", "ari", **TINY), root / "digits-cut"), 12):
        pass
    next(runs.train(preset("digits", "ari", **TINY), root / "digits-begun"))
    return root


@pytest.fixture
def place(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = Path(shutil.copytree(recorded, tmp_path / "checkpoints"))
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(copy))
    monkeypatch.chdir(ROOT)
    return copy


def open_page(name: str, **query: str) -> AppTest:
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    if name:
        test.switch_page(f"pages/{name}.py")
    for key, value in query.items():
        test.query_params[key] = value
    return test.run()


def texts(test: AppTest, kind: str) -> str:
    return "\n".join(element.value for element in getattr(test, kind))


@pytest.mark.parametrize("name", ["", *LAB])
def test_a_page_shows_recorded_runs_without_a_click(place, name):
    test = open_page(name)
    assert not test.exception
    assert not test.error
    assert not test.warning


@pytest.mark.parametrize("name", ["", *LAB])
def test_a_page_without_any_run_says_what_to_do(place, name):
    shutil.rmtree(place)
    test = open_page(name)
    assert not test.exception
    if name not in ("train",):
        assert "recorded run" in texts(test, "info")


@pytest.mark.parametrize("name", ["matrix", "spectrum", "masks"])
def test_an_address_that_does_not_exist_falls_back_visibly(place, name):
    test = open_page(name, run="nobody", task="99", frame="-5")
    assert not test.exception
    assert "nobody is not recorded here; showing digits-ari" in texts(test, "warning")
    assert "There is no task 99; showing 2 (valid: 1 to 2)" in texts(test, "warning")
    assert "There is no frame -5; showing 0" in texts(test, "warning")
    assert next(group for group in test.button_group if group.label == "After learning task").value == 2
    # The link stays as it was opened: an entry made by the page itself would bar the browser's way back.
    assert {key: test.query_params[key] for key in ("run", "task", "frame")} == {
        "run": "nobody",
        "task": "99",
        "frame": "-5",
    }


def test_an_address_that_is_no_number_falls_back_visibly(place):
    test = open_page("matrix", run="digits-ari", frame="soon")
    assert "frame 'soon' is not a whole number" in texts(test, "warning")
    assert not test.exception


def test_the_same_run_at_a_constant_rate_is_shown_beside(place):
    """The run that differs only in the schedule; the page says from when each stays near uniform, if ever."""
    for name, own, other in (("digits-ari", "cosine", "constant"), ("digits-steady", "constant", "cosine")):
        text = texts(open_page("matrix", run=name), "markdown")
        places = [text.index(f"With a {schedule} learning rate it ") for schedule in (own, other)]
        assert places == sorted(places)
    shutil.rmtree(place / "digits-steady")
    assert "With a constant learning rate" not in texts(open_page("matrix", run="digits-ari"), "markdown")


@pytest.mark.parametrize("name", ["matrix", "spectrum"])
def test_a_run_that_fuses_nothing_has_no_matrix(place, name):
    test = open_page(name, run="digits-finetune")
    assert "digits-finetune fuses no models" in texts(test, "warning")
    assert not test.exception


@pytest.mark.parametrize("name", ["matrix", "spectrum", "masks", "forgetting"])
@pytest.mark.parametrize("file", ["run.json", "task-1.safetensors", "weights-2.safetensors", "probes.safetensors"])
def test_a_truncated_file_is_named_in_a_message(place, name, file):
    damaged = place / "digits-ari" / file
    damaged.write_bytes(damaged.read_bytes()[:40])
    test = open_page(name, run="digits-ari")
    assert not test.exception
    if file.startswith("weights") and name != "masks":
        assert not test.error  # only Masks reads weights
    else:
        assert file in texts(test, "error")


@pytest.mark.parametrize("name", ["matrix", "spectrum", "masks", "forgetting"])
def test_a_run_cut_short_shows_what_there_is(place, name):
    for run in ("digits-cut", "digits-begun"):
        test = open_page(name, run=run)
        assert not test.exception
        assert not test.error


def test_a_run_cut_short_is_offered_to_be_resumed(place):
    test = open_page("train")
    assert [button.key for button in test.button if button.label == "Resume"] == [
        "resume-digits-begun",
        "resume-digits-cut",
    ]


def test_choosing_another_run_and_task_goes_to_the_address(place):
    test = open_page("masks", run="digits-ari", task="1")
    test.selectbox[0].select("digits-finetune").run()
    assert test.query_params["run"] == "digits-finetune"
    assert test.query_params["task"] == "1"
    assert not test.exception


@pytest.mark.parametrize("protocol", ["per_sample", "task_aware", "vote"])
def test_forgetting_shows_two_runs_under_each_protocol(place, protocol):
    test = open_page("forgetting", run="digits-ari", other="digits-finetune")
    next(group for group in test.button_group if group.label == "Protocol").set_value(protocol).run()
    assert not test.exception
    assert len(test.metric) == 8
    assert test.query_params.get("protocol", "per_sample") == protocol


def test_forgetting_opens_without_torch(place):
    """Its first view draws what is recorded; in its own process, because this one has torch."""
    code = (
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        "test = AppTest.from_file('app.py', default_timeout=60).switch_page('pages/forgetting.py').run()\n"
        "assert not test.exception and len(test.metric) == 8\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("protocol", ["per_sample", "task_aware", "vote"])
def test_confusion_of_both_runs_has_the_recorded_accuracy(place, protocol):
    """Tasks have equally many classes, and classes about equally many images: the means over both are close."""
    test = open_page("forgetting", run="digits-ari", other="digits-finetune", view="confusion", protocol=protocol)
    assert not test.exception and not test.error and not test.warning
    for run in ("digits-ari", "digits-finetune"):
        record = records.load(place / run)
        line = next(text for text in texts(test, "markdown").split("\n") if f"**{record.config.method}** · " in text)
        recorded = metrics.average_accuracy(record.accuracy_matrix(protocol))
        figure = line.split(" · accuracy ")[-1].removesuffix(", mean over classes")
        assert float(figure) == pytest.approx(recorded, abs=0.02)


def test_the_vote_at_its_own_settings_is_the_recorded_one(place):
    test = open_page("forgetting", run="digits-ari", other="digits-finetune", view="vote", task="2")
    assert not test.exception and not test.error and not test.warning
    values = [metric.value for metric in test.metric]
    for run, (vote, recorded, per_sample) in zip(
        ("digits-ari", "digits-finetune"), (values[:3], values[3:]), strict=True
    ):
        accuracy = records.load(place / run).accuracy
        assert vote == recorded == f"{np.mean(accuracy['vote'][1]):.3f}"
        assert per_sample == f"{np.mean(accuracy['per_sample'][1]):.3f}"


def test_p_and_mixing_move_the_vote_and_stand_in_the_address(place):
    test = open_page("forgetting", run="digits-ari", other="digits-finetune", view="vote")
    back = next(button for button in test.button if button.label.startswith("Back to"))
    assert back.disabled
    test.slider[0].set_value(1).run()
    assert test.query_params["p"] == "1"
    assert test.metric[0].value == test.metric[2].value  # alone, each sample elects the task of its own answer
    test.slider[1].set_value(0.5).run()
    assert test.query_params["mixing"] == "0.5"
    next(button for button in test.button if button.label.startswith("Back to")).click().run()
    assert "p" not in test.query_params and "mixing" not in test.query_params
    assert not test.exception


def test_beside_a_run_stands_one_on_the_same_data(place, rewrite):
    test = open_page("forgetting", run="digits-ari")
    assert [box.value for box in test.selectbox[:2]] == ["digits-ari", "digits-finetune"]
    rewrite(place / "digits-finetune", lambda index: index["config"]["data"].update(class_order=1))
    test = open_page("forgetting", run="digits-ari")
    assert [box.value for box in test.selectbox[:2]] == ["digits-ari", "digits-begun"]
    test = open_page("forgetting", run="digits-finetune")
    assert [box.value for box in test.selectbox[:2]] == ["digits-finetune", "digits-finetune"]


def test_p_and_mixing_that_do_not_exist_fall_back_visibly(place):
    test = open_page("forgetting", view="vote", p="1000", mixing="0.7", task="9", other="digits-finetune")
    for note in ("no p 1000; showing 100", "no mixing 0.7; showing 0.5", "no task 9; showing 2"):
        assert note in texts(test, "warning")
    assert [slider.value for slider in test.slider] == [100, 0.5]
    assert "p 'many' is not a whole number" in texts(open_page("forgetting", view="vote", p="many"), "warning")
    assert not test.exception


@pytest.mark.parametrize("view", ["confusion", "vote"])
def test_answers_of_runs_cut_short_and_of_one_beside_itself(place, view):
    test = open_page("forgetting", view=view, run="digits-cut", other="digits-cut")
    assert not test.exception and not test.error
    test = open_page("forgetting", view=view, run="digits-ari", other="digits-begun")
    assert "digits-begun has not learned its first task" in texts(test, "info")
    (place / "digits-ari" / "weights-2.safetensors").write_bytes(b"damaged")
    assert "weights-2.safetensors" in texts(open_page("forgetting", view=view, run="digits-ari"), "error")


@pytest.mark.parametrize(
    ("page", "query"),
    [
        ("matrix", {"run": "failed"}),
        ("masks", {"run": "failed"}),
        ("train", {"view": "parts", "run": "failed"}),
        ("forgetting", {"other": "failed"}),
        ("forgetting", {"view": "confusion", "other": "failed"}),
        ("compare", {"view": "runs", "runs": "digits-ari,failed"}),
    ],
)
def test_a_run_that_failed_before_it_learned_anything_says_why(place, page, query):
    diverging = preset("digits", "ari", **TINY, **{"train.learning_rate": 1e30})
    with pytest.raises(LabError, match="diverged"):
        list(runs.train(diverging, place / "failed"))
    test = open_page(page, **query)
    assert "failed has not" in texts(test, "error") and "diverged in task 1" in texts(test, "error")
    assert not test.exception and "yet" not in texts(test, "info")


@pytest.mark.parametrize("part", range(1, 7))
@pytest.mark.parametrize("task", ["1", "2"])
def test_every_part_of_an_iteration_has_its_text_and_numbers(place, part, task):
    test = open_page("train", view="parts", run="digits-ari", task=task, part=str(part))
    assert not test.exception and not test.error and not test.warning
    text = texts(test, "markdown")
    assert "**What happens.**" in text and "**What to notice.**" in text and "$" in text
    assert "agree with those recorded during training" in texts(test, "caption")
    frames = records.load(place / "digits-ari").frames(int(task))
    if part == 5:
        row = frames.matrix("dif_star", 0)[-1]
        assert f"= {row.max():.3f}$" in text
    if part == 6:
        assert f"= {frames.alpha[0]:.3f}$" in text


def test_next_and_back_walk_through_the_parts(place):
    test = open_page("train", view="parts", run="digits-ari")
    for part in range(2, 7):
        next(button for button in test.button if button.label == "Next").click().run()
        assert test.query_params["part"] == str(part)
    assert next(button for button in test.button if button.label == "Next").disabled
    next(button for button in test.button if button.label == "Back").click().run()
    assert test.query_params["part"] == "5"
    assert not test.exception


def test_a_part_that_does_not_exist_is_put_right_visibly(place):
    test = open_page("train", view="parts", run="nobody", task="7", part="9")
    for note in ("nobody is not recorded here; showing digits-ari", "no task 7; showing 2", "no part 9; showing 6"):
        assert note in texts(test, "warning")
    strange = open_page("train", view="nothing")
    asked = "The address asks for view=nothing, which is not available here; showing One run"
    assert asked in texts(strange, "warning") and not strange.exception
    assert not test.exception


def test_an_iteration_of_runs_that_have_none_or_are_cut_short(place):
    assert "fuses no models" in texts(open_page("train", view="parts", run="digits-finetune"), "warning")
    cut = open_page("train", view="parts", run="digits-cut", task="1")
    assert "agree with those recorded during training" in texts(cut, "caption")
    assert "has not recorded an iteration yet" in texts(open_page("train", view="parts", run="digits-begun"), "info")
    (place / "digits-steady" / "weights-1.safetensors").write_bytes(b"damaged")
    test = open_page("train", view="parts", run="digits-steady", task="2")
    assert "weights-1.safetensors" in texts(test, "error") and not test.exception


def test_a_taken_name_and_a_bad_name_are_refused_and_start_nothing(place):
    before = sorted(path.name for path in place.iterdir())
    for name, answer in (
        ("digits-ari", "There is already a run called digits-ari."),
        ("../away", "cannot name a run"),
    ):
        test = open_page("train")
        next(box for box in test.text_input if box.label == "Name of the run").set_value(name)
        next(button for button in test.button if button.label == "Start").click().run()
        assert answer in texts(test, "error")
    assert sorted(path.name for path in place.iterdir()) == before


def test_spurious_backgrounds_are_asked_for_where_there_are_some(place):
    test = open_page("train")
    for preset_name, offered in (("digits", False), ("scenes", True)):
        test.selectbox[0].select(preset_name).run()
        assert ("data.spurious" in [box.label for box in test.number_input]) == offered
    next(box for box in test.number_input if box.label == "data.spurious").set_value(0.95).run()
    assert "Changed: data.spurious = 0.95" in texts(test, "caption") and not test.error


def test_a_setting_out_of_range_is_named_and_nothing_can_be_started(place):
    test = open_page("train")
    next(box for box in test.number_input if box.label == "memory.budget").set_value(0).run()
    assert "memory.budget: input should be greater than or equal to 1" in texts(test, "error")
    assert "Start" not in [button.label for button in test.button]


BENCHES = ["figure-9", "attack", "captum", "drift", "stability", "own-image"]


@pytest.mark.parametrize("bench", BENCHES)
@pytest.mark.parametrize("run", ["digits-ari", "digits-finetune", "digits-cut"])
def test_every_bench_of_the_masks_page_is_whole(place, bench, run):
    test = open_page("masks", run=run, view=bench)
    assert not test.exception
    assert not test.error
    assert not test.warning
    if bench != "own-image":
        assert test.slider[0].label == "Images"


def test_a_bench_that_does_not_exist_falls_back_visibly(place):
    test = open_page("masks", run="digits-ari", view="x-ray")
    assert "The address asks for view=x-ray, which is not available here; showing A and B" in texts(test, "warning")
    assert next(group for group in test.button_group if group.label == "View").value == "figure-9"


def test_the_attack_follows_its_knobs(place):
    test = open_page("masks", run="digits-ari", view="attack", task="2")
    before = test.dataframe[0].value
    slider = next(element for element in test.slider if element.label.startswith("ε"))
    assert slider.value == pytest.approx(0.3)  # what the run was trained with
    slider.set_value(0.0).run()
    after = test.dataframe[0].value
    assert not before["logit of the class after"].equals(after["logit of the class after"])
    logits = after["logit of the class before"].tolist()
    assert after["logit of the class after"].tolist() == pytest.approx(logits, abs=1e-3)
    assert [element.value for element in test.metric if element.label.startswith("Share of δ")] == ["–"]


def test_captum_stands_beside_attention_in_one_table(place):
    test = open_page("masks", run="digits-ari", view="captum", task="1")
    table = test.dataframe[0].value
    assert list(table.index) == ["A", "saliency", "integrated gradients", "Grad-CAM", "occlusion"]
    assert "Here the error is at most" in texts(test, "caption")


def test_ones_own_image_is_looked_at_or_refused(place):
    from PIL import Image

    picture = io.BytesIO()
    Image.new("RGB", (64, 48), "orange").save(picture, "PNG")
    test = open_page("masks", run="digits-ari", view="own-image")
    assert "It is not stored." in texts(test, "info")
    test.file_uploader[0].set_value(("photo.png", picture.getvalue(), "image/png")).run()
    assert not test.exception
    assert not test.error
    assert "resized" in texts(test, "markdown")
    # The blurred picture that they start from is the same: it has one colour.
    assert "integrated gradients singles out no place in this image: the map" in texts(test, "caption")
    test.file_uploader[0].set_value(("photo.png", picture.getvalue()[:60], "image/png")).run()
    assert not test.exception
    assert "photo.png" in texts(test, "error")


# Runs


def press(test: AppTest, label: str) -> AppTest:
    return next(button for button in test.button if button.label == label).click().run()


def links(test: AppTest) -> dict[str, bool]:
    """Which links of the page itself can be followed, by their label."""
    return {link.proto.label: not link.proto.disabled for link in test.main.get("page_link")}


def test_all_runs_stand_in_a_table(place):
    test = open_page("runs", run="digits-cut")
    table = test.dataframe[0].value
    assert list(table.index) == ["digits-ari", "digits-begun", "digits-cut", "digits-finetune", "digits-steady"]
    assert table.loc["digits-ari", ["data", "method", "seed", "tasks", "status"]].tolist() == [
        "digits", "ari", 0, "2 of 2", "finished"]  # fmt: skip
    summary = records.load("digits-ari").summary()
    assert table.loc["digits-ari", "accuracy"] == summary["average"]["per_sample"]
    assert table.loc["digits-ari", "forgetting"] == summary["forgetting"]["per_sample"]
    assert table.loc["digits-cut", ["tasks", "status"]].tolist() == ["1 of 2", "unfinished"]
    assert "problem" not in table
    assert test.query_params["run"] == "digits-cut"
    labels = ["Open in Matrix", "Open in Masks", "Open in Forgetting", "Train again"]
    assert {label: links(test)[label] for label in labels} == dict.fromkeys(labels, True)
    assert not links(open_page("runs", run="digits-finetune"))["Open in Matrix"]


@pytest.mark.parametrize("file", ["run.json", "task-1.safetensors", "weights-2.safetensors"])
def test_a_damaged_run_stands_among_the_others_with_what_is_wrong(place, file):
    (place / "digits-steady" / file).write_bytes(b"damaged")
    test = open_page("runs", run="digits-steady")
    assert not test.exception
    table = test.dataframe[0].value
    assert table.loc["digits-steady", "status"] == "damaged" and file in table.loc["digits-steady", "problem"]
    assert table.loc["digits-ari", "status"] == "finished" and table.loc["digits-ari", "problem"] == ""
    assert file in texts(test, "error")
    assert not links(test)["Open in Forgetting"] and links(test)["Train again"] == (file != "run.json")
    assert "cannot be exported" in texts(test, "caption")
    test.checkbox[0].check().run()
    press(test, "Delete for good")
    assert "digits-steady was deleted" in texts(test, "success") and not (place / "digits-steady").exists()


def test_a_run_is_renamed_and_the_address_follows(place):
    before = records.load("digits-ari").summary()
    test = open_page("runs", run="digits-ari")
    test.text_input(key="rename-digits-ari").set_value("mine")
    press(test, "Rename")
    assert "digits-ari is now called mine" in texts(test, "success") and not test.warning
    assert test.query_params["run"] == "mine" and test.selectbox[0].value == "mine"
    assert records.load("mine").summary() == before and "digits-ari" not in records.names()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits-cut", "There is already a run or folder called digits-cut."),
        ("../away", "cannot name a run"),
        ("", "cannot name"),
    ],
)
def test_a_taken_or_impossible_new_name_is_refused(place, name, message):
    before = records.names()
    test = open_page("runs", run="digits-ari")
    test.text_input(key="rename-digits-ari").set_value(name)
    press(test, "Rename")
    assert message in texts(test, "error") and records.names() == before
    assert test.query_params["run"] == "digits-ari" and not test.exception


def test_a_run_is_deleted_only_when_that_is_confirmed(place):
    test = open_page("runs", run="digits-ari")
    assert next(button for button in test.button if button.label == "Delete for good").disabled
    assert "digits-ari" in records.names()
    test.checkbox[0].check().run()
    press(test, "Delete for good")
    assert "digits-ari was deleted" in texts(test, "success") and not test.warning
    assert not (place / "digits-ari").exists() and len(records.names()) == 4
    assert not test.checkbox[0].value  # the next run is not confirmed yet


def test_runs_that_ship_are_neither_renamed_nor_deleted(place):
    (place / "digits-ari").rename(place / "mnist-5k-ari")
    test = open_page("runs", run="mnist-5k-ari")
    assert "comes with the lab: it cannot be renamed or deleted" in texts(test, "info")
    assert not {"Rename", "Delete for good"} & {button.label for button in test.button}


def test_a_run_under_way_is_neither_renamed_nor_deleted(place, monkeypatch):
    from pages.parts.shell import run_bar

    job = run_bar.jobs().start("under-way", preset("digits", "finetune", **TINY), paused=True)
    try:
        run_bar.jobs().step("under-way")
        while not job.record.last and job.alive:
            time.sleep(0.05)
        test = open_page("runs", run="under-way")
        assert test.dataframe[0].value.loc["under-way", "status"] == "paused"
        assert "under-way is paused: stop it on the Train page first" in texts(test, "info")
        assert not {"Rename", "Delete for good"} & {button.label for button in test.button}
        test = open_page("runs", run="digits-ari")
        test.text_input(key="rename-digits-ari").set_value("under-way")
        press(test, "Rename")
        assert "under-way is paused; nothing was changed" in texts(test, "error")
    finally:
        run_bar.jobs().end()


def test_masks_of_a_live_run_are_computed_once_for_a_task_that_is_done(place, monkeypatch):
    from arli_core.analysis import masks
    from arli_core.live import jobs
    from pages.parts.shell import run_bar

    looked, masks_of = [], masks.masks_of
    monkeypatch.setattr(masks, "masks_of", lambda record, task: looked.append(task) or masks_of(record, task))
    registry = run_bar.jobs()
    slow = {**TINY, "data.tasks": 3, "train.epochs": 2, "seed": 77}  # weights that no other test has looked at
    job = registry.start("under-way", preset("digits", "finetune", **slow), paused=True)

    def step():
        before = job.record.last
        registry.step("under-way")
        while job.record.last is before and job.alive:
            time.sleep(0.02)

    try:
        step()
        while job.record.last.task == 1:
            step()
        seconds = []
        for _ in range(3):
            test = open_page("masks", run="under-way")
            assert not test.exception and not test.error and "under-way is paused" in texts(test, "info")
            test.slider[0].set_value(3).run()
            seconds.append(job.record.seconds)
            step()
        assert seconds == sorted(set(seconds)) and job.state is jobs.State.PAUSED  # it went on meanwhile
        assert looked == [1]
    finally:
        registry.end()


def test_a_run_made_anew_under_a_name_shows_its_own_masks(place):
    """Its settings or its weights differ: what was cached of the old run is not shown."""
    from pages.parts.shell import run_bar

    def attention(name: str) -> np.ndarray:
        record = run_bar.open_run(name)
        return run_bar.view_masks(run_bar.View(name, record, 1, 0)).attention

    old = attention("digits-ari")
    shutil.rmtree(place / "digits-ari")
    (place / "digits-finetune").rename(place / "digits-ari")
    assert attention("digits-ari").shape == old.shape and not np.array_equal(attention("digits-ari"), old)


def test_a_run_on_a_folder_says_what_is_left_out_of_it(place, tmp_path, monkeypatch):
    from arli_core.datasets import generated
    from pages.parts.shell import run_bar

    monkeypatch.setenv("ARLI_DATA", str(tmp_path))
    generated.write("folder:mine", tmp_path)
    (tmp_path / "mine" / "train" / "dots" / ".DS_Store").touch()
    config = preset("digits", "finetune", **(TINY | {"data.name": "folder:mine", "data.image_size": 8}))
    job = run_bar.jobs().start("on-a-folder", config, paused=True)
    try:
        run_bar.jobs().step("on-a-folder")
        while not job.record.last and job.alive:
            time.sleep(0.05)
        caption = texts(open_page("train", run="on-a-folder"), "caption")
        assert "folder:mine: 40 images to train on and 12 to test on." in caption
        assert "Files left out: 1 hidden or made by another program (train/dots/.DS_Store)." in caption
    finally:
        job.stop()


def test_a_run_paused_before_its_first_iteration_says_how_it_goes_on(place):
    from pages.parts.shell import run_bar

    jobs = run_bar.jobs()
    jobs.start("waiting", preset("digits", "finetune", **TINY), paused=True)
    jobs.race({name: preset("digits", "finetune", **TINY) for name in ("one", "two")}, paused=True)
    try:
        for query in ({"run": "waiting"}, {"view": "race", "run": "one", "other": "two"}):
            test = open_page("train", **query)
            assert "Paused before the first iteration" in texts(test, "info") and not test.exception
            assert "Loading" not in texts(test, "info")
    finally:
        jobs.end()


def test_a_run_that_train_does_not_know_gets_a_note(place):
    test = open_page("train", run="nobody")
    assert "nobody is not recorded here" in texts(test, "warning") and not test.exception
    assert not open_page("train", run="digits-ari").warning


def test_a_run_whose_data_are_on_their_way_says_so(place, monkeypatch):
    from arli_core.live import jobs as registry
    from pages.parts.shell import run_bar

    loaded = threading.Event()
    real = registry._runs
    monkeypatch.setattr(registry, "_runs", lambda: loaded.wait() and real())
    jobs = run_bar.jobs()
    configs = {name: preset("digits", "finetune", **TINY) for name in ("one", "two")}
    jobs.race(configs)
    try:
        for query in ({"run": "one"}, {"view": "race", "run": "one", "other": "two"}):
            test = open_page("train", **query)
            assert "Loading the data and PyTorch" in texts(test, "info") and not test.exception
            assert "Paused" not in texts(test, "info")
    finally:
        loaded.set()
        jobs.end()


def test_an_exported_run_is_imported_under_another_name(place):
    archive = exports.archive("digits-ari", records.files("digits-ari"))
    test = open_page("runs", run="digits-cut")
    test.file_uploader[0].set_value(("run (1).zip", archive, "application/zip"))
    test.text_input(key="imported-0").set_value("mine").run()
    press(test, "Import")
    assert "run (1).zip was imported as mine" in texts(test, "success")
    assert test.query_params["run"] == "mine" and not test.warning and not test.exception
    assert records.load("mine").summary() == records.load("digits-ari").summary()


def test_the_first_run_of_an_empty_lab_can_be_an_import(place):
    archive = exports.archive("digits-ari", records.files("digits-ari"))
    shutil.rmtree(place)
    test = open_page("runs")
    test.file_uploader[0].set_value(("run.zip", archive, "application/zip")).run()
    press(test, "Import")
    assert "imported as digits-ari" in texts(test, "success") and records.names() == ["digits-ari"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda archive: archive, "There is already a run or folder called digits-ari."),
        (lambda archive: archive[:-30], "not a .zip archive, or a damaged one"),
        (lambda archive: b"no archive", "not a .zip archive"),
        (lambda archive: exports.archive("x", {"run.json": b"{}"}), "run.json is not the index of a recorded run"),
        (lambda archive: exports.archive("x", {"holiday.jpg": b""}), "no run.json"),
        (lambda archive: exports.archive("../x", {"run.json": b"{}"}), "out of place"),
    ],
)
def test_an_import_that_cannot_be_is_refused_with_its_reason(place, spoil, message):
    before = sorted(path.name for path in place.iterdir())
    archive = exports.archive("digits-ari", records.files("digits-ari"))
    test = open_page("runs")
    test.file_uploader[0].set_value(("sent.zip", spoil(archive), "application/zip")).run()
    press(test, "Import")
    assert "sent.zip was not imported: " in texts(test, "error") and message in texts(test, "error")
    assert not test.exception and sorted(path.name for path in place.iterdir()) == before


def test_making_again_fills_the_form_of_the_train_page(place, monkeypatch):
    configs = []
    monkeypatch.setattr("arli_core.live.jobs.Jobs.start", lambda jobs, name, config, paused: configs.append(config))
    for name in ("digits-steady", "digits-finetune"):
        test = open_page("train", again=name)
        assert f"The settings of {name}" in texts(test, "info") and not test.error
        assert "Changed: " in texts(test, "caption") and "train.batch_size = 200" in texts(test, "caption")
        press(test, "Start")
        assert configs.pop() == records.load(name).config
    test = open_page("train", again="digits-steady")
    press(test, "Back to the preset")
    assert [box.value for box in test.selectbox[:2]] == ["digits", "ari"] and "again" not in test.query_params
    press(test, "Start")
    assert configs.pop() == preset("digits", "ari")


def test_making_again_what_the_form_cannot_express_gets_a_note(place, rewrite):
    rewrite(place / "digits-ari", lambda index: index["config"].update(preset=None))
    test = open_page("train", again="digits-ari")
    assert "To train it again, use its Python script from the Runs page" in texts(test, "warning")
    assert "is not recorded here" in texts(open_page("train", again="../digits-ari"), "warning")
    assert test.selectbox[0].value == "mnist-5k" and not test.exception


UNEQUAL = {"data.classes_per_task": (4, 2, 2, 2), "data.class_order": tuple("3145926087")}


def boxes(test: AppTest, kind: str) -> dict:
    return {box.label: box for box in getattr(test, kind)}


def test_tasks_of_ones_own_are_set_in_the_form(place, monkeypatch):
    configs = []
    monkeypatch.setattr("arli_core.live.jobs.Jobs.start", lambda jobs, name, config, paused: configs.append(config))
    test = open_page("train", preset="digits", method="replay")
    assert not boxes(test, "number_input")["data.tasks"].disabled
    boxes(test, "text_input")["data.classes_per_task"].set_value("4, 2,2,2").run()
    boxes(test, "text_input")["data.class_order"].set_value("3,1,4,5,9,2,6,0,8,7").run()
    tasks = boxes(test, "number_input")["data.tasks"]
    assert (tasks.value, tasks.disabled) == (4, True)  # it follows
    assert not test.error and not test.exception
    assert "data.classes_per_task = 4,2,2,2, data.class_order = 3,1,4,5,9,2,6,0,8,7" in texts(test, "caption")
    press(test, "Start")
    assert configs.pop() == preset("digits", "replay", **UNEQUAL)
    boxes(test, "text_input")["data.classes_per_task"].set_value("2").run()
    assert not boxes(test, "number_input")["data.tasks"].disabled
    boxes(test, "text_input")["data.class_order"].set_value("").run()
    press(test, "Start")
    assert configs.pop() == preset("digits", "replay")


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("data.classes_per_task", "4,0", "a number from 1 to 1000, or one for each task, as in 4,2,2,2"),
        ("data.classes_per_task", "", "a number from 1 to 1000, or one for each task, as in 4,2,2,2"),
        ("data.class_order", "3,1,4", "all 10 classes of the tasks"),
        ("data.class_order", "3,1,4,5,9,2,6,0,8,3", "name each class once; named more than once: 3"),
        ("data.class_order", "-1", "a seed of at least 0"),
    ],
)
def test_invalid_tasks_are_named_in_the_form_and_in_an_address(place, key, text, message):
    test = open_page("train", preset="digits", method="replay")
    boxes(test, "text_input")[key].set_value(text).run()
    assert f"{key}: " in texts(test, "error") and message in texts(test, "error") and not test.exception
    assert not any(button.label == "Start" for button in test.button)
    if text:
        test = open_page("train", **{"preset": "digits", key: text})
        assert "The address has invalid settings: " in texts(test, "error") and message in texts(test, "error")
        assert not test.exception and any(button.label == "Start" for button in test.button)


def test_an_address_fills_the_form_with_any_setting(place, monkeypatch):
    """As the form's own link writes it."""
    configs = []
    monkeypatch.setattr("arli_core.live.jobs.Jobs.start", lambda jobs, name, config, paused: configs.append(config))
    settings = {**UNEQUAL, "seed": 7, "train.loss": "task", "fusion.reset": False, "attack.epsilon": 0.1}
    expected = preset("digits", "ari", **settings)
    written = {key: config.text_of(value) for key, value in config.changes(expected).items()}
    test = open_page("train", preset="digits", method="ari", seed="7", **written)
    assert not test.error and not test.warning and not test.exception
    link = next(link for link in test.get("page_link") if link.proto.label == "Link to these settings")
    assert dict(parse_qsl(link.proto.query_string)) == {"preset": "digits", "method": "ari", "seed": "7", **written}
    press(test, "Start")
    assert configs.pop() == expected
    press(test, "Back to the preset")
    assert not set(test.query_params) & {"preset", "method", "seed", *written}
    press(test, "Start")
    assert configs.pop() == preset("digits", "ari")


def test_an_address_that_asks_for_other_data_or_an_unknown_preset_says_so(place):
    test = open_page("train", **{"preset": "digits", "data.name": "mnist-5k"})
    asked = "The address asks for the data mnist-5k, but in this form the preset sets the data"
    assert asked in texts(test, "warning")
    test = open_page("train", preset="tenths")
    assert "unknown preset 'tenths'; valid presets: digits" in texts(test, "error") and not test.exception


def test_unequal_tasks_are_shown_with_both_averages_and_readable_names(place):
    for _ in runs.train(preset("digits", "ari", **{**TINY, "data.tasks": 4}, **UNEQUAL), place / "unequal"):
        pass
    record = records.load("unequal")
    average, over = (record.summary()[key]["per_sample"] for key in ("average", "average_over_samples"))
    test = open_page("forgetting", run="unequal", other="digits-ari", protocol="per_sample")
    values = {metric.label: metric.value for metric in test.metric[:4]}
    assert values["Average accuracy"] == f"{average:.3f}" and values["Average over samples"] == f"{over:.3f}"
    assert f"{average:.3f}" != f"{over:.3f}"
    for view in ("confusion", "vote"):
        test = open_page("forgetting", run="unequal", other="unequal", view=view, task="2")
        assert not test.exception and not test.error and not test.warning
        names = next(group for group in test.button_group if group.label == "After learning task").options
        assert [getattr(name, "content", name) for name in names] == ["1: 3 1 4 5", "2: 9 2", "3: 6 0", "4: 8 7"]
    for name in ("matrix", "spectrum", "masks", "compare", "runs"):
        test = open_page(name, run="unequal", runs="unequal,digits-ari", view="" if name != "compare" else "runs")
        assert not test.exception and not test.error, name


def test_a_record_without_numbers_of_samples_has_no_average_over_them(place):
    index = place / "digits-ari" / "run.json"
    content = json.loads(index.read_text()) | {"schema": 1}
    for key in ("test_samples", "data", "digests", "digest"):  # which records did not have then
        del content[key]
    index.write_text(json.dumps(content))
    test = open_page("forgetting", run="digits-ari", other="digits-finetune")
    assert not test.exception and not test.error
    over = [metric for metric in test.metric if metric.label == "Average over samples"]
    assert over[0].value == "–" and "before the lab kept the number" in over[0].help and over[1].value != "–"


@pytest.mark.parametrize(("name", "tables"), [("runs", 1), ("forgetting", 2)])
def test_every_table_can_be_saved_as_csv(place, name, tables):
    test = open_page(name, run="digits-ari", other="digits-cut")
    assert len([button for button in test.get("download_button") if button.proto.label == "CSV"]) == tables


@pytest.mark.parametrize(
    ("name", "query", "file"),
    [
        ("spectrum", {}, "eigenvalues-digits-ari-2-iteration-"),
        ("spectrum", {"view": "consensus"}, "consensus-digits-ari-2-0-fusion-0"),
        ("spectrum", {"view": "own"}, "own-fused-fusion-0"),
        ("spectrum", {"view": "break"}, "-fusion-0"),
        ("masks", {}, "masks-digits-ari-2-iteration-"),
        ("masks", {"view": "drift"}, "drift-digits-ari-after-task-"),
    ],
)
def test_what_a_player_shows_can_be_saved_in_every_format(place, name, query, file):
    test = open_page(name, run="digits-ari", **query)
    assert not test.exception
    kinds = [button.proto.label for button in test.get("download_button") if file in button.proto.id]
    assert kinds == ["PNG", "PDF", "SVG"]


def players(test: AppTest) -> list[dict]:
    """The payloads of the page's players, from the top."""
    components = [part.proto for part in test.get("bidi_component")]
    return [json.loads(part.json) for part in components if part.component_name == "frame_player"]


def panels(test: AppTest, player: int = 0) -> list[dict]:
    return players(test)[player]["panels"]


def values(panel: dict) -> np.ndarray:
    """[frames, m, m] or [frames, m, 2], as the browser has them."""
    size = len(panel["labels"])
    columns = 2 if panel["kind"] == "points" else size
    return np.frombuffer(base64.b64decode(panel["values"]), "<f4").reshape(-1, size, columns)


def test_the_slider_of_eta_answers_as_the_fusion_does(place):
    """dif and dif* on the page, at 20 random frames and etas, against arli_core.theory.fusion."""
    rng = np.random.default_rng(0)
    frames = records.load("digits-ari").frames(2)
    test = open_page("matrix", run="digits-ari", task="2")
    recorded = values(panels(test)[2])
    for eta in 10 ** rng.uniform(-3, 6, 20):
        frame = int(rng.integers(len(frames)))
        test.query_params["eta"] = repr(float(eta))
        test.run()
        assert not test.exception and not test.warning
        _, dif, dif_star = map(values, panels(test))
        regularised = fusion.dif(frames.matrix("distance", frame), eta)
        present = np.append(frames.present[frame], True)
        np.testing.assert_allclose(dif_star[frame][np.ix_(present, present)], fusion.dif_star(regularised), atol=1e-6)
        np.testing.assert_allclose(dif[frame][np.ix_(present, present)], regularised, rtol=1e-6)
        assert "not a new training run" in texts(test, "info")
    next(button for button in test.button if button.label.startswith("Back to")).click().run()
    assert "eta" not in test.query_params and "not a new training run" not in texts(test, "info")
    np.testing.assert_array_equal(values(panels(test)[2]), recorded)


def test_one_layer_stands_for_the_whole_model_where_it_is_chosen(place):
    record = records.load("digits-ari")
    frames, eta = record.frames(2), record.config.fusion.eta
    for number, layer in enumerate(record.started.layers):
        test = open_page("matrix", run="digits-ari", task="2", layer=layer)
        assert not test.exception and not test.warning and f"**{layer} alone**" in texts(test, "info")
        distance, dif, dif_star = map(values, panels(test))
        for frame in range(len(frames)):
            present = np.ix_(*[np.append(frames.present[frame], True)] * 2)
            np.testing.assert_allclose(distance[frame][present], frames.layers[frame, number][present], rtol=1e-6)
            regularised = fusion.dif(frames.layers[frame, number][present].astype(float), eta)
            np.testing.assert_allclose(dif[frame][present], regularised, rtol=1e-6)
            np.testing.assert_allclose(dif_star[frame][present], fusion.dif_star(regularised), atol=1e-6)
    whole = open_page("matrix", run="digits-ari", task="2", layer="nose")
    assert "The address asks for layer=nose, which is not available here; showing whole models" in texts(
        whole, "warning"
    )
    np.testing.assert_allclose(values(panels(whole)[0]), frames.distance, rtol=1e-6)


def test_a_run_recorded_without_layers_has_no_choice_of_them(place, rewrite):
    for file in (place / "digits-ari").glob("task-*.safetensors"):
        save_file({name: value for name, value in load_file(file).items() if name != "layers"}, file)
    rewrite(place / "digits-ari", lambda index: index.pop("layers"))
    test = open_page("matrix", run="digits-ari", layer="head")
    assert (
        not test.exception
        and "The address asks for layer=head, which is not available here; showing whole models"
        in texts(test, "warning")
    )
    assert "digits-steady" in str(players(test)[0]["curves"])  # still beside it


def test_the_slider_of_eta_goes_to_the_address(place):
    test = open_page("matrix", run="digits-ari")
    slider = test.select_slider[0]
    assert slider.value == records.load("digits-ari").config.fusion.eta
    slider.set_value(10.0).run()
    assert test.query_params["eta"] == "10.0"
    assert panels(test)[2]["title"] == "dif* if η were 10"


@pytest.mark.parametrize(
    ("eta", "answer"),
    [
        ("1e9", "There is no eta 1000000000.0; showing 1000000.0 (valid: 0.001 to 1000000.0)"),
        ("-1", "There is no eta -1.0; showing 0.001"),
        ("inf", "There is no eta inf; showing 1000000.0"),
        ("nan", "eta 'nan' is not a number; showing 1000.0"),
        ("much", "eta 'much' is not a number; showing 1000.0"),
    ],
)
def test_an_eta_that_cannot_be_falls_back_visibly(place, eta, answer):
    test = open_page("matrix", run="digits-ari", eta=eta)
    assert not test.exception
    assert answer in texts(test, "warning")


SPECTRUM = ["eigenvalues", "consensus", "own", "break"]


@pytest.mark.parametrize("view", SPECTRUM)
@pytest.mark.parametrize("run", ["digits-ari", "digits-cut"])
def test_every_view_of_the_spectrum_page_is_whole(place, run, view):
    test = open_page("spectrum", run=run, view=view)
    assert not test.exception
    assert not test.error
    assert not test.warning
    assert players(test)


@pytest.mark.parametrize("view", ["own", "break"])
def test_a_matrix_of_ones_own_needs_no_run(place, view):
    shutil.rmtree(place)
    test = open_page("spectrum", view=view)
    assert not test.exception and not test.error
    assert players(test)


def test_consensus_fuses_the_models_of_the_shown_frame(place):
    test = open_page("spectrum", run="digits-ari", task="2", view="consensus", frame="1")
    power, points = panels(test, 1)
    frames = records.load("digits-ari").frames(2)
    regularised = fusion.dif(frames.matrix("distance", 1), records.load("digits-ari").config.fusion.eta)
    T = fusion.dif_star(regularised)
    np.testing.assert_allclose(values(power)[:3], [np.eye(len(T)), T, T @ T], atol=1e-6)
    moved = values(points)
    for k in range(len(moved) - 1):
        np.testing.assert_allclose(moved[k + 1], T @ moved[k], atol=1e-5 * abs(moved).max())


EXAMPLES = ["permutation", "two-blocks", "eta-0", "reducible", "complex"]


@pytest.mark.parametrize(
    ("example", "second"),
    list(zip(EXAMPLES, ["1.0000", "1.0000", "1.0000", "0.9000", "0.5916"], strict=True)),
    ids=EXAMPLES,
)
def test_every_example_says_what_breaks(place, example, second):
    test = open_page("spectrum", view="break", example=example)
    assert not test.exception
    assert test.metric[0].value == second
    assert ("2 camps" in texts(test, "warning")) == (example == "two-blocks")
    assert (panels(test)[1]["target"] is None) == (example == "two-blocks")
    next(button for button in test.button if button.label == "Change this matrix").click().run()
    assert test.query_params["view"] == "own"
    assert not test.exception and not test.error
    assert test.metric[0].value == second


@pytest.mark.parametrize(
    ("matrix", "faults"),
    [
        ("0.5,0.6;0.2,0.8", ["row 1 (index 0) sums to 1.1, not to 1"]),
        ("1.5,-0.5;nan,1", ["row 1 (index 0) holds -0.5", "row 2 (index 1) holds nan"]),
        ("0,0;1,0", ["row 1 (index 0) sums to 0"]),
    ],
)
def test_a_faulty_row_of_ones_own_matrix_is_named_and_normalised_on_request(place, matrix, faults):
    test = open_page("spectrum", view="own", matrix=matrix)
    assert not test.exception
    for fault in faults:
        assert fault in texts(test, "error")
    assert not test.metric
    button = next(button for button in test.button if button.label.startswith("Divide rows"))
    assert button.disabled == (matrix != "0.5,0.6;0.2,0.8")
    if not button.disabled:
        button.click().run()
        assert not test.error and not test.exception
        assert test.query_params["matrix"] == "0.454545454545,0.545454545455;0.2,0.8"
        assert test.metric[0].value == "0.2545"


@pytest.mark.parametrize("matrix", ["", "1", "1,2;3", "a,b;c,d", ";".join(["0"] * 9), "1,0;0,1;1,0"])
def test_an_address_without_a_matrix_falls_back_visibly(place, matrix):
    test = open_page("spectrum", view="own", matrix=matrix)
    assert not test.exception and not test.error
    assert "No matrix can be read from the address" in texts(test, "warning")
    assert test.session_state["own"]["text"] == "0.6,0.3,0.1;0.2,0.5,0.3;0.1,0.2,0.7"


def test_a_matrix_of_ones_own_grows_shrinks_and_outlives_another_view(place):
    test = open_page("spectrum", view="own", matrix="0.5,0.5;0.2,0.8")
    sizes = next(group for group in test.button_group if group.label == "Models")
    sizes.set_value(3).run()
    assert test.query_params["matrix"] == "0.5,0.5,0;0.2,0.8,0;0,0,1"
    test.query_params["view"] = "break"
    test.run()
    del test.query_params["matrix"]
    test.query_params["view"] = "own"
    test.run()
    assert test.session_state["own"]["text"] == "0.5,0.5,0;0.2,0.8,0;0,0,1"
    next(button for button in test.button if button.label == "Back to the example").click().run()
    assert test.query_params["matrix"] == "0.6,0.3,0.1;0.2,0.5,0.3;0.1,0.2,0.7"
    assert not test.exception


DOCS = sorted(file.stem for file in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("doc", DOCS)
def test_the_reference_holds_all_of_docs_with_its_pictures_and_links(doc):
    test = open_page("reference", doc=doc)
    assert not test.exception and not test.warning
    text = texts(test, "markdown")
    written = (ROOT / "docs" / f"{doc}.md").read_text(encoding="utf-8")
    assert all(line in text for line in written.splitlines() if line.startswith("| ") and "](" not in line)
    assert len(test.get("image")) == written.count("![")
    assert ".md)" not in text and "![" not in text
    assert set(re.findall(r"\]\(reference\?doc=(\w+)\)", text)) <= set(DOCS)


def test_a_page_of_the_reference_that_is_not_there_falls_back_visibly():
    test = open_page("reference", doc="../README")
    assert not test.exception
    assert "The address asks for doc=../README, which is not available here; showing Glossary." in texts(
        test, "warning"
    )


def test_links_of_the_lessons_into_the_reference_lead_somewhere():
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "pages" / "parts" / "lessons").glob("*.py"))
    links = re.findall(r"\]\((\w+)\?doc=(\w+)\)", code)
    assert links and all(page == "reference" and doc in DOCS for page, doc in links)
