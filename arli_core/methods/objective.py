"""What every method minimises, the loss of a batch, and the optimiser that takes the steps."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import Train
from ..networks import Model
from ..units import TaskUnits


def classification_loss(kind: str, logits: Tensor, labels: Tensor, task: int, units: TaskUnits) -> Tensor:
    """Mean loss of a batch while task n = `task` is learned. logits [B, at least the units seen], labels [B] units.

    `seen`: cross-entropy over the units of tasks 1..n. `task`: binary cross-entropy on the units of each sample's
    own task alone, as in the released code, averaged; nothing in it compares tasks with each other. Each sample
    counts the same, however many classes its task has.
    """
    logits = logits[:, : units.seen(task)]
    if kind == "seen":
        return F.cross_entropy(logits, labels)
    head_units = torch.arange(logits.shape[1], device=labels.device)
    own = units.task_of(head_units) == units.task_of(labels)[:, None]
    target = (head_units == labels[:, None]).to(logits.dtype)
    size = own.sum(1, keepdim=True).to(logits.dtype)
    weight = (size.mean() / size).expand_as(logits)  # exactly 1 where tasks have equal sizes
    return F.binary_cross_entropy_with_logits(logits[own], target[own], weight[own])


def optimiser(config: Train, phi: Tensor) -> torch.optim.Optimizer:
    """A fresh optimiser of one flat parameter vector, at the configured learning rate."""
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "radam": torch.optim.RAdam}
    return kinds[config.optimiser]([phi], lr=config.learning_rate)


Moments = Mapping[str, Tensor]


class Trainee:
    """A copy of phi [P + Q] that descends step by step, with a fresh optimiser of its own."""

    def __init__(self, config: Train, model: Model, start: Tensor) -> None:
        self.phi = start.clone().requires_grad_()
        self.learnable = model.learnable
        self.optimiser = optimiser(config, self.phi)

    def at(self, learning_rate: float) -> "Trainee":
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        return self

    @property
    def moments(self) -> Moments:
        """The optimiser's state, such as Adam's moments; empty where it has none."""
        state = self.optimiser.state_dict()["state"].get(0, {})
        return {name: value.clone() for name, value in state.items() if isinstance(value, Tensor)}

    @moments.setter
    def moments(self, moments: Moments) -> None:
        blank = self.optimiser.state_dict()
        self.optimiser.load_state_dict({**blank, "state": {0: dict(moments)} if moments else {}})

    def descend(self, loss: Tensor, buffers: Tensor) -> Tensor:
        """One step down the loss, a function of phi; the pass's buffers [Q] replace the old ones. Returns the loss,
        detached."""
        self.follow(torch.autograd.grad(loss, self.phi)[0], buffers)
        return loss.detach()

    def follow(self, gradient: Tensor, buffers: Tensor) -> None:
        """One step against a gradient [P + Q]."""
        self.phi.grad = gradient
        self.optimiser.step()
        with torch.no_grad():
            self.phi[self.learnable :] = buffers
