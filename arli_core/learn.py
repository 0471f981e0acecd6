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
from .config import Config
from .errors import ConfigError, Diverged
from .events import Attention, Event, Finished, Saved, Started, Step, TaskDone
from .inference import accuracies
from .methods import Method, Setting, create
from .networks import Model
from .tasks import BATCHES, GROUPS, INITIAL, Samples, Stream, batches, exemplars, generator_for


def learn(config: Config, saved: Saved | None = None) -> Iterator[Event]:
    """Trains the configured method over its tasks; same configuration and seed on the CPU give the same events.

    With `saved`, goes on from there: the events that followed it are repeated exactly.
    Raises ConfigError at once where the configuration cannot run here, Diverged from the step whose loss is not
    finite.
    """
    device = choose_device(config.device)
    dataset = datasets.load(config.data.name)
    if config.data.evaluate_on == "validation":
        dataset = dataset.holdout()
    stream = Stream(dataset, config.data, device)
    model = networks.build(config.network.name, stream.shape, len(stream.classes))
    phi = model.initial(generator_for(config.seed, INITIAL)).to(device)
    method = create(config, Setting(model, stream, device), phi)
    if config.method != "finetune" and stream.tasks > 1:
        exemplars(stream, stream.tasks - 1, config.memory.budget, config.seed)  # too small a budget fails now
    return _events(config, stream, model, method, device, saved)


def _events(
    config: Config, stream: Stream, model: Model, method: Method, device: torch.device, saved: Saved | None
) -> Iterator[Event]:
    probes = _probes(stream, config.recording.probes)
    if saved is None:
        yield Started(
            device=device_name(device),
            classes=stream.classes,
            parameters=len(method.phi),
            probes=stream.dataset.test.images[stream.test_index[probes.cpu().numpy()]],
            probe_units=stream.test.labels[probes].cpu().numpy(),
        )
        first_task, first_epoch = 1, 0
    else:
        method.restore({name: torch.tensor(value) for name, value in saved.state.items()})
        first_task, first_epoch = saved.task, saved.epoch

    for task in range(first_task, stream.tasks + 1):
        schedule = _Schedule(config, stream, task)
        for epoch in range(first_epoch, config.train.epochs):
            method.begin(task, epoch)
            for number, index in enumerate(schedule.batches(epoch)):
                iteration = epoch * schedule.per_epoch + number
                rate, recorded = schedule.learning_rate(iteration), iteration in schedule.frames
                loss, fused = method.step(stream.train[index.to(device)], rate, recorded)
                if not math.isfinite(loss):
                    raise Diverged(
                        f"training diverged in task {task}, iteration {iteration}: loss or weights are not finite; "
                        f"lower train.learning_rate (now {config.train.learning_rate:g})"
                    )
                yield Step(task, iteration, schedule.iterations, loss, rate, len(index), recorded, fused)
                if len(probes) and iteration in schedule.probe_frames:
                    yield Attention(task, iteration, _attention(model, method.phi, stream.test[probes]))
            if epoch + 1 < config.train.epochs:
                yield Saved(task, epoch + 1, _arrays(method.state()))
        first_epoch = 0
        yield _task_done(config, stream, model, method, task)
        if task < stream.tasks:
            yield Saved(task + 1, 0, _arrays(method.state()))
    yield Finished()


class _Schedule:
    """What happens when within one task: batches, learning rate, frames to keep."""

    def __init__(self, config: Config, stream: Stream, task: int) -> None:
        self.config, self.stream, self.task = config, stream, task
        replays = config.method != "finetune"
        none = torch.empty(0, dtype=torch.long, device=stream.train.labels.device)
        self.memory = exemplars(stream, task - 1, config.memory.budget, config.seed) if replays and task > 1 else none
        self.every_task = replays and config.memory.every_task
        self.per_epoch = len(self.batches(0))
        self.iterations = self.per_epoch * config.train.epochs
        self.frames = spread(self.iterations, config.recording.frames)
        self.probe_frames = spread(self.iterations, config.recording.probe_frames)

    def batches(self, epoch: int) -> list[Tensor]:
        generator = generator_for(self.config.seed, BATCHES, self.task, epoch)
        size = self.config.train.batch_size
        return batches(self.stream, self.task, self.memory, size, self.every_task, generator)

    def learning_rate(self, iteration: int) -> float:
        train = self.config.train
        if train.schedule == "constant":
            return train.learning_rate
        return train.learning_rate * (1 + math.cos(math.pi * iteration / self.iterations)) / 2


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
def evaluate(model: Model, phi: Tensor, samples: Samples, chunk: int = 500) -> tuple[Tensor, Tensor]:
    """(logits [S, units], A [S, 1, H, W]) of all samples, in chunks."""
    parts = [model(phi, images) for images in samples.images.split(chunk)]
    logits, attention = zip(*parts, strict=True)
    return torch.cat(logits), torch.cat(attention)


def _task_done(config: Config, stream: Stream, model: Model, method: Method, task: int) -> TaskDone:
    phi = method.phi
    seen = stream.test[stream.test.labels < stream.seen(task)]
    logits, _ = evaluate(model, phi, seen)
    groups = generator_for(config.seed, GROUPS, task)
    found = accuracies(logits, seen.labels, stream.per_task, task, groups)
    return TaskDone(task, found, _arrays(model.unpack(phi)))


def _probes(stream: Stream, count: int) -> Tensor:
    """Indices of `count` held-out images (all, where there are fewer), the classes in turn."""
    labels = stream.test.labels.cpu()
    turn = torch.empty_like(labels)  # which of its class an image is
    for unit in labels.unique():
        turn[labels == unit] = torch.arange(int((labels == unit).sum()))
    return (turn * len(stream.classes) + labels).argsort()[:count].to(stream.test.labels.device)


def _attention(model: Model, phi: Tensor, samples: Samples) -> np.ndarray:
    _, attention = evaluate(model, phi, samples)
    return (attention[:, 0] * 255).round().byte().cpu().numpy()


def _arrays(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: value.detach().cpu().clone().numpy() for name, value in tensors.items()}
