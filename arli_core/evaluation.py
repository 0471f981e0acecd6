"""A model's answers to held-out images, under three protocols that know different things about a sample's task.

Each protocol decides which task a sample belongs to; its class is then the largest logit within that task. With
meta-test adaptation, the base model decides the task, and that task's own copy of it, adapted to its exemplars, the
class.

logits [S, units], labels [S] head units; all samples of tasks 1..n. Tasks are counted from 0 here.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .config import PROTOCOLS, Config, Evaluation, Remembering, Train
from .methods.objective import Trainee, classification_loss
from .networks import Model, at_image_size
from .schedule import exemplars
from .stream import ADAPT, GROUPS, Pool, Samples, Stream, generator_for
from .theory.precision import float64
from .units import TaskUnits
from .world import World

# Meta-test adaptation as in the released code.
ADAPTATION = Train(optimiser="adam", learning_rate=1e-3, batch_size=64, loss="task")


def voted_tasks(
    logits: Tensor, labels: Tensor, units: TaskUnits, task: int, evaluation: Evaluation, generator: torch.Generator
) -> Tensor:
    """The tasks [S] that groups of p samples elect: the largest mean over the group of each task's largest logit.

    Groups are drawn at random within each task; a task's last group may be smaller. A share `mixing` of every group's
    members is exchanged with other tasks' groups: by as much, the assumption of one task per group is wrong.
    """
    strength = torch.stack([logits[:, units.of(n)].amax(1) for n in range(1, task + 1)], 1).cpu()  # [S, n]
    tasks = (units.task_of(labels) - 1).cpu()
    groups = []
    for n in tasks.unique().tolist():
        members = (tasks == n).nonzero().flatten()
        groups += members[torch.randperm(len(members), generator=generator)].split(evaluation.group)
    if evaluation.mixing > 0 and task > 1:
        groups = _mixed(groups, tasks, evaluation.mixing)
    voted = torch.empty_like(tasks)
    for group in groups:
        voted[group] = strength[group].mean(0).argmax()
    return voted.to(labels.device)


def _mixed(groups: list[Tensor], tasks: Tensor, mixing: float) -> list[Tensor]:
    """The same groups after a share of each, its guests, has moved on by as many places as the largest number of
    guests from one task: each guest then sits in another task's group, if no task gives more than half of them."""
    moving = [round(mixing * len(group)) for group in groups]
    guests = torch.cat([group[:count] for group, count in zip(groups, moving, strict=True)])
    most = int(tasks[guests].bincount().max()) if len(guests) else 0
    turned = guests.roll(most).split(moving)
    return [torch.cat([guest, group[len(guest) :]]) for guest, group in zip(turned, groups, strict=True)]


def within(logits: Tensor, tasks: Tensor, units: TaskUnits) -> Tensor:
    """The unit [S] with the largest logit among the classes of each sample's task."""
    logits = logits[:, : units.total]
    task_of = units.task_of(torch.arange(logits.shape[1], device=logits.device)) - 1
    return logits.masked_fill(task_of != tasks[:, None], -torch.inf).argmax(1)


def answers(
    logits: Tensor,
    labels: Tensor,
    units: TaskUnits,
    task: int,
    evaluation: Evaluation,
    generator: torch.Generator,
    adapted: Tensor | None = None,
) -> dict[str, Tensor]:
    """The answer to each sample, a unit [S], per protocol:

    task_aware  knows each sample's task (iTAML's and ARI's `acc_task`)
    vote        knows that p samples share one unknown task, which they elect; as in the published figures
    per_sample  knows nothing: the task of the largest logit of all classes seen (class-incremental accuracy)

    With `adapted` logits, where each task's units come from that task's adapted copy, also NAME_adapted.
    """
    tasks = {
        "task_aware": units.task_of(labels) - 1,
        "vote": voted_tasks(logits, labels, units, task, evaluation, generator),
        "per_sample": units.task_of(logits[:, : units.seen(task)].argmax(1)) - 1,
    }
    by_protocol = {name: within(logits, tasks[name], units) for name in PROTOCOLS}
    if adapted is not None:
        by_protocol |= {f"{name}_adapted": within(adapted, tasks[name], units) for name in PROTOCOLS}
    return by_protocol


def accuracies(
    logits: Tensor,
    labels: Tensor,
    units: TaskUnits,
    task: int,
    evaluation: Evaluation,
    generator: torch.Generator,
    adapted: Tensor | None = None,
) -> dict[str, tuple[float, ...]]:
    """Accuracy of `answers` on each of tasks 1..task, per protocol."""
    by_protocol = answers(logits, labels, units, task, evaluation, generator, adapted)
    of_task = [units.task_of(labels) == n for n in range(1, task + 1)]
    return {
        name: tuple(float64((answered == labels)[members]).mean().item() for members in of_task)
        for name, answered in by_protocol.items()
    }


def adapt(
    model: Model, phi: Tensor, exemplars: Samples, units: TaskUnits, epochs: int, generator: torch.Generator
) -> Tensor:
    """A task's own copy of phi after some epochs on its exemplars: Adam 1e-3, batches of 64, binary cross-entropy on
    the task's classes, as in the released code."""
    trainee = Trainee(ADAPTATION, model, phi)
    task = units.task_of(int(exemplars.labels.max()))
    for _ in range(epochs):
        order = torch.randperm(len(exemplars), generator=generator).to(exemplars.labels.device)
        for index in order.split(ADAPTATION.batch_size):
            batch = exemplars[index]
            logits, _, buffers = model.train(trainee.phi, batch.images)
            trainee.descend(classification_loss(ADAPTATION.loss, logits, batch.labels, task, units), buffers)
    return trainee.phi.detach()


@torch.no_grad()
def evaluate(model: Model, phi: Tensor, pool: Pool, index: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(logits [B, units], A [B, 1, H, W] at the size of the images) of the indexed samples, chunk by chunk."""
    for part in index.split(pool.chunk):
        images = pool[part].images
        logits, attention = model(phi, images)
        yield logits, at_image_size(attention, images)


def logits_of(model: Model, phi: Tensor, pool: Pool, index: Tensor) -> Tensor:
    return torch.cat([logits for logits, _ in evaluate(model, phi, pool, index)])


def evaluated(
    config: Config, world: World, phi: Tensor, task: int
) -> tuple[dict[str, tuple[float, ...]], tuple[int, ...]]:
    """(accuracies of phi on held-out samples of each of tasks 1..task, per protocol; how many samples each has)."""
    stream = world.stream
    members = stream.up_to(stream.test, task)
    logits = logits_of(world.model, phi, stream.test, members)
    adapted = None
    if isinstance(config, Remembering) and config.adaptation.epochs:
        adapted = _adapted_logits(config, world, phi, task, members)
    groups = generator_for(config.seed, GROUPS, task)
    labels = stream.test.labels[members]
    samples = tuple(len(stream.of_task(stream.test, earlier)) for earlier in range(1, task + 1))
    return accuracies(logits, labels, stream.units, task, config.evaluation, groups, adapted), samples


def _adapted_logits(config: Remembering, world: World, phi: Tensor, task: int, index: Tensor) -> Tensor:
    """Logits where each task's units come from that task's own copy of phi, adapted to its exemplars."""
    model, stream = world.model, world.stream
    memory = exemplars(stream, task, config.memory.budget, config.seed)
    parts = []
    for earlier in range(1, task + 1):
        own = stream.train[memory[stream.task_of(stream.train.labels[memory]) == earlier]]
        order = generator_for(config.seed, ADAPT, task, earlier)
        phi_i = adapt(model, phi, own, stream.units, config.adaptation.epochs, order)
        logits = logits_of(model, phi_i, stream.test, index)
        parts.append(logits[:, stream.units.of(earlier)])
    return torch.cat(parts, 1)


def probe_indices(stream: Stream, count: int) -> Tensor:
    """Indices of `count` held-out images (all, where there are fewer), the classes in turn."""
    labels = stream.test.labels.cpu()
    turn = torch.empty_like(labels)  # an image's number within its class
    for unit in labels.unique():
        turn[labels == unit] = torch.arange(int((labels == unit).sum()))
    return (turn * len(stream.classes) + labels).argsort()[:count].to(stream.test.labels.device)


def attention_of(world: World, phi: Tensor, index: Tensor) -> np.ndarray:
    """uint8 [N, H, W]: A of the indexed held-out images, 255 for 1."""
    parts = [attention for _, attention in evaluate(world.model, phi, world.stream.test, index)]
    return (torch.cat(parts)[:, 0] * 255).round().byte().cpu().numpy()
