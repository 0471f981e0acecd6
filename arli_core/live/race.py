"""Two runs against each other: what they share, how they differ, and which leads on which measure. Configurations and
records in, words and numbers out.

`learn` draws the batches of a task from the seed, the task and the epoch alone, and exemplars from the seed and the
class: two runs with the same data, seed, epochs, batch size and rehearsal get the same indices in the same order, and
augmentation moves them alike.
"""

from dataclasses import dataclass
from typing import Any, Literal

from ..config import Config, DarkExperienceReplay, Ewc, Joint, Lwf, Rehearsal, keys, parse, value_of
from ..records import Record
from ..theory import metrics

# What two runs on the same batches share. All else (network, optimiser, learning rate, loss) is each method's own.
SECTIONS = ("data", "augmentation", "memory", "adaptation", "evaluation")
SINGLE = ("seed", "device", "train.epochs", "train.batch_size")


def _both(first: Config, second: Config) -> list[str]:
    """The settings that the methods of both have."""
    own = keys(second.method)
    return [key for key in keys(first.method) if key in own]


def _shared(key: str) -> bool:
    return key in SINGLE or key.partition(".")[0] in SECTIONS


def matched(first: Config, second: Config) -> Config:
    """`second` on the seed, data and batches of `first`, as far as its method has such settings."""
    shared = {key: value_of(first, key) for key in _both(first, second) if _shared(key)}
    return parse(second.model_dump(), **shared)


def own_settings(first: Config, second: Config) -> dict[str, tuple[Any, Any]]:
    """The settings that both methods have, where their values differ: (first, second)."""
    both = {key: (value_of(first, key), value_of(second, key)) for key in _both(first, second)}
    return {key: values for key, values in both.items() if values[0] != values[1]}


def _rehearsal(config: Config) -> Any:
    """What decides which earlier samples the batches hold."""
    if isinstance(config, Rehearsal):
        return config.memory.budget, config.memory.batches
    return "all" if isinstance(config, Joint) else "none"


def same_batches(first: Config, second: Config) -> Literal["all", "first task", "none"]:
    """Which batches are the same for both: those of all tasks, those of the first task only, where there is nothing
    to rehearse, or none.
    """
    for key in ("seed", "data", "augmentation", "train.epochs", "train.batch_size"):
        if value_of(first, key) != value_of(second, key):
            return "none"
    return "all" if _rehearsal(first) == _rehearsal(second) or first.data.tasks == 1 else "first task"


def same_start(first: Config, second: Config) -> bool:
    """Whether both begin from the same weights."""
    return all(value_of(first, key) == value_of(second, key) for key in ("seed", "network", "data"))


def holds(config: Config) -> str:
    """What the batches of a run hold after the first task."""
    if isinstance(config, Rehearsal):
        return {
            "mixed": f"new samples and {config.memory.budget} exemplars, each once an epoch",
            "every-task": f"new samples and {config.memory.budget} exemplars, at least one of each task",
            "balanced": f"new samples and {config.memory.budget} exemplars, equally many of each class",
        }[config.memory.batches]
    if isinstance(config, Joint):
        return "all samples of all tasks so far"
    if isinstance(config, DarkExperienceReplay):
        return (
            f"new samples alone; beside each batch, two of its size are drawn from {config.memory.budget} exemplars"
        )
    return "new samples alone: no exemplars are kept"


@dataclass(frozen=True)
class Line:
    """One measure of both runs; None where it is not known. leader: 0 or 1, None where neither is ahead."""

    what: str
    values: tuple[float | None, float | None]
    leader: int | None


def standing(first: Record, second: Record) -> list[Line]:
    """Which run leads on which measure. Accuracies are per-sample, after the last task that both have done; losses
    are compared where they mean the same, time where both have done equally many tasks.
    """
    runs, configs = (first, second), (first.config, second.config)
    done = min(len(first.tasks), len(second.tasks))
    even = len(first.tasks) == len(second.tasks) and not (first.error or second.error)
    # The losses of EWC, LwF and DER++ include what these methods add.
    plain = not any(isinstance(config, Ewc | Lwf | DarkExperienceReplay) for config in configs)
    alike = plain and same_batches(*configs) == "all" and first.config.train.loss == second.config.train.loss
    return [
        _line("average accuracy", [_after(run, done, metrics.average_accuracy) for run in runs], max),
        _line("on the first task", [_first(run, done) for run in runs], max),
        _line("forgetting", [_after(run, done, metrics.forgetting) for run in runs], min),
        _line("loss", [_loss(run) for run in runs], min if alike and even else None),
        _line("seconds", [run.seconds or None for run in runs], min if even else None),
        _line("samples", [float(run.samples) for run in runs], None),
        _line(
            "samples a second",
            [run.samples / run.seconds if run.seconds else None for run in runs],
            max if even else None,
        ),
    ]


def _line(what: str, values: list[float | None], best: Any) -> Line:
    first, second = values
    comparable = first is not None and second is not None and first != second
    return Line(what, (first, second), values.index(best(values)) if best and comparable else None)


def average_accuracies(record: Record) -> list[float]:
    """Per-sample average accuracy after each task."""
    return [sum(row) / len(row) for row in record.accuracy["per_sample"]]


def _after(record: Record, done: int, measure: Any) -> float | None:
    value = measure(record.accuracy_matrix("per_sample")[:done, :done]) if done else float("nan")
    return None if value != value else value  # nan


def _first(record: Record, done: int) -> float | None:
    return record.accuracy["per_sample"][done - 1][0] if done else None


def _loss(record: Record) -> float | None:
    """The loss of the newest recorded iteration."""
    frames = record.frames(record.tasks_begun) if record.tasks_begun else None
    return float(frames.loss[-1]) if frames is not None and len(frames) else None
