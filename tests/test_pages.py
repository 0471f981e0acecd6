"""Every page, headless: whole, empty, damaged, unfinished, and with an address that does not exist."""

import io
import shutil
from itertools import islice
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from arli_core import runs
from arli_core.config import preset

ROOT = Path(__file__).parents[1]
LAB = ["train", "matrix", "spectrum", "masks", "forgetting"]
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
def test_an_address_that_does_not_exist_is_put_right_visibly(place, name):
    test = open_page(name, run="nobody", task="99", frame="-5")
    assert not test.exception
    assert "nobody is not recorded here; showing digits-ari" in texts(test, "warning")
    assert "There is no task 99; showing 2 of 1 to 2" in texts(test, "warning")
    assert "There is no frame -5; showing 0" in texts(test, "warning")
    assert test.query_params["task"] == "2"


def test_an_address_that_is_no_number_is_put_right_visibly(place):
    test = open_page("matrix", run="digits-ari", frame="soon")
    assert "frame 'soon' is not a whole number" in texts(test, "warning")
    assert not test.exception


def test_the_same_run_at_a_constant_rate_is_shown_beside(place):
    """The one that differs in the schedule alone, told from which iteration each stays near uniform, if ever."""
    for name, own, other in (("digits-ari", "cosine", "constant"), ("digits-steady", "constant", "cosine")):
        told = texts(open_page("matrix", run=name), "markdown")
        said = [told.index(f"at a {schedule} learning rate it ") for schedule in (own, other)]
        assert said == sorted(said)
    shutil.rmtree(place / "digits-steady")
    assert "at a constant learning rate" not in texts(open_page("matrix", run="digits-ari"), "markdown")


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
    test.button_group[0].set_value(protocol).run()
    assert not test.exception
    assert len(test.metric) == 6


def test_a_taken_name_and_a_bad_name_are_refused_and_start_nothing(place):
    before = sorted(path.name for path in place.iterdir())
    for name, answer in (("digits-ari", "called digits-ari already"), ("../away", "cannot name a run")):
        test = open_page("train")
        test.text_input[0].set_value(name)
        next(button for button in test.button if button.label == "Start").click().run()
        assert answer in texts(test, "error")
    assert sorted(path.name for path in place.iterdir()) == before


def test_spurious_backgrounds_are_asked_for_where_there_are_some(place):
    test = open_page("train")
    for preset_name, there in (("digits", False), ("scenes", True)):
        test.selectbox[0].select(preset_name).run()
        assert ("data.spurious" in [box.label for box in test.number_input]) == there
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


def test_a_bench_that_does_not_exist_is_put_right_visibly(place):
    test = open_page("masks", run="digits-ari", view="x-ray")
    assert "There is no view x-ray; showing A and B" in texts(test, "warning")
    assert test.query_params["view"] == "figure-9"


def test_the_attack_follows_its_knobs(place):
    test = open_page("masks", run="digits-ari", view="attack", task="2")
    before = test.dataframe[0].value
    slider = next(each for each in test.slider if each.label.startswith("ε"))
    assert slider.value == pytest.approx(0.2)  # what the run was trained with
    slider.set_value(0.0).run()
    after = test.dataframe[0].value
    assert not before["after"].equals(after["after"])
    assert after["after"].tolist() == pytest.approx(after["logit of the class before"].tolist(), abs=1e-3)
    assert [each.value for each in test.metric if each.label.startswith("Share")] == ["–"]


def test_captum_stands_beside_attention_in_one_table(place):
    test = open_page("masks", run="digits-ari", view="captum", task="1")
    table = test.dataframe[0].value
    assert list(table.index) == ["A", "saliency", "integrated gradients", "Grad-CAM", "occlusion"]
    assert "they miss it by at most" in texts(test, "caption")


def test_ones_own_image_is_looked_at_or_refused(place):
    from PIL import Image

    picture = io.BytesIO()
    Image.new("RGB", (64, 48), "orange").save(picture, "PNG")
    test = open_page("masks", run="digits-ari", view="own-image")
    assert "not kept" in texts(test, "info")
    test.file_uploader[0].set_value(("photo.png", picture.getvalue(), "image/png")).run()
    assert not test.exception
    assert not test.error
    assert "resized" in texts(test, "markdown")
    test.file_uploader[0].set_value(("photo.png", picture.getvalue()[:60], "image/png")).run()
    assert not test.exception
    assert "photo.png" in texts(test, "error")
