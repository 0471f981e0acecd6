"""Elastic weight consolidation (Kirkpatrick et al., PNAS 2017): weights that mattered are held in place.

Eq. 3 there, summed over the tasks before: L(phi) + lambda/2 sum_k sum_j F_kj (phi_j - phi*_kj)^2, with phi*_k the
model after task k and F_k the diagonal of its Fisher information on that task's samples.
"""

import torch
from torch import Tensor
from torch.func import grad, vmap

from ..config import Ewc
from ..stream import IMPORTANCE, Samples, generator_for
from ..world import World
from .baselines import Descent

SAMPLES = 200  # of a task, for its Fisher information
AT_ONCE = 20  # samples whose gradients are taken together: as many copies of phi


class ElasticWeightConsolidation(Descent):
    def __init__(self, config: Ewc, world: World, phi: Tensor) -> None:
        super().__init__(config, world, phi)
        self.strength = config.consolidation.strength
        # The penalty is one quadratic, sum_j F phi^2 - 2 a phi + c, with F = sum_k F_k, a = sum_k F_k phi*_k and
        # c = sum_k F_k phi*_k^2.
        self.importance, self.anchor, self.constant = (torch.zeros_like(phi) for _ in range(3))

    def begin(self, task: int, epoch: int) -> None:
        super().begin(task, epoch)
        if epoch == 0 and task > 1:
            importance = self.fisher(task - 1)
            self.importance = self.importance + importance
            self.anchor = self.anchor + importance * self.phi
            self.constant = self.constant + importance * self.phi**2

    def objective(self, batch: Samples) -> tuple[Tensor, Tensor]:
        loss, buffers = super().objective(batch)
        phi = self.trainee.phi
        penalty = (self.importance * phi**2 - 2 * self.anchor * phi + self.constant).sum()
        return loss + self.strength / 2 * penalty, buffers

    def fisher(self, task: int) -> Tensor:
        """F [P + Q]: mean square of d log p(y|x) / d phi over samples x of the task, y drawn from the model's own
        p(y|x) over the classes seen by then; 0 for buffers."""
        stream, model, phi = self.world.stream, self.world.model, self.phi
        generator = generator_for(self.config.seed, IMPORTANCE, task)
        members = stream.of_task(stream.train, task)
        picks = torch.randperm(len(members), generator=generator)[:SAMPLES].to(members.device)
        images = stream.train[members[picks]].images
        classes = stream.seen(task)
        with torch.no_grad():
            chances = torch.cat(
                [model(phi, part)[0][:, :classes].softmax(1) for part in images.split(min(100, stream.train.chunk))]
            )
        answers = torch.multinomial(chances.cpu(), 1, generator=generator)[:, 0].to(images.device)

        def log_likelihood(phi: Tensor, image: Tensor, label: Tensor) -> Tensor:
            logits, _ = model(phi, image[None])
            return logits[0, :classes].log_softmax(0).gather(0, label[None])[0]

        gradients = vmap(grad(log_likelihood), (None, 0, 0))
        squares = torch.zeros_like(phi)
        size = min(AT_ONCE, stream.train.chunk)
        for part, labels in zip(images.split(size), answers.split(size), strict=True):
            squares += (gradients(phi, part, labels) ** 2).sum(0)
        squares[model.learnable :] = 0
        return squares / len(images)

    def state(self) -> dict[str, Tensor]:
        penalty = {"importance": self.importance, "anchor": self.anchor, "constant": self.constant}
        return {**super().state(), **penalty}

    def restore(self, state: dict[str, Tensor]) -> None:
        super().restore(state)
        self.importance = state["importance"].to(self.world.device)
        self.anchor = state["anchor"].to(self.world.device)
        self.constant = state["constant"].to(self.world.device)
