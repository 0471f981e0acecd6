"""What every dataset is: labelled images in two splits, and how a validation split is cut from the first."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images. The arrays are shared by everyone in the process, so they become read-only here.

    images   uint8 [N, C, H, W]
    labels   int64 [N], an index into `Dataset.classes`
    masks    bool [N, H, W], True on the object; None where no object mask is known
    lighter  bool [N], True where the object is lighter than its background; None where the data do not say
    """

    images: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None
    lighter: np.ndarray | None = None

    def __post_init__(self):
        for array in (self.images, self.labels, self.masks, self.lighter):
            if array is not None:
                array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: np.ndarray) -> "Split":
        """The samples that a boolean or integer array picks, as copies."""
        masks, lighter = (None if a is None else a[index] for a in (self.masks, self.lighter))
        return Split(self.images[index], self.labels[index], masks, lighter)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A name, the names of its classes, and the two splits."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return self.train.images.shape[1:]

    @cached_property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the training images, with pixels in [0, 1]."""
        return tuple(float(channel.mean()) / 255 for channel in self.train.images.swapaxes(0, 1))

    @cached_property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel over the training images, with pixels in [0, 1]."""
        return tuple(float(channel.std()) / 255 for channel in self.train.images.swapaxes(0, 1))

    def holdout(self) -> "Dataset":
        """For choosing settings: a fixed, stratified fifth of `train` becomes `test`; the real one goes."""
        held = a_fifth(self.train.labels)
        return Dataset(self.name, self.classes, train=self.train[~held], test=self.train[held])


def a_fifth(labels: np.ndarray) -> np.ndarray:
    """A fixed, stratified choice: bool [N], True on a fifth of every class, rounded to whole samples."""
    rng = np.random.default_rng(0)
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        chosen[rng.choice(members, round(len(members) / 5), replace=False)] = True
    return chosen
