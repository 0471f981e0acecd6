"""What every method descends on: the loss of a batch, and the optimiser that takes the steps."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import Train


def classification_loss(kind: str, logits: Tensor, labels: Tensor, task: int, classes_per_task: int) -> Tensor:
    """Mean loss of a batch while task n = `task` is learned. logits [B, units], labels [B] head units.

    `seen`: cross-entropy over the units of tasks 1..n. `task`: binary cross-entropy on the units of each sample's
    own task alone, as in the released code; nothing in it compares tasks with each other.
    """
    if kind == "seen":
        return F.cross_entropy(logits[:, : task * classes_per_task], labels)
    own = (labels // classes_per_task)[:, None] * classes_per_task
    own = own + torch.arange(classes_per_task, device=labels.device)
    target = (own == labels[:, None]).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits.gather(1, own), target)


def optimiser(config: Train, phi: Tensor) -> torch.optim.Optimizer:
    """A fresh optimiser of one flat parameter vector, at the configured learning rate."""
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[config.optimiser]
    return kind([phi], lr=config.learning_rate)
