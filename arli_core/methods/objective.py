"""What every method descends on: the loss of a batch, and the optimiser that takes the steps."""

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
    own task alone, as in the released code, their mean; nothing in it compares tasks with each other. Each sample
    counts alike, however many classes its task has.
    """
    seen = logits[:, : units.seen(task)]
    if kind == "seen":
        return F.cross_entropy(seen, labels)
    every = torch.arange(seen.shape[1], device=labels.device)
    own = units.task_of(every) == units.task_of(labels)[:, None]
    target = (every == labels[:, None]).to(seen.dtype)
    size = own.sum(1, keepdim=True).to(seen.dtype)
    weight = (size.mean() / size).expand_as(seen)  # exactly 1 where tasks are alike
    return F.binary_cross_entropy_with_logits(seen[own], target[own], weight[own])


def optimiser(config: Train, phi: Tensor) -> torch.optim.Optimizer:
    """A fresh optimiser of one flat parameter vector, at the configured learning rate."""
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "radam": torch.optim.RAdam}
    return kinds[config.optimiser]([phi], lr=config.learning_rate)


Moments = Mapping[str, Tensor]


class Trainee:
    """A copy of phi [P + Q] and its own, fresh optimiser: what descends, step by step."""

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
        """What the optimiser remembers of its steps; empty where it remembers nothing."""
        state = self.optimiser.state_dict()["state"].get(0, {})
        return {name: value.clone() for name, value in state.items() if isinstance(value, Tensor)}

    @moments.setter
    def moments(self, moments: Moments) -> None:
        blank = self.optimiser.state_dict()
        self.optimiser.load_state_dict({**blank, "state": {0: dict(moments)} if moments else {}})

    def descend(self, loss: Tensor, buffers: Tensor) -> Tensor:
        """One step down the loss, a function of phi; the pass's buffers [Q] take the place of the old. The loss."""
        self.follow(torch.autograd.grad(loss, self.phi)[0], buffers)
        return loss.detach()

    def follow(self, gradient: Tensor, buffers: Tensor) -> None:
        """One step against a gradient [P + Q]."""
        self.phi.grad = gradient
        self.optimiser.step()
        with torch.no_grad():
            self.phi[self.learnable :] = buffers
