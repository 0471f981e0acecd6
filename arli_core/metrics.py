"""Figures of merit. Pure: arrays in, floats out.

An accuracy matrix R is [N, N]: R[i, j] is the accuracy on task j after learning task i, in [0, 1]; entries above
the diagonal are unknown (None or NaN) and never read.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


def average_accuracy(accuracy: Any) -> float:
    """mean_j R[N, j] (Lopez-Paz and Ranzato 2017, ACC)."""
    return float(_accuracy(accuracy)[-1].mean())


def average_incremental_accuracy(accuracy: Any) -> float:
    """mean_i mean_{j<=i} R[i, j], the mean over tasks of the average accuracy after each (Rebuffi et al. 2017)."""
    known = _accuracy(accuracy)
    return float(np.mean([row[: task + 1].mean() for task, row in enumerate(known)]))


def forgetting(accuracy: Any) -> float:
    """mean_{j<N} ( max_{j<=l<N} R[l, j] - R[N, j] ) (Chaudhry et al. 2018), in [-1, 1]; NaN where N = 1."""
    known = _accuracy(accuracy)
    last = len(known) - 1
    lost = [known[task:last, task].max() - known[last, task] for task in range(last)]
    return float(np.mean(lost)) if lost else float("nan")


def backward_transfer(accuracy: Any) -> float:
    """mean_{j<N} ( R[N, j] - R[j, j] ) (Lopez-Paz and Ranzato 2017, BWT), in [-1, 1]; NaN where N = 1."""
    known = _accuracy(accuracy)
    gained = (known[-1] - known.diagonal())[:-1]
    return float(gained.mean()) if len(gained) else float("nan")


def auroc(scores: Any, objects: Any) -> NDArray[np.float64]:
    """Per image, the probability that an object pixel scores above a background pixel, ties counting half.

    scores [N, H, W], objects [N, H, W] bool. The Mann-Whitney form of the area under the ROC curve. Returns [N];
    NaN for an image that is all object or all background.
    """
    scores, objects = np.asarray(scores), np.asarray(objects, dtype=bool)
    if scores.shape != objects.shape or scores.ndim != 3:
        raise ValueError(f"scores and objects must both be [N, H, W], got {scores.shape} and {objects.shape}")
    flat = objects.reshape(len(objects), -1)
    ranks = rankdata(scores.reshape(flat.shape), axis=1)
    inside = flat.sum(1).astype(np.float64)
    pairs = inside * (flat.shape[1] - inside)
    wins = (ranks * flat).sum(1) - inside * (inside + 1) / 2
    return np.divide(wins, pairs, out=np.full(len(flat), np.nan), where=pairs > 0)


def _accuracy(values: Any) -> NDArray[np.float64]:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"an accuracy matrix is square, got shape {matrix.shape}")
    known = matrix[np.tril_indices(len(matrix))]
    if not ((known >= 0) & (known <= 1)).all():
        raise ValueError("accuracies on and below the diagonal must lie in [0, 1]")
    return matrix
