"""Imports and files on disk: no record with a changed bit or a malformed part passes for a run."""

import io
import json
import tracemalloc
import zipfile
from collections import deque
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load as read_arrays
from safetensors.numpy import save as write_arrays
from streamlit.testing.v1 import AppTest

from arli_core import records
from arli_core.analysis import masks
from arli_core.config import METHODS, PRESETS, keys, parse, preset
from arli_core.errors import Busy, ConfigError, DataError, RecordError
from arli_core.events import Saved
from arli_core.live import runs
from arli_core.live.messages import without_places
from arli_core.records import checks, exports, locks
from arli_core.records.checks import leads_outside, sealed

ROOT = Path(__file__).parents[2]


def tiny(method="ari", **changes):
    base = {"data.tasks": 2, "train.epochs": 2, "train.batch_size": 300, "memory.budget": 20,
            "recording.frames": 3, "recording.probes": 2, "recording.probe_frames": 2, "device": "cpu"}  # fmt: skip
    return preset("digits", method, **({key: base[key] for key in base if key in keys(method)} | changes))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The files of a finished run, and of one that is half-way through its first task."""
    place = tmp_path_factory.mktemp("recorded")
    deque(runs.train(tiny(), place / "done"), maxlen=0)
    progress = runs.train(tiny(), place / "half")
    next(pair for pair in progress if isinstance(pair[1], Saved))
    progress.close()
    return {name: records.files(place / name) for name in ("done", "half")}


@pytest.fixture(autouse=True)
def checkpoints(tmp_path, monkeypatch):
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("ARLI_DATA", str(tmp_path / "data"))
    return tmp_path / "checkpoints"


def written(files, path):
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def as_schema_1(files):
    """A run as it was written before there were digests."""
    index = json.loads(files["run.json"]) | {"schema": 1}
    for key in ("data", "digests", "digest", "imported"):
        del index[key]
    return {**files, "run.json": json.dumps(index, indent=1).encode()}


def resealed(files, **changes):
    """The files with an index and digests that fit what was changed, as a deliberate forger makes them."""
    index = json.loads(files["run.json"])
    index["digests"] = {name: checks.digest(content) for name, content in files.items() if name != "run.json"}
    return {**files, "run.json": sealed(index | changes)}


# Changed bits


@pytest.mark.parametrize("run", ["done", "half"])
def test_every_flipped_bit_is_noticed(recorded, run, tmp_path):
    """In every file of a run: twenty bits, the first and the last; more in the index."""
    files, chance = recorded[run], np.random.default_rng(12)
    path = written(files, tmp_path / "run")
    for name, content in files.items():
        bits = chance.integers(8 * len(content), size=400 if name == "run.json" else 20).tolist()
        for bit in [0, 8 * len(content) - 1, *bits]:
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            (path / name).write_bytes(changed)
            with pytest.raises(RecordError, match=name.replace(".", r"\.")):
                records.whole(path)
        (path / name).write_bytes(content)
    assert records.whole(path).config == tiny()


def test_files_that_change_places_are_noticed(recorded, tmp_path):
    files = recorded["done"]
    swapped = {**files, "weights-1.safetensors": files["weights-2.safetensors"]}
    with pytest.raises(RecordError, match=r"weights-1\.safetensors .* digest"):
        records.whole(written(swapped, tmp_path / "run"))


def test_every_flipped_bit_of_an_outcome_is_noticed(tmp_path):
    from arli_core import sweeps

    arms = sweeps.plan("digits", ["finetune"], 1, settings={"data.tasks": 2, "train.epochs": 1}, device="cpu")
    list(sweeps.make(arms, tmp_path))
    (file,) = sweeps.outcome_files(tmp_path)
    content = file.read_bytes()
    assert sweeps.outcome(file)["error"] is None
    for bit in np.random.default_rng(3).integers(8 * len(content), size=400).tolist():
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        with pytest.raises(RecordError, match="is damaged"):
            sweeps.outcome(file)


def test_what_was_written_before_there_were_digests_opens_and_says_so(recorded, tmp_path):
    path = written(as_schema_1(recorded["done"]), tmp_path / "run")
    record = records.whole(path)
    assert record.finished and record.trained_on is None and record.note == records.UNKNOWN
    assert len(masks.masks_of(record)) > 0
    assert records.whole(written(recorded["done"], tmp_path / "new")).note == ""


def test_an_old_run_that_is_resumed_has_digests_from_then_on(recorded, tmp_path):
    path = written(as_schema_1(recorded["half"]), tmp_path / "run")
    deque(runs.resume(path), maxlen=0)
    index = json.loads((path / "run.json").read_bytes())
    assert index["schema"] == 2 and set(index["digests"]) == {file.name for file in path.iterdir()} - {"run.json"}
    assert records.whole(path).finished and records.load(path).note == records.UNKNOWN


def test_a_seal_cannot_be_left_out_of_a_new_index(recorded, tmp_path):
    index = json.loads(recorded["done"]["run.json"])
    for changed in ({**index, "schema": 1}, {key: value for key, value in index.items() if key != "digest"}):
        files = {**recorded["done"], "run.json": json.dumps(changed, indent=1).encode()}
        with pytest.raises(RecordError, match=r"run\.json is not the index"):
            records.load(written(files, tmp_path / str(len(changed))))


# Malformed imports


def of_index(change):
    def edit(files):
        index = json.loads(files["run.json"])
        change(index)
        return resealed({**files, "run.json": json.dumps(index).encode()})

    return edit


def of_arrays(name, change):
    def edit(files):
        arrays = {key: np.array(value) for key, value in read_arrays(files[name]).items()}
        change(arrays)
        return resealed({**files, name: write_arrays(arrays)})

    return edit


def raw(name, content):
    return lambda files: resealed({**files, name: content(files[name])})


def as_type(kind):
    """The arrays of a file declared to be of another type of the same size."""

    def change(content):
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        for array in header.values():
            array["dtype"] = kind
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + content[8 + length :]

    return change


def put(*path, value):
    def change(index):
        place = index
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return of_index(change)


def nan_at(name, *place):
    return of_arrays("task-2.safetensors", lambda arrays: arrays[name].__setitem__(place, np.nan))


def other(name, make):
    return of_arrays("task-2.safetensors", lambda arrays: arrays.__setitem__(name, make(arrays[name])))


MALFORMED = {
    "20,000 tasks": put("config", "data", "tasks", value=20_000),
    "5,000 tasks": put("config", "data", "tasks", value=5_000),
    "200 tasks, finished": put("config", "data", "tasks", value=200),
    "a million epochs": put("config", "train", "epochs", value=10**6),
    "classes nested": put("classes", value=[["0"], ["1"], ["2"], ["3"]]),
    "classes too few": put("classes", value=["0", "1"]),
    "classes unknown": put("classes", value=["0", "1", "2", "x"]),
    "classes a text": put("classes", value="0123"),
    "layers a list": put("layers", value=["a", "b"]),
    "layers of texts": put("layers", value={"a": "b"}),
    "layers of another sum": put("layers", value={"a": 3}),
    "samples of 400 digits": put("samples", value=10**400),
    "samples negative": put("samples", value=-1),
    "seconds infinite": put("seconds", value=float("inf")),
    "seconds a text": put("seconds", value="1"),
    "accuracy above 1": put("accuracy", "vote", value=[[1.5], [0.5, 0.5]]),
    "accuracy NaN": put("accuracy", "vote", value=[[float("nan")], [0.5, 0.5]]),
    "accuracy square": put("accuracy", "vote", value=[[0.5, 0.5], [0.5, 0.5]]),
    "accuracy of a task more": put("accuracy", "per_sample", value=[[0.5], [0.5, 0.5], [0.5, 0.5, 0.5]]),
    "accuracy of texts": put("accuracy", "vote", value=[["a"], ["b", "c"]]),
    "parameters none": put("parameters", value=None),
    "parameters few": put("parameters", value=3),
    "environment of lists": put("environment", value={"torch": [1]}),
    "device a number": put("device", value=3),
    "error a list": put("error", value=["x"]),
    "finished a number": put("finished", value=1),
    "progress elsewhere": put("progress", value="../progress-1-1.safetensors"),
    "data of other images": put("data", "shape", value=[1, 9, 9]),
    "data a list": put("data", value=[1]),
    "data counts negative": of_index(lambda index: index["data"]["classes"][0].update(train=-1)),
    "a data set with a zero byte": put("config", "data", "name", value="folder:a\0b"),
    "nested a million deep": lambda files: {**files, "run.json": b'{"schema": 2, "x": ' + b"[" * 10**6},
    "an index of 60 MB": lambda files: {**files, "run.json": b'{"schema": 2, "x": [' + b"[]," * (20 * 2**20)},
    "NaN in dif*": nan_at("dif_star", 0, 0, 0),
    "infinite distance": other("distance", lambda values: np.where(values > 0, np.inf, values)),
    "loss NaN": nan_at("loss", 0),
    "dif* negative": other("dif_star", lambda values: -values),
    "a distance that has no square": other("distance", lambda values: values * 1e160),
    "a Gram matrix that is not symmetric": of_arrays("task-2.safetensors", lambda arrays: arrays["gram"].__setitem__(
        (0, 0, 1), 1e6)),
    "a Gram matrix of imaginary models": other("gram", lambda values: -values),
    "a Gram matrix beyond all numbers": other("gram", lambda values: values * 1e305),
    "models apart and without a norm": other("norm", lambda values: values * 0),
    "rows of dif* that sum to 2": other("dif_star", lambda values: 2 * values),
    "a frame less of one array": other("loss", lambda values: values[1:]),
    "frames miscounted": of_arrays("task-2.safetensors", lambda arrays: arrays.update(
        {name: np.concatenate([values] * 2) for name, values in arrays.items() if values.ndim and len(values) == 3})),
    "matrices of more models": other("gram", lambda values: np.zeros((3, 9, 9))),
    "frames of another task": lambda files: resealed({**files, "task-2.safetensors": files["task-1.safetensors"]}),
    "no task present": other("present", np.zeros_like),
    "iterations that fall": other("iteration", lambda values: values[::-1].copy()),
    "iterations negative": other("iterations", lambda values: np.array(-5)),
    "integers for matrices": other("dif_star", lambda values: values.astype(np.int64)),
    "attention of other images": other("attention", lambda values: values[:, :, :1]),
    "a state beside the frames of a task": of_arrays("task-2.safetensors", lambda arrays: arrays.update(
        {"state.phi": np.zeros(3)})),
    "images of another size than was asked for": put("config", "data", "image_size", value=16),
    "an array too many": of_arrays("task-2.safetensors", lambda arrays: arrays.update(x=np.zeros(3))),
    "probes of another class": of_arrays("probes.safetensors", lambda arrays: arrays.update(units=np.array([0, 99]))),
    "probes too many": of_arrays("probes.safetensors", lambda arrays: arrays.update(
        images=np.zeros((64, 1, 8, 8), np.uint8), units=np.zeros(64, np.int64))),
    "weights in bfloat16": raw("weights-2.safetensors", as_type("BF16")),
    "weights in integers": raw("weights-2.safetensors", as_type("I32")),
    "weights in an unknown type": raw("weights-2.safetensors", as_type("Q7")),
    "weights in float64": of_arrays("weights-2.safetensors", lambda arrays: arrays.update(
        {name: values.astype(np.float64) for name, values in arrays.items()})),
    "weights NaN": of_arrays("weights-2.safetensors", lambda arrays: arrays["head.bias"].fill(np.nan)),
    "weights of a smaller network": of_arrays("weights-2.safetensors", lambda arrays: arrays.pop("head.weight")),
    "a header of 2**60 bytes": raw("task-2.safetensors", lambda content: (2**60).to_bytes(8, "little") + content[8:]),
    "a shape of 2**60": raw("task-2.safetensors", lambda content: content.replace(b'"shape":[3]', b'"shape":[9]', 1)),
}  # fmt: skip


@pytest.mark.parametrize("damage", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_record_is_refused_with_its_fault(damage, recorded, checkpoints):
    """On import and on disk, with little memory allocated; a run on disk can still be deleted."""
    files = damage(recorded["done"])
    tracemalloc.start()
    with pytest.raises(RecordError) as raised:
        records.add("mine", files)
    path = written(files, checkpoints / "yours")
    for read in (records.whole, records.files):
        with pytest.raises(RecordError):
            read("yours")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 2**20 and len(str(raised.value)) < 1000
    assert str(checkpoints) not in str(raised.value)
    assert [entry.name for entry in checkpoints.iterdir()] == ["yours"] and path.is_dir()
    for ask in (records.config_of, records.status_of):  # what pages read of every run
        with suppress(RecordError):
            ask("yours")
    records.delete("yours")


@pytest.mark.parametrize("name", ["state.phi", "state.optimiser.exp_avg", "all"])
def test_a_state_of_another_run_is_refused_and_the_run_stays(name, recorded, tmp_path):
    def change(arrays):
        for key in [key for key in arrays if key == name or (name == "all" and key.startswith("state."))]:
            arrays[key] = arrays[key][:-3] if arrays[key].ndim else np.zeros(3)
        if name not in arrays and name != "all":
            arrays[name] = np.zeros((2, 2), np.float32)

    files = of_arrays("progress-1-1.safetensors", change)(recorded["half"])
    path = written(files, tmp_path / "run")
    if name == "state.optimiser.exp_avg":  # `ari` has none, and ignores what it does not know
        assert deque(runs.resume(path), maxlen=1).pop()[0].finished
        return
    with pytest.raises(RecordError, match="state"):
        deque(runs.resume(path), maxlen=0)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == files


def test_an_archive_that_lists_a_million_files_is_refused_unread(recorded):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        for number in range(6000):
            packed.writestr(f"a/{number}", b"")
    data = content.getvalue()
    tracemalloc.start()
    with pytest.raises(RecordError, match="lists far more files than a run has"):
        exports.unpacked(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**16


# What an import may ask for


@pytest.mark.parametrize(
    ("name", "outside"),
    [("folder:mine", False), ("folder:mine/deeper", False), ("mnist-5k", False), ("folder:..mine", False),
     ("folder:/etc", True), ("folder:~", True), ("folder:~user/x", True), ("folder:../x", True),
     ("folder:a/../../x", True), ("folder:a\\..\\..\\x", True), ("folder:C:\\x", True), ("folder:\\\\host\\x", True)],
)  # fmt: skip
def test_where_a_folder_leads(name, outside):
    assert leads_outside(name) is outside


def test_an_imported_run_chooses_no_folder_outside_the_data_root(recorded, checkpoints, tmp_path):
    """Not even to check whether the folder exists. The run's figures can be seen."""
    place = tmp_path / "private"
    place.mkdir()
    for run in ("done", "half"):
        index = json.loads(recorded[run]["run.json"])
        index["config"]["data"]["name"] = f"folder:{place}"
        records.add(run, resealed({**recorded[run], "run.json": json.dumps(index).encode()}))
    record = records.load("done")
    assert record.imported and record.summary()["accuracy"]
    for use in (
        lambda: masks.masks_of(record),
        lambda: runs.resume("half"),
        lambda: masks.data_stamp(record),
    ):
        with pytest.raises(RecordError, match="an archive may not choose which folders are read here"):
            use()
    # A user's own run may name any folder: here, one without classes.
    files = resealed(records.files("done"), imported=False)
    with pytest.raises(DataError, match="private"):
        masks.masks_of(records.load(written(files, checkpoints / "own")))


def test_a_run_remembers_that_it_was_imported(recorded, checkpoints):
    records.add("half", recorded["half"])
    assert deque(runs.resume("half"), maxlen=1).pop()[0].imported
    records.add("again", records.files("half"))
    assert records.load("half").imported and records.load("again").imported


def test_what_a_killed_import_left_is_cleared_by_the_next(recorded, checkpoints):
    written({"run.json": b"half of it"}, checkpoints / ".adding-dead")
    written({"run.json": b"half of it"}, checkpoints / ".adding-alive")
    assert records.names() == []
    with locks.hold(checkpoints / "alive"):
        records.add("mine", recorded["done"])
        with pytest.raises(Busy):
            records.add("alive", recorded["done"])
    assert sorted(path.name for path in checkpoints.iterdir()) == [".adding-alive", "mine"]
    assert records.names() == ["mine"]
    records.add("alive", recorded["done"])
    assert sorted(path.name for path in checkpoints.iterdir()) == ["alive", "mine"]


# Bounds


def test_every_whole_number_has_an_upper_bound_and_every_bound_a_reason():
    for method in METHODS:
        for key, field in keys(method).items():
            if field.annotation is not int or key == "seed":
                continue
            (most,) = [bound.le for bound in field.metadata if hasattr(bound, "le")]
            with pytest.raises(ConfigError, match=rf"^{key}: .*less than or equal to {most} \(.+\), got {most + 1}$"):
                preset("digits", method, **{key: most + 1})


def test_matrices_of_many_tasks_and_frames_are_refused_with_what_fits():
    with pytest.raises(ConfigError, match=r"^recording\.frames: 500 frames of each of 200 tasks .* use at most 16"):
        preset("digits", **{"data.tasks": 200})
    assert preset("digits", **{"data.tasks": 200, "recording.frames": 16}).data.tasks == 200
    assert preset("digits", "replay", **{"data.tasks": 200}).recording.frames == 500  # it keeps none


def test_what_the_presets_ask_for_lies_within():
    for name in PRESETS:
        for method in METHODS:
            config = preset(name, method)
            assert parse(config.model_dump()) == config


# Messages on pages


def test_a_page_names_the_file_and_not_its_place(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/some one")
    for text, shortened in {
        f"{checkpoints}/mine/task-1.safetensors is damaged": "mine/task-1.safetensors is damaged",
        f"no recorded run at {checkpoints}/x; runs under {checkpoints}: a": "no recorded run at x; runs under "
                                                                           "checkpoints: a",
        f"found no images in {tmp_path}/data/cats/a": "found no images in cats/a",
        "/home/some one/lab/run.json": "lab/run.json",
        "/srv/other/place/run.json cannot be written": "…/run.json cannot be written",
        "('C:\\\\Users\\\\me\\\\run.json')".replace("\\\\", "\\"): "('…/run.json')",
        "see https://image-net.org/a/b, 1/(n+1) and/or φ/ψ": "see https://image-net.org/a/b, 1/(n+1) and/or φ/ψ",
        "input should be one of a, or folder:NAME, got 'folder:/x/y'": "input should be one of a, or folder:NAME, "
                                                                      "got 'folder:/x/y'",
    }.items():  # fmt: skip
        assert without_places(text) == shortened


def test_a_message_is_shown_where_no_folder_is_known(monkeypatch):
    monkeypatch.setenv("ARLI_DATA", "~nobody-of-that-name/x")
    monkeypatch.setenv("ARLI_CHECKPOINTS", "~nobody-of-that-name/x")
    assert without_places("/srv/other/run.json is damaged") == "…/run.json is damaged"


def test_pages_show_no_error_but_by_that_way():
    for file in sorted((ROOT / "pages").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if file.name != "problem.py":
            assert "st.error(str(" not in text and "st.error(error" not in text, file
        for line in text.splitlines():
            assert "str(error)" not in line or "without_places" in line, (file, line)


@pytest.mark.parametrize("page", ["runs", "masks", "matrix", "forgetting", "train"])
def test_a_damaged_run_is_reported_on_every_page_without_its_place(page, recorded, checkpoints):
    files = {**recorded["done"], "task-2.safetensors": recorded["done"]["task-2.safetensors"][:-9] + b"otherwise"}
    written(files, checkpoints / "mine")
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.switch_page(f"pages/{page}.py")
    test.query_params["again" if page == "train" else "run"] = "mine"
    test.run()
    assert not test.exception
    message = "\n".join(element.value for element in test.error)
    assert str(checkpoints.parent) not in message
    assert "task-2.safetensors" in message or page == "train"
