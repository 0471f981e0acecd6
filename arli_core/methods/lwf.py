"""Learning without forgetting (Li and Hoiem, ECCV 2016): on new samples, answer for old classes as before.

Eq. 2-4 there: L_new + lambda L_old, L_old = -sum_c y'_c log p'_c over the old classes, both softmax at temperature T:
y' of the model as it was before the task, p' of the model now.
"""

import torch
from torch import Tensor

from ..config import Lwf
from ..stream import Samples
from ..world import World
from .baselines import Descent


class LearningWithoutForgetting(Descent):
    def __init__(self, config: Lwf, world: World, phi: Tensor) -> None:
        super().__init__(config, world, phi)
        self.distillation = config.distillation
        self.teacher = phi

    def begin(self, task: int, epoch: int) -> None:
        super().begin(task, epoch)
        if epoch == 0:
            self.teacher = self.phi

    def objective(self, batch: Samples) -> tuple[Tensor, Tensor]:
        logits, _, buffers = self.world.model.train(self.trainee.phi, batch.images)
        loss = self.loss(logits, batch.labels)
        old = self.world.stream.seen(self.task - 1)
        if old:
            with torch.no_grad():
                teacher_logits, _ = self.world.model(self.teacher, batch.images)
            temperature = self.distillation.temperature
            target = (teacher_logits[:, :old] / temperature).softmax(1)
            answer = (logits[:, :old] / temperature).log_softmax(1)
            loss = loss - self.distillation.strength * (target * answer).sum(1).mean()
        return loss, buffers

    def state(self) -> dict[str, Tensor]:
        return {**super().state(), "before": self.teacher}

    def restore(self, state: dict[str, Tensor]) -> None:
        super().restore(state)
        self.teacher = state["before"].to(self.world.device)
