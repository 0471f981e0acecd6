"""The three protocols against literal loops: what each knows about a sample's task, and nothing more."""

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from arli_core import evaluation
from arli_core.config import METHODS, PROTOCOLS, Evaluation, keys, preset, protocols
from arli_core.evaluation import accuracies, adapt, voted_tasks, within
from arli_core.networks import Model
from arli_core.records import Record
from arli_core.stream import Samples
from arli_core.units import TaskUnits

light = settings(max_examples=30, deadline=None, derandomize=True)


def units_of(task, sizes):
    """The units of a task, counted from 0."""
    return range(sum(sizes[:task]), sum(sizes[: task + 1]))


def task_of(unit, sizes):
    return next(task for task in range(len(sizes)) if unit in units_of(task, sizes))


def literal_within(logits, tasks, sizes):
    """The class of each sample: the largest logit within its task."""
    answers = []
    for row, task in zip(logits, tasks, strict=True):
        answers.append(max(units_of(task, sizes), key=lambda unit: row[unit]))
    return answers


def literal_groups(labels, sizes, size, generator):
    """Within each task: a random order, cut into groups of `size`."""
    tasks = [task_of(label, sizes) for label in labels]
    groups = []
    for task in sorted(set(tasks)):
        members = [number for number, other in enumerate(tasks) if other == task]
        order = torch.randperm(len(members), generator=generator).tolist()
        members = [members[place] for place in order]
        while members:
            groups.append(members[:size])
            members = members[size:]
    return groups


def literal_mixed(groups, labels, sizes, mixing):
    """The first of each group leave it, all in one queue; the queue then fills the free seats, shifted by the largest
    number of guests from one task."""
    leaving = [round(mixing * len(group)) for group in groups]
    queue = [number for group, count in zip(groups, leaving, strict=True) for number in group[:count]]
    if not queue:
        return groups
    by_task = [task_of(labels[number], sizes) for number in queue]
    most = max(by_task.count(task) for task in by_task)
    seats, mixed = 0, []
    for group, count in zip(groups, leaving, strict=True):
        guests = [queue[(seats + k - most) % len(queue)] for k in range(count)]
        mixed.append(guests + group[count:])
        seats += count
    return mixed


def literal_vote(logits, labels, sizes, size, generator, mixing=0.0):
    """Each group elects one task."""
    groups = literal_groups(labels, sizes, size, generator)
    if len(sizes) > 1:
        groups = literal_mixed(groups, labels, sizes, mixing)
    voted = [None] * len(labels)
    for group in groups:
        means = []
        for task in range(len(sizes)):
            units = units_of(task, sizes)
            means.append(sum(max(logits[number][unit] for unit in units) for number in group) / len(group))
        for number in group:
            assert voted[number] is None  # every sample in exactly one group
            voted[number] = means.index(max(means))
    return voted


def literal_per_sample(logits, classes):
    return [max(range(classes), key=lambda unit: row[unit]) for row in logits]


def sample(seed, sizes, spare, count):
    rng = np.random.default_rng(seed)
    labels = rng.integers(sum(sizes), size=count)
    logits = rng.normal(size=(count, sum(sizes) + spare))
    logits[np.arange(count), labels] += 0.8  # better than chance
    return torch.tensor(logits), torch.tensor(labels)


def vote(logits, labels, sizes, size=20, mixing=0.0, seed=0):
    """The unit that each sample is answered with after the vote."""
    evaluation, generator = Evaluation(group=size, mixing=mixing), torch.Generator().manual_seed(seed)
    units = TaskUnits(sizes)
    return within(logits, voted_tasks(logits, labels, units, len(sizes), evaluation, generator), units)


# Sizes of the tasks seen, equal or not. Later tasks add units that are never an answer.
SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
LATER = st.lists(st.integers(1, 4), max_size=2).map(tuple)


@light
@given(
    seed=st.integers(0, 10**6), sizes=SIZES, later=LATER,
    count=st.integers(1, 50), size=st.integers(1, 25), mixing=st.just(0.0) | st.floats(0, 1),
)  # fmt: skip
def test_equal_to_literal_loops(seed, sizes, later, count, size, mixing):
    logits, labels = sample(seed, sizes, sum(later), count)
    plain, units = (logits.tolist(), labels.tolist()), TaskUnits(sizes + later)
    generator, again = (torch.Generator().manual_seed(seed) for _ in range(2))
    evaluation = Evaluation(group=size, mixing=mixing)
    voted = voted_tasks(logits, labels, units, len(sizes), evaluation, generator)
    assert voted.tolist() == literal_vote(*plain, sizes, size, again, mixing)
    assert torch.equal(generator.get_state(), again.get_state())
    assert within(logits, voted, units).tolist() == literal_within(plain[0], voted.tolist(), sizes)


@light
@given(
    seed=st.integers(0, 10**6), sizes=SIZES, later=LATER, size=st.integers(1, 30),
    mixing=st.sampled_from([0.0, 0.3]), adapts=st.booleans(),
)  # fmt: skip
def test_accuracies_are_the_share_of_hits_per_task(seed, sizes, later, size, mixing, adapts):
    classes, units = sum(sizes), TaskUnits(sizes + later)
    logits, labels = sample(seed, sizes, sum(later), 90)
    labels[:classes] = torch.arange(classes)  # no class without a sample
    adapted = torch.tensor(np.random.default_rng(seed).normal(size=(90, classes)))
    evaluation = Evaluation(group=size, mixing=mixing)
    generator, again = (torch.Generator().manual_seed(3) for _ in range(2))
    measured = accuracies(logits, labels, units, len(sizes), evaluation, generator, adapted if adapts else None)

    rows = logits.tolist()
    best = literal_per_sample(rows, classes)
    tasks_by_protocol = {
        "task_aware": [task_of(label, sizes) for label in labels.tolist()],
        "vote": literal_vote(rows, labels.tolist(), sizes, size, again, mixing),
        "per_sample": [task_of(unit, sizes) for unit in best],
    }
    answers = {name: literal_within(rows, tasks, sizes) for name, tasks in tasks_by_protocol.items()}
    assert answers["per_sample"] == best  # the largest of all is the largest of its task
    if adapts:  # the base model decides the task, and the task's own copy the class
        for name, tasks in tasks_by_protocol.items():
            answers[f"{name}_adapted"] = literal_within(adapted.tolist(), tasks, sizes)
    assert measured.keys() == answers.keys()
    for name, answered in answers.items():
        for number in range(len(sizes)):
            own = [unit == label for unit, label in zip(answered, labels.tolist(), strict=True)
                   if task_of(label, sizes) == number]  # fmt: skip
            assert measured[name][number] == pytest.approx(sum(own) / len(own), abs=1e-12)
        assert all(type(value) is float for value in measured[name])


# Groups of the vote, mixed


class Groups:
    """The groups that voted_tasks uses: every call's groups, as lists of indices."""

    def __init__(self, monkeypatch):
        self.mixed, before = [], evaluation._mixed

        def watched(groups, tasks, mixing):
            groups_mixed = before(groups, tasks, mixing)
            self.mixed.append(([group.tolist() for group in groups], [group.tolist() for group in groups_mixed]))
            return groups_mixed

        monkeypatch.setattr(evaluation, "_mixed", watched)


@pytest.mark.parametrize("mixing", [0.05, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("sizes", [(40, 40), (40, 40, 40), (33, 40, 27, 40), (60, 20, 40), (10, 40, 40)])
def test_guests_are_a_share_of_each_group_and_come_from_other_tasks(mixing, sizes, monkeypatch):
    """With tasks of any size, as long as none has more than half of all samples."""
    groups = Groups(monkeypatch)
    labels = torch.cat([torch.full((size,), task) for task, size in enumerate(sizes)])
    vote(torch.zeros(len(labels), len(sizes)), labels, (1,) * len(sizes), size=20, mixing=mixing)
    ((before, after),) = groups.mixed
    assert sorted(chain(*after)) == sorted(chain(*before)) == list(range(len(labels)))
    for plain, group in zip(before, after, strict=True):
        assert len(group) == len(plain)
        host = {int(labels[number]) for number in plain}
        assert len(host) == 1
        guests = set(group) - set(plain)
        assert len(guests) == round(mixing * len(plain))
        assert all(int(labels[number]) not in host for number in guests)


def test_a_task_with_most_of_the_samples_keeps_some_of_them(monkeypatch):
    """They cannot all be guests of other tasks; the other tasks' guests are."""
    groups = Groups(monkeypatch)
    labels = torch.tensor([0] * 30 + [1] * 10)
    vote(torch.zeros(40, 2), labels, (1, 1), size=10, mixing=1.0)
    ((_, after),) = groups.mixed
    foreign = [sum(int(labels[number]) != int(group >= 3) for number in members)
               for group, members in enumerate(after)]  # fmt: skip
    assert sum(foreign) == 20 and foreign[3] == 10


def test_without_mixing_and_with_one_task_groups_are_not_touched(monkeypatch):
    groups = Groups(monkeypatch)
    logits, labels = sample(0, (2, 2, 2), 1, 200)
    vote(logits, labels, (2, 2, 2), mixing=0.0)
    logits, labels = sample(0, (2,), 1, 200)
    one = [vote(logits, labels, (2,), mixing=mixing) for mixing in (0.0, 0.7)]
    assert not groups.mixed and torch.equal(*one)


def test_a_vote_is_worth_less_the_more_guests_there_are():
    """Every sample is sure of its own task: guests are outvoted, and at a half or more the hosts are."""
    labels = torch.arange(3).repeat_interleave(100)
    logits = 5 * torch.nn.functional.one_hot(labels, 3).double()
    right = [(vote(logits, labels, (1, 1, 1), size=20, mixing=mixing) == labels).double().mean().item()
             for mixing in (0.0, 0.2, 0.4, 0.6, 1.0)]  # fmt: skip
    np.testing.assert_allclose(right, [1, 0.8, 0.6, 0.6, 1.0])


# What each protocol knows


def test_a_vote_of_one_decides_each_sample_alone():
    """With one sample a group, the largest logit wins, as it does per sample."""
    logits, labels = sample(0, (2, 2, 2), 1, 200)
    assert vote(logits, labels, (2, 2, 2), size=1).tolist() == literal_per_sample(logits.tolist(), 6)


def test_a_vote_larger_than_the_task_is_one_group():
    logits, labels = sample(1, (2, 2), 0, 30)
    whole, other = (vote(logits, labels, (2, 2), size=1000, seed=seed) for seed in (0, 1))
    assert torch.equal(whole, other)


def test_knowing_more_helps_where_tasks_are_confused():
    """Each sample slightly prefers a class of the other task; together they know better."""
    logits = torch.tensor([[1.0, 0, 1.1, 0]] * 3 + [[3.0, 0, 0, 0], [0, 0, 9.0, 0]])
    labels = torch.tensor([0, 0, 0, 0, 2])
    measured = accuracies(logits, labels, TaskUnits((2, 2)), 2, Evaluation(group=4), torch.Generator().manual_seed(0))
    assert measured == {"task_aware": (1.0, 1.0), "vote": (1.0, 1.0), "per_sample": (0.25, 1.0)}


def test_with_one_task_all_protocols_agree():
    logits, labels = sample(2, (4,), 3, 60)
    measured = accuracies(logits, labels, TaskUnits((4,)), 1, Evaluation(), torch.Generator().manual_seed(0))
    assert len(set(measured.values())) == 1 and set(measured) == set(PROTOCOLS)


def test_classes_not_seen_yet_are_never_answered():
    logits = torch.tensor([[1.0, 0, 9, 9]])
    labels = torch.tensor([0])
    measured = accuracies(logits, labels, TaskUnits((2,)), 1, Evaluation(), torch.Generator().manual_seed(0))
    assert set(measured.values()) == {(1.0,)}


def test_the_last_group_of_a_task_may_be_smaller_and_groups_never_mix_tasks():
    """Seven samples in groups of five. In a mixed group the confident samples of task 2 would outvote task 1."""
    labels = torch.tensor([0] * 7 + [2] * 7)
    logits = torch.zeros(14, 4)
    logits[:7, 0], logits[7:, 2] = 0.1, 100.0
    for seed in range(5):
        assert torch.equal(vote(logits, labels, (2, 2), size=5, seed=seed), labels)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("epochs", [0, 1])
def test_records_keep_the_protocols_that_are_measured(method, epochs):
    adapts = "adaptation.epochs" in keys(method) and epochs
    config = preset("digits", method, **({"adaptation.epochs": epochs} if adapts else {}))
    logits, labels = sample(0, (2, 2), 0, 50)
    adapted = logits if adapts else None
    measured = accuracies(logits, labels, TaskUnits((2, 2)), 2, config.evaluation, torch.Generator(), adapted)
    assert tuple(measured) == protocols(config)
    assert set(Record(config).summary()["accuracy"]) == set(measured)


# Meta-test adaptation


class Normed(nn.Module):
    """Attention, a BatchNorm and a linear head: small enough to be written out."""

    def __init__(self):
        super().__init__()
        self.c = nn.Parameter(torch.zeros(()))
        self.norm = nn.BatchNorm2d(1)
        self.head = nn.Linear(9, 6)

    def forward(self, x):
        attention = torch.sigmoid(self.c * x.sum(1, keepdim=True))
        return self.head(self.norm(x * attention).flatten(1)), attention


def exemplars_of(task, count, sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 3, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(sizes[task - 1], (count,), generator=generator)
    return Samples(images, sum(sizes[: task - 1]) + labels)


def literal_adam(network, exemplars, own, epochs, generator):
    """Adam 1e-3, batches of 64, binary cross-entropy on the task's own units, written out."""
    network.train()
    weights = list(network.parameters())
    moments = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]
    steps = 0
    for _ in range(epochs):
        order = torch.randperm(len(exemplars), generator=generator).tolist()
        while order:
            index, order = order[:64], order[64:]
            logits, _ = network(exemplars.images[index])
            loss = 0.0
            for row, label in zip(logits, exemplars.labels[index].tolist(), strict=True):
                for unit in own:
                    chance = 1 / (1 + torch.exp(-row[unit]))
                    loss = loss - torch.log(chance if unit == label else 1 - chance) / (len(own) * len(index))
            steps += 1
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for weight, gradient, (m, v) in zip(weights, gradients, moments, strict=True):
                    m.mul_(0.9).add_(0.1 * gradient)
                    v.mul_(0.999).add_(0.001 * gradient**2)
                    weight -= 1e-3 * (m / (1 - 0.9**steps)) / ((v / (1 - 0.999**steps)).sqrt() + 1e-8)
    return torch.cat([weight.detach().flatten() for weight in weights] + [network.norm.running_mean,
                                                                      network.norm.running_var])  # fmt: skip


@pytest.mark.parametrize("sizes", [(2, 2, 2), (3, 1, 2)])
@pytest.mark.parametrize(("task", "count", "epochs"), [(1, 10, 1), (2, 130, 1), (3, 70, 3)])
def test_adaptation_equals_adam_written_out(task, count, epochs, sizes):
    model, network = Model(Normed()), Normed().double()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    network.norm.running_mean.fill_(3.0)
    phi = torch.cat([weight.detach().flatten() for weight in network.parameters()]
                    + [network.norm.running_mean, network.norm.running_var])  # fmt: skip
    before, own = phi.clone(), exemplars_of(task, count, sizes)
    generator, again = (torch.Generator().manual_seed(5) for _ in range(2))
    adapted = adapt(model, phi, own, TaskUnits(sizes), epochs, generator)
    assert torch.equal(phi, before) and not adapted.requires_grad
    expected = literal_adam(network, own, units_of(task - 1, sizes), epochs, again)
    np.testing.assert_allclose(adapted.numpy(), expected.numpy(), rtol=1e-9, atol=1e-12)
    assert abs(adapted - before).max() > 1e-3
    assert torch.equal(generator.get_state(), again.get_state())


def test_zero_epochs_mean_no_adaptation():
    model = Model(Normed())
    phi = model.initial(torch.Generator().manual_seed(0)).double()
    assert torch.equal(
        adapt(model, phi, exemplars_of(1, 5, (2, 2, 2)), TaskUnits((2, 2, 2)), 0, torch.Generator()), phi
    )
