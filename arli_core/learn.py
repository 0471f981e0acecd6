"""The one loop over tasks, batches and evaluation, for every method, as events.

    for event in learn(config):
        record = record.after(event)

To pause, do not ask for the next event; to stop, `close()`; to resume, `learn(config, saved)`.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .config import Config, Remembering
from .demand import refuse_too_large
from .errors import Diverged, RecordError
from .evaluation import attention_of, evaluated, probe_indices
from .events import Attention, Event, Finished, Saved, Started, Step, TaskDone
from .fingerprint import Fingerprint
from .methods import Method, create
from .schedule import Schedule, exemplars
from .stream import INITIAL, generator_for
from .world import World, choose_device, device_name, open_world


def learn(config: Config, saved: Saved | None = None, trained_on: Fingerprint | None = None) -> Iterator[Event]:
    """Trains the configured method over its tasks; the same configuration and seed on the CPU give the same events.

    With `saved`, goes on from there: the events that followed it are repeated exactly.
    Raises at once ConfigError where the configuration cannot run here, DataError where the data differ from
    `trained_on`, and RecordError where `saved` is of another run; Diverged from the step whose loss is not finite.
    """
    world = open_world(config, choose_device(config.device), trained_on)
    refuse_too_large(config, world)
    phi = world.model.initial(generator_for(config.seed, INITIAL)).to(world.device)
    method = create(config, world, phi)
    if isinstance(config, Remembering):
        last = world.stream.tasks if config.adaptation.epochs else world.stream.tasks - 1
        if last:
            exemplars(world.stream, last, config.memory.budget, config.seed)  # too small a budget fails now
    if saved is not None:
        _restore(method, saved)
    return _events(config, world, method, saved)


def _restore(method: Method, saved: Saved) -> None:
    """RecordError where the state is another method's, or another network's."""
    shape = method.phi.shape
    try:
        method.restore({name: torch.tensor(value) for name, value in saved.state.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RecordError(f"the saved state does not fit the run's settings: {error!r:.200}") from None
    if method.phi.shape != shape:
        raise RecordError(f"the saved state does not fit the run's settings: phi is {tuple(method.phi.shape)}")


def _events(config: Config, world: World, method: Method, saved: Saved | None) -> Iterator[Event]:
    stream, probes = world.stream, probe_indices(world.stream, config.recording.probes)
    if saved is None:
        yield Started(
            device=device_name(world.device),
            classes=stream.classes,
            parameters=world.model.learnable,
            layers=world.model.layers,
            probes=stream.dataset.test.images[stream.test_index[probes.cpu().numpy()]],
            probe_units=stream.test.labels[probes].cpu().numpy(),
            notes=stream.dataset.notes,
            data=stream.dataset.fingerprint,
        )
        first_task, first_epoch = 1, 0
    else:
        first_task, first_epoch = saved.task, saved.epoch

    for task in range(first_task, stream.tasks + 1):
        schedule = Schedule(config, stream, task)
        for epoch in range(first_epoch, config.train.epochs):
            method.begin(task, epoch)
            for iteration, batch in schedule.epoch(epoch):
                rate, recorded = schedule.learning_rate(iteration), iteration in schedule.frames
                loss, fused = method.step(batch, rate, recorded)
                if not math.isfinite(loss):
                    raise _diverged(config, f"in task {task}, iteration {iteration}: loss or weights")
                yield Step(task, iteration, schedule.iterations, loss, rate, len(batch), recorded, fused)
                if len(probes) and iteration in schedule.probe_frames:
                    yield Attention(task, iteration, attention_of(world, method.phi, probes))
            # After the last epoch too, so that a failed evaluation does not cost the training.
            yield Saved(task, epoch + 1, _arrays(method.state()))
        first_epoch = 0
        if not method.phi.isfinite().all():  # after the last step, which no later loss checks
            raise _diverged(config, f"at the end of task {task}: weights")
        accuracies, samples = evaluated(config, world, method.phi, task)
        yield TaskDone(task, accuracies, _arrays(world.model.unpack(method.phi)), samples)
        if task < stream.tasks:
            yield Saved(task + 1, 0, _arrays(method.state()))
    yield Finished()


def _diverged(config: Config, place: str) -> Diverged:
    rate = config.train.learning_rate
    return Diverged(f"training diverged {place} are not finite; lower train.learning_rate (now {rate:g})")


def _arrays(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: value.detach().cpu().clone().numpy() for name, value in tensors.items()}
