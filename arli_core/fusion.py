"""The distances between models, and their fusion: D -> dif -> dif* -> phi_f.

Every function takes torch tensors (and gives tensors on the same device) or anything `numpy.asarray` takes (and
gives float64 arrays), so that training, a lecture's 3x3 example and a recorded frame share one implementation.

Symbols: Phi [n+1, P] stacks the task models phi_1..phi_n and, LAST, the base phi_b; D, dif, dif* are [n+1, n+1].
"""

import sys
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

KINDS = ("l1", "l2", "relative")


def distance_matrix(models: Any, kind: str = "l1") -> Any:
    """D_ij = d(Phi_i, Phi_j): symmetric, zero diagonal, >= 0.

    models: Phi [m, P]. kind: `l1` sum of absolute differences, `l2` Euclidean, `relative` l1 over the models'
    mean l1 norm. Returns [m, m]. Raises ValueError on another shape or kind, or `relative` of models all zero.
    """
    models = _matrix(models, "models")
    rows = [_distances(models, row, kind) for row in models]
    return _library(models).stack(rows) / _scale(models, kind)


def base_distances(models: Any, kind: str = "l1") -> Any:
    """The last row of `distance_matrix`, in O(nP) instead of O(n^2 P): all that the fusion of phi_f needs."""
    models = _matrix(models, "models")
    return _distances(models, models[-1], kind) / _scale(models, kind)


def layer_distances(models: Any, sizes: Sequence[int], kind: str = "l1") -> Any:
    """What consecutive parts of the P entries, `sizes` long, bring to D: they sum to D, or for `l2` their squares to
    D∘D.

    models: Phi [m, P]. Returns [L, m, m]. Raises ValueError as `distance_matrix`, and where sizes do not sum to P.
    """
    models = _matrix(models, "models")
    ends = list(accumulate(sizes))
    if not ends or ends[-1] != models.shape[1]:
        raise ValueError(f"sizes must sum to the {models.shape[1]} entries of a model, not {sum(sizes)}")
    parts = [models[:, end - size : end] for size, end in zip(sizes, ends, strict=True)]
    plain = "l2" if kind == "l2" else "l1"
    return _library(models).stack([distance_matrix(part, plain) for part in parts]) / _scale(models, kind)


def dif(distance: Any, eta: float) -> Any:
    """dif = D∘D + eta (Eq. 7): eta > 0 keeps every entry positive and bounds how unequal the weights can be."""
    if not eta >= 0:
        raise ValueError(f"eta must be >= 0, got {eta}")
    distance = _array(distance)
    return distance * distance + eta


def dif_star(dif: Any) -> Any:
    """dif*_ij = dif_ij / sum_k dif_ik (Eq. 8): rows sum to 1, entries >= 0.

    Raises ValueError naming the row whose sum is not a positive number: with eta = 0 that is a model at distance
    zero from all others.
    """
    dif = _matrix(dif, "dif")
    # Each row over its largest entry first: equal entries then sum to m without rounding, and give exactly 1/m.
    largest = _library(dif).stack([row.max() for row in dif])
    for row, value in enumerate(largest.tolist()):
        if not 0 < value < float("inf"):
            raise ValueError(
                f"dif* is undefined: row {row + 1} (index {row}) of dif has largest entry {value:g}, and so no "
                "positive sum; eta > 0 keeps it positive when models coincide"
            )
    scaled = dif / largest[:, None]
    return scaled / scaled.sum(-1)[:, None]


def fuse(dif_star: Any, models: Any) -> Any:
    """Phi' = dif* Phi (Eq. 11). dif_star: [k, m], any of its rows; models: [m, P]. Returns [k, P].

    With the whole matrix the last row of the result is phi_f.
    """
    weights, models = _matrix(dif_star, "dif_star"), _matrix(models, "models")
    if weights.shape[1] != models.shape[0]:
        raise ValueError(f"dif_star weighs {weights.shape[1]} models, but models holds {models.shape[0]}")
    return weights @ models


def base_weight(beta: float, task: int, tasks: int) -> float:
    """alpha = exp(-beta (n-1)/N), the share of phi_f in the next phi_b (after iTAML); task n counts from 1."""
    return float(np.exp(-beta * (task - 1) / tasks))


def _distances(models: Any, row: Any, kind: str) -> Any:
    if kind not in KINDS:
        raise ValueError(f"unknown distance {kind!r}; valid: {', '.join(KINDS)}")
    difference = models - row
    return (difference * difference).sum(-1) ** 0.5 if kind == "l2" else abs(difference).sum(-1)


def _scale(models: Any, kind: str) -> Any:
    if kind != "relative":
        return 1.0
    scale = abs(models).sum(-1).mean()
    if not scale > 0:
        raise ValueError("relative distances need a model that is not zero; all of these are")
    return scale


def _library(array: Any) -> Any:
    return np if isinstance(array, np.ndarray) else sys.modules["torch"]


def _array(values: Any) -> Any:
    # torch is looked up, not imported: whoever passes a tensor has imported it, and pages need not wait for it.
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        return values if values.is_floating_point() else values.double()
    return np.asarray(values, dtype=np.float64)


def _matrix(values: Any, name: str) -> Any:
    array = _array(values)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must be a matrix with at least one row, got shape {tuple(array.shape)}")
    return array
