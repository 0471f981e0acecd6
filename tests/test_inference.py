"""The three protocols against literal loops: what each knows about a sample's task, and nothing more."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arli_core import inference, records
from arli_core.inference import accuracies, group_vote, per_sample, task_aware

light = settings(max_examples=30, deadline=None, derandomize=True)


def literal_task_aware(logits, labels, per_task):
    hits = []
    for row, label in zip(logits, labels, strict=True):
        first = label // per_task * per_task
        best = max(range(first, first + per_task), key=lambda unit: row[unit])
        hits.append(best == label)
    return hits


def literal_per_sample(logits, labels, seen):
    return [max(range(seen), key=lambda unit: row[unit]) == label for row, label in zip(logits, labels, strict=True)]


def literal_vote(logits, labels, per_task, seen, size, generator):
    """Within each task: a random order, cut into groups of `size`; each group believes in one task."""
    tasks = [label // per_task for label in labels]
    hits, groups = [None] * len(labels), []
    for task in sorted(set(tasks)):
        members = [number for number, each in enumerate(tasks) if each == task]
        order = torch.randperm(len(members), generator=generator).tolist()
        members = [members[place] for place in order]
        while members:
            groups.append(members[:size])
            members = members[size:]
    for group in groups:
        means = []
        for task in range(seen // per_task):
            units = range(task * per_task, (task + 1) * per_task)
            means.append(sum(max(logits[number][unit] for unit in units) for number in group) / len(group))
        voted = means.index(max(means))
        for number in group:
            units = range(voted * per_task, (voted + 1) * per_task)
            hits[number] = max(units, key=lambda unit: logits[number][unit]) == labels[number]
    return hits


def sample(seed, task, per_task, spare, count):
    rng = np.random.default_rng(seed)
    labels = rng.integers(task * per_task, size=count)
    logits = rng.normal(size=(count, task * per_task + spare))
    logits[np.arange(count), labels] += 0.8  # better than chance
    return torch.tensor(logits), torch.tensor(labels)


@light
@given(
    seed=st.integers(0, 10**6), task=st.integers(1, 4), per_task=st.integers(1, 3), spare=st.integers(0, 4),
    count=st.integers(1, 50), size=st.integers(1, 25),
)  # fmt: skip
def test_equal_to_literal_loops(seed, task, per_task, spare, count, size):
    logits, labels = sample(seed, task, per_task, spare, count)
    seen, plain = task * per_task, (logits.tolist(), labels.tolist())
    assert task_aware(logits, labels, per_task).tolist() == literal_task_aware(*plain, per_task)
    assert per_sample(logits, labels, seen).tolist() == literal_per_sample(*plain, seen)
    generator, again = (torch.Generator().manual_seed(seed) for _ in range(2))
    voted = group_vote(logits, labels, per_task, seen, size, generator)
    assert voted.tolist() == literal_vote(*plain, per_task, seen, size, again)


@light
@given(seed=st.integers(0, 10**6), task=st.integers(1, 4), per_task=st.integers(1, 3))
def test_accuracies_are_the_share_of_hits_per_task(seed, task, per_task):
    logits, labels = sample(seed, task, per_task, 2, 90)
    labels[: task * per_task] = torch.arange(task * per_task)  # no class without a sample
    found = accuracies(logits, labels, per_task, task, torch.Generator().manual_seed(3))
    vote = literal_vote(logits.tolist(), labels.tolist(), per_task, task * per_task, 20,
                        torch.Generator().manual_seed(3))  # fmt: skip
    hits = {
        "task_aware": literal_task_aware(logits.tolist(), labels.tolist(), per_task),
        "per_sample": literal_per_sample(logits.tolist(), labels.tolist(), task * per_task),
        "vote": vote,
    }
    assert found.keys() == hits.keys()
    for name, each in hits.items():
        for number in range(task):
            own = [hit for hit, label in zip(each, labels.tolist(), strict=True) if label // per_task == number]
            assert found[name][number] == pytest.approx(sum(own) / len(own), abs=1e-12)
        assert all(type(value) is float for value in found[name])


def test_a_vote_of_one_asks_each_sample_alone():
    """With one sample a group, the largest logit wins, as it does per sample."""
    logits, labels = sample(0, 3, 2, 1, 200)
    alone = group_vote(logits, labels, 2, 6, 1, torch.Generator().manual_seed(0))
    assert torch.equal(alone, per_sample(logits, labels, 6))


def test_a_vote_larger_than_the_task_is_one_group():
    logits, labels = sample(1, 2, 2, 0, 30)
    whole = group_vote(logits, labels, 2, 4, 1000, torch.Generator().manual_seed(0))
    other = group_vote(logits, labels, 2, 4, 1000, torch.Generator().manual_seed(1))
    assert torch.equal(whole, other)


def test_knowing_more_helps_where_tasks_are_confused():
    """Each sample slightly prefers a class of the other task; together they know better."""
    logits = torch.tensor([[1.0, 0, 1.1, 0]] * 3 + [[3.0, 0, 0, 0]])
    labels = torch.zeros(4, dtype=torch.long)
    assert per_sample(logits, labels, 4).tolist() == [False] * 3 + [True]
    assert group_vote(logits, labels, 2, 4, 4, torch.Generator().manual_seed(0)).all()
    assert task_aware(logits, labels, 2).all()


def test_with_one_task_all_protocols_agree():
    logits, labels = sample(2, 1, 4, 3, 60)
    aware = task_aware(logits, labels, 4)
    assert torch.equal(aware, per_sample(logits, labels, 4))
    assert torch.equal(aware, group_vote(logits, labels, 4, 4, 20, torch.Generator().manual_seed(0)))


def test_classes_not_seen_yet_are_never_answered():
    logits = torch.tensor([[1.0, 0, 9, 9]])
    labels = torch.tensor([0])
    assert per_sample(logits, labels, 2).all()
    assert group_vote(logits, labels, 2, 2, 20, torch.Generator().manual_seed(0)).all()


def test_the_last_group_of_a_task_may_be_smaller_and_groups_never_mix_tasks():
    """Seven samples in groups of five. In a mixed group the confident samples of task 2 would outvote task 1."""
    labels = torch.tensor([0] * 7 + [2] * 7)
    logits = torch.zeros(14, 4)
    logits[:7, 0], logits[7:, 2] = 0.1, 100.0
    for seed in range(5):
        assert group_vote(logits, labels, 2, 4, 5, torch.Generator().manual_seed(seed)).all()


def test_records_keep_the_protocols_that_are_measured():
    assert set(records.PROTOCOLS) == set(inference.PROTOCOLS)
