"""What dif* means for the consensus of the models: eigenvalues, contraction, and residuals of Eq. 12 and 13.

T = dif* is row-stochastic. Everything here needs small matrices only: the residuals of the models themselves come
from their Gram matrix G = X X^T, X = Phi - phi_b, which is recorded in place of the models.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def check_row_stochastic(matrix: Any, tolerance: float = 1e-6) -> None:
    """Raises ValueError unless T is square and finite with entries >= 0 and every row sum within `tolerance` of 1.

    The message names the first faulty row, counted from 1 and as an index.
    """
    for row, values in enumerate(_square(matrix)):
        where = f"row {row + 1} (index {row})"
        if not np.isfinite(values).all():
            raise ValueError(f"{where} holds {values[~np.isfinite(values)][0]}; all entries must be finite")
        if (values < 0).any():
            raise ValueError(f"{where} holds {values.min():g}; all entries must be >= 0")
        if abs(values.sum() - 1) > tolerance:
            raise ValueError(f"{where} sums to {values.sum():.9g}, not to 1")


def spectrum(matrix: Any) -> NDArray[np.complex128]:
    """All eigenvalues of T, the largest modulus first; |lambda_2| is `abs(spectrum(T)[1])`."""
    values = np.linalg.eigvals(_square(matrix)).astype(np.complex128)
    return values[np.argsort(-abs(values), kind="stable")]


def dobrushin(matrix: Any) -> float:
    """tau(T) = 1 - min_ij sum_k min(T_ik, T_jk), in [0, 1] (Dobrushin 1956; T row-stochastic).

    One fusion shrinks the largest distance between two models to at most tau times what it was.
    """
    rows = _square(matrix)
    overlap = np.minimum(rows[:, None, :], rows[None, :, :]).sum(-1)
    return max(0.0, float(1 - overlap.min()))


def stationary(matrix: Any) -> Array:
    """The left eigenvector pi T = pi, sum 1: each model's weight in the limit of repeated fusion.

    For a symmetric dif it is (row sums of dif) / (sum of dif). Raises ValueError where T is not row-stochastic, or
    lambda = 1 is not simple (separate camps), so that pi is not unique.
    """
    check_row_stochastic(matrix)
    transition = _square(matrix)
    transition = transition / transition.sum(1, keepdims=True)  # from the tolerance of the check to rounding
    size = len(transition)
    # One at least: T 1 = 1. Where T is near the identity, rounding alone may give T - I full rank.
    camps = max(1, size - int(np.linalg.matrix_rank(transition - np.eye(size))))
    if camps != 1:
        raise ValueError(f"lambda = 1 is an eigenvalue {camps} times: {camps} camps, no single stationary vector")
    system = np.vstack([transition.T - np.eye(size), np.ones(size)])
    return np.asarray(np.linalg.lstsq(system, np.append(np.zeros(size), 1.0))[0], dtype=np.float64)


def residual_eq12(matrix: Any) -> float:
    """max_i |(T 1)_i - 1| (Eq. 12): rounding alone, for any row-normalised matrix."""
    return float(abs(_square(matrix).sum(1) - 1).max())


def residual_eq13(matrix: Any, gram: Any, norm: float) -> float:
    """||T Phi - Phi||_F / ||Phi||_F (Eq. 13), from the Gram matrix G of Phi - phi_b and norm = ||Phi||_F.

    ||(T - I) Phi||^2 = tr((T - I) G (T - I)^T), as rows of T - I sum to 0 and so ignore the shift by phi_b. Taken
    of the shifted models, G loses nothing to cancellation when they nearly agree.
    """
    step = _square(matrix)
    step = step - np.eye(len(step))
    squared = float(np.trace(step @ _square(gram) @ step.T))
    return max(squared, 0.0) ** 0.5 / norm if norm > 0 else 0.0


def gram_matrix(models: Any) -> tuple[Any, Any]:
    """(G, norm): G = X X^T of X = Phi - phi_b, last row and column zero, and ||Phi||_F. models: Phi [m, P]."""
    shifted = models - models[-1]
    return shifted @ shifted.T, (models * models).sum() ** 0.5


def settled(values: Any, limit: float) -> int | None:
    """The first index from which all values stay at or below `limit`; None where the last one is above it."""
    above = np.flatnonzero(~(np.asarray(values, dtype=np.float64) <= limit))
    first = int(above[-1]) + 1 if len(above) else 0
    return first if first < len(values) else None


def deviation_from_uniform(matrix: Any) -> float:
    """max |T_ij - 1/m|: 0 where every model has an equal say."""
    square = _square(matrix)
    return float(abs(square - 1 / len(square)).max())


def _square(matrix: Any) -> Array:
    array = np.asarray(matrix, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not array.size:
        raise ValueError(f"a square matrix is needed, got shape {array.shape}")
    return array
