"""A task's first iteration made again, part by part, from the recorded weights.

`AntiRetroactiveInterference.parts` runs as in training, from the same phi_b, with the same batch and noise. On the
kind of device that the run was trained on, all is equal up to rounding; elsewhere the attack's noise differs. The
losses that training does not need, those after a step, are measured in addition.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import WEIGHING, Ari
from ..demand import refuse_too_large
from ..errors import RecordError
from ..events import Fused
from ..methods import create
from ..methods.ari import AntiRetroactiveInterference
from ..methods.parts import Attack, AttackedStep, CleanStep, Fusion, Measured
from ..methods.weighing import weights as weights_of
from ..records import Frames, Record
from ..schedule import first_batch
from ..stream import INITIAL, Samples, Stream, generator_for
from ..theory.attack import Attacked
from ..theory.fusion import base_distances, dif
from ..theory.precision import float64
from .masks import learned, world_of

Array = NDArray[np.float64]
Pixels = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Struck:
    """The background attack on a task's N samples, pixels in [0, 1] and delta in the same unit."""

    attention: Pixels  # [N, H, W] A of X + delta0, as sqrt(1 - B)
    background: Pixels  # [N, H, W]
    delta: Pixels  # [N, C, H, W] within +-epsilon
    applied: Pixels  # [N, C, H, W] B∘delta
    images: Pixels  # [N, C, H, W] X~


@dataclass(frozen=True, eq=False)
class TaskModel:
    """What phi_i went through on its task's N samples; with K > 1, in the last of K rounds."""

    task: int
    images: Pixels  # [N, C, H, W] X in [0, 1]
    labels: tuple[str, ...]  # N class names
    struck: Struck | None  # None where the attack has no strength
    answers: tuple[str, ...]  # N class names: of X~, before the attacked step
    clean_loss: float  # of X, before the clean step
    loss_after: float  # of X, after it
    attacked_loss: float  # of X~, before the attacked step
    attacked_loss_after: float  # of X~, after it
    clean_distance: float  # from phi_b after the clean step, as D measures it
    distance: float  # from phi_b in the end


@dataclass(frozen=True, eq=False)
class Iteration:
    """A task's first iteration. n tasks are present; m = n + 1 models, the base last."""

    task: int
    learning_rate: float
    loss: float
    models: tuple[TaskModel, ...]
    fused: Fused
    dif: Array  # [m, m]
    weights: Array  # [tensors, m] of the models in phi_f: one row, or one for each parameter tensor
    sizes: tuple[int, ...]  # [tensors] how many parameters each row is for
    losses: dict[str, Array]  # [n] on each task's samples, by model: φ_b, φ_f, next φ_b
    base_moved: float  # distance of the next phi_b from phi_b
    fused_moved: float  # distance of phi_f from phi_b

    @property
    def row(self) -> Array:
        """[m] the weights of phi_f: of all parameters, their mean over the tensors."""
        return np.average(self.weights, 0, self.sizes)

    def departure(self, frames: Frames) -> float:
        """The largest difference from the recorded first frame, as a share of the recorded value: of D, dif*, alpha
        and the losses. At rounding level where the iteration is the one that was trained."""
        present = frames.present[0]
        pairs = (
            (self.fused.distance, frames.matrix("distance", 0)),
            (self.fused.dif_star, frames.matrix("dif_star", 0)),
            (np.array([self.fused.alpha, self.loss]), np.array([frames.alpha[0], frames.loss[0]])),
            (self.fused.losses, frames.losses[0][present]),
            (self.fused.attacked_losses, frames.attacked_losses[0][present]),
        )
        if any(ours.shape != theirs.shape for ours, theirs in pairs):
            return float("inf")
        return max(float((abs(ours - theirs) / np.maximum(abs(theirs), 1e-12)).max()) for ours, theirs in pairs)


def first_of(record: Record, task: int) -> Iteration:
    """The first iteration of a task, counted from 1, on the CPU.

    Raises RecordError for a task that has not begun and for a method without these parts; ConfigError where the
    iteration is too large for this computer; other errors as `masks.learned`, as where the data have changed.
    """
    config = record.config
    if not isinstance(config, Ari):
        raise RecordError(f"{config.method} has no parts to look at: only {', '.join(WEIGHING)} weigh models by dif*")
    record.frames(task)  # RecordError where there is none
    if task > 1:
        world = learned(record, task - 1)
        phi = world.phi
    else:
        world = world_of(record)
        phi = world.model.initial(generator_for(config.seed, INITIAL))
    refuse_too_large(config, world)
    method = create(config, world, phi)
    assert isinstance(method, AntiRetroactiveInterference)
    method.begin(task, 0)
    batch, rate = first_batch(config, world.stream, task)
    return _Observer(method).iteration(task, batch, rate)


class _Observer:
    """Goes through the parts of one iteration and measures after each, without an effect on the method."""

    def __init__(self, method: AntiRetroactiveInterference) -> None:
        self.method, self.config = method, method.config
        self.stream, self.model = method.world.stream, method.world.model
        self.samples: dict[int, Samples] = {}
        self.clean: dict[int, tuple[Tensor, float]] = {}  # phi_i after the clean step, and the loss before it
        self.struck: dict[int, Attack] = {}
        self.attacked: dict[int, tuple[Tensor, float]] = {}

    def iteration(self, task: int, batch: Samples, learning_rate: float) -> Iteration:
        phi_b = self.method.phi
        fusion, measured = self._watch(batch, learning_rate)
        if measured.fused is None:
            raise RecordError(f"the weights after the first iteration of task {task} are not finite: nothing to show")
        models = fusion.models
        cleans = self._from_base([phi for phi, _ in self.clean.values()], phi_b)
        ends = self._from_base(list(models[:-1]), phi_b)
        learnable, sizes = models[:, : self.model.learnable], [self.model.learnable]
        if self.config.fusion.over == "tensor":
            sizes = self.model.learnable_sizes
        weights = torch.cat([weights_of(part, self.config.fusion) for part in learnable.split(sizes, 1)])
        bases = {"φ_b": phi_b, "φ_f": fusion.phi_f, "next φ_b": fusion.following}
        return Iteration(
            task=task,
            learning_rate=learning_rate,
            loss=measured.loss,
            models=tuple(self._model(i, *moved) for i, *moved in zip(self.samples, cleans, ends, strict=True)),
            fused=measured.fused,
            dif=dif(measured.fused.distance, self.config.fusion.eta),
            weights=float64(weights).numpy(),
            sizes=tuple(sizes),
            losses={
                name: np.array([self._loss(phi, samples) for samples in self.samples.values()])
                for name, phi in bases.items()
            },
            fused_moved=self._from_base([fusion.phi_f], phi_b)[0],
            base_moved=self._from_base([fusion.following], phi_b)[0],
        )

    def _watch(self, batch: Samples, learning_rate: float) -> tuple[Fusion, Measured]:
        """Keeps what happens to each task's model; of K rounds, the last."""
        fusion = measured = None
        for part in self.method.parts(batch, learning_rate, recorded=True):
            match part:
                case CleanStep():
                    self.samples[part.task] = part.samples
                    self.clean[part.task] = part.phi.clone(), float(part.loss)
                case Attack():
                    self.struck[part.task] = part
                case AttackedStep():
                    self.attacked[part.task] = part.phi.clone(), float(part.loss)
                case Fusion():
                    fusion = part
                case Measured():
                    measured = part
        assert fusion is not None and measured is not None
        return fusion, measured

    def _model(self, i: int, clean_distance: float, distance: float) -> TaskModel:
        samples, struck = self.samples[i], self.struck[i].struck
        (clean, clean_loss), (end, attacked_loss) = self.clean[i], self.attacked[i]
        hit = Samples(struck.images, samples.labels) if struck else samples
        classes = self.stream.seen(self.method.task)
        logits, _, _ = self.model.train(clean, hit.images)
        return TaskModel(
            task=i,
            images=_pixels(self.stream, samples.images),
            labels=_names(self.stream, samples.labels),
            struck=_struck(self.stream, struck) if struck else None,
            answers=_names(self.stream, logits[:, :classes].argmax(1)),
            clean_loss=clean_loss,
            loss_after=self._loss(clean, samples),
            attacked_loss=attacked_loss,
            attacked_loss_after=self._loss(end, hit),
            clean_distance=clean_distance,
            distance=distance,
        )

    def _loss(self, phi: Tensor, samples: Samples) -> float:
        """In training mode, as the losses that training reports."""
        logits, _, _ = self.model.train(phi, samples.images)
        return float(self.method.loss(logits, samples.labels))

    def _from_base(self, models: Sequence[Tensor], phi_b: Tensor) -> list[float]:
        """How far models are from phi_b, as D measures it."""
        stack = float64(torch.stack([*models, phi_b])[:, : self.model.learnable])
        return base_distances(stack, self.config.fusion.distance)[:-1].tolist()


def _names(stream: Stream, units: Tensor) -> tuple[str, ...]:
    return tuple(stream.classes[unit] for unit in units.tolist())


def _pixels(stream: Stream, images: Tensor) -> Pixels:
    scale, shift = stream.std.view(-1, 1, 1), stream.mean.view(-1, 1, 1)
    return (images * scale + shift).clamp(0, 1).numpy()


def _struck(stream: Stream, attacked: Attacked) -> Struck:
    scale, background = stream.std.view(-1, 1, 1), attacked.background[:, 0]
    return Struck(
        attention=(1 - background).clamp(0, 1).sqrt().numpy(),
        background=background.numpy(),
        delta=(attacked.delta * scale).numpy(),
        applied=(attacked.background * attacked.delta * scale).numpy(),
        images=_pixels(stream, attacked.images),
    )
