"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test images of 32 x 32 pixels in 10 or 100 classes.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009), the version for Python.
Images uint8 [N, 3, 32, 32]. No object masks. CIFAR-100 has its 100 fine classes.

Pickled dictionaries in cifar-10-batches-py and cifar-100-python of the data root, as the archives unpack, or with a
folder of the archive's name around them, as many programs unpack. Where they are absent, an archive in the data root
is unpacked, or they are downloaded. Pickles can carry code, so only what these files need is allowed: lists, strings,
numbers and arrays.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .dataset import Dataset, Split
from .downloads import fetch


@dataclass(frozen=True)
class Layout:
    """The layout of one of the two under the data root, and the names of its entries."""

    published: str  # the class in torchvision.datasets
    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    labels: str
    names: str
    classes: int

    @property
    def around(self) -> str:
        """The folder that some programs unpack the archive into."""
        return self.archive.removesuffix(".tar.gz")

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(f"{self.folder}/{file}" for file in (*self.train, self.test, self.meta))


CIFAR10 = Layout("CIFAR10", "cifar-10-python.tar.gz", "cifar-10-batches-py",
                 tuple(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta", "labels", "label_names",
                 10)  # fmt: skip
CIFAR100 = Layout("CIFAR100", "cifar-100-python.tar.gz", "cifar-100-python", ("train",), "test", "meta",
                  "fine_labels", "fine_label_names", 100)  # fmt: skip


def build10(root: Path) -> Dataset:
    return _build("cifar-10", CIFAR10, root)


def build100(root: Path) -> Dataset:
    return _build("cifar-100", CIFAR100, root)


def _build(name: str, layout: Layout, root: Path) -> Dataset:
    base = next(
        (
            folder
            for folder in (root, root / layout.around)
            if all((folder / file).is_file() for file in layout.files)
        ),
        None,
    )
    if base is None:
        from torchvision import datasets

        fetch(name, getattr(datasets, layout.published), layout.files, root, layout.archive)
        base = root
    place = base / layout.folder
    names = _entry(place / layout.meta, layout.names)
    if not isinstance(names, list) or len(names) != layout.classes:
        raise _damaged(place / layout.meta, f"{layout.names} are not {layout.classes} names")
    train = [_batch(place / file, layout) for file in layout.train]
    images, labels = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return Dataset(name, tuple(map(str, names)), Split(images, labels), Split(*_batch(place / layout.test, layout)))


def _batch(path: Path, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, 3, 32, 32] and labels int64 [n] of a file."""
    data, labels = _entry(path, "data"), np.array(_entry(path, layout.labels))
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != (len(data), 3 * 32 * 32):
        raise _damaged(path, "data is not a uint8 array [n, 3072]")
    if labels.dtype.kind != "i" or labels.shape != (len(data),):
        raise _damaged(path, f"{layout.labels} are not one integer per image")
    if labels.min() < 0 or labels.max() >= layout.classes:
        raise _damaged(path, f"{layout.labels} are not all below {layout.classes}")
    return data.reshape(-1, 3, 32, 32), labels.astype(np.int64)


def _entry(path: Path, key: str) -> Any:
    try:
        with path.open("rb") as file:
            return _Unpickler(file, encoding="latin1").load()[key]
    except Exception as error:  # unpickling a damaged file may raise anything
        raise _damaged(path, f"no {key}: {error}") from None


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is damaged: {why}. Remove it to have it downloaded again, or replace it")


class _Unpickler(pickle.Unpickler):
    """Allows arrays, and nothing else that could be called."""

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which this data set does not need")
        return _ALLOWED[module, name]


def _dtype(spec: str, align: int, copy: int) -> np.dtype:
    """A dtype as NumPy wrote it in 2009, with 0 and 1 for False and True, about which NumPy 2.4.0 to 2.4.4 warn."""
    return np.dtype(spec, align=bool(align), copy=bool(copy))


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in an old pickle."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes written as {encoding}")
    return text.encode("latin1")


_reconstruct: Any = np.empty(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("_codecs", "encode"): _latin1,
}
