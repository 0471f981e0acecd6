"""The one loop over tasks, batches and evaluation, for every method, told as events.

    for event in learn(config):
        record = record.after(event)

Pausing is not asking for the next event, stopping is `close()`, resuming is `learn(config, saved)`.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from . import datasets, networks
from .config import Config, Joint, Rehearsal, Remembering
from .datasets import Dataset
from .demand import refuse_too_large
from .errors import ConfigError, Diverged, RecordError
from .events import Attention, Event, Finished, Saved, Started, Step, TaskDone
from .fingerprint import Fingerprint, refuse_other
from .inference import accuracies, adapt
from .methods import Method, Setting, create
from .networks import Model, at_image_size
from .tasks import (
    ADAPT,
    AUGMENT,
    BATCHES,
    GROUPS,
    INITIAL,
    Pool,
    Samples,
    Stream,
    batches,
    exemplars,
    generator_for,
)


def learn(config: Config, saved: Saved | None = None, trained_on: Fingerprint | None = None) -> Iterator[Event]:
    """Trains the configured method over its tasks; same configuration and seed on the CPU give the same events.

    With `saved`, goes on from there: the events that followed it are repeated exactly.
    Raises at once ConfigError where the configuration cannot run here, DataError where the data are others than
    `trained_on`, and RecordError where `saved` is of another run; Diverged from the step whose loss is not finite.
    """
    device = choose_device(config.device)
    stream, model = open_world(config, device, trained_on)
    refuse_too_large(config, stream, device)
    phi = model.initial(generator_for(config.seed, INITIAL)).to(device)
    method = create(config, Setting(model, stream, device), phi)
    if isinstance(config, Remembering):
        last = stream.tasks if config.adaptation.epochs else stream.tasks - 1
        if last:
            exemplars(stream, last, config.memory.budget, config.seed)  # too small a budget fails now
    if saved is not None:
        _restore(method, saved)
    return _events(config, stream, model, method, device, saved)


def _restore(method: Method, saved: Saved) -> None:
    """RecordError where the state is another method's, or another network's."""
    shape = method.phi.shape
    try:
        method.restore({name: torch.tensor(value) for name, value in saved.state.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RecordError(f"the saved state does not fit the run's settings: {error!r:.200}") from None
    if method.phi.shape != shape:
        raise RecordError(f"the saved state does not fit the run's settings: phi is {tuple(method.phi.shape)}")


def open_world(config: Config, device: torch.device, trained_on: Fingerprint | None = None) -> tuple[Stream, Model]:
    """The data and the network of a run. With `trained_on`, of a recorded one: DataError, with what differs, where
    the data are no longer those."""
    dataset = data_of(config)
    if trained_on is not None:
        refuse_other(config.data.name, trained_on, dataset.fingerprint)
    stream = Stream(dataset, config.data, device, config.augmentation)
    network = config.network
    return stream, networks.build(network.name, stream.shape, len(stream.classes), network.attention)


def data_of(config: Config) -> Dataset:
    """What a run trains and is evaluated on, its classes not yet in the order in which they are met."""
    dataset = datasets.load(config.data.name, config.data.image_size, config.data.spurious)
    return dataset.holdout() if config.data.evaluate_on == "validation" else dataset


def _events(
    config: Config, stream: Stream, model: Model, method: Method, device: torch.device, saved: Saved | None
) -> Iterator[Event]:
    probes = _probes(stream, config.recording.probes)
    if saved is None:
        yield Started(
            device=device_name(device),
            classes=stream.classes,
            parameters=model.learnable,
            layers=model.layers,
            probes=stream.dataset.test.images[stream.test_index[probes.cpu().numpy()]],
            probe_units=stream.test.labels[probes].cpu().numpy(),
            notes=stream.dataset.notes,
            data=stream.dataset.fingerprint,
        )
        first_task, first_epoch = 1, 0
    else:
        first_task, first_epoch = saved.task, saved.epoch

    for task in range(first_task, stream.tasks + 1):
        schedule = _Schedule(config, stream, task)
        for epoch in range(first_epoch, config.train.epochs):
            method.begin(task, epoch)
            for iteration, batch in schedule.epoch(epoch):
                rate, recorded = schedule.learning_rate(iteration), iteration in schedule.frames
                loss, fused = method.step(batch, rate, recorded)
                if not math.isfinite(loss):
                    raise Diverged(
                        f"training diverged in task {task}, iteration {iteration}: loss or weights are not finite; "
                        f"lower train.learning_rate (now {config.train.learning_rate:g})"
                    )
                yield Step(task, iteration, schedule.iterations, loss, rate, len(batch), recorded, fused)
                if len(probes) and iteration in schedule.probe_frames:
                    yield Attention(task, iteration, _attention(model, method.phi, stream, probes))
            # After the last epoch too: nothing that happens to the evaluation costs what was trained.
            yield Saved(task, epoch + 1, _arrays(method.state()))
        first_epoch = 0
        yield _task_done(config, stream, model, method, task)
        if task < stream.tasks:
            yield Saved(task + 1, 0, _arrays(method.state()))
    yield Finished()


STEPS = (2 / 7, 4 / 7, 6 / 7)  # of a task: epochs 20, 40 and 60 of the released code's 70


class _Schedule:
    """What happens when within one task: batches, learning rate, frames to keep."""

    def __init__(self, config: Config, stream: Stream, task: int) -> None:
        self.config, self.stream, self.task = config, stream, task
        self.memory, self.kind = self.rehearsed()
        self.per_epoch = len(self.batches(0))
        self.iterations = self.per_epoch * config.train.epochs
        self.frames = spread(self.iterations, config.recording.frames)
        self.probe_frames = spread(self.iterations, config.recording.probe_frames)

    def rehearsed(self) -> tuple[Tensor, str]:
        """(which earlier samples batches hold beside the new ones, how they are put together)."""
        config, stream, before = self.config, self.stream, self.task - 1
        if isinstance(config, Joint):
            return stream.up_to(stream.train, before), "mixed"
        if isinstance(config, Rehearsal) and before:
            return exemplars(stream, before, config.memory.budget, config.seed), config.memory.batches
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
            done = iteration / self.iterations
            return train.learning_rate * 0.2 ** sum(done >= mark for mark in STEPS)
        return train.learning_rate * (1 + math.cos(math.pi * iteration / self.iterations)) / 2


def first_batch(config: Config, stream: Stream, task: int) -> tuple[Samples, float]:
    """(batch, learning rate) of a task's first iteration, task counted from 1."""
    schedule = _Schedule(config, stream, task)
    iteration, batch = next(schedule.epoch(0))
    return batch, schedule.learning_rate(iteration)


def spread(total: int, most: int) -> frozenset[int]:
    """At most `most` (>= 2) of 0..total-1, evenly, the first and the last among them."""
    return frozenset(np.linspace(0, total - 1, min(most, total)).round().astype(int).tolist())


def choose_device(name: str) -> torch.device:
    """`auto`: CUDA, then MPS, then the CPU. ConfigError where the device asked for is not there."""
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if name == "auto":
        name = available[0]
    if name not in available:
        raise ConfigError(f"device: {name} is not available here; available: {', '.join(available)}")
    return torch.device(name)


def device_name(device: torch.device) -> str:
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type


@torch.no_grad()
def evaluate(model: Model, phi: Tensor, pool: Pool, index: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(logits [B, units], A [B, 1, H, W] at the size of the images) of the indexed samples, chunk by chunk."""
    for part in index.split(pool.chunk):
        images = pool[part].images
        logits, attention = model(phi, images)
        yield logits, at_image_size(attention, images)


def logits_of(model: Model, phi: Tensor, pool: Pool, index: Tensor) -> Tensor:
    return torch.cat([logits for logits, _ in evaluate(model, phi, pool, index)])


def _task_done(config: Config, stream: Stream, model: Model, method: Method, task: int) -> TaskDone:
    phi = method.phi
    if not phi.isfinite().all():  # after the last step, which no loss has seen
        raise Diverged(
            f"training diverged at the end of task {task}: weights are not finite; lower train.learning_rate (now "
            f"{config.train.learning_rate:g})"
        )
    seen = stream.up_to(stream.test, task)
    logits = logits_of(model, phi, stream.test, seen)
    adapted = None
    if isinstance(config, Remembering) and config.adaptation.epochs:
        adapted = _adapted(config, stream, model, phi, task, seen)
    groups = generator_for(config.seed, GROUPS, task)
    labels = stream.test.labels[seen]
    found = accuracies(logits, labels, stream.units, task, config.evaluation, groups, adapted)
    sizes = tuple(len(stream.of_task(stream.test, each)) for each in range(1, task + 1))
    return TaskDone(task, found, _arrays(model.unpack(phi)), sizes)


def _adapted(config: Remembering, stream: Stream, model: Model, phi: Tensor, task: int, index: Tensor) -> Tensor:
    """Logits whose units of each task are answered by that task's own copy of phi, adapted to its exemplars."""
    memory = exemplars(stream, task, config.memory.budget, config.seed)
    parts = []
    for each in range(1, task + 1):
        own = stream.train[memory[stream.task_of(stream.train.labels[memory]) == each]]
        order = generator_for(config.seed, ADAPT, task, each)
        phi_i = adapt(model, phi, own, stream.units, config.adaptation.epochs, order)
        logits = logits_of(model, phi_i, stream.test, index)
        parts.append(logits[:, stream.units.of(each)])
    return torch.cat(parts, 1)


def _probes(stream: Stream, count: int) -> Tensor:
    """Indices of `count` held-out images (all, where there are fewer), the classes in turn."""
    labels = stream.test.labels.cpu()
    turn = torch.empty_like(labels)  # which of its class an image is
    for unit in labels.unique():
        turn[labels == unit] = torch.arange(int((labels == unit).sum()))
    return (turn * len(stream.classes) + labels).argsort()[:count].to(stream.test.labels.device)


def _attention(model: Model, phi: Tensor, stream: Stream, probes: Tensor) -> np.ndarray:
    attention = torch.cat([found for _, found in evaluate(model, phi, stream.test, probes)])
    return (attention[:, 0] * 255).round().byte().cpu().numpy()


def _arrays(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: value.detach().cpu().clone().numpy() for name, value in tensors.items()}
