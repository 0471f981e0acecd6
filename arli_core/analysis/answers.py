"""A recorded run's answers to held-out images after a task, under each protocol and with other groups of the vote."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..config import Evaluation
from ..evaluation import accuracies, answers, logits_of
from ..records import Record
from ..stream import GROUPS, generator_for
from ..theory import metrics
from ..units import TaskUnits
from .masks import learned


@dataclass(frozen=True, eq=False)
class Answers:
    """phi_b's logits of the S held-out images of tasks 1..task, and the answers under each protocol.

    Groups of the vote are drawn as in the run's evaluation, so the run's own `evaluation` gives its recorded
    accuracies.
    """

    task: int
    classes: tuple[str, ...]  # C names, of the classes seen
    units: TaskUnits
    seed: int
    evaluation: Evaluation  # the run's own
    logits: Tensor  # [S, units]
    labels: Tensor  # [S] head units

    def accuracies(self, evaluation: Evaluation | None = None) -> dict[str, tuple[float, ...]]:
        """Accuracy on each of tasks 1..task, per protocol, with the run's own settings or others."""
        return accuracies(*self._arguments(evaluation))

    def confusion(self, protocol: str, evaluation: Evaluation | None = None) -> NDArray[np.int64]:
        """[C, C]: row = class, column = answer."""
        answered = answers(*self._arguments(evaluation))[protocol]
        return metrics.confusion(self.labels.numpy(), answered.numpy(), len(self.classes))

    def _arguments(self, evaluation: Evaluation | None):
        groups = generator_for(self.seed, GROUPS, self.task)
        return self.logits, self.labels, self.units, self.task, evaluation or self.evaluation, groups


def answers_of(record: Record, task: int) -> Answers:
    """The answers of a run after `task`, counted from 1; RecordError as `masks.learned`."""
    run = learned(record, task)
    members = run.stream.up_to(run.stream.test, task)
    return Answers(
        task=task,
        classes=run.classes,
        units=run.stream.units,
        seed=record.config.seed,
        evaluation=record.config.evaluation,
        logits=logits_of(run.model, run.phi, run.stream.test, members),
        labels=run.stream.test.labels[members],
    )
