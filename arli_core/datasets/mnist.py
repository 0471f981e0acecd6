"""MNIST and Fashion-MNIST: 60,000 training and 10,000 test images of 28 x 28 grey pixels, 10 classes.

Sources: Y. LeCun, C. Cortes, C. Burges, the MNIST database of handwritten digits; H. Xiao, K. Rasul, R. Vollgraf,
"Fashion-MNIST" (arXiv:1708.07747). Images uint8 [N, 1, 28, 28]. The object is what is not
black.

Four files of the idx format, plain or gzipped, in MNIST/raw and FashionMNIST/raw of the data root, as torchvision
lays them out; downloaded there where absent. Their names may have a dot as Kaggle's do, as in
train-images.idx3-ubyte, and each may lie in a folder of its own name, as some programs unpack them. Debian's package
dataset-fashion-mnist is found as well.
The format: two zero bytes, the type (8 for uint8), the number of dimensions, each dimension as a big-endian int32,
and the values.
"""

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .dataset import Dataset, Split, figures
from .downloads import fetch

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
CLASSES = {
    "MNIST": tuple("0123456789"),
    "FashionMNIST": ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
                     "Ankle boot"),
}  # fmt: skip


def build(root: Path) -> Dataset:
    return _build("mnist", "MNIST", root, [])


def build_fashion(root: Path) -> Dataset:
    return _build("fashion-mnist", "FashionMNIST", root, [DEBIAN])


def _build(name: str, folder: str, root: Path, elsewhere: list[Path]) -> Dataset:
    own = root / folder / "raw"
    place = next((place for place in (own, *elsewhere) if all(_find(place, file) for file in FILES)), None)
    if place is None:
        from torchvision import datasets

        published: Any = getattr(datasets, folder)
        fetch(name, published, [f"{folder}/raw/{file}" for file in FILES if not _find(own, file)], root)
        place = own
    train, test = (_split(place, *files, classes=len(CLASSES[folder])) for files in (FILES[:2], FILES[2:]))
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(f"{name}: the training and the test images in {place} differ in size")
    return Dataset(name, CLASSES[folder], train, test)


def _find(place: Path, file: str) -> Path | None:
    names = (file, file.replace("-idx", ".idx"))
    folders = (place, *(place / name for name in names))
    paths = (folder / f"{name}{end}" for folder in folders for name in names for end in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def _split(place: Path, images_file: str, labels_file: str, classes: int) -> Split:
    images, labels = (_idx(_find(place, file) or place / file) for file in (images_file, labels_file))
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or not images.size:
        raise DataError(f"{images_file} and {labels_file} in {place} do not match: {images.shape} and {labels.shape}")
    if labels.max() >= classes:
        raise DataError(f"{place / labels_file} has the label {labels.max()}, but there are {classes} classes")
    return Split(images[:, None], labels.astype(np.int64), figures(images[:, None]))


def _idx(path: Path) -> np.ndarray:
    """The uint8 array of an idx file. Raises DataError where it is not one, or is cut short."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if data[:3] != b"\0\0\x08":
            raise ValueError("it does not begin like an idx file of bytes")
        dimensions = data[3]
        shape = np.frombuffer(data, ">i4", dimensions, offset=4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}. Remove it to have it downloaded again, or replace it") from None
