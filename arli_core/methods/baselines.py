"""What ARI is compared with: plain descent, on the new samples alone (fine-tuning, the lower bound) or on new
samples mixed with exemplars (experience replay; Chaudhry et al. 2019). `learn` gives it the batches of either."""

import math

import torch
from torch import Tensor

from ..config import Finetune, Replay
from ..events import Fused
from ..tasks import Samples
from . import Setting
from .objective import classification_loss, optimiser


class Descent:
    def __init__(self, config: Finetune | Replay, setting: Setting, phi: Tensor) -> None:
        self.config, self.setting = config, setting
        self.phi = phi
        self.parameters = phi.clone().requires_grad_()  # what the optimiser changes in place

    def begin(self, task: int, epoch: int) -> None:
        self.task = task
        if epoch == 0:
            self.optimiser = optimiser(self.config.train, self.parameters)

    def step(self, batch: Samples, learning_rate: float, recorded: bool) -> tuple[float, Fused | None]:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        logits, _ = self.setting.model(self.parameters, batch.images)
        per_task = self.setting.stream.per_task
        loss = classification_loss(self.config.train.loss, logits, batch.labels, self.task, per_task)
        (self.parameters.grad,) = torch.autograd.grad(loss, self.parameters)
        self.optimiser.step()
        self.phi = self.parameters.detach().clone()
        return loss.item() if self.phi.isfinite().all() else math.nan, None

    def state(self) -> dict[str, Tensor]:
        moments = self.optimiser.state_dict()["state"].get(0, {})
        kept = {f"optimiser.{name}": value for name, value in moments.items() if isinstance(value, Tensor)}
        return {"phi": self.phi, **kept}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.phi = state["phi"].to(self.setting.device)
        self.parameters = self.phi.clone().requires_grad_()
        moments = {name.removeprefix("optimiser."): value for name, value in state.items() if name != "phi"}
        self.optimiser = optimiser(self.config.train, self.parameters)
        blank = self.optimiser.state_dict()
        self.optimiser.load_state_dict({**blank, "state": {0: moments} if moments else {}})
