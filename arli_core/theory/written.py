"""A small matrix as one writes it in a line: rows parted by semicolons, as in `0.5,0.5;0.2,0.8`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .precision import matrix as matrix_of
from .precision import whole

SIZES = range(2, 9)  # rows that a page has room for


def to_text(matrix: Any) -> str:
    """The matrix in a line, with twelve significant digits. Raises ValueError where it is not a matrix."""
    return ";".join(",".join(f"{value:.12g}" for value in row) for row in matrix_of(matrix, "matrix").tolist())


def from_text(text: str) -> NDArray[np.float64]:
    """The matrix [m, m], m in SIZES, of such a line. It need not be row-stochastic, and may hold NaN.

    Raises ValueError for another shape, and for what is not a number.
    """
    rows = [[float(value) for value in row.split(",")] for row in text.split(";")]
    if len(rows) not in SIZES or {len(row) for row in rows} != {len(rows)}:
        lengths = ", ".join(str(len(row)) for row in rows)
        raise ValueError(f"it must be square, from 2x2 to 8x8; its rows have {lengths} numbers")
    return np.array(rows)


def resized(matrix: Any, size: int) -> NDArray[np.float64]:
    """The matrix [size, size]: cut to its first models, or extended by models that keep all their weight.

    Raises ValueError where it is not a matrix, or size is not a whole number from 1 on.
    """
    matrix, size = np.asarray(matrix_of(matrix, "matrix")), whole(size, "size", least=1)
    new = np.eye(size)
    overlap = min(size, len(matrix))
    new[:overlap, :overlap] = matrix[:overlap, :overlap]
    return new
