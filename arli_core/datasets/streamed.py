"""An array of samples that are read on demand, by several threads, and not kept."""

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError

MOST_THREADS = 16
CHUNK = 256  # samples in memory at a time


class Streamed:
    """Takes the place of a NumPy array [N, ...] of samples that would be too large; indexed along N alone.

    read      gives sample i, an array of `shape` and `dtype`; called by several threads at once
    index     int64 [N], the i of each sample
    identify  bytes that identify sample i and change with it, cheaper to get than its pixels; without it, the pixels
              are read instead

    `streamed[index]` reads and returns an array: equal to what the resident array `streamed[:]` holds there.
    """

    def __init__(
        self,
        read: Callable[[int], np.ndarray],
        index: np.ndarray,
        shape: tuple[int, ...],
        dtype: Any = np.uint8,
        identify: Callable[[int], bytes] | None = None,
    ) -> None:
        self.read, self.index, self.dtype, self.identify = read, index, np.dtype(dtype), identify
        self.shape = (len(index), *shape)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def nbytes(self) -> int:
        """Bytes of the resident array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, index: Any) -> np.ndarray:
        """The samples that an integer, a slice, a boolean or an integer array picks, read now."""
        numbers = self.index[index]
        if numbers.ndim == 0:
            return self.read(int(numbers))
        samples = np.empty((len(numbers), *self.shape[1:]), self.dtype)

        def fill(place: int) -> None:
            samples[place] = self.read(int(numbers[place]))

        # Image decoders let other threads run, so threads are enough, and no array has to cross processes.
        with ThreadPoolExecutor(min(MOST_THREADS, _cores())) as pool:
            for _ in pool.map(fill, range(len(numbers))):  # the first error is raised here, the rest is not begun
                pass
        return samples

    def pick(self, index: np.ndarray) -> "Streamed":
        """The samples that a boolean or integer array picks, still unread."""
        return Streamed(self.read, self.index[index], self.shape[1:], self.dtype, self.identify)

    def identities(self) -> Iterator[bytes]:
        """Bytes that identify each sample, in order."""
        for start in range(0, len(self), CHUNK):
            if self.identify:
                yield from (self.identify(int(i)) for i in self.index[start : start + CHUNK])
            else:
                yield from (sample.tobytes() for sample in self[start : start + CHUNK])


def identity_of(path: Path) -> bytes:
    """A file's name and length: reading all files would take longer than training. A picture replaced by one of the
    same name and length goes unnoticed."""
    try:
        return f"{path.name}\0{path.stat().st_size}".encode(errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _cores() -> int:
    """How many cores this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
