"""What dif* means for the consensus of the models: eigenvalues, contraction, and residuals of Eq. 12 and 13.

T = dif* is row-stochastic. Everything here needs small matrices only: the residuals of the models themselves come
from their Gram matrix G = X X^T, X = Phi - phi_b, which is recorded in place of the models. Entries that are not real
numbers, a matrix or a result that is not finite, and shapes that do not fit raise ValueError.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .precision import MOST, array, finite, number, whole
from .precision import matrix as matrix_of

Array = NDArray[np.float64]
ROUNDING = 1e-12  # share of the start below which repeated fusion shows only its own rounding errors


def check_row_stochastic(matrix: Any, tolerance: float = 1e-6) -> None:
    """Raises ValueError unless T is square and finite with entries >= 0 and every row sum within `tolerance` of 1.

    The message names the first faulty row, counted from 1 and as an index.
    """
    for fault in row_faults(matrix, tolerance):
        raise ValueError(fault)


@np.errstate(all="ignore")
def row_faults(matrix: Any, tolerance: float = 1e-6) -> list[str]:
    """What keeps T from being row-stochastic: one message for each faulty row.

    The message names the row, counted from 1 and as an index. Raises ValueError where T is not square.
    """
    faults, tolerance = [], number(tolerance, "tolerance")
    for row, values in enumerate(_any_square(matrix)):
        if fault := _faulty_entry(values):
            faults.append(f"{_where(row)} {fault}")
        elif abs(values.sum() - 1) > tolerance:
            faults.append(f"{_where(row)} sums to {values.sum():.9g}, not to 1")
    return faults


def normalise_rows(matrix: Any) -> Array:
    """T_ij = M_ij / sum_k M_ik, for M square, finite and >= 0 with no row of zeros.

    Raises ValueError naming the first row that cannot be normalised.
    """
    square = _any_square(matrix)
    for row, values in enumerate(square):
        if fault := _faulty_entry(values):
            raise ValueError(f"{_where(row)} {fault}")
        if not values.any():
            raise ValueError(f"{_where(row)} holds only zeros; at least one entry must be positive")
    scaled = square / square.max(1, keepdims=True)  # so that no sum overflows
    return scaled / scaled.sum(1, keepdims=True)


@np.errstate(all="ignore")
def spectrum(matrix: Any) -> NDArray[np.complex128]:
    """All eigenvalues of T, lambda = 1 first and then by falling modulus; |lambda_2| is `abs(spectrum(T)[1])`.

    No modulus is above 1 where T is row-stochastic. Others of modulus 1, as in a permutation, follow lambda = 1.
    """
    values = finite(np.linalg.eigvals(_square(matrix)).astype(np.complex128), "the eigenvalues")
    rank = np.where(abs(values - 1) < 1e-9, np.inf, abs(values))
    return values[np.argsort(-rank, kind="stable")]


@np.errstate(all="ignore")
def dobrushin(matrix: Any) -> float:
    """tau(T) = 1 - min_ij sum_k min(T_ik, T_jk), in [0, 1] (Dobrushin 1956; T row-stochastic).

    One fusion shrinks the largest distance between two models to at most tau times what it was.
    """
    rows = _square(matrix)
    overlap = finite(np.minimum(rows[:, None, :], rows[None, :, :]).sum(-1), "sums of rows")
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
    # At least one: T 1 = 1. Where T is near the identity, rounding alone may give T - I full rank.
    camps = max(1, size - int(np.linalg.matrix_rank(transition - np.eye(size))))
    if camps != 1:
        raise ValueError(f"lambda = 1 is an eigenvalue {camps} times, because the models form {camps} camps")
    system = np.vstack([transition.T - np.eye(size), np.ones(size)])
    return np.asarray(np.linalg.lstsq(system, np.append(np.zeros(size), 1.0))[0], dtype=np.float64)


@np.errstate(all="ignore")
def residual_eq12(matrix: Any) -> float:
    """max_i |(T 1)_i - 1| (Eq. 12): only rounding error, for any row-normalised matrix."""
    return float(finite(abs(_square(matrix).sum(1) - 1).max(), "sums of rows"))


@np.errstate(all="ignore")
def residual_eq13(matrix: Any, gram: Any, norm: float) -> float:
    """||T Phi - Phi||_F / ||Phi||_F (Eq. 13), from the Gram matrix G of Phi - phi_b and norm = ||Phi||_F.

    ||(T - I) Phi||^2 = tr((T - I) G (T - I)^T), as rows of T - I sum to 0 and so ignore the shift by phi_b. Computed
    from the shifted models, G loses nothing to cancellation when they nearly agree.
    """
    step, gram, norm = _square(matrix), _square(gram), number(norm, "norm")
    if gram.shape != step.shape:
        raise ValueError(f"G must be of as many models as T, got shapes {gram.shape} and {step.shape}")
    step = step - np.eye(len(step))
    squared = float(finite(np.trace(step @ gram @ step.T), "the residual"))
    return float(finite(np.float64(max(squared, 0.0) ** 0.5) / norm, "the residual")) if norm > 0 else 0.0


@np.errstate(all="ignore")
def gram_matrix(models: Any) -> tuple[Any, Any]:
    """(G, norm): G = X X^T of X = Phi - phi_b, last row and column zero, and ||Phi||_F.

    models: Phi [m, P], a tensor or anything `numpy.asarray` takes. Raises ValueError where this is not a matrix, and
    where G or the norm is not finite.
    """
    models = matrix_of(models, "models")
    shifted = models - models[-1]
    norm = (models * models).sum() ** 0.5
    return finite(shifted @ shifted.T, "the Gram matrix"), finite(norm, "the norm of models")


@np.errstate(all="ignore")
def principal_coordinates(gram: Any) -> Array:
    """X = V sqrt(L) with J G J = V L V^T, J = I - 1 1^T/m (classical scaling: Torgerson 1952, Gower 1966).

    gram: G [m, m] = Y Y^T of m points Y in any number of dimensions, about any origin. Returns [m, m]: the same
    points, centred and turned so that each column holds as much of the squared distances as one can, in falling
    order; the first two are the best flat picture, all of them keep every distance. Signs are free, and chosen so
    that the largest entry of a column is positive. Raises ValueError where G is not symmetric, finite and positive
    semidefinite up to rounding.
    """
    gram = _square(gram, "a Gram matrix")
    scale = abs(gram).max()
    if not np.allclose(gram, gram.T, rtol=0, atol=1e-6 * scale):
        raise ValueError("a Gram matrix is symmetric; this one is not")
    size = len(gram)
    centre = np.eye(size) - 1 / size
    squares, axes = np.linalg.eigh(finite(centre @ (gram + gram.T) / 2 @ centre, "the centred Gram matrix"))
    if squares.min() < -1e-6 * scale:
        raise ValueError(f"a Gram matrix has no negative eigenvalue; this one, centred, has {squares.min():g}")
    clipped = np.where(squares > 1e-14 * squares.max(), squares, 0)  # the root would magnify what rounding left
    coordinates = (axes * np.sqrt(clipped))[:, ::-1]
    largest = coordinates[abs(coordinates).argmax(0), range(size)]
    return np.asarray(coordinates * np.where(largest < 0, -1, 1), dtype=np.float64)


def regular_polygon(corners: int) -> Array:
    """Points [corners, 2] evenly on the unit circle, the first at (1, 0): models for a matrix that has none."""
    corners = whole(corners, "corners", least=1, most=MOST)
    angle = 2 * np.pi * np.arange(corners) / corners
    return np.stack([np.cos(angle), np.sin(angle)], 1)


@np.errstate(all="ignore")
def spread(models: Any) -> Array:
    """max_ij ||Phi_i - Phi_j||_2 of models [..., m, P]; returns [...], >= 0, and 0 where all m are equal.

    Raises ValueError for less than two dimensions, no model or no entry, and where a distance is not finite.
    """
    models = array(models, "models")
    if models.ndim < 2 or 0 in models.shape[-2:]:
        raise ValueError(f"models must be [..., m, P], got shape {models.shape}")
    distances = np.linalg.norm(models[..., :, None, :] - models[..., None, :, :], axis=-1)
    return finite(distances, "distances").max((-2, -1))


@dataclass(frozen=True, eq=False)
class RepeatedFusion:
    """T^k and T^k Phi for k = 0..K, and how far apart the models are, beside its predicted pace and its bound.

    The three curves are NaN below 1e-12 of the start, where only rounding is left.
    """

    powers: Array  # [K+1, m, m]: T^k
    models: Array  # [K+1, m, P]: T^k Phi
    spread: Array  # [K+1]: measured, the largest distance between two models
    pace: Array  # [K+1]: |lambda_2|^k times the start; the spread in the end, up to a factor
    bound: Array  # [K+1]: Dobrushin's tau^k times the start; the spread is never above it


@np.errstate(all="ignore")
def repeated_fusion(matrix: Any, models: Any, count: int) -> RepeatedFusion:
    """Phi(k) = T^k Phi, k = 0..count: Eq. 11 repeated, with spread(T^k Phi) <= tau(T)^k spread(Phi).

    matrix: T [m, m]; models: [m, P], or principal coordinates of them: as rows of T sum to 1, the coordinates of
    fused models are the fused coordinates. Raises ValueError where T is not row-stochastic or shapes do not fit.
    """
    check_row_stochastic(matrix)
    transition, models, count = _square(matrix), array(models, "models"), whole(count, "count", most=MOST)
    if models.ndim != 2 or len(models) != len(transition):
        raise ValueError(f"models must be [{len(transition)}, P], got shape {models.shape}")
    powers = [np.eye(len(transition))]
    for _ in range(count):
        powers.append(powers[-1] @ transition)
    fused = np.stack(powers) @ models
    start, fusions = float(spread(models)), np.arange(count + 1)
    second = abs(spectrum(transition)[1]) if len(transition) > 1 else 0.0
    curves = [spread(fused), start * second**fusions, start * dobrushin(transition) ** fusions]
    curves = [np.where(curve >= ROUNDING * start, curve, np.nan) for curve in curves]
    return RepeatedFusion(np.stack(powers), fused, *curves)


def fusions_until(matrix: Any, share: float, most: int) -> int:
    """The least k with |lambda_2|^k <= share, in m..most: after m - 1 fusions, what belongs to lambda = 0 is gone.

    share: in (0, 1). Where |lambda_2| is 1 there is no such k, and the answer is `most`.
    """
    transition, share, most = _square(matrix), number(share, "share"), whole(most, "most")
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share:g}")
    second = abs(spectrum(transition)[1]) if len(transition) > 1 else 0.0
    needed = most if second >= 1 else 1 if second <= share else np.log(share) / np.log(second)
    return int(min(max(np.ceil(needed), len(transition)), most))


UNIFORM = 0.03  # up to this deviation, dif* looks uniform


def settled(values: Any, limit: float = UNIFORM) -> int | None:
    """The first index from which all values stay at or below `limit`; None where the last one is above it."""
    values = array(values, "values")
    if values.ndim != 1:
        raise ValueError(f"values must be [F], got shape {values.shape}")
    above = np.flatnonzero(~(values <= number(limit, "limit")))
    first = int(above[-1]) + 1 if len(above) else 0
    return first if first < len(values) else None


def deviation_from_uniform(matrix: Any) -> float:
    """max |T_ij - 1/m|: 0 where all models have equal weight."""
    square = _square(matrix)
    return float(abs(square - 1 / len(square)).max())


def _where(row: int) -> str:
    return f"row {row + 1} (index {row})"


def _faulty_entry(row: Array) -> str | None:
    if not np.isfinite(row).all():
        return f"holds {row[~np.isfinite(row)][0]}; all entries must be finite"
    return f"holds {row.min():g}; all entries must be >= 0" if (row < 0).any() else None


def _any_square(matrix: Any, name: str = "a matrix") -> Array:
    square = array(matrix, name)
    if square.ndim != 2 or square.shape[0] != square.shape[1] or not square.size:
        raise ValueError(f"a square matrix is needed, got shape {square.shape}")
    return square


def _square(matrix: Any, name: str = "a matrix") -> Array:
    return finite(_any_square(matrix, name), f"the entries of {name}")
