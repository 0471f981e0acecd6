"""The losses against literal float64 loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arli_core.config import Train
from arli_core.methods.objective import Trainee, classification_loss, optimiser
from arli_core.units import TaskUnits

light = settings(max_examples=30, deadline=None, derandomize=True)


def literal_seen(logits, labels, task, sizes):
    """Mean of -log softmax over the units of tasks 1..n."""
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        norm = sum(math.exp(value) for value in row[: sum(sizes[:task])])
        total -= math.log(math.exp(row[label]) / norm)
    return total / len(labels)


def literal_task(logits, labels, sizes):
    """Mean over the samples of the mean binary cross-entropy over the units of the sample's own task."""
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        task = next(task for task in range(len(sizes)) if label < sum(sizes[: task + 1]))
        for unit in range(sum(sizes[:task]), sum(sizes[: task + 1])):
            probability = 1 / (1 + math.exp(-row[unit]))
            total -= math.log(probability if unit == label else 1 - probability) / sizes[task]
    return total / len(labels)


@light
@given(
    seed=st.integers(0, 10**6), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), count=st.integers(1, 9),
    data=st.data(),
)  # fmt: skip
def test_equal_to_literal_loops(seed, sizes, count, data):
    task = data.draw(st.integers(1, len(sizes)))
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(count, sum(sizes)))
    labels = rng.integers(sum(sizes[:task]), size=count)

    def ours(kind):
        units = TaskUnits(tuple(sizes))
        return classification_loss(kind, torch.tensor(logits), torch.tensor(labels), task, units).item()

    assert ours("seen") == pytest.approx(literal_seen(logits, labels, task, sizes), rel=1e-10, abs=1e-12)
    assert ours("task") == pytest.approx(literal_task(logits, labels, sizes), rel=1e-10, abs=1e-12)


@light
@given(seed=st.integers(0, 10**6), per_task=st.integers(1, 12), tasks=st.integers(1, 5), count=st.integers(1, 300))
def test_for_tasks_of_one_size_the_task_loss_is_that_of_a_table_to_the_last_bit(seed, per_task, tasks, count):
    """A table of each sample's own logits, as many for each: what it was before tasks could differ, so that what was
    recorded then comes out the same."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, tasks * per_task, generator=generator).requires_grad_()
    labels = torch.randint(tasks * per_task, (count,), generator=generator)
    own = (labels // per_task * per_task)[:, None] + torch.arange(per_task)
    table = torch.nn.functional.binary_cross_entropy_with_logits(
        logits.gather(1, own), (own == labels[:, None]).float()
    )
    ours = classification_loss("task", logits, labels, tasks, TaskUnits((per_task,) * tasks))
    assert torch.equal(ours, table)
    assert torch.equal(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, table)))


def gradient(kind, labels, task, sizes=(2, 2, 2)):
    logits = torch.randn(len(labels), sum(sizes), generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = classification_loss(kind, logits, torch.tensor(labels), task, TaskUnits(sizes))
    return torch.autograd.grad(loss, logits)[0] != 0


def test_classes_not_seen_yet_take_no_part():
    """Unlike in the released code, whose attack descends on all classes."""
    reached = gradient("seen", [0, 3], task=2)
    assert reached.tolist() == [[True] * 4 + [False] * 2] * 2


def test_the_task_loss_reaches_the_units_of_each_samples_own_task_alone():
    reached = gradient("task", [0, 3, 5], task=3)
    assert reached.tolist() == [
        [True, True, False, False, False, False],
        [False, False, True, True, False, False],
        [False, False, False, False, True, True],
    ]
    reached = gradient("task", [0, 3, 5], task=3, sizes=(3, 1, 2))
    assert reached.tolist() == [
        [True, True, True, False, False, False],
        [False, False, False, True, False, False],
        [False, False, False, False, True, True],
    ]


@pytest.mark.parametrize("kind", ["seen", "task"])
def test_large_logits_give_a_finite_loss(kind):
    logits = torch.tensor([[1e4, -1e4, 0, 0]])
    assert torch.isfinite(classification_loss(kind, logits, torch.tensor([1]), 2, TaskUnits((2, 2))))


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("radam", torch.optim.RAdam)]
)
def test_an_optimiser_is_fresh_and_takes_the_configured_rate(name, kind):
    phi = torch.zeros(3, requires_grad=True)
    fresh = optimiser(Train(optimiser=name, learning_rate=0.25), phi)
    assert type(fresh) is kind and not fresh.state
    assert [group["lr"] for group in fresh.param_groups] == [0.25]
    phi.grad = torch.tensor([1.0, -2.0, 0.0])
    fresh.step()
    # Adam's first step is lr sign(g); RAdam's is not adaptive yet.
    expected = {"sgd": [-0.25, 0.5, 0], "adam": [-0.25, 0.25, 0], "radam": [-0.25, 0.5, 0]}[name]
    torch.testing.assert_close(phi.detach(), torch.tensor(expected))


# A trainee


class Quadratic:
    """What a trainee knows of a model: three learnable entries and two buffers."""

    learnable = 3


def descended(trainee, steps):
    for step in range(steps):
        loss = (trainee.phi[:3] ** 2 * torch.tensor([1.0, 2.0, 3.0])).sum()
        value = trainee.descend(loss, torch.tensor([10.0 + step, -step]))
        assert not value.requires_grad and value == loss.detach()
    return trainee.phi.detach().clone()


@pytest.mark.parametrize("name", ["sgd", "adam", "radam"])
def test_a_trainee_descends_on_a_copy_and_its_buffers_are_those_of_the_last_pass(name):
    start = torch.tensor([1.0, -2.0, 0.5, 7.0, 7.0])
    trainee = Trainee(Train(optimiser=name, learning_rate=0.5), Quadratic, start).at(0.01)
    end = descended(trainee, 3)
    assert start.tolist() == [1.0, -2.0, 0.5, 7.0, 7.0]
    assert end[3:].tolist() == [12.0, -2.0]
    one = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    plain = optimiser(Train(optimiser=name, learning_rate=0.01), one)
    for _ in range(3):
        plain.zero_grad()
        (one**2 * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
        plain.step()
    torch.testing.assert_close(end[:3], one.detach())


@pytest.mark.parametrize("name", ["sgd", "adam", "radam"])
def test_moments_that_are_passed_on_continue_from_their_state(name):
    config, start = Train(optimiser=name, learning_rate=0.02), torch.tensor([1.0, -2.0, 0.5, 7.0, 7.0])
    whole = Trainee(config, Quadratic, start)
    descended(whole, 7)
    first = Trainee(config, Quadratic, start)
    half, moments = descended(first, 4), first.moments
    descended(first, 2)  # what was taken does not follow
    second = Trainee(config, Quadratic, half)
    second.moments = moments
    assert torch.equal(descended(second, 3)[:3], whole.phi.detach()[:3])
    assert bool(moments) == (name != "sgd")
    fresh = Trainee(config, Quadratic, half)
    assert (name == "sgd") == torch.equal(descended(fresh, 3)[:3], whole.phi.detach()[:3])
