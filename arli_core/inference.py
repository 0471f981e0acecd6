"""What a model answers, under three protocols that know different things about a sample's task.

logits [S, units], labels [S] head units; all samples of tasks 1..n, n = units seen / classes per task. Each
function returns whether each sample is answered correctly, bool [S].
"""

import torch
from torch import Tensor

PROTOCOLS = ("task_aware", "vote", "per_sample")
GROUP = 20  # samples of one unknown task that vote together in the published figures


def task_aware(logits: Tensor, labels: Tensor, per_task: int) -> Tensor:
    """Knows each sample's task: the largest logit among that task's classes (iTAML's and ARI's `acc_task`)."""
    return _within(logits, labels // per_task, per_task) == labels


def per_sample(logits: Tensor, labels: Tensor, seen: int) -> Tensor:
    """Knows nothing: the largest logit among all classes seen (class-incremental accuracy)."""
    return logits[:, :seen].argmax(1) == labels


def group_vote(
    logits: Tensor, labels: Tensor, per_task: int, seen: int, size: int, generator: torch.Generator
) -> Tensor:
    """Knows that `size` samples share one unknown task: the task with the largest mean of per-task largest logits.

    Groups are drawn at random within each task; a task's last group may be smaller.
    """
    strength = logits[:, :seen].view(len(logits), -1, per_task).amax(2)  # [S, n]
    tasks = (labels // per_task).cpu()
    voted = torch.empty_like(labels)
    for task in tasks.unique().tolist():
        members = (tasks == task).nonzero().flatten()
        for group in members[torch.randperm(len(members), generator=generator)].split(size):
            voted[group.to(labels.device)] = strength[group.to(labels.device)].mean(0).argmax()
    return _within(logits, voted, per_task) == labels


def accuracies(
    logits: Tensor, labels: Tensor, per_task: int, task: int, generator: torch.Generator
) -> dict[str, tuple[float, ...]]:
    """Accuracy on each of tasks 1..task, per protocol."""
    seen = per_task * task
    correct = {
        "task_aware": task_aware(logits, labels, per_task),
        "vote": group_vote(logits, labels, per_task, seen, GROUP, generator),
        "per_sample": per_sample(logits, labels, seen),
    }
    of_task = [labels // per_task == each for each in range(task)]
    return {
        name: tuple(hits[members].double().mean().item() for members in of_task) for name, hits in correct.items()
    }


def _within(logits: Tensor, tasks: Tensor, per_task: int) -> Tensor:
    """The unit with the largest logit among the classes of the given task (counted from 0) of each sample."""
    units = tasks[:, None] * per_task + torch.arange(per_task, device=logits.device)
    return (tasks * per_task) + logits.gather(1, units).argmax(1)
