"""iTAML (Rajasegaran et al., CVPR 2020), ARI's predecessor: task models of equal weight, and no attack."""

import math

import torch
from torch import Tensor

from ..config import Itaml
from ..events import Fused
from ..stream import Samples
from ..theory.fusion import base_weight
from ..theory.precision import float64
from ..world import World
from .objective import Trainee, classification_loss


class IncrementalTaskAgnosticMetaLearning:
    """Alg. 1: phi_i after K steps from phi_b on the samples of task i; phi_b <- alpha mean_i phi_i + (1-alpha) phi_b,
    alpha = exp(-beta (n-1)/N). Buffers are averaged too."""

    def __init__(self, config: Itaml, world: World, phi: Tensor) -> None:
        self.config, self.world, self.phi = config, world, phi

    def begin(self, task: int, epoch: int) -> None:
        self.task = task

    def step(self, batch: Samples, learning_rate: float, recorded: bool) -> tuple[float, Fused | None]:
        task_of = self.world.stream.task_of(batch.labels)
        present = task_of.unique().tolist()
        trained = [self.train_task_model(batch[task_of == i], learning_rate) for i in present]
        alpha = base_weight(self.config.fusion.beta, self.task, self.world.stream.tasks)
        mean = torch.stack([phi_i for phi_i, _ in trained]).mean(0)
        self.phi = alpha * mean + (1 - alpha) * self.phi
        if not self.phi.isfinite().all():
            return math.nan, None
        shares = [float(float64(task_of == i).mean()) for i in present]
        return sum(share * loss for share, (_, loss) in zip(shares, trained, strict=True)), None

    def train_task_model(self, samples: Samples, learning_rate: float) -> tuple[Tensor, float]:
        """(phi_i, loss of its first step)."""
        model, units = self.world.model, self.world.stream.units
        trainee = Trainee(self.config.train, model, self.phi).at(learning_rate)
        losses = []
        for _ in range(self.config.fusion.inner_steps):
            logits, _, buffers = model.train(trainee.phi, samples.images)
            loss = classification_loss(self.config.train.loss, logits, samples.labels, self.task, units)
            losses.append(trainee.descend(loss, buffers))
        return trainee.phi.detach(), float(losses[0])

    def state(self) -> dict[str, Tensor]:
        return {"phi": self.phi}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.phi = state["phi"].to(self.world.device)
