"""Which units of the network's head belong to which task.

Classes are renumbered in the order in which they are met, so each task has consecutive units, and the classes of
tasks 1..n are a prefix of the logits. Tasks are counted from 1, units from 0.
"""

from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any


@dataclass(frozen=True)
class TaskUnits:
    """sizes: how many classes each task brings, at least one each."""

    sizes: tuple[int, ...]

    @property
    def tasks(self) -> int:
        return len(self.sizes)

    @property
    def total(self) -> int:
        return sum(self.sizes)

    def seen(self, task: int) -> int:
        """How many classes tasks 1..task have; 0 for task 0."""
        return sum(self.sizes[:task])

    def of(self, task: int) -> slice:
        """The units of a task."""
        return slice(self.seen(task - 1), self.seen(task))

    def task_of(self, units: Any) -> Any:
        """The task of each unit, for a number, an array or a tensor of whole numbers, in the same type."""
        task = units * 0 + 1
        for last in list(accumulate(self.sizes))[:-1]:
            task = task + (units >= last)
        return task

    @property
    def chance(self) -> float:
        """The average accuracy of guessing where the task is known: the mean over the tasks of 1 / classes."""
        return sum(1 / size for size in self.sizes) / self.tasks

    @property
    def classes(self) -> str:
        """How many classes the tasks have, in words: `2 classes`, `4, 2, 2, 2 classes`, `50, then 10 × 5 classes`."""
        runs = [(size, len(list(group))) for size, group in groupby(self.sizes)]
        if len(runs) == 1:
            return f"{self.sizes[0]} class{'es' if self.sizes[0] > 1 else ''}"
        if self.tasks <= 5:
            return f"{', '.join(map(str, self.sizes))} classes"
        return ", then ".join(f"{size} × {count}" if count > 1 else str(size) for size, count in runs) + " classes"

    def __str__(self) -> str:
        return f"{self.tasks} task{'s' if self.tasks > 1 else ''} of {self.classes}"
