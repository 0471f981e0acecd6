"""A run so far: it grows by events and computes its figures."""

import hashlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..config import Config, protocols
from ..errors import RecordError
from ..events import Attention, Event, Finished, Saved, Started, Step, TaskDone
from ..fingerprint import Fingerprint
from ..theory import metrics
from . import checks
from .frames import Frames

Arrays = Mapping[str, NDArray]


@dataclass(frozen=True)
class Record:
    """A run so far. `after` folds one event into it; nothing here is ever changed in place."""

    config: Config
    started: Started | None = None
    accuracy: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)  # by protocol
    tasks: tuple[Frames, ...] = ()  # of the tasks that are done
    begun: Frames | None = None  # of the task under way, up to the last save; since then:
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
        """The record with `event` added, which took `seconds`."""
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
        """What the data must still be; None before the start, and in records older than fingerprints. RecordError
        where the run was imported and its data lie outside the data root."""
        name = self.config.data.name
        if self.imported and checks.leads_outside(name):
            raise RecordError(
                f"this run was imported, and its data are {name!r}, a folder outside the data root: an archive "
                "may not choose which folders are read here. Put the folder into the data root and train a run on it"
            )
        return self.started.data if self.started else None

    @property
    def note(self) -> str:
        """What cannot be known about this record, in one line; empty where there is nothing of the kind."""
        return UNKNOWN if self.started and self.started.data is None else ""

    @property
    def tasks_begun(self) -> int:
        return len(self.tasks) + (self.begun is not None or len(self.steps) > 0)

    @property
    def share_done(self) -> float:
        """The share of all iterations done, in 0..1: approximate, as if a task had as many as it has classes."""
        last, units, within = self.last, self.config.data.units, 0.0
        if last and last.task > len(self.tasks):
            within = (last.iteration + 1) / last.iterations * units.sizes[last.task - 1]
        return (units.seen(len(self.tasks)) + within) / units.total

    def frames(self, task: int) -> Frames:
        """The frames of a task, counted from 1, done or under way. RecordError names the recorded tasks."""
        if not 1 <= task <= self.tasks_begun:
            recorded = f"tasks 1 to {self.tasks_begun}" if self.tasks_begun else "no task yet"
            raise RecordError(f"task {task} is not recorded; this run has {recorded}")
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
        """The share of right answers to all test samples of the tasks done; None where their number is not
        recorded."""
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
            **{key: {name: self.figure(measure, name) for name in names} for key, measure in measures.items()},
            "average_over_samples": {name: self.average_over_samples(name) for name in names},
            "test_samples": list(self.test_samples) or None,
            "seconds": self.seconds,
            "samples_per_second": self.samples / self.seconds if self.seconds else None,
            "device": self.started.device if self.started else None,
            "environment": dict(self.environment),
        }


UNKNOWN = "Recorded before the lab kept checksums of data and files, so a change to either would go unnoticed."


def environment() -> dict[str, str]:
    """Versions that a figure depends on."""
    versions = {"python": platform.python_version(), "platform": platform.platform(), "arli_core": __version__}
    for name in ("torch", "torchvision", "numpy"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def digest(record: Record, task: int) -> str:
    """A digest of the settings and of the weights after a finished task, counted from 1: equal where both are equal,
    however far the run has gone on since. RecordError where the weights cannot be read.
    """
    hasher = hashlib.sha256(record.config.model_dump_json().encode())
    for name, value in sorted(record.weights[task].items()):
        hasher.update(f"{name} {value.dtype} {value.shape}".encode())
        hasher.update(np.ascontiguousarray(value).data)
    return hasher.hexdigest()


def _nulls(matrix: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if np.isnan(value) else value for value in row] for row in matrix.tolist()]
