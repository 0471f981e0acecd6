"""What is kept of one task: matrices, losses and probe attention, frame by frame."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..events import Attention, Step
from ..theory.consensus import deviation_from_uniform
from ..theory.fusion import dif, dif_star


@dataclass(frozen=True)
class Frames:
    """What is kept of one task: F frames of m = n+1 models, the base last, and A moments of probe attention.

    present [F, n] says which tasks took part; the matrices have NaN rows and columns where one did not. They have
    m = 0, and losses n = 0 columns, where the method fuses nothing.
    """

    iterations: int  # of the whole task
    iteration: NDArray[np.int64]  # [F]
    loss: NDArray[np.float64]  # [F]
    learning_rate: NDArray[np.float64]  # [F]
    present: NDArray[np.bool_]  # [F, n]
    distance: NDArray[np.float64]  # [F, m, m]
    dif_star: NDArray[np.float64]  # [F, m, m]
    gram: NDArray[np.float64]  # [F, m, m]
    norm: NDArray[np.float64]  # [F]
    alpha: NDArray[np.float64]  # [F]
    losses: NDArray[np.float64]  # [F, n]
    attacked_losses: NDArray[np.float64]  # [F, n]
    layers: NDArray[np.float32]  # [F, L, m, m] each layer's contribution to the distance; L = 0 in older records
    attention: NDArray[np.uint8]  # [A, K, H, W]
    attention_at: NDArray[np.int64]  # [A] iterations

    def __len__(self) -> int:
        return len(self.iteration)

    @property
    def fuses(self) -> bool:
        return self.distance.size > 0

    def matrix(self, name: str, frame: int) -> NDArray[np.float64]:
        """One frame's distance, dif_star or gram, of the models present only."""
        models = np.append(self.present[frame], True)
        return getattr(self, name)[frame][np.ix_(models, models)]

    def of_dif_star(self, measure: Callable[[NDArray[np.float64]], float]) -> list[float]:
        """A measure of each frame's dif*."""
        return [measure(self.matrix("dif_star", frame)) for frame in range(len(self))]

    @property
    def deviations(self) -> list[float]:
        """The deviation of each frame's dif* from uniform."""
        return self.of_dif_star(deviation_from_uniform)

    def with_eta(self, eta: float) -> "Frames":
        """The same frames with dif* (Eq. 7 and 8) of the recorded D at another eta; the rest as it was recorded.

        Raises ValueError where dif* is undefined: eta = 0 and models that coincide.
        """
        stars = np.full_like(self.distance, np.nan)
        for frame, (star, present) in enumerate(zip(stars, self.present, strict=True)):
            models = np.append(present, True)
            star[np.ix_(models, models)] = dif_star(dif(self.matrix("distance", frame), eta))
        return replace(self, dif_star=stars)

    def of_layer(self, layer: int, eta: float) -> "Frames":
        """The same frames with D of one layer, counted from 0, and dif* computed from it. Raises ValueError as
        `with_eta`."""
        return replace(self, distance=self.layers[:, layer].astype(np.float64)).with_eta(eta)

    def joined(self, later: "Frames") -> "Frames":
        """These frames followed by later ones of the same task."""
        if self.layers.shape[1] != later.layers.shape[1]:  # an older record is resumed: it began without layers
            self, later = (replace(frames, layers=frames.layers[:, :0]) for frames in (self, later))
        parts = {name: (value, getattr(later, name)) for name, value in vars(self).items() if name != "iterations"}
        arrays = {
            name: np.concatenate(both) if len(both[0]) and len(both[1]) else both[0] if len(both[0]) else both[1]
            for name, both in parts.items()
        }
        return Frames(iterations=max(self.iterations, later.iterations), **arrays)

    @classmethod
    def of(cls, task: int, steps: tuple[Step, ...], attentions: tuple[Attention, ...]) -> "Frames":
        fusions = [step.fused for step in steps if step.fused is not None]
        n, size = (task, task + 1) if fusions else (0, 0)
        matrices = {name: np.full((len(fusions), size, size), np.nan) for name in ("distance", "dif_star", "gram")}
        losses = {name: np.full((len(fusions), n), np.nan) for name in ("losses", "attacked_losses")}
        count = len(fusions[0].layers) if fusions else 0
        layers = np.full((len(fusions), count, size, size), np.nan, dtype=np.float32)
        present = np.zeros((len(fusions), n), dtype=bool)
        for frame, fusion in enumerate(fusions):
            tasks = np.array(fusion.present) - 1
            models = np.append(tasks, n)
            present[frame, tasks] = True
            for name, values in matrices.items():
                values[frame][np.ix_(models, models)] = getattr(fusion, name)
            layers[frame][np.ix_(np.arange(count), models, models)] = fusion.layers
            for name, values in losses.items():
                values[frame, tasks] = getattr(fusion, name)
        return cls(
            iterations=steps[0].iterations if steps else 0,
            iteration=np.array([step.iteration for step in steps], dtype=np.int64),
            loss=np.array([step.loss for step in steps]),
            learning_rate=np.array([step.learning_rate for step in steps]),
            present=present,
            **matrices,
            norm=np.array([fusion.norm for fusion in fusions]),
            alpha=np.array([fusion.alpha for fusion in fusions]),
            **losses,
            layers=layers,
            attention=np.array([moment.attention for moment in attentions], dtype=np.uint8),
            attention_at=np.array([moment.iteration for moment in attentions], dtype=np.int64),
        )
