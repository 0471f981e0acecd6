"""What ARI's released code does, which is not what the paper says.

The models of the inner loop are never reset: they train in a chain, all with one optimiser, so its moments leak from
task to task. The stored models are one and the same tensor, so whatever the fusion weights, the fused model is the
last one of the chain. BatchNorm's buffers are neither reset nor fused. The attack's loss is over all classes, unseen
ones included. (Its attack also clips images to another data set's range; here it is the data's own.)
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import AriReleased
from ..events import Fused
from ..networks import at_image_size
from ..stream import ATTACK, Samples, generator_for
from ..theory.attack import Pixels, background_attack
from ..theory.fusion import base_weight, fuse
from ..world import World
from .baselines import Descent

ETA = 0.85


class ReleasedAri(Descent):
    def __init__(self, config: AriReleased, world: World, phi: Tensor) -> None:
        super().__init__(config, world, phi)
        self.settings = config
        self.pixels = Pixels.of(world.stream.mean, world.stream.std, config.attack.epsilon)

    def begin(self, task: int, epoch: int) -> None:
        super().begin(task, epoch)  # one optimiser for the whole task
        self.noise = generator_for(self.config.seed, ATTACK, task, epoch, device=self.world.device)

    def step(self, batch: Samples, learning_rate: float, recorded: bool) -> tuple[float, Fused | None]:
        phi_b, trainee = self.phi, self.trainee.at(learning_rate)
        phi, sizes, learnable = trainee.phi, self.world.model.learnable_sizes, self.world.model.learnable
        task_of = self.world.stream.task_of(batch.labels)
        distances, losses = [], []
        for i in task_of.unique().tolist():
            samples = batch[task_of == i]
            for _ in range(self.settings.fusion.inner_steps):
                losses.append(self.descend(samples.images, samples.labels) * len(samples) / len(batch))
                self.descend(self.attacked(samples), samples.labels)
            change = (phi.detach() - phi_b)[:learnable]
            distances.append(torch.stack([part.abs().sum() for part in change.split(sizes)]))
        dif = torch.stack(distances) ** 2 + ETA  # [n, tensors]
        alpha = base_weight(self.settings.fusion.beta, self.task, self.world.stream.tasks)
        phi_f = self.fused(dif / dif.sum(0))
        with torch.no_grad():
            phi[:learnable] = alpha * phi_f + (1 - alpha) * phi_b[:learnable]
        self.phi = phi.detach().clone()
        loss = float(sum(losses[:: self.settings.fusion.inner_steps]))
        return loss if self.phi.isfinite().all() else math.nan, None

    def fused(self, weights: Tensor) -> Tensor:
        """phi_f [P] from weights [n, tensors] of n aliases of one model: that model, whatever the weights."""
        model = self.world.model
        phi = self.trainee.phi.detach()[: model.learnable]
        parts = zip(phi.split(model.learnable_sizes), weights.T, strict=True)
        return torch.cat([fuse(column[None], part.expand(len(weights), -1))[0] for part, column in parts])

    def descend(self, images: Tensor, labels: Tensor) -> Tensor:
        logits, _, buffers = self.world.model.train(self.trainee.phi, images)
        return self.trainee.descend(self.loss(logits, labels), buffers)

    def attacked(self, samples: Samples) -> Tensor:
        phi = self.trainee.phi.detach()

        def loss_and_attention(images: Tensor) -> tuple[Tensor, Tensor]:
            logits, attention, _ = self.world.model.train(phi, images)
            return F.cross_entropy(logits, samples.labels), at_image_size(attention, images)

        return background_attack(loss_and_attention, samples.images, self.pixels, self.noise).images
