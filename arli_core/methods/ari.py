"""ARI: anti-retroactive interference (Wang et al., ECCV 2022), one iteration of it.

Every task i seen so far gets its own copy phi_i of the base model phi_b. The copy is trained on its task's samples,
clean and under an attack that strikes the background. The distances between all models, regularised and
row-normalised, are dif*; its last row fuses them into the next phi_b. docs/method.md says what is the paper's and
what is ours.
"""

import math

import numpy as np
import torch
from torch import Tensor

from ..attack import Pixels, background_attack
from ..config import Ari
from ..consensus import gram_matrix
from ..errors import ConfigError
from ..events import Fused
from ..fusion import base_distances, base_weight, dif, dif_star, distance_matrix, fuse
from ..tasks import ATTACK, Samples, generator_for
from . import Setting
from .objective import classification_loss, optimiser


class AntiRetroactiveInterference:
    def __init__(self, config: Ari, setting: Setting, phi: Tensor) -> None:
        self.config, self.setting, self.phi = config, setting, phi
        stream = setting.stream
        pixels = Pixels.of(stream.mean, stream.std, config.attack.epsilon)
        self.pixels = Pixels(*(each.to(setting.device) for each in pixels))

    def begin(self, task: int, epoch: int) -> None:
        self.task = task
        self.noise = generator_for(self.config.seed, ATTACK, task, epoch, device=self.setting.device)

    def step(self, batch: Samples, learning_rate: float, recorded: bool) -> tuple[float, Fused | None]:
        phi_b, eta = self.phi, self.config.fusion.eta
        task_of = self.setting.stream.task_of(batch.labels)
        present = task_of.unique().tolist()

        # Alg. 1: one model per task, each from phi_b, on its own samples.
        trained = [self.train_task_model(phi_b, batch[task_of == i], learning_rate) for i in present]
        phi = [phi_i for phi_i, _ in trained]

        # Alg. 2, Eq. 7, 8 and 11: Phi [n+1, P] has the base last; the last row of dif* fuses.
        models = torch.stack([*phi, phi_b])
        row = dif(base_distances(models, self.config.fusion.distance)[None], eta)  # [1, m]
        if not row.isfinite().all():
            return math.nan, None
        weights = self.normalise(row)
        phi_f = fuse(weights, models)[0]
        alpha = base_weight(self.config.fusion.beta, self.task, self.setting.stream.tasks)
        self.phi = alpha * phi_f + (1 - alpha) * phi_b

        losses = torch.stack([loss for _, loss in trained]).double().cpu().numpy()  # [m-1, 3]
        shares = (task_of[:, None] == torch.tensor(present, device=task_of.device)).double().mean(0)
        loss = float(losses[:, 0] @ shares.cpu().numpy())
        return loss, self.measure(models, present, alpha, losses) if recorded else None

    def train_task_model(self, phi_b: Tensor, samples: Samples, learning_rate: float) -> tuple[Tensor, Tensor]:
        """(phi_i, losses): phi_i after K rounds of clean step, attack and attacked step from a copy of phi_b;
        losses [3]: of the first clean, the last clean and the last attacked step."""
        phi_i = phi_b.clone().requires_grad_()
        descent = optimiser(self.config.train, phi_i)  # fresh: no moments leak from task to task
        for group in descent.param_groups:
            group["lr"] = learning_rate

        def descend(images: Tensor) -> Tensor:
            loss, _ = self.loss_and_attention(phi_i, images, samples.labels)
            (phi_i.grad,) = torch.autograd.grad(loss, phi_i)
            descent.step()
            return loss.detach()

        losses = []
        for _ in range(self.config.fusion.inner_steps):
            losses.append(descend(samples.images))
            frozen = phi_i.detach()
            attacked = background_attack(
                lambda images, phi=frozen: self.loss_and_attention(phi, images, samples.labels),
                samples.images,
                self.pixels,
                self.noise,
            )
            losses.append(descend(attacked.images))
        return phi_i.detach(), torch.stack([losses[0], *losses[-2:]])

    def loss_and_attention(self, phi: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits, attention = self.setting.model(phi, images)
        per_task = self.setting.stream.per_task
        return classification_loss(self.config.train.loss, logits, labels, self.task, per_task), attention

    def measure(self, models: Tensor, present: list[int], alpha: float, losses: np.ndarray) -> Fused:
        """The whole matrices, in float64: on the CPU where the device has none."""
        models = (models.cpu() if models.device.type == "mps" else models).double()
        distance = distance_matrix(models, self.config.fusion.distance)
        gram, norm = gram_matrix(models)
        return Fused(
            present=tuple(present),
            distance=distance.cpu().numpy(),
            dif_star=self.normalise(dif(distance, self.config.fusion.eta)).cpu().numpy(),
            gram=gram.cpu().numpy(),
            norm=float(norm),
            alpha=alpha,
            losses=losses[:, 1],
            attacked_losses=losses[:, 2],
        )

    @staticmethod
    def normalise(regularised: Tensor) -> Tensor:
        """Eq. 8; with eta = 0 it has no answer where models coincide."""
        try:
            return dif_star(regularised)
        except ValueError as error:
            raise ConfigError(f"fusion.eta: {error}") from None

    def state(self) -> dict[str, Tensor]:
        return {"phi": self.phi}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.phi = state["phi"].to(self.setting.device)
