"""An array of samples that stays where it is: what is asked for is read then, by several threads, and not kept."""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

MOST_THREADS = 16


class Streamed:
    """Stands where a NumPy array [N, ...] of samples would be too large; indexed along N alone.

    read   gives sample i, an array of `shape` and `dtype`; called by several threads at once
    index  int64 [N], the i of each sample

    `streamed[index]` reads and returns an array: equal to what the resident array `streamed[:]` holds there.
    """

    def __init__(
        self, read: Callable[[int], np.ndarray], index: np.ndarray, shape: tuple[int, ...], dtype: Any = np.uint8
    ) -> None:
        self.read, self.index, self.dtype = read, index, np.dtype(dtype)
        self.shape = (len(index), *shape)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def nbytes(self) -> int:
        """Bytes of the resident array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, index: Any) -> np.ndarray:
        """The samples that an integer, a slice, a boolean or an integer array picks, read now."""
        chosen = self.index[index]
        if chosen.ndim == 0:
            return self.read(int(chosen))
        samples = np.empty((len(chosen), *self.shape[1:]), self.dtype)

        def fill(place: int) -> None:
            samples[place] = self.read(int(chosen[place]))

        # Decoders of images let other threads run, so threads are enough and no array has to change process.
        with ThreadPoolExecutor(min(MOST_THREADS, _cores())) as pool:
            for _ in pool.map(fill, range(len(chosen))):  # the first error is raised here, the rest is not begun
                pass
        return samples

    def pick(self, index: np.ndarray) -> "Streamed":
        """The samples that a boolean or integer array picks, still unread."""
        return Streamed(self.read, self.index[index], self.shape[1:], self.dtype)


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
