"""Which units belong to which task, against a literal count."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arli_core.units import TaskUnits

light = settings(max_examples=60, deadline=None, derandomize=True)
SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=12).map(tuple)


def owners(sizes):
    """The task of each unit, one after the other."""
    return [task for task, size in enumerate(sizes, 1) for _ in range(size)]


@light
@given(sizes=SIZES)
def test_tasks_have_consecutive_units(sizes):
    units, expected = TaskUnits(sizes), owners(sizes)
    assert (units.tasks, units.total) == (len(sizes), len(expected))
    every = list(range(units.total))
    for task in range(1, len(sizes) + 1):
        assert every[units.of(task)] == [unit for unit in every if expected[unit] == task]
        assert units.seen(task) == sum(owner <= task for owner in expected)
    assert units.seen(0) == 0


@light
@given(sizes=SIZES, data=st.data())
def test_the_task_of_a_unit_is_the_same_for_numbers_arrays_and_tensors(sizes, data):
    units, expected = TaskUnits(sizes), owners(sizes)
    picks = data.draw(st.lists(st.integers(0, units.total - 1)))
    tasks = [expected[unit] for unit in picks]
    assert [units.task_of(unit) for unit in picks] == tasks
    array = units.task_of(np.array(picks, dtype=np.int64))
    assert array.tolist() == tasks and array.dtype == np.int64
    tensor = units.task_of(torch.tensor(picks, dtype=torch.long))
    assert tensor.tolist() == tasks and tensor.dtype == torch.long
    assert torch.equal(units.task_of(torch.arange(units.total)[:, None])[:, 0], torch.tensor(expected))


@light
@given(count=st.integers(1, 9), size=st.integers(1, 9))
def test_tasks_of_one_size_equal_a_division(count, size):
    units = TaskUnits((size,) * count)
    every = torch.arange(count * size)
    assert torch.equal(units.task_of(every), every // size + 1)
    assert [units.seen(task) for task in range(count + 1)] == [task * size for task in range(count + 1)]
    assert units.chance == pytest.approx(1 / size)


def test_guessing_within_a_task_is_right_as_often_as_it_has_few_classes():
    """Every task has the same weight: not 4 right answers of 10."""
    assert TaskUnits((4, 2, 2, 2)).chance == pytest.approx((0.25 + 0.5 + 0.5 + 0.5) / 4)


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ((2,) * 5, "5 tasks of 2 classes"),
        ((10,), "1 task of 10 classes"),
        ((1, 1), "2 tasks of 1 class"),
        ((4, 2, 2, 2), "4 tasks of 4, 2, 2, 2 classes"),
        ((50, *(10,) * 5), "6 tasks of 50, then 10 × 5 classes"),
        ((50, 10, 10, 20, 5, 5, 5), "7 tasks of 50, then 10 × 2, then 20, then 5 × 3 classes"),
    ],
)
def test_sizes_are_described_in_words(sizes, text):
    assert str(TaskUnits(sizes)) == text
