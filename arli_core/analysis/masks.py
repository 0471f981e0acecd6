"""Where a trained model looks: attention and background masks of held-out images, and how well they find objects."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import datasets
from ..errors import RecordError
from ..evaluation import evaluate
from ..records import Record
from ..theory import metrics
from ..theory.attack import background_mask
from ..world import World, open_world


@dataclass(frozen=True, eq=False)
class Masks:
    """A and B = 1 - A∘A of phi_b after a task, for the N held-out images of all tasks seen by then."""

    task: int
    images: NDArray[np.uint8]  # [N, C, H, W]
    units: NDArray[np.int64]  # [N] the classes in the order in which they were met
    labels: tuple[str, ...]  # N class names
    predictions: tuple[str, ...]  # N class names, of all classes seen
    attention: NDArray[np.float32]  # [N, H, W] in [0, 1]
    background: NDArray[np.float32]  # [N, H, W] in [0, 1]
    objects: NDArray[np.bool_] | None  # [N, H, W]; None where the data have no masks
    auroc: NDArray[np.float64] | None  # [N] of A against the object

    def __len__(self) -> int:
        return len(self.labels)

    def spread(self, count: int, among: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """`count` of the indices `among` (by default all), evenly over the classes in the order met."""
        among = np.arange(len(self)) if among is None else among
        by_class = among[np.argsort(self.units[among], kind="stable")]
        picked = min(count, len(among))
        return by_class[((np.arange(picked) + 0.5) * len(among) / picked).astype(np.int64)]


@dataclass(frozen=True, eq=False)
class Learned(World):
    """A run's world and its phi_b after a task, on the CPU, so that a run looks the same everywhere."""

    task: int
    phi: Tensor

    @property
    def module(self) -> nn.Module:
        """images [N, C, H, W] -> (logits of the classes seen, A)."""
        return _ClassesSeen(self.model.module(self.phi), self.stream.seen(self.task))

    def normalised(self, images: NDArray[np.uint8]) -> Tensor:
        """Pixels [N, C, H, W] as the network takes them."""
        pixels = torch.tensor(images).float() / 255
        return (pixels - self.stream.mean.view(-1, 1, 1)) / self.stream.std.view(-1, 1, 1)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.stream.classes[: self.stream.seen(self.task)]


def world_of(record: Record) -> World:
    """The world of a recorded run, on the CPU. Raises DataError where the data are no longer those it
    was trained on, RecordError as `Record.trained_on`."""
    return open_world(record.config, torch.device("cpu"), record.trained_on)


def data_stamp(record: Record) -> str:
    """A digest that changes when the run's data do: the key of cached network answers. Errors as `world_of`."""
    _ = record.trained_on  # RecordError where the fingerprint cannot be read
    data = record.config.data
    return datasets.load(data.name, data.image_size, data.spurious).fingerprint.digest


def learned(record: Record, task: int | None = None) -> Learned:
    """The run after `task`, counted from 1; by default after the last finished task.

    Raises RecordError for a task that is not finished, and where the recorded weights do not fit the recorded
    configuration; other errors as `world_of`.
    """
    done = len(record.tasks)
    task = done if task is None else task
    if not 1 <= task <= done:
        available = f"tasks 1 to {done} are" if done else "no task is"
        raise RecordError(f"there are no weights after task {task}: {available} done in this run")
    world = world_of(record)
    try:
        phi = world.model.pack({name: torch.tensor(value) for name, value in record.weights[task].items()})
    except ValueError as error:
        raise RecordError(f"the weights after task {task} do not fit the run's settings: {error}") from None
    return Learned(world.stream, world.model, world.device, task, phi)


def masks_of(record: Record, task: int | None = None) -> Masks:
    """The masks of a run after `task`; RecordError as `learned`."""
    run = learned(record, task)
    stream, model, phi, task = run.stream, run.model, run.phi, run.task
    dataset, classes = stream.dataset, stream.seen(task)

    members = stream.up_to(stream.test, task)
    logits, attention = (torch.cat(parts) for parts in zip(*evaluate(model, phi, stream.test, members), strict=True))
    maps = attention[:, 0].numpy()
    held_out = dataset.test[stream.test_index[members.numpy()]].resident()
    objects = None if held_out.masks is None else np.asarray(held_out.masks)
    return Masks(
        task=task,
        images=np.asarray(held_out.images),
        units=stream.test.labels[members].numpy(),
        labels=tuple(dataset.classes[label] for label in held_out.labels),
        predictions=tuple(stream.classes[unit] for unit in logits[:, :classes].argmax(1).tolist()),
        attention=maps,
        background=background_mask(maps),
        objects=objects,
        auroc=None if objects is None else metrics.auroc(maps, objects),
    )


class _ClassesSeen(nn.Module):
    """The network without the logits of classes that are not learned yet."""

    def __init__(self, network: nn.Module, count: int) -> None:
        super().__init__()
        self.network, self.count = network, count

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, attention = self.network(images)
        return logits[:, : self.count], attention
