"""The losses against literal float64 loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arli_core.config import Train
from arli_core.methods.objective import Trainee, classification_loss, optimiser

light = settings(max_examples=30, deadline=None, derandomize=True)


def literal_seen(logits, labels, task, per_task):
    """Mean of -log softmax over the units of tasks 1..n."""
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        norm = sum(math.exp(value) for value in row[: task * per_task])
        total -= math.log(math.exp(row[label]) / norm)
    return total / len(labels)


def literal_task(logits, labels, per_task):
    """Mean binary cross-entropy over samples and the units of each sample's own task."""
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        first = label // per_task * per_task
        for unit in range(first, first + per_task):
            probability = 1 / (1 + math.exp(-row[unit]))
            total -= math.log(probability if unit == label else 1 - probability)
    return total / (len(labels) * per_task)


@light
@given(
    seed=st.integers(0, 10**6), per_task=st.integers(1, 4), tasks=st.integers(1, 4), count=st.integers(1, 9),
    data=st.data(),
)  # fmt: skip
def test_equal_to_literal_loops(seed, per_task, tasks, count, data):
    task = data.draw(st.integers(1, tasks))
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(count, tasks * per_task))
    labels = rng.integers(task * per_task, size=count)

    def ours(kind):
        return classification_loss(kind, torch.tensor(logits), torch.tensor(labels), task, per_task).item()

    assert ours("seen") == pytest.approx(literal_seen(logits, labels, task, per_task), rel=1e-10, abs=1e-12)
    assert ours("task") == pytest.approx(literal_task(logits, labels, per_task), rel=1e-10, abs=1e-12)


def gradient(kind, labels, task, per_task=2, units=6):
    logits = torch.randn(len(labels), units, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = classification_loss(kind, logits, torch.tensor(labels), task, per_task)
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


@pytest.mark.parametrize("kind", ["seen", "task"])
def test_large_logits_give_a_finite_loss(kind):
    logits = torch.tensor([[1e4, -1e4, 0, 0]])
    assert torch.isfinite(classification_loss(kind, logits, torch.tensor([1]), 2, 2))


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("radam", torch.optim.RAdam)]
)
def test_an_optimiser_is_fresh_and_takes_the_configured_rate(name, kind):
    phi = torch.zeros(3, requires_grad=True)
    found = optimiser(Train(optimiser=name, learning_rate=0.25), phi)
    assert type(found) is kind and not found.state
    assert [group["lr"] for group in found.param_groups] == [0.25]
    phi.grad = torch.tensor([1.0, -2.0, 0.0])
    found.step()
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
        told = trainee.descend(loss, torch.tensor([10.0 + step, -step]))
        assert not told.requires_grad and told == loss.detach()
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
def test_moments_handed_on_go_on_where_they_were(name):
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
