"""Figures of merit. Pure: arrays in, floats out.

An accuracy matrix R is [N, N]: R[i, j] is the accuracy on task j after learning task i, in [0, 1]; entries above
the diagonal are unknown (None or NaN) and never read. Entries that are not real numbers, and maps that are not
finite, raise ValueError.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from .precision import MOST, array, finite, number, whole


def average_accuracy(accuracy: Any) -> float:
    """mean_j R[N, j] (Lopez-Paz and Ranzato 2017, ACC)."""
    return float(_accuracy(accuracy)[-1].mean())


def average_over_samples(accuracy: Any, samples: Any) -> float:
    """sum_j m_j R[N, j] / sum_j m_j, the share of all test samples answered correctly; m_j = samples[j] of task j.

    The average accuracy weighs every task equally, this one every sample. samples [N], each at least 1.
    """
    last, weights = _accuracy(accuracy)[-1], array(samples, "samples")
    if weights.shape != last.shape or not (weights >= 1).all():
        raise ValueError(f"samples of {len(last)} tasks, at least 1 of each, are needed, got {samples!r:.200}")
    with np.errstate(all="ignore"):
        return float(weights @ last / finite(weights.sum(), "the number of samples"))


def average_incremental_accuracy(accuracy: Any) -> float:
    """mean_i mean_{j<=i} R[i, j], the mean over tasks of the average accuracy after each (Rebuffi et al. 2017)."""
    matrix = _accuracy(accuracy)
    return float(np.mean([row[: task + 1].mean() for task, row in enumerate(matrix)]))


def forgetting(accuracy: Any) -> float:
    """mean_{j<N} ( max_{j<=l<N} R[l, j] - R[N, j] ) (Chaudhry et al. 2018), in [-1, 1]; NaN where N = 1."""
    matrix = _accuracy(accuracy)
    last = len(matrix) - 1
    lost = [matrix[task:last, task].max() - matrix[last, task] for task in range(last)]
    return float(np.mean(lost)) if lost else float("nan")


def backward_transfer(accuracy: Any) -> float:
    """mean_{j<N} ( R[N, j] - R[j, j] ) (Lopez-Paz and Ranzato 2017, BWT), in [-1, 1]; NaN where N = 1."""
    matrix = _accuracy(accuracy)
    gained = (matrix[-1] - matrix.diagonal())[:-1]
    return float(gained.mean()) if len(gained) else float("nan")


def confusion(classes: Any, answers: Any, count: int) -> NDArray[np.int64]:
    """[count, count]: how many samples of the row's class were answered with the column's; classes and answers [S]
    in 0..count-1, else ValueError."""
    count = whole(count, "count", least=1, most=MOST)
    pairs = [array(values, name) for values, name in ((classes, "classes"), (answers, "answers"))]
    if pairs[0].ndim != 1 or pairs[0].shape != pairs[1].shape:
        raise ValueError(f"classes and answers must both be [S], got {pairs[0].shape} and {pairs[1].shape}")
    if not all(((values >= 0) & (values < count) & (values == np.floor(values))).all() for values in pairs):
        raise ValueError(f"classes and answers must be whole numbers from 0 to {count - 1}")
    matrix = np.zeros((count, count), dtype=np.int64)
    np.add.at(matrix, (pairs[0].astype(np.int64), pairs[1].astype(np.int64)), 1)
    return matrix


def auroc(scores: Any, objects: Any) -> NDArray[np.float64]:
    """Per image, the probability that an object pixel scores above a background pixel, ties counting half.

    scores [N, H, W], objects [N, H, W] bool. The Mann-Whitney form of the area under the ROC curve. Returns [N];
    NaN for an image that is all object or all background.
    """
    scores, objects = _maps(scores, objects)
    flat = objects.reshape(len(objects), -1)
    ranks = rankdata(scores.reshape(flat.shape), axis=1)
    inside = flat.sum(1).astype(np.float64)
    pairs = inside * (flat.shape[1] - inside)
    wins = (ranks * flat).sum(1) - inside * (inside + 1) / 2
    return np.divide(wins, pairs, out=np.full(len(flat), np.nan), where=pairs > 0)


def pointing(scores: Any, objects: Any) -> NDArray[np.bool_]:
    """Per image, whether its highest score lies on the object (pointing game, Zhang et al. 2018, without a margin).

    scores [N, H, W], objects [N, H, W] bool. Returns bool [N]; of equal highest scores the first in reading order.
    """
    scores, objects = _maps(scores, objects)
    highest = scores.reshape(len(scores), -1).argmax(1)
    return objects.reshape(len(objects), -1)[np.arange(len(objects)), highest]


def overlap(scores: Any, objects: Any, threshold: float) -> NDArray[np.float64]:
    """Per image, intersection over union of {score > threshold} and the object; NaN where both are empty.

    scores [N, H, W], objects [N, H, W] bool. Returns [N] in [0, 1].
    """
    scores, objects = _maps(scores, objects)
    predicted = scores > number(threshold, "threshold")
    both, either = (predicted & objects).sum((1, 2)), (predicted | objects).sum((1, 2))
    return np.divide(both, either, out=np.full(len(both), np.nan), where=either > 0)


def entropy(scores: Any) -> NDArray[np.float64]:
    """Per image, -sum p log p / log(H W) of p = score / sum of scores: 1 where all pixels score alike, 0 where only
    one scores; NaN where none does.

    scores [N, H, W], not negative. Returns [N] in [0, 1].
    """
    flat = _scores(scores).astype(np.float64)
    flat = flat.reshape(len(flat), math.prod(flat.shape[1:]))
    if flat.size and flat.min() < 0:
        raise ValueError(f"entropy needs scores that are not negative, the least is {flat.min():g}")
    with np.errstate(all="ignore"):
        total = finite(flat.sum(1, keepdims=True), "sums of scores")
    share = np.divide(flat, total, out=np.full(flat.shape, np.nan), where=total > 0)
    logs = np.log(share, out=np.zeros(flat.shape), where=share > 0)
    with np.errstate(all="ignore"):  # of a single pixel
        return -(share * logs).sum(1) / np.log(flat.shape[1])


def is_level(maps: Any) -> NDArray[np.bool_]:
    """[N] whether a map in [0, 1] is the same everywhere, to 1e-6: it singles out no place. maps [N, H, W], else
    ValueError."""
    maps = array(maps, "maps")
    if maps.ndim != 3 or 0 in maps.shape[1:]:
        raise ValueError(f"maps must be [N, H, W], got {maps.shape}")
    with np.errstate(all="ignore"):  # what is not finite is not level
        return np.ptp(maps, (1, 2)) <= 1e-6


def known_mean(values: Any) -> float:
    """Mean over the images with a known value; NaN where there are none, as for AUROC where all is object."""
    values = array(values, "values")
    values = values[~np.isnan(values)]
    with np.errstate(all="ignore"):
        return float(finite(values.mean(), "the mean of values")) if len(values) else float("nan")


def merits(scores: Any, objects: Any | None, threshold: float = 0.5) -> dict[str, NDArray[Any]]:
    """All figures of merit of maps [N, H, W] in [0, 1], per image; the last three only where objects are known.

    coverage: share of pixels above the threshold. mean. entropy. saturation: share of pixels below 0.05 or above
    0.95, where a sigmoid has hardly any gradient. auroc, pointing, overlap (at the threshold).
    """
    scores, threshold = _scores(scores), number(threshold, "threshold")
    figures: dict[str, NDArray[Any]] = {
        "coverage": (scores > threshold).mean((1, 2)),
        "mean": scores.mean((1, 2)),
        "entropy": entropy(scores),
        "saturation": (abs(scores - 0.5) > 0.45).mean((1, 2)),
    }
    if objects is not None:
        figures["auroc"] = auroc(scores, objects)
        figures["pointing"] = pointing(scores, objects)
        figures["overlap"] = overlap(scores, objects, threshold)
    return figures


def _maps(scores: Any, objects: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    scores, objects = _scores(scores), array(objects, "objects") != 0
    if scores.shape != objects.shape:
        raise ValueError(f"scores and objects must both be [N, H, W], got {scores.shape} and {objects.shape}")
    return scores, objects


def _scores(scores: Any) -> NDArray[Any]:
    """Maps [N, H, W], in the precision of the input."""
    numbers = finite(array(scores, "scores"), "scores")
    if numbers.ndim != 3:
        raise ValueError(f"scores and objects must both be [N, H, W], got scores {numbers.shape}")
    return np.asarray(scores) if isinstance(scores, np.ndarray) else numbers


def _accuracy(values: Any) -> NDArray[np.float64]:
    matrix = array(values, "an accuracy matrix", unknown=True)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"an accuracy matrix is square, got shape {matrix.shape}")
    entries = matrix[np.tril_indices(len(matrix))]
    if not ((entries >= 0) & (entries <= 1)).all():
        raise ValueError("accuracies on and below the diagonal must lie in [0, 1]")
    return matrix
