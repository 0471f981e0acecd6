"""Recorded runs: one grown from events, and the only reader and writer of checkpoints/.

A run is a folder:

    run.json                    the index, written last: what it does not name is not there
    probes.safetensors          the probe images and their head units
    task-N.safetensors          frames and probe attention of task N
    weights-N.safetensors       the named parameters of phi_b after task N
    progress-N-E.safetensors    while unfinished: the state before epoch E of task N, and that task's frames so far

The index also keeps what the run was trained on (fingerprint.py), and a digest of each file, itself included.
record_checks.py says what a record may be, and looks at every file before it is used.

Each file is written beside its place and then moved there, so a run killed at any moment is whole up to its last
saved epoch.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from . import __version__, locks, metrics
from . import record_checks as checks
from .config import Config, parse, protocols
from .errors import Busy, ConfigError, RecordError
from .events import Attention, Event, Finished, Saved, Started, Step, TaskDone
from .files import expanded, of_a_file_manager
from .files import write as _write
from .fingerprint import Fingerprint

Arrays = Mapping[str, NDArray]


@dataclass(frozen=True)
class Frames:
    """What is kept of one task: F frames of m = n+1 models, the base last, and A moments of probe attention.

    present [F, n] says which tasks took part; the matrices have NaN rows and columns where one did not. They have
    m = 0, and losses n = 0 columns, where the method fuses nothing.
    """

    iterations: int  # of the whole task
    iteration: NDArray[np.int64]  # [F]
    loss: NDArray[np.float64]  # [F]
    learning_rate: NDArray[np.float64]  # [F]
    present: NDArray[np.bool_]  # [F, n]
    distance: NDArray[np.float64]  # [F, m, m]
    dif_star: NDArray[np.float64]  # [F, m, m]
    gram: NDArray[np.float64]  # [F, m, m]
    norm: NDArray[np.float64]  # [F]
    alpha: NDArray[np.float64]  # [F]
    losses: NDArray[np.float64]  # [F, n]
    attacked_losses: NDArray[np.float64]  # [F, n]
    layers: NDArray[np.float32]  # [F, L, m, m] what each layer brings to the distance; L = 0 in older records
    attention: NDArray[np.uint8]  # [A, K, H, W]
    attention_at: NDArray[np.int64]  # [A] iterations

    def __len__(self) -> int:
        return len(self.iteration)

    @property
    def fuses(self) -> bool:
        return self.distance.size > 0

    def matrix(self, name: str, frame: int) -> NDArray[np.float64]:
        """One frame's distance, dif_star or gram, of the models present alone."""
        here = np.append(self.present[frame], True)
        return getattr(self, name)[frame][np.ix_(here, here)]

    def joined(self, later: "Frames") -> "Frames":
        """These frames followed by later ones of the same task."""
        if self.layers.shape[1] != later.layers.shape[1]:  # an older record that is resumed: none, as it began
            self, later = (replace(each, layers=each.layers[:, :0]) for each in (self, later))
        parts = {name: (value, getattr(later, name)) for name, value in vars(self).items() if name != "iterations"}
        arrays = {
            name: np.concatenate(both) if len(both[0]) and len(both[1]) else both[0] if len(both[0]) else both[1]
            for name, both in parts.items()
        }
        return Frames(iterations=max(self.iterations, later.iterations), **arrays)

    @classmethod
    def of(cls, task: int, steps: tuple[Step, ...], attentions: tuple[Attention, ...]) -> "Frames":
        fused = [step.fused for step in steps if step.fused is not None]
        n, size = (task, task + 1) if fused else (0, 0)
        matrices = {name: np.full((len(fused), size, size), np.nan) for name in ("distance", "dif_star", "gram")}
        losses = {name: np.full((len(fused), n), np.nan) for name in ("losses", "attacked_losses")}
        count = len(fused[0].layers) if fused else 0
        layers = np.full((len(fused), count, size, size), np.nan, dtype=np.float32)
        present = np.zeros((len(fused), n), dtype=bool)
        for frame, each in enumerate(fused):
            tasks = np.array(each.present) - 1
            models = np.append(tasks, n)
            present[frame, tasks] = True
            for name, values in matrices.items():
                values[frame][np.ix_(models, models)] = getattr(each, name)
            layers[frame][np.ix_(np.arange(count), models, models)] = each.layers
            for name, values in losses.items():
                values[frame, tasks] = getattr(each, name)
        return cls(
            iterations=steps[0].iterations if steps else 0,
            iteration=np.array([step.iteration for step in steps], dtype=np.int64),
            loss=np.array([step.loss for step in steps]),
            learning_rate=np.array([step.learning_rate for step in steps]),
            present=present,
            **matrices,
            norm=np.array([each.norm for each in fused]),
            alpha=np.array([each.alpha for each in fused]),
            **losses,
            layers=layers,
            attention=np.array([each.attention for each in attentions], dtype=np.uint8),
            attention_at=np.array([each.iteration for each in attentions], dtype=np.int64),
        )


@dataclass(frozen=True)
class Record:
    """A run so far. `after` folds one event into it; nothing here is ever changed in place."""

    config: Config
    started: Started | None = None
    accuracy: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)  # by protocol
    tasks: tuple[Frames, ...] = ()  # of the tasks that are done
    begun: Frames | None = None  # of the task under way, up to what is saved; then, since:
    steps: tuple[Step, ...] = ()
    attentions: tuple[Attention, ...] = ()
    weights: Mapping[int, Arrays] = field(default_factory=dict)  # by task, counted from 1
    test_samples: tuple[int, ...] = ()  # of each task that is done; () in older records
    saved: Saved | None = None
    last: Step | None = None
    seconds: float = 0.0
    samples: int = 0
    finished: bool = False
    error: str | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: environment())
    imported: bool = False  # from an archive, which may come from anyone

    def __post_init__(self) -> None:
        if not self.accuracy:
            object.__setattr__(self, "accuracy", dict.fromkeys(protocols(self.config), ()))

    def after(self, event: Event, seconds: float = 0.0) -> "Record":
        """The record with `event`, which took `seconds` to come about, in it."""
        now = replace(self, seconds=self.seconds + seconds)
        match event:
            case Started():
                return replace(now, started=event)
            case Step():
                steps = (*now.steps, event) if event.recorded else now.steps
                return replace(now, steps=steps, last=event, samples=now.samples + event.samples)
            case Attention():
                return replace(now, attentions=(*now.attentions, event))
            case Saved():
                return replace(now, saved=event, begun=now._under_way(event.task), steps=(), attentions=())
            case TaskDone():
                return replace(
                    now,
                    accuracy={name: (*self.accuracy.get(name, ()), row) for name, row in event.accuracy.items()},
                    tasks=(*now.tasks, now.frames(event.task)),
                    weights={**now.weights, event.task: event.weights},
                    test_samples=event.test_samples,
                    begun=None,
                    steps=(),
                    attentions=(),
                )
            case Finished():
                return replace(now, saved=None, finished=True)

    @property
    def status(self) -> str:
        """`finished`, `failed` or `unfinished`."""
        return "finished" if self.finished else "failed" if self.error else "unfinished"

    @property
    def trained_on(self) -> Fingerprint | None:
        """What the data must still be; None in records older than fingerprints, and before the start. RecordError
        where the run was imported and its data lie where an archive has no say."""
        name = self.config.data.name
        if self.imported and checks.leads_outside(name):
            raise RecordError(
                f"this run was imported, and its data are {name!r}, a folder outside the data root: no archive "
                "chooses which folders are read here. Put the folder into the data root and train a run on it"
            )
        return self.started.data if self.started else None

    @property
    def note(self) -> str:
        """What cannot be known of this record, in one line; empty where nothing is amiss."""
        return UNKNOWN if self.started and self.started.data is None else ""

    @property
    def tasks_begun(self) -> int:
        return len(self.tasks) + (self.begun is not None or len(self.steps) > 0)

    @property
    def share_done(self) -> float:
        """The part of all iterations that is done, in 0..1, if a task has as many as it has classes, about."""
        last, units, within = self.last, self.config.data.units, 0.0
        if last and last.task > len(self.tasks):
            within = (last.iteration + 1) / last.iterations * units.sizes[last.task - 1]
        return (units.seen(len(self.tasks)) + within) / units.total

    def frames(self, task: int) -> Frames:
        """The frames of a task, counted from 1, done or under way. RecordError names the tasks there are."""
        if not 1 <= task <= self.tasks_begun:
            there = f"tasks 1 to {self.tasks_begun}" if self.tasks_begun else "no task yet"
            raise RecordError(f"task {task} is not recorded; this run has {there}")
        if task <= len(self.tasks):
            return self.tasks[task - 1]
        under_way = self._under_way(task)
        assert under_way is not None
        return under_way

    def _under_way(self, task: int) -> Frames | None:
        if not (self.steps or self.attentions):
            return self.begun
        since = Frames.of(task, self.steps, self.attentions)
        return self.begun.joined(since) if self.begun else since

    def accuracy_matrix(self, protocol: str) -> NDArray[np.float64]:
        """R [N, N], N tasks in all; NaN above the diagonal and in rows of tasks not done yet."""
        matrix = np.full((self.config.data.tasks,) * 2, np.nan)
        for row, values in enumerate(self.accuracy.get(protocol, ())):
            matrix[row, : len(values)] = values
        return matrix

    def figure(self, measure: Callable[[Any], float], protocol: str) -> float | None:
        """A function of metrics.py on the tasks done so far; None where it is not defined."""
        done = len(self.tasks)
        value = measure(self.accuracy_matrix(protocol)[:done, :done]) if done else float("nan")
        return None if np.isnan(value) else value

    def average_over_samples(self, protocol: str) -> float | None:
        """The share of all test samples of the tasks done that is right; None where their number is not recorded."""
        if not self.test_samples:
            return None
        return self.figure(lambda accuracy: metrics.average_over_samples(accuracy, self.test_samples), protocol)

    def summary(self) -> dict[str, Any]:
        """What `show --json` prints: plain JSON values, null where unknown."""
        measures = {
            "average": metrics.average_accuracy,
            "forgetting": metrics.forgetting,
            "bwt": metrics.backward_transfer,
        }
        names = protocols(self.config)
        return {
            "config": self.config.model_dump(),
            "status": self.status,
            "error": self.error,
            "tasks_done": len(self.tasks),
            "classes": list(self.started.classes) if self.started else None,
            "accuracy": {name: _nulls(self.accuracy_matrix(name)) for name in names},
            **{key: {name: self.figure(each, name) for name in names} for key, each in measures.items()},
            "average_over_samples": {name: self.average_over_samples(name) for name in names},
            "test_samples": list(self.test_samples) or None,
            "seconds": self.seconds,
            "samples_per_second": self.samples / self.seconds if self.seconds else None,
            "device": self.started.device if self.started else None,
            "environment": dict(self.environment),
        }


UNKNOWN = "Recorded before data and files were fingerprinted: changes of either go unnoticed."


def environment() -> dict[str, str]:
    """Versions that a figure depends on."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "arli_core": __version__}
    for name in ("torch", "torchvision", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def digest(record: Record, task: int) -> str:
    """Of the settings and of the weights after a task that is done, counted from 1: equal wherever all that these say
    is equal, however far the run has gone on since. RecordError where the weights cannot be read.
    """
    found = hashlib.sha256(record.config.model_dump_json().encode())
    for name, value in sorted(record.weights[task].items()):
        found.update(f"{name} {value.dtype} {value.shape}".encode())
        found.update(np.ascontiguousarray(value).data)
    return found.hexdigest()


# --- Where runs are kept -------------------------------------------------------------------------------------------


def root() -> Path:
    """Where named runs live: $ARLI_CHECKPOINTS, else checkpoints/ beside app.py, else under the working folder."""
    chosen = os.environ.get("ARLI_CHECKPOINTS")
    if chosen:
        return expanded(chosen)
    project = Path(__file__).resolve().parent.parent
    return (project if (project / "app.py").exists() else Path.cwd()) / "checkpoints"


def locate(run: str | Path) -> Path:
    """The folder of a run given as a path or as a name under `root()`."""
    path = expanded(run)
    return root() / path if len(path.parts) == 1 and not path.is_absolute() else path


def names() -> list[str]:
    """The named runs, in alphabetical order."""
    if not root().is_dir():
        return []
    folders = (path for path in root().iterdir() if not path.name.startswith("."))  # those are in the making
    return sorted(path.name for path in folders if (path / "run.json").is_file())


# The names a run's folder may hold. Anything else was put there by someone else, and is never removed.
_FILE = re.compile(r"run\.json|(probes|task-\d+|weights-\d+|progress-\d+-\d+)\.safetensors")
_OWN = re.compile(rf"{_FILE.pattern}|\.writing-\w+")


def claim(run: str | Path, overwrite: bool = False) -> Path:
    """Makes the folder of a new run. RecordError where there is one already, unless `overwrite`.

    A folder that holds anything but the files of a run is refused, with `overwrite` too; so is a name that Windows
    cannot have.
    """
    path = locate(run)
    _refuse_unportable(path.name)
    try:
        if path.is_dir() and any(path.iterdir()):
            if foreign := _foreign(path):
                raise RecordError(f"{path} holds {foreign}, which is no part of a recorded run; choose another --out")
            if (path / "run.json").exists():
                if not overwrite:
                    raise RecordError(f"{path} holds a recorded run already; choose another name, or --overwrite")
                if not _ours(path / "run.json"):
                    raise RecordError(f"{path} holds another program's run.json; choose another --out")
            elif any(file.name.startswith(("task-", "weights-", "progress-")) for file in path.iterdir()):
                raise RecordError(f"{path} holds parts of a run, but no run.json; choose another --out")
            _remove(path)
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path):
            pass
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror or error}; choose another --out") from None
    return path


def _foreign(path: Path) -> str | None:
    """The name of something in a run's folder that is no part of a run, if there is any."""
    names = (file.name for file in path.iterdir())
    return next((name for name in names if not (_OWN.fullmatch(name) or of_a_file_manager(name))), None)


def _ours(index: Path) -> bool:
    """Whether a run.json is of this lab: with a schema, or so damaged that nobody can read it."""
    start = _content(index, checks.INDEX_BYTES)
    try:
        content = json.loads(start)
    except (ValueError, RecursionError):
        return True
    return isinstance(content, dict) and "schema" in content


def _remove(path: Path) -> None:
    """Moved aside in one step, so that what is left behind by an interruption is not half a run."""
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    path.rename(aside / path.name)
    shutil.rmtree(aside)


# --- Renaming, deleting, taking in ---------------------------------------------------------------------------------

# The named runs that come with the lab. Its pages count on them, so they are neither renamed nor deleted.
SHIPPED = ("mnist-5k-ari", "mnist-5k-ari-constant", "mnist-5k-replay", "mnist-5k-finetune", "scenes-ari")
_NAME = re.compile(r"\w[\w.-]{0,59}")
# Windows keeps these for devices, with any ending and in any case: a run of that name could not be carried there.
_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[1-9¹²³])(\..*)?", re.IGNORECASE)


def vacant(name: str) -> Path:
    """The place of a new named run; nothing is made there yet. RecordError where the name cannot be had."""
    if not _NAME.fullmatch(name):
        raise RecordError(
            f"{name!r} cannot name a run: use at most 60 letters, digits, dots, dashes and underscores, "
            "and begin with a letter or digit"
        )
    _refuse_unportable(name)
    path = root() / name
    if os.path.lexists(path):
        raise RecordError(f"A run or folder is called {name} already; nothing was changed. Choose another name.")
    return path


def _refuse_unportable(name: str) -> None:
    """RecordError for a folder's name that Windows cannot have."""
    if name.endswith((".", " ")):
        raise RecordError(
            f"{name!r} cannot name a run: Windows drops a dot or space at the end; end with another character"
        )
    if _DEVICE.fullmatch(name):
        raise RecordError(
            f"{name!r} cannot name a run: {name.partition('.')[0]} is a device on Windows; choose another name"
        )


def rename(name: str, new: str) -> None:
    """Gives a named run another name. RecordError where it ships, or where the new name cannot be had; Busy where a
    process trains one of the two."""
    path, target = _own(name), vacant(new)
    try:
        with locks.hold(path), locks.hold(target):
            path.rename(target)
    except OSError as error:
        raise RecordError(f"{path} cannot be renamed: {error.strerror or error}") from None


def delete(name: str) -> None:
    """Removes a named run, a damaged one too. RecordError where it ships, or where its folder holds anything else;
    Busy where a process trains it."""
    path = _own(name)
    try:
        with locks.hold(path):
            if foreign := _foreign(path):
                raise RecordError(f"{path} holds {foreign}, which is no part of a recorded run; nothing was deleted")
            if not _ours(path / "run.json"):
                raise RecordError(f"{path} holds another program's run.json; nothing was deleted")
            _remove(path)
    except OSError as error:
        raise RecordError(f"{path} cannot be deleted: {error.strerror or error}") from None


def _own(name: str) -> Path:
    """The folder of a named run that may be renamed and deleted."""
    if name not in names():
        raise RecordError(
            f"no recorded run is called {name}; runs under {root()}: {', '.join(names()) or 'none yet'}"
        )
    if name in SHIPPED:
        raise RecordError(f"{name} comes with the lab: it is neither renamed nor deleted. Nothing was changed.")
    return root() / name


def files(run: str | Path) -> dict[str, bytes]:
    """All files of a recorded run by their name, run.json first; RecordError where one is missing or damaged."""
    path = locate(run)
    whole(path)
    names = checks.files(_read_index(path))
    try:
        return {name: (path / name).read_bytes() for name in names}
    except OSError as error:
        raise RecordError(f"{path} changed while it was read: {error}; try again") from None


def add(name: str, files: Mapping[str, bytes]) -> None:
    """Takes in a run under a new name, from what `files` gave. RecordError where the name cannot be had, a file is
    damaged or no part of the run, or one is missing; nothing is kept of it then.
    """
    target = vacant(name)
    if "run.json" not in files:
        raise RecordError("there is no run.json, the index of a recorded run, in it")
    for file in files:  # before anything is written: a name is all that could lead out of the folder
        if not _FILE.fullmatch(file):
            raise RecordError(f"{file!r} is no part of a recorded run")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locks.hold(target):
            path = target.parent / f"{ADDING}{name}"
            shutil.rmtree(path, ignore_errors=True)
            _clear_dead_imports(target.parent)
            path.mkdir()
            try:
                _add(path, files)
                path.rename(target)
            finally:
                shutil.rmtree(path, ignore_errors=True)
    except OSError as error:
        raise RecordError(f"{target} cannot be written: {error.strerror or error}") from None


ADDING = ".adding-"  # and the name it is to have: the folder of a run that is being taken in


def _add(path: Path, files: Mapping[str, bytes]) -> None:
    for file, content in files.items():
        (path / file).write_bytes(content)
    try:
        whole(path)
        index = _read_index(path)
        if surplus := files.keys() - checks.files(index):
            raise RecordError(f"{min(surplus)!r} is no part of this run: its run.json does not name it")
        index["imported"] = True
        _write(path / "run.json", checks.sealed(index) if index["schema"] > 1 else json.dumps(index).encode())
    except RecordError as error:
        raise RecordError(str(error).replace(f"{path}{os.sep}", "")) from None


def _clear_dead_imports(place: Path) -> None:
    """Removes what imports left that were killed: a live one holds the lock of the run that it makes."""
    for path in place.glob(f"{ADDING}*"):
        name = path.name.removeprefix(ADDING)
        try:
            with locks.hold(place / name):
                shutil.rmtree(path)
        except Busy:
            continue


def whole(run: str | Path) -> Record:
    """As `load`, and every file of the run has been read once: RecordError names one that is missing or damaged."""
    record = load(run)
    for task in record.weights:
        _ = record.weights[task]
    return record


# --- Writing -------------------------------------------------------------------------------------------------------


def save(record: Record, path: Path) -> None:
    """Writes what is not there yet, run.json last, of a record as it stands after Started, Saved or Finished.

    Steps since the last Saved are not written: resuming repeats them. RecordError where the place cannot be
    written.
    """
    digests, there = {}, _digests(path)

    def keep(file: str, arrays: Callable[[], Arrays]) -> None:
        known = there.get(file) if (path / file).exists() else None
        digests[file] = known or _write_arrays(path / file, arrays())

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
    """Those of the files that are written already; what no index names is written anew."""
    try:
        return _read_index(path).get("digests", {})
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
    """The digest of what is written."""
    content = safetensors.numpy.save({name: np.asarray(value, order="C") for name, value in arrays.items()})
    _write(path, content)
    return checks.digest(content)


def tidy(path: Path, tasks: int) -> None:
    """Removes what an interruption left beside the first `tasks` tasks, which are all that the index names."""
    for file in path.iterdir():
        if file.name.startswith(".writing-"):
            shutil.rmtree(file)
        elif (found := re.fullmatch(r"(?:task|weights)-(\d+)\.safetensors", file.name)) and int(found[1]) > tasks:
            file.unlink()


# --- Reading -------------------------------------------------------------------------------------------------------


class _Weights(Mapping[int, Arrays]):
    """The weights files of a run, read when asked for: a page that draws matrices needs none of them."""

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
    index = _read_index(path)
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
    """What is wrong within, as the fault of this file."""
    try:
        yield
    except ValueError as error:
        raise RecordError(f"{file} is damaged: {error}") from None


def config_of(run: str | Path) -> Config:
    """The configuration of a recorded run, without reading its arrays."""
    path = locate(run)
    return _config(_read_index(path), path)


def status_of(run: str | Path) -> str:
    """`finished`, `failed` or `unfinished`, without reading its arrays."""
    index = _read_index(locate(run))
    return "finished" if index.get("finished") else "failed" if index.get("error") else "unfinished"


def _config(index: Mapping[str, Any], path: Path) -> Config:
    try:
        return parse(index["config"])
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise RecordError(f"{path / 'run.json'} holds a configuration that is not valid here: {error}") from None


def _read_index(path: Path) -> dict[str, Any]:
    file = path / "run.json"
    if not file.is_file():
        known = ", ".join(names()) or "none yet"
        raise RecordError(f"no recorded run at {path}; runs under {root()}: {known}")
    try:
        return checks.opened(_content(file, checks.INDEX_BYTES))
    except (ValueError, OSError) as error:
        raise RecordError(f"{file} is not the index of a recorded run, or is damaged: {error}") from None


def _content(file: Path, most: int) -> bytes:
    """Of what is too large, one byte too many: enough to tell, and all that is read of it."""
    with file.open("rb") as source:
        return source.read(min(os.fstat(source.fileno()).st_size, most) + 1)


def _read_arrays(file: Path, index: Mapping[str, Any], check: Callable[[checks.Header], None]) -> Arrays:
    """All arrays of a file, once its digest and its header are right; RecordError where it cannot be read, ValueError
    for what `check` says of the header."""
    try:
        content = _content(file, checks.FILE_BYTES)
        header = checks.header(content)
        if index["schema"] > 1 and checks.digest(content) != index["digests"][file.name]:
            raise ValueError("its content is not what the digest in run.json says")
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


def _nulls(matrix: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if np.isnan(value) else value for value in row] for row in matrix.tolist()]
