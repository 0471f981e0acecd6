"""Anti-retroactive interference (Wang et al., ECCV 2022): Alg. 1 trains task models, Alg. 2 fuses them.

Read `parts` beside the paper: reset, clean step, background attack, attacked step; then the fusion, `weighing.fused`,
which calls `theory/fusion.py`, where D -> dif -> dif* stand.
"""

import math
from collections import deque
from collections.abc import Generator, Iterator

import torch
from torch import Tensor

from ..config import Ari
from ..events import Fused
from ..networks import at_image_size
from ..stream import ATTACK, Samples, generator_for
from ..theory.attack import Attacked, Pixels, background_attack
from ..theory.fusion import base_weight
from ..theory.precision import float64
from ..world import World
from .objective import Trainee, classification_loss
from .parts import Attack, AttackedStep, CleanStep, Fusion, Measured, Part
from .weighing import fused, matrices


class AntiRetroactiveInterference:
    def __init__(self, config: Ari, world: World, phi: Tensor) -> None:
        self.config, self.world, self.phi = config, world, phi
        stream = world.stream
        self.pixels = Pixels.of(stream.mean, stream.std, config.attack.epsilon)

    def begin(self, task: int, epoch: int) -> None:
        self.task = task
        self.noise = generator_for(self.config.seed, ATTACK, task, epoch, device=self.world.device)

    def step(self, batch: Samples, learning_rate: float, recorded: bool) -> tuple[float, Fused | None]:
        last = deque(self.parts(batch, learning_rate, recorded), maxlen=1).pop()  # all parts run, the last is kept
        assert isinstance(last, Measured)
        return last.loss, last.fused

    def parts(self, batch: Samples, learning_rate: float, recorded: bool) -> Iterator[Part]:
        """One iteration as it happens, part by part; `step` runs through the same parts."""
        phi_b = self.phi
        task_of = self.world.stream.task_of(batch.labels)
        present = task_of.unique().tolist()

        # Alg. 1: one model per task on its own samples, each from phi_b; without reset, as in the released code, each
        # from the one before.
        task_models, losses = [], []
        for i in present:
            start = phi_b if self.config.fusion.reset or not task_models else task_models[-1]
            phi_i, loss = yield from self.train_task_model(i, start, batch[task_of == i], learning_rate)
            task_models.append(phi_i)
            losses.append(loss)

        # Alg. 2, Eq. 7, 8 and 11: Phi [m, P + Q] has the base last; the last row of dif* fuses.
        models = torch.stack([*task_models, phi_b])
        phi_f = fused(models, self.config.fusion, self.world.model)
        alpha = base_weight(self.config.fusion.beta, self.task, self.world.stream.tasks)
        self.phi = self.next_base(phi_b, phi_f, alpha, learning_rate)
        yield Fusion(models, phi_f, alpha, self.phi)
        if not self.phi.isfinite().all():
            yield Measured(math.nan, None)
            return

        of_tasks = float64(torch.stack(losses)).cpu().numpy()  # [m-1, 3]
        shares = float64(task_of[:, None] == torch.tensor(present, device=task_of.device)).mean(0)
        mean = float(of_tasks[:, 0] @ shares.cpu().numpy())
        record = (
            matrices(models, present, alpha, of_tasks, self.config.fusion, self.world.model) if recorded else None
        )
        yield Measured(mean, record)

    def train_task_model(
        self, i: int, start: Tensor, samples: Samples, learning_rate: float
    ) -> Generator[Part, None, tuple[Tensor, Tensor]]:
        """(phi_i, losses): phi_i after K rounds of clean step, attack and attacked step from a copy of `start`;
        losses [3]: of the first clean, the last clean and the last attacked step."""
        trainee = Trainee(self.config.train, self.world.model, start).at(learning_rate)

        def descend(images: Tensor) -> Tensor:
            logits, _, buffers = self.world.model.train(trainee.phi, images)
            return trainee.descend(self.loss(logits, samples.labels), buffers)

        losses = []
        for _ in range(self.config.fusion.inner_steps):
            losses.append(descend(samples.images))
            yield CleanStep(i, samples, trainee.phi.detach(), losses[-1])
            struck = self.attacked(trainee.phi.detach(), samples)
            yield Attack(i, struck)
            losses.append(descend(struck.images if struck else samples.images))
            yield AttackedStep(i, trainee.phi.detach(), losses[-1])
        return trainee.phi.detach(), torch.stack([losses[0], *losses[-2:]])

    def attacked(self, phi: Tensor, samples: Samples) -> Attacked | None:
        """X~ and how it was made; None where epsilon is 0: a second clean step takes its place."""
        if self.config.attack.epsilon == 0:
            return None

        def loss_and_attention(images: Tensor) -> tuple[Tensor, Tensor]:
            logits, attention, _ = self.world.model.train(phi, images)
            return self.loss(logits, samples.labels), at_image_size(attention, images)

        return background_attack(loss_and_attention, samples.images, self.pixels, self.noise)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        units = self.world.stream.units
        return classification_loss(self.config.train.loss, logits, labels, self.task, units)

    def next_base(self, phi_b: Tensor, phi_f: Tensor, alpha: float, learning_rate: float) -> Tensor:
        """phi_b' = phi_f (Eq. 11); with beta > 0, after iTAML, alpha phi_f + (1 - alpha) phi_b. The learning rate is
        for `ari_adam` alone."""
        return alpha * phi_f + (1 - alpha) * phi_b

    def state(self) -> dict[str, Tensor]:
        return {"phi": self.phi}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.phi = state["phi"].to(self.world.device)
