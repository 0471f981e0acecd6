"""What happens when within a task: the exemplar memory, the batches of each epoch, the learning rate, the frames."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .config import Config, Joint, Rehearsal
from .errors import ConfigError
from .stream import AUGMENT, BATCHES, EXEMPLARS, Samples, Stream, generator_for

STEPS = (2 / 7, 4 / 7, 6 / 7)  # of a task: epochs 20, 40 and 60 of the released code's 70


class Schedule:
    """What happens when within one task: batches, learning rate, frames to keep."""

    def __init__(self, config: Config, stream: Stream, task: int) -> None:
        self.config, self.stream, self.task = config, stream, task
        self.memory, self.kind = self.rehearsed()
        self.per_epoch = len(self.batches(0))
        self.iterations = self.per_epoch * config.train.epochs
        self.frames = spread(self.iterations, config.recording.frames)
        self.probe_frames = spread(self.iterations, config.recording.probe_frames)

    def rehearsed(self) -> tuple[Tensor, str]:
        """(earlier samples that batches hold beside the new ones, how batches are put together)."""
        config, stream, earlier = self.config, self.stream, self.task - 1
        if isinstance(config, Joint):
            return stream.up_to(stream.train, earlier), "mixed"
        if isinstance(config, Rehearsal) and earlier:
            return exemplars(stream, earlier, config.memory.budget, config.seed), config.memory.batches
        return stream.up_to(stream.train, 0), "mixed"  # none

    def epoch(self, epoch: int) -> Iterator[tuple[int, Samples]]:
        """(iteration, batch) in turn."""
        augmentation = generator_for(self.config.seed, AUGMENT, self.task, epoch)
        for number, index in enumerate(self.batches(epoch)):
            samples = self.stream.train[index.to(self.stream.train.labels.device)]
            yield epoch * self.per_epoch + number, self.stream.augmented(samples, augmentation)

    def batches(self, epoch: int) -> list[Tensor]:
        generator = generator_for(self.config.seed, BATCHES, self.task, epoch)
        size = self.config.train.batch_size
        return batches(self.stream, self.task, self.memory, size, self.kind, generator)

    def learning_rate(self, iteration: int) -> float:
        train = self.config.train
        if train.schedule == "constant":
            return train.learning_rate
        if train.schedule == "steps":
            progress = iteration / self.iterations
            return train.learning_rate * 0.2 ** sum(progress >= mark for mark in STEPS)
        return train.learning_rate * (1 + math.cos(math.pi * iteration / self.iterations)) / 2


def first_batch(config: Config, stream: Stream, task: int) -> tuple[Samples, float]:
    """(batch, learning rate) of a task's first iteration, task counted from 1."""
    schedule = Schedule(config, stream, task)
    iteration, batch = next(schedule.epoch(0))
    return batch, schedule.learning_rate(iteration)


def spread(total: int, most: int) -> frozenset[int]:
    """At most `most` (>= 2) of 0..total-1, evenly, the first and the last among them."""
    return frozenset(np.linspace(0, total - 1, min(most, total)).round().astype(int).tolist())


def exemplars(stream: Stream, task: int, budget: int, seed: int) -> Tensor:
    """The memory after task n: sorted indices into the training samples, budget // (classes seen) per class.

    Each class keeps a fixed random ranking, and the memory holds a prefix of it, so later memories are subsets of
    earlier ones: no exemplar that was dropped comes back. Raises ConfigError where a class gets none.
    """
    share = budget // stream.seen(task)
    if share < 1:
        raise ConfigError(
            f"memory.budget: {budget} exemplars are too few to keep one of each of {stream.seen(task)} classes; "
            f"use at least {stream.seen(task)}"
        )
    members = []
    for unit in range(stream.seen(task)):
        candidates = (stream.train.labels == unit).nonzero().flatten().cpu()
        ranking = torch.randperm(len(candidates), generator=generator_for(seed, EXEMPLARS, unit))
        members.append(candidates[ranking[:share]])
    return torch.cat(members).sort().values.to(stream.train.labels.device)


def batches(
    stream: Stream, task: int, memory: Tensor, size: int, kind: str, generator: torch.Generator
) -> list[Tensor]:
    """One epoch over the new samples of `task` and the memory, shuffled: indices into the training samples.

    The batches have equal lengths up to one, at most `size`, and there are as many for every `kind`:
    `mixed`       every sample once.
    `every-task`  the same; where a batch lacks a task learned so far, one random sample of it is added.
    `balanced`    equally many of each class, up to one: the few exemplars repeat, not all of the new samples appear.
    """
    new = stream.of_task(stream.train, task)
    pool = torch.cat([new, memory]).cpu()
    count = -(-len(pool) // size)
    if kind == "balanced":
        return list(_balanced(pool, stream.train.labels.cpu()[pool], generator).tensor_split(count))
    parts = list(pool[torch.randperm(len(pool), generator=generator)].tensor_split(count))
    if kind == "mixed":
        return parts
    task_of = stream.task_of(stream.train.labels).cpu()
    of_task = {n: pool[task_of[pool] == n] for n in range(1, task + 1)}
    for number, batch in enumerate(parts):
        present = set(task_of[batch].tolist())
        for absent in sorted(of_task.keys() - present):
            if len(of_task[absent]):
                pick = torch.randint(len(of_task[absent]), (1,), generator=generator)
                batch = torch.cat([batch, of_task[absent][pick]])
        parts[number] = batch
    return parts


def _balanced(pool: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """As many draws as the pool has members, the classes in turn; a class starts again when all of it was drawn."""
    classes = labels.unique()
    rounds = -(-len(pool) // len(classes))
    columns = []
    for label in classes[torch.randperm(len(classes), generator=generator)]:
        members = pool[labels == label]
        passes = -(-rounds // len(members))
        shuffled = [members[torch.randperm(len(members), generator=generator)] for _ in range(passes)]
        columns.append(torch.cat(shuffled)[:rounds])
    return torch.stack(columns, 1).flatten()[: len(pool)]
