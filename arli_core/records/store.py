"""The only reader and writer of checkpoints/.

A run is a folder:

    run.json                    the index, written last: what it does not name is not there
    probes.safetensors          the probe images and their head units
    task-N.safetensors          frames and probe attention of task N
    weights-N.safetensors       the named parameters of phi_b after task N
    progress-N-E.safetensors    while unfinished: the state before epoch E of task N, and that task's frames so far

The index also keeps what the run was trained on (fingerprint.py), and a digest of each file, itself included.
checks.py says what a record may be, and checks every file before it is used.

Each file is written beside its place and then moved there, so a run killed at any moment is complete up to its last
saved epoch.
"""

import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from ..config import Config, parse, protocols
from ..errors import ConfigError, RecordError
from ..events import Saved, Started
from ..files import expanded
from ..files import write as _write
from ..fingerprint import Fingerprint
from . import checks
from .frames import Frames
from .record import Arrays, Record


def root() -> Path:
    """Where named runs live: $ARLI_CHECKPOINTS, else checkpoints/ beside app.py, else under the working folder."""
    folder = os.environ.get("ARLI_CHECKPOINTS")
    if folder:
        return expanded(folder)
    project = Path(__file__).resolve().parents[2]
    return (project if (project / "app.py").exists() else Path.cwd()) / "checkpoints"


def locate(run: str | Path) -> Path:
    """The folder of a run given as a path or as a name under `root()`."""
    path = expanded(run)
    return root() / path if len(path.parts) == 1 and not path.is_absolute() else path


def names() -> list[str]:
    """The named runs, in alphabetical order."""
    if not root().is_dir():
        return []
    folders = (path for path in root().iterdir() if not path.name.startswith("."))  # those are not complete yet
    return sorted(path.name for path in folders if (path / "run.json").is_file())


# --- Writing -------------------------------------------------------------------------------------------------------


def save(record: Record, path: Path) -> None:
    """Writes those files of a record that are not written yet, run.json last; after Started, Saved or Finished.

    Steps since the last Saved are not written: resuming repeats them. RecordError where the place cannot be
    written.
    """
    digests, earlier = {}, _digests(path)

    def keep(file: str, arrays: Callable[[], Arrays]) -> None:
        known_digest = earlier.get(file) if (path / file).exists() else None
        digests[file] = known_digest or _write_arrays(path / file, arrays())

    try:
        if started := record.started:
            keep("probes.safetensors", lambda: {"images": started.probes, "units": started.probe_units})
        for task, frames in enumerate(record.tasks, 1):
            keep(f"weights-{task}.safetensors", lambda task=task: record.weights[task])
            keep(f"task-{task}.safetensors", lambda frames=frames: _pack(frames))
        progress = None
        if record.saved:
            progress = f"progress-{record.saved.task}-{record.saved.epoch}.safetensors"
            state = {f"state.{name}": value for name, value in record.saved.state.items()}
            begun = _pack(record.begun) if record.begun else {}
            digests[progress] = _write_arrays(path / progress, {**state, **begun})
        _write(path / "run.json", checks.sealed(_index(record, progress, digests)))
        for old in path.glob("progress-*.safetensors"):
            if old.name != progress:
                old.unlink()
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror or error}") from None


def _digests(path: Path) -> Mapping[str, str]:
    """The digests of the files that are written already; a file that no index names is written again."""
    try:
        return read_index(path).get("digests", {})
    except RecordError:
        return {}


def _index(record: Record, progress: str | None, digests: Mapping[str, str]) -> dict[str, Any]:
    started = record.started
    return {
        "schema": checks.SCHEMA,
        "config": record.config.model_dump(),
        "environment": dict(record.environment),
        "device": started.device if started else None,
        "imported": record.imported,
        "classes": list(started.classes) if started else None,
        "data": started.data.plain() if started and started.data else None,
        "parameters": started.parameters if started else None,
        "layers": dict(started.layers) if started else None,
        "notes": list(started.notes) if started else [],
        "accuracy": {name: [list(row) for row in record.accuracy.get(name, ())] for name in protocols(record.config)},
        "test_samples": list(record.test_samples),
        "seconds": record.seconds,
        "samples": record.samples,
        "finished": record.finished,
        "error": record.error,
        "progress": progress,
        "digests": dict(digests),
    }


def _pack(frames: Frames) -> dict[str, NDArray]:
    return {name: np.asarray(value) for name, value in vars(frames).items()}


def _write_arrays(path: Path, arrays: Arrays) -> str:
    """Writes a file of arrays, and returns its digest."""
    content = safetensors.numpy.save({name: np.asarray(value, order="C") for name, value in arrays.items()})
    _write(path, content)
    return checks.digest(content)


def tidy(path: Path, tasks: int) -> None:
    """Removes what an interruption left besides the first `tasks` tasks, which are all that the index names."""
    for file in path.iterdir():
        if file.name.startswith(".writing-"):
            shutil.rmtree(file)
        elif (match := re.fullmatch(r"(?:task|weights)-(\d+)\.safetensors", file.name)) and int(match[1]) > tasks:
            file.unlink()


# --- Reading -------------------------------------------------------------------------------------------------------


class _Weights(Mapping[int, Arrays]):
    """The weights files of a run, read on demand: a page that draws matrices needs none of them."""

    def __init__(self, path: Path, index: Mapping[str, Any]) -> None:
        self.path, self.index, self.tasks = path, index, checks.tasks_done(index)

    def __getitem__(self, task: int) -> Arrays:
        if task not in range(1, self.tasks + 1):
            raise KeyError(task)
        with _named(self.path / f"weights-{task}.safetensors"):
            arrays = _read_arrays(
                self.path / f"weights-{task}.safetensors",
                self.index,
                lambda header: checks.weights(header, self.index["parameters"]),
            )
            checks.weight_values(arrays)
        return arrays

    def __iter__(self) -> Iterator[int]:
        return iter(range(1, self.tasks + 1))

    def __len__(self) -> int:
        return self.tasks


def load(run: str | Path) -> Record:
    """The recorded run at a path, or of a name under `root()`. RecordError says which file is wrong, and how."""
    path = locate(run)
    index = read_index(path)
    config = _config(index, path)
    with _named(path / "run.json"):
        checks.whole(index, config)
    started = _read_started(path, index, config)
    record = Record(
        config=config,
        started=started,
        accuracy={name: tuple(tuple(row) for row in index["accuracy"][name]) for name in protocols(config)},
        tasks=tuple(_read_task(path, task, index, config, started) for task in _tasks(index)) if started else (),
        weights=_Weights(path, index),
        test_samples=tuple(index.get("test_samples", ())),  # none in older records
        seconds=index["seconds"],
        samples=index["samples"],
        finished=index["finished"],
        error=index["error"],
        environment=index["environment"],
        imported=index.get("imported", False),
    )
    return _with_progress(record, path, index) if index["progress"] else record


def _tasks(index: Mapping[str, Any]) -> range:
    return range(1, checks.tasks_done(index) + 1)


def _read_started(path: Path, index: Mapping[str, Any], config: Config) -> Started | None:
    if index["classes"] is None:
        return None
    file, data = path / "probes.safetensors", index.get("data")
    with _named(file):
        probes = _read_arrays(file, index, lambda header: checks.probes(header, config, data))
        checks.probe_values(probes, len(index["classes"]))
    return Started(
        device=index["device"],
        classes=tuple(index["classes"]),
        parameters=index["parameters"],
        layers=index.get("layers") or {},
        probes=probes["images"],
        probe_units=probes["units"],
        notes=tuple(index.get("notes", ())),  # none in older records
        data=Fingerprint.parse(data) if data else None,
    )


@contextmanager
def _named(file: Path) -> Generator[None]:
    """Reports a ValueError raised within as damage to this file, by a RecordError."""
    try:
        yield
    except ValueError as error:
        raise RecordError(f"{file} is damaged: {error}") from None


def config_of(run: str | Path) -> Config:
    """The configuration of a recorded run, without reading its arrays."""
    path = locate(run)
    return _config(read_index(path), path)


def status_of(run: str | Path) -> str:
    """`finished`, `failed` or `unfinished`, without reading its arrays."""
    index = read_index(locate(run))
    return "finished" if index.get("finished") else "failed" if index.get("error") else "unfinished"


def _config(index: Mapping[str, Any], path: Path) -> Config:
    try:
        return parse(index["config"])
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise RecordError(f"{path / 'run.json'} holds a configuration that is not valid here: {error}") from None


def read_index(path: Path) -> dict[str, Any]:
    file = path / "run.json"
    if not file.is_file():
        runs = ", ".join(names()) or "none yet"
        raise RecordError(f"no recorded run at {path}; runs under {root()}: {runs}")
    try:
        return checks.opened(content_of(file, checks.INDEX_BYTES))
    except (ValueError, OSError) as error:
        raise RecordError(f"{file} is not the index of a recorded run, or is damaged: {error}") from None


def content_of(file: Path, most: int) -> bytes:
    """The content of a file; of one that is too large, one byte too many: enough to notice it."""
    with file.open("rb") as source:
        return source.read(min(os.fstat(source.fileno()).st_size, most) + 1)


def _read_arrays(file: Path, index: Mapping[str, Any], check: Callable[[checks.Header], None]) -> Arrays:
    """All arrays of a file, once its digest and its header are right; RecordError where it cannot be read, ValueError
    where `check` finds its header wrong."""
    try:
        content = content_of(file, checks.FILE_BYTES)
        header = checks.header(content)
        if index["schema"] > 1 and checks.digest(content) != index["digests"][file.name]:
            raise ValueError("its content does not match the digest in run.json")
    except (OSError, ValueError) as error:
        raise RecordError(f"{file} is missing or damaged: {error}") from None
    check(header)
    try:
        return safetensors.numpy.load(content)
    except SafetensorError as error:
        raise RecordError(f"{file} is missing or damaged: {error}") from None


def _read_task(path: Path, task: int, index: Mapping[str, Any], config: Config, started: Started) -> Frames:
    file = path / f"task-{task}.safetensors"
    with _named(file):
        arrays = _read_arrays(file, index, lambda header: _check_frames(header, task, config, started))
        checks.frame_values(arrays, config)
    return _unpack(arrays)


def _check_frames(header: checks.Header, task: int, config: Config, started: Started) -> None:
    checks.frames(header, task, config, started.probes.shape, len(started.layers))


def _unpack(arrays: Arrays) -> Frames:
    distance = arrays["distance"]
    none = np.zeros((len(distance), 0, *distance.shape[1:]), dtype=np.float32)
    return Frames(**{"layers": none, **arrays, "iterations": arrays["iterations"].item()})


def _with_progress(record: Record, path: Path, index: Mapping[str, Any]) -> Record:
    file, started = path / index["progress"], record.started
    task, epoch = checks.point(index["progress"])
    assert started is not None  # as `checks.whole` says

    def check(header: checks.Header) -> None:
        checks.progress(header, started.parameters)
        if begun := checks.begun(header):
            _check_frames(begun, task, record.config, started)

    with _named(file):
        arrays = _read_arrays(file, index, check)
        frames = {key: value for key, value in arrays.items() if not key.startswith("state.")}
        if frames:
            checks.frame_values(frames, record.config)
    state = {key.removeprefix("state."): value for key, value in arrays.items() if key.startswith("state.")}
    return replace(record, saved=Saved(task, epoch, state), begun=_unpack(frames) if frames else None)


def whole(run: str | Path) -> Record:
    """As `load`, but every file of the run is read once: RecordError names one that is missing or damaged."""
    record = load(run)
    for task in record.weights:
        _ = record.weights[task]
    return record
