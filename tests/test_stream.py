"""The stream of tasks, the exemplar memory and the batches drawn from both."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arli_core import datasets
from arli_core.augment import augment
from arli_core.config import Augmentation, Data
from arli_core.datasets import Dataset, Split, Streamed
from arli_core.errors import ConfigError
from arli_core.schedule import batches, exemplars
from arli_core.stream import AUGMENT, BATCHES, REPLAY, Stream, generator_for, seed_for

light = settings(max_examples=30, deadline=None, derandomize=True)
CPU = torch.device("cpu")
DIGITS = datasets.load("digits")


def stream(tasks=5, per_task=2, class_order=None):
    return Stream(DIGITS, Data(name="digits", tasks=tasks, classes_per_task=per_task, class_order=class_order), CPU)


ORDER = tuple("3145926087")
FIVE = stream()
THREE = stream(3, 3, class_order=4)
UNEQUAL = stream(4, (4, 2, 2, 2), class_order=ORDER)
each_stream = pytest.mark.parametrize("source", [FIVE, THREE, UNEQUAL], ids=["5x2", "3x3", "4,2,2,2"])


# Tasks


@pytest.mark.parametrize("order", [None, 0, 7])
@pytest.mark.parametrize(("tasks", "per_task"), [(5, 2), (3, 3), (10, 1), (1, 10), (2, 2)])
def test_tasks_are_disjoint_groups_of_classes(tasks, per_task, order):
    source = stream(tasks, per_task, order)
    assert len(set(source.classes)) == tasks * per_task
    groups = [set(source.train.labels[source.of_task(source.train, task)].tolist()) for task in range(1, tasks + 1)]
    assert groups == [set(range(k * per_task, (k + 1) * per_task)) for k in range(tasks)]
    members = torch.cat([source.of_task(source.train, task) for task in range(1, tasks + 1)])
    assert members.sort().values.tolist() == list(range(len(source.train)))
    assert [source.seen(task) for task in range(1, tasks + 1)] == [per_task * n for n in range(1, tasks + 1)]


@light
@given(
    data=st.data(), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4).filter(lambda sizes: sum(sizes) <= 10)
)
def test_tasks_of_any_sizes_have_their_classes_in_the_order_given(data, sizes):
    order = tuple(data.draw(st.permutations("0123456789")))[: sum(sizes)]
    source = Stream(DIGITS, Data(name="digits", classes_per_task=tuple(sizes), class_order=order), CPU)
    assert source.classes == order and source.tasks == len(sizes)
    for samples, split in ((source.train, DIGITS.train), (source.test, DIGITS.test)):
        names = [DIGITS.classes[label] for label in split.labels if DIGITS.classes[label] in order]
        assert [source.classes[unit] for unit in samples.labels] == names
        rest = list(order)
        for task, size in enumerate(sizes, 1):
            own, rest = rest[:size], rest[size:]
            assert source.of_task(samples, task).tolist() == [at for at, name in enumerate(names) if name in own]
            assert source.up_to(samples, task).tolist() == [at for at, name in enumerate(names) if name not in rest]


def test_unknown_class_names_are_refused_with_the_valid_ones():
    with pytest.raises(
        ConfigError, match=r"data.class_order: digits has no class 'cat', '11'; its classes: 0,1,2,.*,9$"
    ):
        stream(1, 3, ("1", "cat", "11"))


def test_more_classes_than_there_are_are_refused_for_increments_too():
    with pytest.raises(
        ConfigError, match=r"data.tasks: 3 tasks of 8, 2, 1 classes need 11 .*digits has 10: at most 10"
    ):
        stream(3, (8, 2, 1))


@pytest.mark.parametrize("order", [None, 0, 7])
@pytest.mark.parametrize(("tasks", "per_task"), [(5, 2), (3, 3), (2, 1)])
def test_head_units_name_the_datas_own_labels(tasks, per_task, order):
    source = stream(tasks, per_task, order)
    classes = set(source.order.tolist())
    for samples, split in ((source.train, DIGITS.train), (source.test, DIGITS.test)):
        original = [label for label in split.labels.tolist() if label in classes]
        assert [DIGITS.classes[label] for label in original] == [source.classes[unit] for unit in samples.labels]
        images = split.images[[label in classes for label in split.labels.tolist()]]
        expected = (images / 255 - DIGITS.mean[0]) / DIGITS.std[0]
        everything = samples[torch.arange(len(samples))]
        np.testing.assert_allclose(everything.images.numpy(), expected, atol=1e-5)
        assert torch.equal(everything.labels, samples.labels)
    assert (DIGITS.test.labels[source.test_index] == source.order[source.test.labels.numpy()]).all()


def test_classes_come_in_order_unless_seeded():
    assert FIVE.classes == tuple("0123456789")
    assert stream(2, 2).classes == tuple("0123")
    shuffled = [stream(class_order=seed).classes for seed in (0, 0, 1)]
    assert shuffled[0] == shuffled[1] != shuffled[2]
    assert sorted(shuffled[0]) == sorted(shuffled[2]) == list("0123456789")


def test_images_are_normalised_by_the_training_pixels():
    pixels = DIGITS.train.images.astype(np.float64) / 255
    expected = (DIGITS.test.images / 255 - pixels.mean()) / pixels.std()
    images = FIVE.test[torch.arange(len(FIVE.test))].images
    np.testing.assert_allclose(images.numpy(), expected, atol=1e-5)
    assert images.dtype == torch.float32


def test_streamed_images_are_read_when_needed_and_are_the_same():
    """A stretch of a few samples reads those alone; which images a pool holds is what its labels say."""
    read = []

    def streamed(split):
        images = Streamed(lambda i: read.append(i) or split.images[i], np.arange(len(split)), split.images.shape[1:])
        return Split(images, split.labels)

    resident = stream(3, 2, 5)
    other = Stream(Dataset("digits", DIGITS.classes, streamed(DIGITS.train), streamed(DIGITS.test)),
                   Data(name="digits", tasks=3, classes_per_task=2, class_order=5), CPU)  # fmt: skip
    read.clear()
    index = torch.tensor([5, 0, 17, 17])
    ours, theirs = other.train[index], resident.train[index]
    assert len(read) <= 4
    torch.testing.assert_close(ours.images, theirs.images)
    assert torch.equal(ours.labels, theirs.labels) and torch.equal(other.train.labels, resident.train.labels)
    assert other.train.shape == resident.train.shape == (1, 8, 8)


def test_training_images_are_augmented_as_configured_and_their_labels_unchanged():
    how = Augmentation(shift=2, flip=True)
    source = Stream(DIGITS, Data(name="digits"), CPU, how)
    samples = source.train[torch.arange(30)]
    moved = source.augmented(samples, generator_for(0, AUGMENT))
    fill = (-source.mean / source.std).view(-1, 1, 1)
    expected = augment(samples.images, 2, True, 1, generator_for(0, AUGMENT), fill)
    assert torch.equal(moved.images, expected) and torch.equal(moved.labels, samples.labels)
    assert not torch.equal(moved.images, samples.images)
    low, high = -source.mean / source.std, (1 - source.mean) / source.std
    assert moved.images.min() >= low - 1e-6 and moved.images.max() <= high + 1e-6
    plain = FIVE.augmented(samples, generator_for(0, AUGMENT))
    assert torch.equal(plain.images, samples.images)


@pytest.mark.parametrize(("tasks", "per_task", "most"), [(6, 2, 5), (11, 1, 10), (4, 3, 3), (2, 11, 0)])
def test_more_tasks_than_classes_are_refused_with_the_number_that_fits(tasks, per_task, most):
    with pytest.raises(ConfigError, match=rf"data.tasks.*digits has 10.*at most {most} tasks of {per_task}"):
        stream(tasks, per_task)


def test_seeds_do_not_change_the_split():
    """Which sample is for training and which for testing is the data's own: only the order of classes moves."""
    plain, shuffled = stream(), stream(class_order=3)
    for name in ("train", "test"):
        assert torch.equal(getattr(plain, name).images, getattr(shuffled, name).images)


# Memory


@each_stream
@pytest.mark.parametrize("budget", [10, 23, 100, 500])
def test_memory_is_shared_equally_by_the_classes_seen_and_within_its_budget(source, budget):
    for task in range(1, source.tasks + 1):
        memory = exemplars(source, task, budget, seed=0)
        counts = Counter(source.train.labels[memory].tolist())
        assert set(counts) == set(range(source.seen(task)))
        available = torch.bincount(source.train.labels).tolist()
        assert counts == {unit: min(budget // source.seen(task), available[unit]) for unit in counts}
        assert len(memory) <= budget and len(set(memory.tolist())) == len(memory)
        assert memory.tolist() == sorted(memory.tolist())


@light
@given(seed=st.integers(0, 2**31 - 1), budget=st.integers(10, 300))
def test_exemplars_dropped_from_memory_never_come_back(seed, budget):
    earlier = set(exemplars(FIVE, 1, budget, seed).tolist())
    for task in range(2, 6):
        memory = exemplars(FIVE, task, budget, seed)
        old = memory[FIVE.train.labels[memory] < FIVE.seen(task - 1)]
        assert set(old.tolist()) <= earlier
        earlier = set(memory.tolist())


def test_exemplars_are_drawn_by_the_seed_and_not_the_first_in_line():
    memories = [exemplars(FIVE, 2, 40, seed) for seed in (0, 0, 1)]
    assert torch.equal(memories[0], memories[1]) and not torch.equal(memories[0], memories[2])
    first = (FIVE.train.labels == 0).nonzero().flatten()[:10]
    assert not set(first.tolist()) <= set(memories[0].tolist())


def test_a_budget_too_small_for_every_class_is_refused():
    with pytest.raises(ConfigError, match=r"memory.budget: 7 .*8 classes.*at least 8"):
        exemplars(FIVE, 4, 7, seed=0)
    assert len(exemplars(FIVE, 4, 8, seed=0)) == 8


# Batches


@each_stream
@light
@given(data=st.data())
def test_an_epoch_is_the_whole_pool_once_in_batches_of_equal_size(source, data):
    task = data.draw(st.integers(1, source.tasks))
    size = data.draw(st.integers(1, 400))
    kind = data.draw(st.sampled_from(["mixed", "every-task"]))
    memory = torch.empty(0, dtype=torch.long) if task == 1 else exemplars(source, task - 1, 20, seed=1)
    epoch = batches(source, task, memory, size, kind, generator_for(data.draw(st.integers(0, 99)), BATCHES))
    pool = sorted(source.of_task(source.train, task).tolist() + memory.tolist())
    task_of = source.task_of(source.train.labels)

    lengths = [len(pool) // len(epoch) + (k < len(pool) % len(epoch)) for k in range(len(epoch))]
    assert len(epoch) == -(-len(pool) // size) and max(lengths) <= size
    plain = [batch[:length] for batch, length in zip(epoch, lengths, strict=True)]
    assert sorted(torch.cat(plain).tolist()) == pool
    for batch, length in zip(epoch, lengths, strict=True):
        missing = set(range(1, task + 1)) - set(task_of[batch[:length]].tolist())
        added = batch[length:]
        if kind == "every-task":  # one of each missing task, from the pool, and nothing else
            assert task_of[added].tolist() == sorted(missing)
            assert set(added.tolist()) <= set(pool)
        else:
            assert len(added) == 0


def test_with_every_task_each_batch_has_all_and_without_it_few_have():
    memory = exemplars(FIVE, 4, 8, seed=0)

    def full(kind):
        epoch = batches(FIVE, 5, memory, 16, kind, generator_for(0, BATCHES))
        return sum(len(FIVE.task_of(FIVE.train.labels[batch]).unique()) == 5 for batch in epoch), len(epoch)

    complete, total = full("every-task")
    assert complete == total
    assert full("mixed")[0] < total / 2
    assert full("balanced") == (total, total)


@each_stream
@light
@given(data=st.data())
def test_balanced_batches_have_equally_many_of_each_class(source, data):
    """As many batches and draws as otherwise; a class starts anew only when all of it was drawn."""
    task = data.draw(st.integers(1, source.tasks))
    size, budget = data.draw(st.integers(1, 400)), data.draw(st.integers(10, 400))
    seed = data.draw(st.integers(0, 99))
    memory = torch.empty(0, dtype=torch.long) if task == 1 else exemplars(source, task - 1, budget, seed=1)
    balanced, mixed = (batches(source, task, memory, size, kind, generator_for(seed, BATCHES))
                    for kind in ("balanced", "mixed"))  # fmt: skip
    assert [len(batch) for batch in balanced] == [len(batch) for batch in mixed]

    labels = source.train.labels
    pool = torch.cat([source.of_task(source.train, task), memory])
    everything = torch.cat(balanced)
    assert set(everything.tolist()) <= set(pool.tolist())
    old = everything[source.task_of(labels[everything]) < task]
    assert set(old.tolist()) <= set(memory.tolist())  # exemplars, and nothing else of what went before
    for batch in [*balanced, everything]:
        counts = torch.bincount(labels[batch], minlength=source.seen(task))[: source.seen(task)]
        assert counts.max() - counts.min() <= 1
    for unit in range(source.seen(task)):
        own = pool[labels[pool] == unit].tolist()
        order = everything[labels[everything] == unit].tolist()
        for start in range(0, len(order), len(own)):
            once = order[start : start + len(own)]
            assert len(set(once)) == len(once)
        assert len(order) < len(own) or set(order[: len(own)]) == set(own)


def test_balanced_classes_have_no_fixed_place():
    """Which class has one sample more is chance."""
    memory = exemplars(FIVE, 4, 40, seed=0)
    first = {int(FIVE.train.labels[batches(FIVE, 5, memory, 3, "balanced", generator_for(seed))[0][0]])
             for seed in range(40)}  # fmt: skip
    assert len(first) == 10


def test_without_memory_a_batch_holds_the_new_task_alone():
    for kind in ("mixed", "every-task", "balanced"):
        epoch = batches(FIVE, 3, torch.empty(0, dtype=torch.long), 32, kind, generator_for(0, BATCHES))
        assert set(FIVE.train.labels[torch.cat(epoch)].tolist()) == {4, 5}


@pytest.mark.parametrize("kind", ["mixed", "every-task", "balanced"])
def test_batches_are_drawn_by_their_generator_alone(kind):
    none, state = torch.empty(0, dtype=torch.long), torch.random.get_rng_state()

    def shuffled(*key):
        return torch.cat(batches(FIVE, 1, none, 32, kind, generator_for(*key)))

    assert torch.equal(shuffled(0, BATCHES, 1, 0), shuffled(0, BATCHES, 1, 0))
    assert not torch.equal(shuffled(0, BATCHES, 1, 0), shuffled(0, BATCHES, 1, 1))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_every_purpose_task_and_epoch_has_randomness_of_its_own():
    keys = [(seed, purpose, task, epoch) for seed in (0, 1) for purpose in range(9) for task in range(1, 9)
            for epoch in range(5)]  # fmt: skip
    # Shifts of exemplars drawn apart from the batch: beside those of the batch.
    keys += [(seed, AUGMENT, REPLAY, task, epoch) for seed in (0, 1) for task in range(1, 9) for epoch in range(5)]
    assert len({seed_for(*key) for key in keys}) == len(keys)
    assert all(0 <= seed_for(*key) < 2**63 for key in keys)
