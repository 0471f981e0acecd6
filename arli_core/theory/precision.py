"""Double precision: the one place that converts numbers to float64, those of torch's tensors and all others.

array-api-compat recognises a tensor without importing torch, so that pages need not wait for it.
"""

import math
from typing import Any

import numpy as np
from array_api_compat import is_torch_array
from numpy.typing import NDArray

WITHOUT_FLOAT64 = ("mps",)  # torch's name of Apple's GPUs
MOST = 10_000  # of what is computed one by one: fusions, corners, classes of a confusion matrix
FLOATS = ("float16", "bfloat16", "float32", "float64")  # what torch computes with everywhere

BEYOND = "a number beyond the range of float64, about 1.8e308"


class NotFinite(ValueError):
    """A result that is not finite, or was computed from values that are not."""


def float64(tensor: Any) -> Any:
    """The tensor in float64, on its own device, or on the CPU where the device has no float64."""
    return (tensor.cpu() if tensor.device.type in WITHOUT_FLOAT64 else tensor).double()


def real(values: Any, name: str) -> Any:
    """A tensor of floats unchanged, one of whole numbers in float64; anything else as a float64 array, copied only
    where it has to be. Raises ValueError, with `name` in it, for entries that are not real numbers.
    """
    if not is_torch_array(values):
        return array(values, name)
    kind = str(values.dtype).removeprefix("torch.")
    if values.is_floating_point():
        if kind in FLOATS and str(values.layout) == "torch.strided":
            return values
    elif kind == "bool" or kind.startswith(("int", "uint")):
        return float64(values)
    raise ValueError(f"{name} must hold real numbers, not a tensor of {kind}, {values.layout}")


def array(values: Any, name: str, unknown: bool = False) -> NDArray[np.float64]:
    """Real numbers as a float64 array, also from a tensor on any device. unknown: None is accepted, as NaN.

    Raises ValueError, with `name` in it, for complex numbers, texts, dates, objects, numbers beyond the range of
    float64, and rows of different lengths.
    """
    if is_torch_array(values):
        return float64(real(values, name).detach()).cpu().numpy()
    try:
        converted = np.asarray(values)
    except (ValueError, TypeError, RuntimeError):
        raise ValueError(f"{name} must hold real numbers in rows of equal lengths") from None
    except OverflowError:
        raise ValueError(f"{name} holds {BEYOND}") from None
    if converted.dtype.kind == "O":
        flat = [_number(value, name, unknown) for value in converted.ravel()]
        return np.array(flat, dtype=np.float64).reshape(converted.shape)
    if converted.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, not {converted.dtype.name}")
    with np.errstate(over="ignore"):
        return converted.astype(np.float64, copy=False)


def matrix(values: Any, name: str) -> Any:
    """As `real`, with two dimensions and at least one entry."""
    converted = real(values, name)
    if converted.ndim != 2 or 0 in converted.shape:
        raise ValueError(f"{name} must be a matrix with at least one row, got shape {tuple(converted.shape)}")
    return converted


def number(value: Any, name: str) -> float:
    """One finite real number. Raises ValueError, with `name` in it, for anything else."""
    scalar = array(value, name)
    if scalar.ndim or not np.isfinite(scalar):
        raise ValueError(f"{name} must be one finite number, got {scalar if not scalar.ndim else scalar.shape}")
    return float(scalar)


def whole(value: Any, name: str, least: int = 0, most: float = math.inf) -> int:
    """One whole number in least..most. Raises ValueError, with `name` in it, for anything else."""
    scalar = number(value, name)
    if scalar != int(scalar) or not least <= scalar <= most:
        upper = "on" if most == math.inf else f"to {most:,}"
        raise ValueError(f"{name} must be a whole number from {least} {upper}, got {scalar:g}")
    return int(scalar)


def finite(values: Any, name: str) -> Any:
    """The values; NotFinite where one is NaN or infinite. On a GPU this waits for them."""
    good = np.isfinite(values) if isinstance(values, np.ndarray | np.generic) else values.isfinite()
    if not bool(good.all()):
        raise NotFinite(f"{name} must be finite: the input holds NaN, infinity, or numbers too large to compute with")
    return values


def _number(value: Any, name: str, unknown: bool) -> float:
    if value is None and unknown:
        return float("nan")
    try:
        if value is not None and not isinstance(value, str | bytes):
            return float(value)
    except OverflowError:
        raise ValueError(f"{name} holds {BEYOND}") from None
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{name} must hold real numbers, not {type(value).__name__}")
