"""What every dataset is: labelled images in two splits, and how a validation split is cut from the first."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..errors import DataError
from ..fingerprint import ClassPrint, Fingerprint
from .streamed import Streamed

Array = np.ndarray | Streamed

# Mean and deviation are over all training pixels where those have at most so many values, and otherwise over a fixed
# choice of images with at most twice as many. The rule looks at the data alone: no run depends on what is in memory.
MEASURED_VALUES, MEASURED_IMAGES = 2**28, 2000
GREY_LEVEL = 1 / 255  # with pixels in [0, 1]


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images. The arrays are shared by the whole process, so they are made read-only.

    images   uint8 [N, C, H, W]; `Streamed` where they do not fit in memory
    labels   int64 [N], an index into `Dataset.classes`
    masks    bool [N, H, W], True on the object; None where no object mask is known; streamed as the images are
    lighter  bool [N], True where the object is lighter than its background; None where the data do not say
    """

    images: Array
    labels: np.ndarray
    masks: Array | None = None
    lighter: np.ndarray | None = None

    def __post_init__(self):
        for array in (self.images, self.labels, self.masks, self.lighter):
            if isinstance(array, np.ndarray):
                array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: np.ndarray) -> "Split":
        """The samples that a boolean or integer array picks, as copies; streamed arrays stay unread."""
        masks = None if self.masks is None else _pick(self.masks, index)
        lighter = None if self.lighter is None else self.lighter[index]
        return Split(_pick(self.images, index), self.labels[index], masks, lighter)

    @property
    def nbytes(self) -> int:
        """Bytes that images and masks take, or would take, in memory."""
        return self.images.nbytes + (0 if self.masks is None else self.masks.nbytes)

    def resident(self) -> "Split":
        """The same with all streamed arrays read into memory."""
        masks = None if self.masks is None else self.masks[:]
        return Split(self.images[:], self.labels, masks, self.lighter)

    @cached_property
    def digests(self) -> list[bytes]:
        """A digest of each sample: of its image and object mask, or of their `Streamed.identities`."""
        parts = [_identities(array) for array in (self.images, self.masks) if array is not None]
        return [_digest(sample) for sample in zip(*parts, strict=True)]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A name, the names of its classes, and the two splits; `notes` say what was read and what was left out of it,
    where that is not clear from the name."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the training images, with pixels in [0, 1]."""
        return self._moments[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel over the training images, with pixels in [0, 1].

        1 for a channel that varies by less than one of 256 grey levels, so that it is 0 or nearly 0 when normalised:
        its own deviation would be 0, or would turn noise into large values. Raises DataError where every channel is
        like that: the images show nothing.
        """
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        levels = np.arange(256)
        moments = []
        for count in self._histogram.tolist():  # exact: Python's integers are unbounded
            values, total, squares = sum(count), int(levels @ count), int(levels**2 @ count)
            moments.append((total / values / 255, math.sqrt(values * squares - total**2) / values / 255))
        mean, std = zip(*moments, strict=True)
        if max(std) < GREY_LEVEL:
            raise DataError(
                f"{self.name}: all training images are of one and the same colour; there is nothing to learn"
            )
        return mean, tuple(value if value >= GREY_LEVEL else 1.0 for value in std)

    @property
    def _histogram(self) -> np.ndarray:
        """int64 [C, 256]: how many pixels of the training images have each grey level, per channel."""
        images = self.train.images
        measured, values = np.arange(len(images)), math.prod(images.shape[1:])
        if len(images) * values > MEASURED_VALUES:
            most = min(len(images), MEASURED_IMAGES, max(1, 2 * MEASURED_VALUES // values))
            measured = np.sort(np.random.default_rng(0).choice(len(images), most, replace=False))
        counts = np.zeros((images.shape[1], 256), np.int64)
        for part in np.split(measured, range(32, len(measured), 32)):
            for channel, pixels in enumerate(images[part].swapaxes(0, 1)):
                counts[channel] += np.bincount(pixels.ravel(), minlength=256)
        return counts

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What a run keeps of its data, to recognise them later."""
        splits = (self.train, self.test)
        of_class: list[list[bytes]] = [[] for _ in self.classes]
        for split in splits:
            for label, digest in zip(split.labels.tolist(), split.digests, strict=True):
                of_class[label].append(digest)
        train, test = (np.bincount(split.labels, minlength=len(self.classes)).tolist() for split in splits)
        return Fingerprint(
            shape=self.shape,
            classes=tuple(
                ClassPrint(name, train[label], test[label], _digest(sorted(of_class[label])).hex())
                for label, name in enumerate(self.classes)
            ),
            order=_digest(part for split in splits for part in (split.labels.tobytes(), *split.digests)).hex(),
        )

    @property
    def nbytes(self) -> int:
        """Bytes that images and masks take, or would take, in memory."""
        return self.train.nbytes + self.test.nbytes

    def resident(self) -> "Dataset":
        """The same with all streamed arrays read into memory."""
        return replace(self, train=self.train.resident(), test=self.test.resident())

    def holdout(self) -> "Dataset":
        """For choosing settings: a fixed, stratified fifth of `train` becomes `test`; the real test split is
        dropped."""
        validation = a_fifth(self.train.labels)
        return replace(self, train=self.train[~validation], test=self.train[validation])


def _pick(array: Array, index: np.ndarray) -> Array:
    return array.pick(index) if isinstance(array, Streamed) else array[index]


def _identities(array: Array) -> Iterator[bytes]:
    return array.identities() if isinstance(array, Streamed) else (sample.tobytes() for sample in array)


def _digest(parts: Iterable[bytes]) -> bytes:
    """128 bits: among all pictures that fit on a disk, no two have the same digest by chance."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.digest()


def figures(images: np.ndarray) -> np.ndarray:
    """Object masks [N, H, W] of grey images [N, 1, H, W] on black ground: every pixel brighter than a tenth of the
    range."""
    return images[:, 0] > 25


def a_fifth(labels: np.ndarray) -> np.ndarray:
    """A fixed, stratified choice: bool [N], True on a fifth of every class, rounded to whole samples."""
    rng = np.random.default_rng(0)
    fifth = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        fifth[rng.choice(members, round(len(members) / 5), replace=False)] = True
    return fifth
