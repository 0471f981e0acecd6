"""The background attack: a perturbation that strikes where attention is low. Pure: no network, no data.

Symbols: x [B, C, H, W] normalised images, A [B, 1, H, W] attention in (0, 1), B = 1 - A∘A the background mask,
epsilon [C, 1, 1] the largest change per channel in units of x.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

LossAndAttention = Callable[[Tensor], tuple[Tensor, Tensor]]  # images -> (scalar loss, A)


class Pixels(NamedTuple):
    """The range of valid pixels and the attack's strength, in units of the normalised images; each [C, 1, 1]."""

    low: Tensor
    high: Tensor
    epsilon: Tensor

    @classmethod
    def of(cls, mean: Tensor, std: Tensor, epsilon: float) -> "Pixels":
        """From a data set's channel mean and std of pixels in [0, 1], and epsilon in the same pixel units."""
        mean, std = mean.view(-1, 1, 1), std.view(-1, 1, 1)
        return cls((0 - mean) / std, (1 - mean) / std, epsilon / std)


class Attacked(NamedTuple):
    images: Tensor  # [B, C, H, W] X~, valid pixels
    delta: Tensor  # [B, C, H, W] within +-epsilon
    background: Tensor  # [B, 1, H, W]


def background_mask(attention: Any) -> Any:
    """B = 1 - A∘A (supplement, section 2): near 1 on the background, near 0 on the object."""
    return 1 - attention * attention


def background_attack(
    loss_and_attention: LossAndAttention, images: Tensor, pixels: Pixels, generator: torch.Generator
) -> Attacked:
    """X~ = clip(X + B∘delta), one signed gradient step from a random start.

    delta0 ~ U(-eps, eps); g = gradient of the loss at X + delta0 with respect to delta0;
    delta = clip(delta0 + eps sign(g), -eps, eps); B from the attention of the same forward pass.

    `loss_and_attention` maps images to (scalar loss, A); only the gradient of its input is computed. The result is
    detached and lies within valid pixels and within eps∘B of `images`.
    """
    delta = random_start(images, pixels, generator)
    delta, attention = signed_step(loss_and_attention, images, delta, pixels)
    return applied(images, delta, background_mask(attention), pixels)


def random_start(images: Tensor, pixels: Pixels, generator: torch.Generator) -> Tensor:
    """delta0 ~ U(-eps, eps) [B, C, H, W]."""
    noise = torch.rand(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    return (2 * noise - 1) * pixels.epsilon


def signed_step(
    loss_and_attention: LossAndAttention, images: Tensor, delta: Tensor, pixels: Pixels, size: float = 1.0
) -> tuple[Tensor, Tensor]:
    """(delta after one step of `size` eps up the loss, clipped to +-eps; A of X + delta before the step)."""
    probe = (images + delta).requires_grad_()
    loss, attention = loss_and_attention(probe)
    (gradient,) = torch.autograd.grad(loss, probe)
    stepped = delta + size * pixels.epsilon * gradient.sign()
    return torch.clamp(stepped, -pixels.epsilon, pixels.epsilon), attention.detach()


def applied(images: Tensor, delta: Tensor, background: Tensor, pixels: Pixels) -> Attacked:
    """X~ = clip(X + B∘delta) to valid pixels."""
    return Attacked(torch.clamp(images + background * delta, pixels.low, pixels.high), delta, background)


# Alternatives for B, to see what the square does; the method uses only the first.
MASKS: dict[str, Callable[[Any], Any]] = {
    "1 − A∘A": background_mask,
    "1 − A": lambda attention: 1 - attention,
    "A < 1/2": lambda attention: (attention < 0.5) * 1.0,
}
