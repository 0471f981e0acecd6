"""The distances between models, and their fusion: D -> dif -> dif* -> phi_f.

Every function takes torch tensors (and returns tensors on the same device) or anything `numpy.asarray` takes (and
returns float64 arrays), so that training, a lecture's 3x3 example and a recorded frame share one implementation.
Entries that are not real numbers, and results that are not finite, raise ValueError.

Symbols: Phi [n+1, P] stacks the task models phi_1..phi_n and, LAST, the base phi_b; D, dif, dif* are [n+1, n+1].
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from .precision import NotFinite, array, finite, matrix, number, real, whole

KINDS = ("l1", "l2", "relative")


class Undefined(ValueError):
    """A row of dif that cannot be normalised."""


@np.errstate(all="ignore")
def distance_matrix(models: Any, kind: str = "l1") -> Any:
    """D_ij = d(Phi_i, Phi_j): symmetric, zero diagonal, >= 0.

    models: Phi [m, P]. kind: `l1` sum of absolute differences, `l2` Euclidean, `relative` l1 over the models'
    mean l1 norm. Returns [m, m]. Raises ValueError for another shape or kind, or `relative` where all models are
    zero; NotFinite, a ValueError, where distances are not finite.
    """
    models = matrix(models, "models")
    return finite(_distance_matrix(models, kind) / _scale(models, kind), "distances")


@np.errstate(all="ignore")
def base_distances(models: Any, kind: str = "l1") -> Any:
    """The last row of `distance_matrix`, in O(nP) instead of O(n^2 P). Raises ValueError as it does."""
    models = matrix(models, "models")
    return finite(_base_distances(models, kind), "distances")


@np.errstate(all="ignore")
def layer_distances(models: Any, sizes: Sequence[int], kind: str = "l1") -> Any:
    """What consecutive parts of the P entries, `sizes` long, contribute to D: they sum to D, for `l2` their squares
    to D∘D.

    models: Phi [m, P]. Returns [L, m, m]. Raises ValueError as `distance_matrix`, and where sizes do not sum to P.
    """
    models = matrix(models, "models")
    lengths = [whole(size, "sizes", least=1) for size in array(sizes, "sizes").ravel()]
    ends = list(accumulate(lengths))
    if not ends or ends[-1] != models.shape[1]:
        raise ValueError(f"sizes must sum to the {models.shape[1]} entries of a model, not {sum(lengths)}")
    parts = [models[:, end - length : end] for length, end in zip(lengths, ends, strict=True)]
    plain = "l2" if kind == "l2" else "l1"
    layers = array_namespace(models).stack([_distance_matrix(part, plain) for part in parts])
    return finite(layers / _scale(models, kind), "distances")


@np.errstate(all="ignore")
def dif(distance: Any, eta: float) -> Any:
    """dif = D∘D + eta (Eq. 7): eta > 0 keeps every entry positive and bounds how unequal the weights can be.

    Raises ValueError where eta is not a finite number >= 0, or dif not finite.
    """
    distance = real(distance, "distances")
    return finite(_dif(distance, eta), "dif")


def dif_star(dif: Any) -> Any:
    """dif*_ij = dif_ij / sum_k dif_ik (Eq. 8): rows sum to 1, entries >= 0.

    Raises ValueError naming the row: NotFinite where it is not finite, Undefined where an entry is negative or its
    sum is not positive; with eta = 0 that is a model at distance zero from all others.
    """
    dif = matrix(dif, "dif")
    xp = array_namespace(dif)
    # First divide each row by its largest entry: equal entries then sum to m without rounding, and give exactly 1/m.
    largest = xp.max(dif, axis=1)
    extremes = xp.stack([xp.min(dif, axis=1), largest], axis=1)
    for row, (low, high) in enumerate(extremes.tolist()):  # waits for a GPU only once
        if not (abs(low) < float("inf") and abs(high) < float("inf")):
            raise NotFinite(f"dif* is undefined: row {row + 1} (index {row}) of dif is not finite")
        if low < 0:
            raise Undefined(f"dif* is undefined: row {row + 1} (index {row}) of dif holds {low:g}, which is below 0")
        if high == 0:
            raise Undefined(
                f"dif* is undefined: row {row + 1} (index {row}) of dif has largest entry 0, and so no positive sum; "
                "eta > 0 keeps it positive when models coincide"
            )
    scaled = dif / largest[:, None]
    return scaled / xp.sum(scaled, axis=-1)[:, None]


@np.errstate(all="ignore")
def base_weights(models: Any, kind: str, eta: float) -> Any:
    """The last row of dif* [1, m], in O(nP): all that the fusion of phi_f needs. Raises ValueError as
    `distance_matrix`, `dif` and `dif_star`; on a GPU it waits for the row once, where these would wait three times.
    """
    models = matrix(models, "models")
    return dif_star(_dif(_base_distances(models, kind)[None], eta))


@np.errstate(all="ignore")
def fuse(dif_star: Any, models: Any) -> Any:
    """Phi' = dif* Phi (Eq. 11). dif_star: [k, m], any of its rows; models: [m, P]. Returns [k, P].

    With the whole matrix the last row of the result is phi_f. Values that are not finite are passed on: training
    checks its result. Raises ValueError where the shapes do not fit, or only one of the two is a tensor.
    """
    weights, models = matrix(dif_star, "dif_star"), matrix(models, "models")
    if weights.shape[1] != models.shape[0]:
        raise ValueError(f"dif_star weighs {weights.shape[1]} models, but models holds {models.shape[0]}")
    first, second = (f"{type(values).__name__} {values.dtype} on {values.device}" for values in (weights, models))
    if first != second:
        raise ValueError(f"dif_star and models must be of the same kind, not {first} and {second}")
    return weights @ models


@np.errstate(all="ignore")
def base_weight(beta: float, task: int, tasks: int) -> float:
    """alpha = exp(-beta (n-1)/N), the share of phi_f in the next phi_b (after iTAML); task n counts from 1."""
    beta, task, tasks = number(beta, "beta"), whole(task, "task", least=1), whole(tasks, "tasks", least=1)
    return float(finite(np.exp(-beta * (task - 1) / tasks), "alpha"))


def _distance_matrix(models: Any, kind: str) -> Any:
    return array_namespace(models).stack([_distances(models, row, kind) for row in models])


def _base_distances(models: Any, kind: str) -> Any:
    return _distances(models, models[-1], kind) / _scale(models, kind)


def _distances(models: Any, row: Any, kind: str) -> Any:
    if kind not in KINDS:
        raise ValueError(f"unknown distance {kind!r:.60}; valid: {', '.join(KINDS)}")
    xp, difference = array_namespace(models), models - row
    if kind == "l2":
        return xp.sum(difference * difference, axis=-1) ** 0.5
    return xp.sum(xp.abs(difference), axis=-1)


def _scale(models: Any, kind: str) -> Any:
    if kind != "relative":
        return 1.0
    xp = array_namespace(models)
    scale = xp.mean(xp.sum(xp.abs(models), axis=-1))
    if scale == 0:
        raise ValueError("relative distances need a model that is not zero; all of these are")
    return scale


def _dif(distance: Any, eta: float) -> Any:
    eta = number(eta, "eta")
    if eta < 0:
        raise ValueError(f"eta must be >= 0, got {eta:g}")
    return distance * distance + eta
