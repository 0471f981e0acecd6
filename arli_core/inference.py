"""What a model answers, under three protocols that know different things about a sample's task.

Each protocol says which task a sample is of; its class is then the largest logit within that task. With meta-test
adaptation the task is said by the base model, and the class by that task's own copy of it, adapted to its exemplars.

logits [S, units], labels [S] head units; all samples of tasks 1..n. Tasks are counted from 0 here.
"""

import torch
from torch import Tensor

from .config import PROTOCOLS, Evaluation, Train
from .methods.objective import Trainee, classification_loss
from .networks import Model
from .precision import float64
from .tasks import Samples
from .units import TaskUnits

# Meta-test adaptation as in the released code.
_ADAPTATION = Train(optimiser="adam", learning_rate=1e-3, batch_size=64, loss="task")


def voted_tasks(
    logits: Tensor, labels: Tensor, units: TaskUnits, task: int, evaluation: Evaluation, generator: torch.Generator
) -> Tensor:
    """The tasks [S] that groups of p samples elect: the largest mean over the group of each task's largest logit.

    Groups are drawn at random within each task; a task's last group may be smaller. A share `mixing` of every group's
    members changes places with those of other tasks' groups, so the assumption of one task a group is off by as much.
    """
    strength = torch.stack([logits[:, units.of(each)].amax(1) for each in range(1, task + 1)], 1).cpu()  # [S, n]
    tasks = (units.task_of(labels) - 1).cpu()
    groups = []
    for each in tasks.unique().tolist():
        members = (tasks == each).nonzero().flatten()
        groups += members[torch.randperm(len(members), generator=generator)].split(evaluation.group)
    if evaluation.mixing > 0 and task > 1:
        groups = _mixed(groups, tasks, evaluation.mixing)
    voted = torch.empty_like(tasks)
    for group in groups:
        voted[group] = strength[group].mean(0).argmax()
    return voted.to(labels.device)


def _mixed(groups: list[Tensor], tasks: Tensor, mixing: float) -> list[Tensor]:
    """The same groups after a share of each has moved on by as many places as the task that gives most has guests:
    each comes from another task, if no task gives more than half of them."""
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
    """The unit [S] that each sample is answered with, per protocol:

    task_aware  knows each sample's task (iTAML's and ARI's `acc_task`)
    vote        knows that p samples share one unknown task, which they elect; as in the published figures
    per_sample  knows nothing: the task of the largest logit of all seen (class-incremental accuracy)

    With `adapted` logits, whose units of each task are of that task's adapted copy, also NAME_adapted.
    """
    told = {
        "task_aware": units.task_of(labels) - 1,
        "vote": voted_tasks(logits, labels, units, task, evaluation, generator),
        "per_sample": units.task_of(logits[:, : units.seen(task)].argmax(1)) - 1,
    }
    found = {name: within(logits, told[name], units) for name in PROTOCOLS}
    if adapted is not None:
        found |= {f"{name}_adapted": within(adapted, told[name], units) for name in PROTOCOLS}
    return found


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
    found = answers(logits, labels, units, task, evaluation, generator, adapted)
    of_task = [units.task_of(labels) == each for each in range(1, task + 1)]
    return {
        name: tuple(float64((answered == labels)[members]).mean().item() for members in of_task)
        for name, answered in found.items()
    }


def adapt(
    model: Model, phi: Tensor, exemplars: Samples, units: TaskUnits, epochs: int, generator: torch.Generator
) -> Tensor:
    """A task's own copy of phi after some epochs on its exemplars: Adam 1e-3, batches of 64, binary cross-entropy on
    the task's classes, as in the released code."""
    trainee = Trainee(_ADAPTATION, model, phi)
    task = units.task_of(int(exemplars.labels.max()))
    for _ in range(epochs):
        order = torch.randperm(len(exemplars), generator=generator).to(exemplars.labels.device)
        for index in order.split(_ADAPTATION.batch_size):
            batch = exemplars[index]
            logits, _, buffers = model.train(trainee.phi, batch.images)
            trainee.descend(classification_loss(_ADAPTATION.loss, logits, batch.labels, task, units), buffers)
    return trainee.phi.detach()
