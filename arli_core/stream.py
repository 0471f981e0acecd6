"""The stream of tasks and its samples.

Classes are renumbered in the order in which they are met, so each task has consecutive units of the head: units.py.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .augment import augment
from .config import Augmentation, Data, text_of
from .datasets import Dataset, Split
from .errors import ConfigError, DataError

CHUNK_VALUES = 2**22  # of images: a network's maps for this many take about a gigabyte

# The purposes of randomness: each has its own stream, so that changing one draw changes no other, and a run can be
# resumed at any epoch from the epoch's number alone.
INITIAL, BATCHES, EXEMPLARS, ATTACK, GROUPS, AUGMENT, REPLAY, IMPORTANCE, ADAPT = range(9)


def seed_for(*key: int) -> int:
    """An independent 64-bit seed for a key such as (run seed, purpose, task, epoch)."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def generator_for(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed_for(*key))


@dataclass(frozen=True)
class Samples:
    """Normalised images [N, C, H, W] and head units [N], on the run's device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> "Samples":
        return Samples(self.images[index], self.labels[index])


class Pool:
    """All samples of a split: labels [N] and `pool[index]`, normalised images with their labels, on the device.

    uint8 images wait on the device; those that are streamed from files are read when they are needed.
    """

    def __init__(self, split: Split, members: np.ndarray, labels: Tensor, mean: Tensor, std: Tensor) -> None:
        self.labels, self.mean, self.std = labels, mean.view(-1, 1, 1), std.view(-1, 1, 1)
        resident = isinstance(split.images, np.ndarray)
        self.images = torch.from_numpy(split.images[members]).to(labels.device) if resident else split.images
        self.members = members
        self.shape = split.images.shape[1:]  # (C, H, W)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def resident(self) -> bool:
        return isinstance(self.images, Tensor)

    @property
    def chunk(self) -> int:
        """How many samples are evaluated at once."""
        return max(1, min(500, CHUNK_VALUES // math.prod(self.shape)))

    def __getitem__(self, index: Tensor) -> Samples:
        if isinstance(self.images, Tensor):
            images = self.images[index]
        else:
            images = torch.from_numpy(self.images[self.members[index.cpu().numpy()]]).to(self.labels.device)
        return Samples((images.float() / 255 - self.mean) / self.std, self.labels[index])


def class_order(dataset: Dataset, config: Data) -> np.ndarray:
    """The class behind each head unit. ConfigError where the data set has too few, or none of a given name."""
    units, available = config.units, len(dataset.classes)
    if units.total > available:
        size = config.classes_per_task
        most = f"{available // size} tasks of {size}" if isinstance(size, int) else f"{available} classes in all"
        raise ConfigError(
            f"data.tasks: {units} need {units.total} classes, but {dataset.name} has {available}: at most {most}"
        )
    if isinstance(config.class_order, tuple):
        numbers = {name: number for number, name in enumerate(dataset.classes)}
        if unknown := [name for name in config.class_order if name not in numbers]:
            raise ConfigError(
                f"data.class_order: {dataset.name} has no class {', '.join(map(repr, unknown))}; its classes: "
                f"{text_of(dataset.classes)}"
            )
        return np.array([numbers[name] for name in config.class_order])
    order = np.arange(available)
    if config.class_order is not None:
        order = np.random.default_rng(config.class_order).permutation(available)
    return order[: units.total]


class Stream:
    """The tasks of a data set: `order` gives the class behind each head unit, `train` and `test` all samples;
    `test_index` says which of the data set's test images each test sample is.

    Samples go to the device when they are first needed, and stay there: a look at a trained model needs no training
    samples.
    """

    def __init__(
        self, dataset: Dataset, config: Data, device: torch.device, augmentation: Augmentation | None = None
    ) -> None:
        self.augmentation = augmentation or Augmentation()
        self.units = config.units
        self.tasks = self.units.tasks
        self.order = class_order(dataset, config)
        self.classes = tuple(dataset.classes[label] for label in self.order)
        self._refuse_empty(dataset, config.evaluate_on)
        self.shape = dataset.shape
        self.mean, self.std = (torch.tensor(values).float().to(device) for values in (dataset.mean, dataset.std))
        self.dataset, self.device = dataset, device

    @cached_property
    def train(self) -> Pool:
        return self._pool(self.dataset.train)

    @cached_property
    def test(self) -> Pool:
        return self._pool(self.dataset.test)

    @property
    def test_index(self) -> np.ndarray:
        return self.test.members

    def _refuse_empty(self, dataset: Dataset, evaluate_on: str) -> None:
        """DataError for a class without images: it would be learned from nothing, or measured on nothing."""
        splits, most = (dataset.train, dataset.test), len(dataset.classes)
        train, test = (np.bincount(split.labels, minlength=most) for split in splits)
        empty = [
            f"{dataset.classes[label]} has {train[label]} and {test[label]}"
            for label in self.order
            if not (train[label] and test[label])
        ]
        if not empty:
            return
        cure = ""
        if evaluate_on == "validation":
            cure = ". A fifth of the training images is held out: at least 3 are needed, or data.evaluate_on=test"
        listed = ", ".join(empty[:5]) + (f", and {len(empty) - 5} more" if len(empty) > 5 else "")
        raise DataError(
            f"{dataset.name}: each class needs images to train on and images for {evaluate_on}, but {listed}{cure}"
        )

    def task_of(self, labels: Tensor) -> Tensor:
        """The task, counted from 1, of each head unit."""
        return self.units.task_of(labels)

    def of_task(self, samples: Samples | Pool, task: int) -> Tensor:
        """Indices of a task's samples."""
        return (self.task_of(samples.labels) == task).nonzero().flatten()

    def up_to(self, samples: Samples | Pool, task: int) -> Tensor:
        """Indices of the samples of tasks 1..task."""
        return (self.task_of(samples.labels) <= task).nonzero().flatten()

    def seen(self, task: int) -> int:
        """How many classes tasks 1..task have."""
        return self.units.seen(task)

    def augmented(self, samples: Samples, generator: torch.Generator) -> Samples:
        """The samples, each image shifted, mirrored and cropped in its own way as configured."""
        settings = self.augmentation
        fill = (-self.mean / self.std).view(-1, 1, 1)  # black
        images = augment(samples.images, settings.shift, settings.flip, settings.zoom, generator, fill)
        return Samples(images, samples.labels)

    def _pool(self, split: Split) -> Pool:
        """The samples of this stream's classes."""
        unit = np.full(self.order.max() + 1, -1)
        unit[self.order] = np.arange(len(self.order))
        members = np.flatnonzero(np.isin(split.labels, self.order))
        labels = torch.tensor(unit[split.labels[members]]).to(self.device)
        return Pool(split, members, labels, self.mean, self.std)
