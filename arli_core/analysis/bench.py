"""The mask bench: the background attack on chosen images, and how far A moves when it should not.

Images are uint8 [N, C, H, W], held-out ones or a user's own; everything is computed on the CPU from the weights of
`attention.Learned`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ..networks import at_image_size
from ..records import Record
from ..stream import ATTACK, generator_for
from ..theory.attack import MASKS, Attacked, LossAndAttention, Pixels, applied, random_start, signed_step
from ..theory.metrics import known_mean, merits
from .attribution import METHODS, Attribution, attribute, class_indices, last_convolution, look
from .masks import Learned, learned

Images = NDArray[np.uint8]
Maps = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Strike:
    """The attack on N images, step by step; pixels in [0, 1], delta in the same unit."""

    epsilon: float
    attention: Maps  # [N, H, W] of the clean images
    background: Maps  # [N, H, W] B, of the last step
    delta: Maps  # [N, C, H, W] within +-epsilon
    applied: Maps  # [N, C, H, W] B∘delta
    attacked: Maps  # [N, C, H, W] X~
    before: Maps  # [N, K] logits of the classes seen
    after: Maps  # [N, K]
    targets: NDArray[np.int64]  # [N] the class whose loss is raised

    @property
    def let_through(self) -> float:
        """Share of |delta| that B lets through; NaN without an attack."""
        total = float(abs(self.delta).sum())
        return float(abs(self.applied).sum()) / total if total else float("nan")


def varied_attack(
    loss_and_attention: LossAndAttention,
    images: torch.Tensor,
    pixels: Pixels,
    generator: torch.Generator,
    steps: int = 1,
    mask: str = "1 − A∘A",
) -> Attacked:
    """`attack.background_attack` in k = `steps` signed steps of 2 eps / (k + 1) each, with the mask MASKS[mask] of A
    in the last of them; the defaults give the method's own attack."""
    delta, attention = random_start(images, pixels, generator), images
    for _ in range(steps):
        delta, attention = signed_step(loss_and_attention, images, delta, pixels, 2 / (steps + 1))
    return applied(images, delta, MASKS[mask](attention), pixels)


def strike(
    run: Learned,
    images: Images,
    epsilon: float,
    targets: NDArray[np.int64] | None = None,
    steps: int = 1,
    seed: int = 0,
    mask: str = "1 − A∘A",
) -> Strike:
    """`varied_attack` on the loss of `targets` [N] among the classes seen; by default of the network's own answers,
    as for images without a known class.

    epsilon in [0, 1] of the pixel range; steps from 1; mask one of attack.MASKS. The network is in evaluation mode,
    unlike in training. ValueError for other values, and for targets or images that do not fit.
    """
    if mask not in MASKS:
        raise ValueError(f"mask {mask!r}: choose from {', '.join(MASKS)}")
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must be in [0, 1] of the pixel range, got {epsilon}")
    if steps < 1:
        raise ValueError(f"steps must be 1 or more, got {steps}")
    module, x = run.module, run.normalised(images)
    clean = look(module, x)
    labels = class_indices(clean.logits.argmax(1) if targets is None else targets, torch.as_tensor(clean.logits))

    def loss_and_attention(probe: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, attention = module(probe)
        return F.cross_entropy(logits, labels), at_image_size(attention, probe)

    mean, std = run.stream.mean, run.stream.std
    pixels = Pixels.of(mean, std, epsilon)
    attacked = varied_attack(loss_and_attention, x, pixels, generator_for(seed, ATTACK), steps, mask)
    scale, shift = std.view(-1, 1, 1), mean.view(-1, 1, 1)
    return Strike(
        epsilon,
        clean.attention,
        attacked.background[:, 0].numpy(),
        (attacked.delta * scale).numpy(),
        (attacked.background * attacked.delta * scale).numpy(),
        (attacked.images * scale + shift).clamp(0, 1).numpy(),
        clean.logits,
        look(module, attacked.images).logits,
        labels.numpy(),
    )


def attributions(run: Learned, images: Images, targets: NDArray[np.int64]) -> Iterator[Attribution]:
    """The attribution of the logits `targets` by each of Captum's methods in turn; no Grad-CAM where there is no
    convolution to look at. ValueError as `attribute`."""
    module, x = run.module, run.normalised(images)
    layer = last_convolution(module, x)
    for method in METHODS:
        if method != "Grad-CAM" or layer is not None:
            yield attribute(module, x, targets, method, layer)


def drift(record: Record, images: Images) -> tuple[NDArray[np.int64], Maps]:
    """(tasks [T], A [T, N, H, W]): attention of the same images after each finished task."""
    tasks = range(1, len(record.tasks) + 1)
    maps = []
    for task in tasks:
        run = learned(record, task)
        maps.append(look(run.module, run.normalised(images)).attention)
    return np.array(tasks), np.stack(maps)


@dataclass(frozen=True)
class Moved:
    """How A responds to a change of the image that leaves the object where it is, or moves it along."""

    change: str
    correlation: float  # of A before and after, mean over the images
    difference: float  # largest |A - A'|
    auroc: float | None  # of A after the change; None where no object is known
    same_answer: float  # share of images


def sensitivity(run: Learned, images: Images, objects: NDArray[np.bool_] | None) -> list[Moved]:
    """A in the batch compared with A of each image alone, and shifted, brighter, darker, paler and inverted.

    A of a shifted image is shifted back, and compared where both maps have values.
    """
    module = run.module
    batch = look(module, run.normalised(images))
    moves = []
    alone = [look(module, run.normalised(images[n : n + 1])) for n in range(len(images))]
    attention = np.concatenate([answer.attention for answer in alone])
    logits = np.concatenate([answer.logits for answer in alone])
    moves.append(_moved("seen alone, not in this batch", batch.attention, attention, batch.logits, logits, objects))
    for change, changed in _changes(images):
        answer = look(module, run.normalised(changed))
        moves.append(_moved(change, batch.attention, answer.attention, batch.logits, answer.logits, objects))
    step = max(1, images.shape[2] // 10)
    shifted = np.pad(images, ((0, 0), (0, 0), (step, 0), (step, 0)), mode="edge")[:, :, :-step, :-step]
    answer = look(module, run.normalised(shifted))
    inside = None if objects is None else objects[:, :-step, :-step]
    unshifted, before = answer.attention[:, step:, step:], batch.attention[:, :-step, :-step]
    moves.append(_moved("shifted by a tenth", before, unshifted, batch.logits, answer.logits, inside))
    return moves


def _changes(images: Images) -> Iterator[tuple[str, Images]]:
    values = images.astype(np.float32)
    level = values.mean((1, 2, 3), keepdims=True)
    for change, changed in (
        ("brighter by 20%", values + 51),
        ("darker by 20%", values - 51),
        ("half the contrast", (values - level) / 2 + level),
        ("inverted", 255 - values),
    ):
        yield change, np.rint(changed).clip(0, 255).astype(np.uint8)


def _moved(
    change: str, before: Maps, after: Maps, answers: Maps, answers_after: Maps, objects: NDArray[np.bool_] | None
) -> Moved:
    first, second = (maps.reshape(len(maps), -1).astype(np.float64) for maps in (before, after))
    first, second = first - first.mean(1, keepdims=True), second - second.mean(1, keepdims=True)
    norms = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    correlation = np.divide((first * second).sum(1), norms, out=np.full(len(first), np.nan), where=norms > 0)
    auroc = None if objects is None else known_mean(merits(after, objects)["auroc"])
    same_answer = float((answers.argmax(1) == answers_after.argmax(1)).mean())
    return Moved(change, known_mean(correlation), float(abs(before - after).max()), auroc, same_answer)
