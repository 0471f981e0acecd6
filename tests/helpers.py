"""What tests of several rooms need."""

import dataclasses
from typing import Any

import numpy as np

# One method of each class of `methods`: what all methods have in common is tried on these. The others share the
# class of one of them, and differ in their batches or in the values of their settings: ari-paper is ari's, and
# replay-balanced, finetune and joint are replay's.
KINDS_OF_METHODS = ("ari", "ari-adam", "itaml", "ari-released", "der++", "replay", "ewc", "lwf")


def same(a: Any, b: Any, nan: bool = False) -> bool:
    """Deep equality of events and records: arrays bit for bit; with `nan`, NaN in them equal to NaN."""
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and np.array_equal(a, b, equal_nan=nan and a.dtype.kind == "f")
        )
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and same(vars(a), vars(b), nan)
    if hasattr(a, "keys"):
        return hasattr(b, "keys") and set(a) == set(b) and all(same(a[key], b[key], nan) for key in a)
    if isinstance(a, list | tuple):
        return (
            isinstance(b, list | tuple)
            and len(a) == len(b)
            and all(same(*pair, nan) for pair in zip(a, b, strict=True))
        )
    return type(a) is type(b) and a == b
