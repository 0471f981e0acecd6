"""Anti-retroactive interference (Wang et al., ECCV 2022): Alg. 1 trains task models, Alg. 2 fuses them.

Read `parts` beside the paper: reset, clean step, background attack, attacked step; D -> dif -> dif* -> phi_f.
"""

import math
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ..attack import Attacked, Pixels, background_attack
from ..config import Ari
from ..consensus import gram_matrix
from ..errors import ConfigError
from ..events import Fused
from ..fusion import Undefined, base_weight, base_weights, dif, dif_star, distance_matrix, fuse, layer_distances
from ..networks import at_image_size
from ..precision import NotFinite, float64
from ..tasks import ATTACK, Samples, generator_for
from . import Setting
from .objective import Trainee, classification_loss
from .parts import Attack, AttackedStep, CleanStep, Fusion, Measured, Part


class AntiRetroactiveInterference:
    def __init__(self, config: Ari, setting: Setting, phi: Tensor) -> None:
        self.config, self.setting, self.phi = config, setting, phi
        stream = setting.stream
        self.pixels = Pixels.of(stream.mean, stream.std, config.attack.epsilon)

    def begin(self, task: int, epoch: int) -> None:
        self.task = task
        self.noise = generator_for(self.config.seed, ATTACK, task, epoch, device=self.setting.device)

    def step(self, batch: Samples, learning_rate: float, recorded: bool) -> tuple[float, Fused | None]:
        told = deque(self.parts(batch, learning_rate, recorded), maxlen=1).pop()
        assert isinstance(told, Measured)
        return told.loss, told.fused

    def parts(self, batch: Samples, learning_rate: float, recorded: bool) -> Iterator[Part]:
        """One iteration as it happens; who asks for the parts one by one sees what `step` does."""
        phi_b = self.phi
        task_of = self.setting.stream.task_of(batch.labels)
        present = task_of.unique().tolist()

        # Alg. 1: one model per task, each from phi_b, on its own samples.
        phi, losses = [], []
        for i in present:
            start = phi_b if self.config.fusion.reset or not phi else phi[-1]
            phi_i, loss = yield from self.train_task_model(i, start, batch[task_of == i], learning_rate)
            phi.append(phi_i)
            losses.append(loss)

        # Alg. 2, Eq. 7, 8 and 11: Phi [n+1, P] has the base last; the last row of dif* fuses.
        models = torch.stack([*phi, phi_b])
        phi_f = self.fused(models)
        alpha = base_weight(self.config.fusion.beta, self.task, self.setting.stream.tasks)
        self.phi = self.next_base(phi_b, phi_f, alpha, learning_rate)
        yield Fusion(models, phi_f, alpha, self.phi)
        if not self.phi.isfinite().all():
            yield Measured(math.nan, None)
            return

        found = float64(torch.stack(losses)).cpu().numpy()  # [m-1, 3]
        shares = float64(task_of[:, None] == torch.tensor(present, device=task_of.device)).mean(0)
        mean = float(found[:, 0] @ shares.cpu().numpy())
        yield Measured(mean, self.measure(models, present, alpha, found) if recorded else None)

    def train_task_model(
        self, i: int, start: Tensor, samples: Samples, learning_rate: float
    ) -> Generator[Part, None, tuple[Tensor, Tensor]]:
        """(phi_i, losses): phi_i after K rounds of clean step, attack and attacked step from a copy of `start`;
        losses [3]: of the first clean, the last clean and the last attacked step."""
        trainee = Trainee(self.config.train, self.setting.model, start).at(learning_rate)

        def descend(images: Tensor) -> Tensor:
            logits, _, buffers = self.setting.model.train(trainee.phi, images)
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
        """X~ and how it was made; None where the attack has no strength: a second clean step takes its place."""
        if self.config.attack.epsilon == 0:
            return None

        def loss_and_attention(images: Tensor) -> tuple[Tensor, Tensor]:
            logits, attention, _ = self.setting.model.train(phi, images)
            return self.loss(logits, samples.labels), at_image_size(attention, images)

        return background_attack(loss_and_attention, samples.images, self.pixels, self.noise)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        units = self.setting.stream.units
        return classification_loss(self.config.train.loss, logits, labels, self.task, units)

    def fused(self, models: Tensor) -> Tensor:
        """phi_f [P + Q] of models [m, P + Q]. Distances are of the P learnable entries; buffers are fused with the
        weights of the whole model."""
        model = self.setting.model
        learnable = models[:, : model.learnable]
        if self.config.fusion.over == "model":
            return fuse(self.weights(learnable), models)[0]
        parts = [fuse(self.weights(part), part)[0] for part in learnable.split(model.learnable_sizes, 1)]
        buffers = (self.weights(learnable) @ models[:, model.learnable :])[0]  # of no entries without BatchNorm
        return torch.cat([*parts, buffers])

    def next_base(self, phi_b: Tensor, phi_f: Tensor, alpha: float, learning_rate: float) -> Tensor:
        """phi_b' = phi_f (Eq. 11); with beta > 0, after iTAML, alpha phi_f + (1 - alpha) phi_b."""
        return alpha * phi_f + (1 - alpha) * phi_b

    def weights(self, models: Tensor) -> Tensor:
        """What each of m models brings to the fused one: [1, m], by default the last row of dif*."""
        config = self.config.fusion
        if config.weights == "adaptive":
            try:
                with _naming_eta():
                    return base_weights(models, config.distance, config.eta)
            except NotFinite:
                return models.new_full((1, len(models)), math.nan)
        weights = models.new_full((1, len(models)), 1 / len(models))
        if config.weights == "last":
            weights = weights.zero_()
            weights[0, -2] = 1
        return weights

    def measure(self, models: Tensor, present: list[int], alpha: float, losses: np.ndarray) -> Fused:
        """The whole matrices, in float64."""
        models = float64(models[:, : self.setting.model.learnable])
        kind = self.config.fusion.distance
        distance = distance_matrix(models, kind)
        gram, norm = gram_matrix(models)
        with _naming_eta():
            star = dif_star(dif(distance, self.config.fusion.eta))
        return Fused(
            present=tuple(present),
            distance=distance.cpu().numpy(),
            dif_star=star.cpu().numpy(),
            gram=gram.cpu().numpy(),
            norm=float(norm),
            alpha=alpha,
            losses=losses[:, 1],
            attacked_losses=losses[:, 2],
            layers=layer_distances(models, [*self.setting.model.layers.values()], kind).cpu().numpy(),
        )

    def state(self) -> dict[str, Tensor]:
        return {"phi": self.phi}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.phi = state["phi"].to(self.setting.device)


@contextmanager
def _naming_eta() -> Iterator[None]:
    """Eq. 8 has no answer where eta = 0 and models coincide: that is for the user to mend."""
    try:
        yield
    except Undefined as error:
        raise ConfigError(f"fusion.eta: {error}") from None
