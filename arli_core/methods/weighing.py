"""The weights of the models in the fused one: those of Alg. 2, as `config.Fusion` sets them, and their record."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ..config import Fusion
from ..errors import ConfigError
from ..events import Fused
from ..networks import Model
from ..theory.consensus import gram_matrix
from ..theory.fusion import Undefined, base_weights, dif, dif_star, distance_matrix, fuse, layer_distances
from ..theory.precision import NotFinite, float64


def weights(models: Tensor, settings: Fusion) -> Tensor:
    """The weights in phi_f of m models [m, P], the base last: [1, m], by default the last row of dif* (Eq. 8).

    NaN where the models are not finite.
    """
    if settings.weights == "adaptive":
        try:
            with _naming_eta():
                return base_weights(models, settings.distance, settings.eta)
        except NotFinite:
            return models.new_full((1, len(models)), math.nan)
    uniform = models.new_full((1, len(models)), 1 / len(models))
    if settings.weights == "uniform":
        return uniform
    newest = torch.zeros_like(uniform)
    newest[0, -2] = 1
    return newest


def fused(models: Tensor, settings: Fusion, model: Model) -> Tensor:
    """phi_f [P + Q] of models [m, P + Q] (Eq. 11). Distances are of the P learnable entries; buffers are fused with
    the weights of the whole model."""
    learnable = models[:, : model.learnable]
    if settings.over == "model":
        return fuse(weights(learnable, settings), models)[0]
    parts = [fuse(weights(part, settings), part)[0] for part in learnable.split(model.learnable_sizes, 1)]
    buffers = (weights(learnable, settings) @ models[:, model.learnable :])[0]  # empty without BatchNorm
    return torch.cat([*parts, buffers])


def matrices(
    models: Tensor, present: list[int], alpha: float, losses: np.ndarray, settings: Fusion, model: Model
) -> Fused:
    """D, dif* and the Gram matrix of a fusion in float64, whole, as they are recorded.

    losses [m-1, 3]: of each task's first clean, last clean and last attacked step.
    """
    models = float64(models[:, : model.learnable])
    distance = distance_matrix(models, settings.distance)
    gram, norm = gram_matrix(models)
    with _naming_eta():
        star = dif_star(dif(distance, settings.eta))
    return Fused(
        present=tuple(present),
        distance=distance.cpu().numpy(),
        dif_star=star.cpu().numpy(),
        gram=gram.cpu().numpy(),
        norm=float(norm),
        alpha=alpha,
        losses=losses[:, 1],
        attacked_losses=losses[:, 2],
        layers=layer_distances(models, [*model.layers.values()], settings.distance).cpu().numpy(),
    )


@contextmanager
def _naming_eta() -> Iterator[None]:
    """Where eta = 0 and models coincide, Eq. 8 is undefined: the error names the setting to change."""
    try:
        yield
    except Undefined as error:
        raise ConfigError(f"fusion.eta: {error}") from None
