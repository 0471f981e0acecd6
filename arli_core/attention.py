"""Where a trained model looks: attention and background masks of held-out images, and how well they find objects."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from . import metrics
from .attack import background_mask
from .errors import RecordError
from .learn import evaluate, open_world
from .records import Record


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
    objects: NDArray[np.bool_] | None  # [N, H, W]; None where the data do not say
    auroc: NDArray[np.float64] | None  # [N] of A against the object

    def __len__(self) -> int:
        return len(self.labels)

    def spread(self, count: int, among: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """`count` of the indices `among` (of all where left out), evenly over the classes in the order met."""
        among = np.arange(len(self)) if among is None else among
        by_class = among[np.argsort(self.units[among], kind="stable")]
        picked = min(count, len(among))
        return by_class[((np.arange(picked) + 0.5) * len(among) / picked).astype(np.int64)]


def masks_of(record: Record, task: int | None = None) -> Masks:
    """The masks of a run after `task`, counted from 1; after the last one done if left out.

    Computed on the CPU, so that a run shows the same masks everywhere. Raises RecordError for a task that is not
    done, and where the recorded weights do not fit the recorded configuration.
    """
    config, done = record.config, len(record.tasks)
    chosen = done if task is None else task
    if not 1 <= chosen <= done:
        there = f"tasks 1 to {done} are" if done else "no task is"
        raise RecordError(f"there are no weights after task {chosen}: {there} done in this run")
    stream, model = open_world(config, torch.device("cpu"))
    dataset, seen = stream.dataset, stream.seen(chosen)
    try:
        phi = model.pack({name: torch.tensor(value) for name, value in record.weights[chosen].items()})
    except ValueError as error:
        raise RecordError(f"the weights after task {chosen} do not fit the run's settings: {error}") from None

    members = stream.up_to(stream.test, chosen)
    logits, attention = (torch.cat(parts) for parts in zip(*evaluate(model, phi, stream.test, members), strict=True))
    found = attention[:, 0].numpy()
    held_out = dataset.test[stream.test_index[members.numpy()]].resident()
    objects = None if held_out.masks is None else np.asarray(held_out.masks)
    return Masks(
        task=chosen,
        images=np.asarray(held_out.images),
        units=stream.test.labels[members].numpy(),
        labels=tuple(dataset.classes[label] for label in held_out.labels),
        predictions=tuple(stream.classes[unit] for unit in logits[:, :seen].argmax(1).tolist()),
        attention=found,
        background=background_mask(found),
        objects=objects,
        auroc=None if objects is None else metrics.auroc(found, objects),
    )
