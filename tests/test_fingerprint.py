"""A run knows its data: used again, it gives the recorded figures, or a message that says what changed."""

import random
import shutil
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from arli_core import datasets, records, sweeps
from arli_core.analysis import answers, bench, retrace
from arli_core.analysis.masks import masks_of
from arli_core.config import parse, preset
from arli_core.datasets import Dataset, Split, Streamed
from arli_core.errors import DataError
from arli_core.events import Saved
from arli_core.fingerprint import Fingerprint, differences
from arli_core.live import runs
from arli_core.sweeps import comparisons

ROOT = Path(__file__).parents[1]
CLASSES = ("ant", "bee", "cat", "dog")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """An empty data root; and no run is recorded yet."""
    monkeypatch.setenv("ARLI_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(tmp_path / "checkpoints"))
    datasets._load.cache_clear()
    yield tmp_path / "data"
    datasets._load.cache_clear()


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(256, size=(8, 8, 3), dtype=np.uint8)).save(path)


def pictures(place: Path, classes=CLASSES, count: int = 5) -> Path:
    for number, name in enumerate(classes):
        for image in range(count):
            picture(place / name / f"{image}.png", 100 * number + image)
    return place


def config(method="ari", **changes):
    values = {"data.name": "folder:mine", "data.image_size": 8, "data.tasks": 2, "train.epochs": 2,
              "train.batch_size": 16, "memory.budget": 8, "recording.probes": 2, "device": "cpu"}  # fmt: skip
    own = values if method == "ari" else {key: value for key, value in values.items() if key != "memory.budget"}
    return parse(preset("digits", method).model_dump(), **(own | changes))


def last(progress):
    return deque(progress, maxlen=1).pop()[0]


def begun(run: Path, **changes) -> None:
    """Trains up to what is saved after the first task."""
    progress = runs.train(config(**changes), run)
    next(pair for pair in progress if isinstance(pair[1], Saved) and pair[1].task == 2)
    progress.close()


def fresh() -> None:
    """Forgets loaded data, as in a new process."""
    datasets._load.cache_clear()


# What a fingerprint holds


def dataset(seeds=(0, 1, 2, 3), labels=(0, 0, 1, 1), classes=("a", "b"), test=((4, 0), (5, 1)), size=8):
    def split(pairs):
        images = [
            np.random.default_rng(seed).integers(256, size=(3, size, size), dtype=np.uint8) for seed, _ in pairs
        ]
        return Split(np.array(images), np.array([label for _, label in pairs]))

    return Dataset("folder:x", tuple(classes), split(list(zip(seeds, labels, strict=True))), split(test))


@pytest.mark.parametrize(
    ("now", "changes"),
    [
        (dataset(), []),
        (dataset(classes=("a", "c")), ["class 'b' is now called 'c'"]),
        (dataset((0, 1, 2, 3, 9), (0, 0, 1, 1, 2), ("a", "b", "c")), ["class 'c' is added"]),
        (dataset((0, 1), (0, 0), ("a",), ((4, 0),)), ["class 'b' is removed"]),
        (dataset((0, 1, 2, 3), (1, 1, 0, 0), ("b", "a"), ((4, 1), (5, 0))), ["the classes are in another order"]),
        (dataset((0, 1, 7, 2, 3), (0, 0, 0, 1, 1)), ["class 'a' has 3 training images instead of 2"]),
        (dataset(test=((4, 0),)), ["class 'b' has 0 test images instead of 1"]),
        (dataset((0, 1, 2, 7)), ["pictures of class 'b' have changed"]),
        (dataset((1, 0, 2, 3)), ["the same pictures are in another order: files were renamed, or moved between "
                                 "the splits"]),
        (dataset(size=9), ["images are 9x9 pixels in 3 channels instead of 8x8 pixels in 3 channels"]),
    ],
)  # fmt: skip
def test_a_change_is_named(now, changes):
    assert differences(dataset().fingerprint, now.fingerprint) == changes


def test_labels_that_change_places_are_noticed():
    """Equally many of each class, with the same pictures, but different ones are test images."""
    moved = dataset((0, 4, 2, 3), test=((1, 0), (5, 1)))
    (change,) = differences(dataset().fingerprint, moved.fingerprint)
    assert "another order" in change


def test_a_fingerprint_is_read_from_what_it_wrote():
    fingerprint = dataset().fingerprint
    assert (
        Fingerprint.parse(fingerprint.plain()) == fingerprint and fingerprint.digest == dataset().fingerprint.digest
    )


def test_streamed_images_without_names_go_by_their_pixels():
    whole = dataset()
    split = whole.train
    streamed = Split(Streamed(lambda i: split.images[i], np.arange(4), (3, 8, 8)), split.labels)
    assert Dataset("x", whole.classes, streamed, whole.test).fingerprint == whole.fingerprint


def test_a_folder_too_large_for_memory_goes_by_names_and_lengths(root):
    pictures(root / "mine")
    before = datasets.load("folder:mine", 8, resident=0).fingerprint
    fresh()
    assert datasets.load("folder:mine", 8, resident=0).fingerprint == before
    (root / "mine" / "bee" / "0.png").write_bytes((root / "mine" / "bee" / "0.png").read_bytes() + b"\0")
    fresh()
    changes = differences(before, datasets.load("folder:mine", 8, resident=0).fingerprint)
    assert changes == ["pictures of class 'bee' have changed"]


def test_masks_are_part_of_the_data():
    images, labels = np.zeros((2, 3, 8, 8), np.uint8), np.array([0, 1])
    first, second = (
        Dataset("x", ("a", "b"), Split(images, labels, np.full((2, 8, 8), value)), Split(images, labels)).fingerprint
        for value in (False, True)
    )
    assert differences(first, second) == ["pictures of class 'a' have changed", "pictures of class 'b' have changed"]


# Using a run again

USES = {
    "masks": lambda record: masks_of(record).predictions,
    "answers": lambda record: answers.answers_of(record, 2).logits.tolist(),
    "part by part, first task": lambda record: retrace.first_of(record, 1).loss,
    "part by part, second task": lambda record: retrace.first_of(record, 2).loss,
    "drift": lambda record: bench.drift(record, np.zeros((1, 3, 8, 8), np.uint8))[1].tolist(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_class_added_is_named_by_all_that_use_the_run(use, root, tmp_path):
    pictures(root / "mine")
    record = last(runs.train(config(), tmp_path / "run"))
    pictures(root / "mine", ["ape"])
    fresh()
    with pytest.raises(DataError, match=r"folder:mine is not what this run was trained on: class 'ape' is added"):
        use(records.load(tmp_path / "run"))
    shutil.rmtree(root / "mine" / "ape")
    fresh()
    assert use(records.load(tmp_path / "run")) == use(record)


def test_a_change_is_seen_by_a_process_that_goes_on(root, tmp_path):
    """A server keeps the data, and what it computed from them, in memory."""
    pictures(root / "mine")
    last(runs.train(config(), "mine"))
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    page.switch_page("pages/masks.py")
    page.query_params["run"] = "mine"
    assert not page.run().error and not page.exception
    picture(root / "mine" / "cat" / "new.png", 77)
    (error,) = page.run().error
    assert "folder:mine is not what this run was trained on: class 'cat' has 5 training" in error.value
    (root / "mine" / "cat" / "new.png").unlink()
    assert not page.run().error and not page.exception


def test_resume_is_refused_and_the_run_stays_as_it_was(root, tmp_path):
    pictures(root / "mine")
    begun(tmp_path / "run")
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    (root / "mine" / "ant").rename(root / "mine" / "zebra")
    fresh()
    with pytest.raises(DataError, match="class 'ant' is now called 'zebra'"):
        runs.resume(tmp_path / "run")
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before
    (root / "mine" / "zebra").rename(root / "mine" / "ant")
    fresh()
    assert last(runs.resume(tmp_path / "run")).finished


def test_a_run_on_validation_does_not_mind_test_images_that_it_never_sees(root, tmp_path):
    for side, count in (("train", 5), ("test", 2)):
        pictures(root / "mine" / side, count=count)
    last(runs.train(config(**{"data.evaluate_on": "validation"}), tmp_path / "run"))
    picture(root / "mine" / "test" / "ant" / "new.png", 77)
    fresh()
    assert len(masks_of(records.load(tmp_path / "run"))) == 4
    picture(root / "mine" / "train" / "ant" / "new.png", 78)
    fresh()
    with pytest.raises(DataError, match="class 'ant' has 5 training images instead of 4"):
        masks_of(records.load(tmp_path / "run"))


def test_a_sweep_is_not_continued_on_other_data(root, tmp_path):
    pictures(root / "mine")
    changes = {"data.name": "folder:mine", "data.image_size": 8, "data.tasks": 2, "train.epochs": 1}

    def sweep(seeds):
        arms = sweeps.plan("digits", ["finetune"], seeds, settings=changes, device="cpu")
        list(sweeps.make(arms, tmp_path / "sweep"))
        return sweeps.outcomes(tmp_path / "sweep")

    outcomes = sweep(1)
    picture(root / "mine" / "cat" / "new.png", 77)
    fresh()
    assert sweep(1) == outcomes  # nothing is trained: the recorded runs are returned
    with pytest.raises(
        DataError, match=r"sweep: .*seed1 was not trained on the same data as .*seed0: class 'cat' has"
    ):
        sweep(2)
    assert sweeps.outcomes(tmp_path / "sweep") == outcomes
    (root / "mine" / "cat" / "new.png").unlink()
    fresh()
    assert len(sweep(2)) == 2


def test_runs_of_different_data_are_not_compared(root, tmp_path):
    pictures(root / "mine")
    changes = {"data.name": "folder:mine", "data.image_size": 8, "data.tasks": 2, "train.epochs": 1}
    for seeds in (1, 2):
        arms = sweeps.plan("digits", ["finetune"], seeds, settings=changes, device="cpu")
        list(sweeps.make(arms, tmp_path / str(seeds)))
        picture(root / "mine" / "cat" / "new.png", 77)
        fresh()
    assert comparisons.read(tmp_path / "2")[1] == []
    for file in (tmp_path / "2" / "finished").glob("*seed1.json"):
        shutil.copy(file, tmp_path / "1" / "finished")
    shown, (problem,) = comparisons.read(tmp_path / "1")
    assert shown == {} and "not compared" in problem and "class 'cat' has" in problem


def test_the_page_that_sets_runs_side_by_side_says_that_their_data_differ(root, tmp_path):
    pictures(root / "mine")
    for name in ("one", "two"):
        last(runs.train(config("finetune"), name))
        page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
        page.switch_page("pages/compare.py")
        page.query_params["view"], page.query_params["runs"] = "runs", "one,two"
        warnings = [warning.value for warning in page.run().warning] if name == "two" else []
        picture(root / "mine" / "cat" / "new.png", 77)
        fresh()
    assert any(
        "two was not trained on the same data as one: class 'cat' has 5 training images" in text for text in warnings
    )


# No silent third case


def differing(first, second) -> bool:
    losses = zip(first.tasks, second.tasks, strict=True)
    return first.accuracy != second.accuracy or not all(np.array_equal(a.loss, b.loss) for a, b in losses)


CHANGES = ("add class", "remove class", "rename class", "add picture", "change picture", "remove picture",
           "rename picture")  # fmt: skip


def change(place: Path, kind: str, chance: random.Random) -> None:
    folders = sorted(path for path in place.iterdir())
    folder = chance.choice(folders)
    files = sorted(folder.iterdir())
    file, number = chance.choice(files), chance.randrange(10**6)
    match kind:
        case "add class":
            pictures(place, [f"{chance.choice('ambz')}{number}"], 4)
        case "remove class" if len(folders) > 4:
            shutil.rmtree(folder)
        case "rename class":
            folder.rename(place / f"{chance.choice('ambz')}{number}")
        case "add picture":
            picture(folder / f"{number}.png", number)
        case "change picture":
            picture(file, number)
        case "remove picture" if len(files) > 3:
            file.unlink()
        case "rename picture":
            file.rename(folder / f"{number}.png")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of pictures, a finished run of it, one that is interrupted, and what both end with."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARLI_DATA", str(place))
        fresh()
        pictures(place / "mine", [*CLASSES, "eel"])
        record = last(runs.train(config(), place / "done"))
        begun(place / "half")
        figures = masks_of(record).predictions
    return place, record, figures


@given(st.lists(st.sampled_from(CHANGES), max_size=3), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_figures_are_the_recorded_ones_or_a_message_names_the_change(
    trained, tmp_path_factory, monkeypatch, kinds, seed
):
    place, record, figures = trained
    copy = tmp_path_factory.mktemp("changed")
    for name in ("mine", "done", "half"):
        shutil.copytree(place / name, copy / name)
    monkeypatch.setenv("ARLI_DATA", str(copy))
    chance = random.Random(seed)
    for kind in kinds:
        change(copy / "mine", kind, chance)
    fresh()
    refused = []
    for name, use in (("done", masks_of), ("half", lambda _: last(runs.resume(copy / "half")))):
        try:
            result = use(records.load(copy / name))
        except DataError as error:
            refused.append(str(error))
        else:
            masks, resumed = (result, None) if name == "done" else (None, result)
            assert masks is None or masks.predictions == figures
            assert resumed is None or not differing(resumed, record)
    assert len(refused) in (0, 2) and all("is not what this run was trained on: " in text for text in refused)
    assert kinds or not refused  # what did not change is not refused
    shutil.rmtree(copy)
