"""Figures of merit against literal loops and against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from arli_core.theory.metrics import (
    auroc,
    average_accuracy,
    average_incremental_accuracy,
    average_over_samples,
    backward_transfer,
    entropy,
    forgetting,
    is_level,
    known_mean,
    merits,
    overlap,
    pointing,
)

light = settings(max_examples=40, deadline=None, derandomize=True)
MEASURES = (average_accuracy, average_incremental_accuracy, forgetting, backward_transfer)
accuracies = st.integers(2, 6).flatmap(lambda n: arrays(np.float64, (n, n), elements=st.floats(0, 1)))


def lower(matrix, beyond):
    """Rows as lists, `beyond` above the diagonal."""
    return [[float(v) if j <= i else beyond for j, v in enumerate(row)] for i, row in enumerate(matrix)]


@light
@given(matrix=accuracies)
def test_equal_to_literal_loops(matrix):
    last = len(matrix) - 1
    total = lost = gained = 0.0
    for j in range(last + 1):
        total += matrix[last][j]
    for j in range(last):
        best = 0.0
        for row in range(j, last):
            best = max(best, matrix[row][j])
        lost += best - matrix[last][j]
        gained += matrix[last][j] - matrix[j][j]
    means = [sum(matrix[i][j] for j in range(i + 1)) / (i + 1) for i in range(last + 1)]
    assert average_accuracy(matrix) == pytest.approx(total / (last + 1), abs=1e-12)
    assert average_incremental_accuracy(matrix) == pytest.approx(sum(means) / len(means), abs=1e-12)
    assert forgetting(matrix) == pytest.approx(lost / last, abs=1e-12)
    assert backward_transfer(matrix) == pytest.approx(gained / last, abs=1e-12)
    assert all(type(measure(matrix)) is float for measure in MEASURES)


@light
@given(matrix=accuracies)
def test_what_lies_above_the_diagonal_is_never_read(matrix):
    for measure in MEASURES:
        for beyond in (None, math.nan, -7.0, 99.0):
            assert measure(lower(matrix, beyond)) == measure(matrix)


@light
@given(matrix=accuracies)
def test_ranges_and_their_order(matrix):
    """Forgetting starts from the best accuracy, transfer from the first: -BWT can only be smaller."""
    assert 0 <= average_accuracy(matrix) <= 1
    assert -1 <= -backward_transfer(matrix) <= forgetting(matrix) + 1e-12 <= 1 + 1e-12


@light
@given(matrix=accuracies, data=st.data())
def test_the_average_over_samples_is_the_share_of_all_samples_answered_correctly(matrix, data):
    """Counted one by one, of tasks of any sizes; of equal ones it is the average over tasks."""
    tasks = len(matrix)
    sizes = data.draw(st.lists(st.integers(1, 40), min_size=tasks, max_size=tasks))
    right = [data.draw(st.integers(0, size)) for size in sizes]
    for task in range(tasks):
        matrix[-1][task] = right[task] / sizes[task]
    hits = [hit < right[task] for task in range(tasks) for hit in range(sizes[task])]
    assert average_over_samples(matrix, sizes) == pytest.approx(sum(hits) / len(hits), abs=1e-12)
    assert average_over_samples(matrix, [7] * tasks) == pytest.approx(average_accuracy(matrix), abs=1e-12)
    assert type(average_over_samples(matrix, sizes)) is float


@pytest.mark.parametrize("samples", [(), (3,), (3, 0), (3, -1), (3, math.nan), (1, 2, 3), 5])
def test_sample_counts_that_do_not_fit_the_tasks_are_refused(samples):
    with pytest.raises(ValueError, match="samples of 2 tasks, at least 1 of each"):
        average_over_samples([[0.5, None], [0.5, 0.5]], samples)


def test_a_worked_example():
    """Task 1: 0.9, then 0.95, at last 0.5; task 2: 0.8, then 0.9. The best earlier accuracy counts."""
    matrix = [[0.9, None, None], [0.95, 0.8, None], [0.5, 0.9, 0.7]]
    assert average_accuracy(matrix) == pytest.approx(0.7)
    assert average_incremental_accuracy(matrix) == pytest.approx((0.9 + (0.95 + 0.8) / 2 + 0.7) / 3)
    assert forgetting(matrix) == pytest.approx((0.45 - 0.1) / 2)
    assert backward_transfer(matrix) == pytest.approx((-0.4 + 0.1) / 2)


def test_one_task_has_an_average_and_nothing_to_forget():
    assert average_accuracy([[0.25]]) == average_incremental_accuracy([[0.25]]) == 0.25
    assert math.isnan(forgetting([[0.25]])) and math.isnan(backward_transfer([[0.25]]))


def test_inputs_are_left_alone():
    matrix = np.random.default_rng(0).uniform(size=(3, 3))
    scores, objects = np.random.default_rng(1).uniform(size=(2, 4, 4)), np.zeros((2, 4, 4), dtype=bool)
    objects[:, 0] = True
    copies = [array.copy() for array in (matrix, scores, objects)]
    for measure in MEASURES:
        measure(matrix)
    auroc(scores, objects)
    assert all((a == b).all() for a, b in zip(copies, (matrix, scores, objects), strict=True))
    listed = lower(matrix, None)
    forgetting(listed)
    assert listed == lower(matrix, None)


def test_tensors_are_accepted():
    matrix = torch.tensor([[1.0, 0], [0.5, 1]])
    assert (average_accuracy(matrix), forgetting(matrix), backward_transfer(matrix)) == (0.75, 0.5, -0.5)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("bad", [-0.01, 1.01, math.nan, math.inf, None])
@pytest.mark.parametrize("place", [(0, 0), (1, 0), (1, 1)])
def test_values_that_are_not_accuracies_are_refused(measure, bad, place):
    matrix = [[0.5, None], [0.5, 0.5]]
    matrix[place[0]][place[1]] = bad
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        measure(matrix)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("values", [[0.5], [[0.5, 0.5]], np.zeros((0, 0))])
def test_only_square_matrices_are_accepted(measure, values):
    with pytest.raises(ValueError, match="square"):
        measure(values)


# The area under the ROC curve


@light
@given(
    scores=arrays(np.int64, (3, 4, 5), elements=st.integers(0, 6)),  # few values: ties
    objects=arrays(np.bool_, (3, 4, 5)),
)
def test_auroc_equals_scikit_learns_ties_included(scores, objects):
    objects[:, 0, 0], objects[:, 0, 1] = True, False
    expected = [roc_auc_score(o.ravel(), s.ravel()) for o, s in zip(objects, scores, strict=True)]
    np.testing.assert_allclose(auroc(scores, objects), expected, rtol=1e-12)
    np.testing.assert_allclose(auroc(-scores, objects), 1 - np.array(expected), atol=1e-12)


def test_auroc_of_known_pictures():
    objects = np.zeros((4, 2, 2), dtype=bool)
    objects[:, 0] = True
    scores = [[[3, 3], [1, 2]], [[1, 1], [3, 2]], [[1, 1], [1, 1]], [[2, 1], [1, 0]]]
    assert auroc(scores, objects).tolist() == [1, 0, 0.5, 0.875]


def test_auroc_is_unknown_without_object_or_without_background():
    objects = np.stack([np.zeros((2, 2)), np.ones((2, 2)), np.eye(2)]).astype(bool)
    assert np.isnan(auroc(np.ones((3, 2, 2)), objects)).tolist() == [True, True, False]


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((1, 2, 3), (1, 3, 2)), ((2, 2, 2), (1, 2, 2))])
def test_auroc_needs_one_mask_per_picture(shapes):
    scores, objects = (np.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=r"\[N, H, W\]"):
        auroc(scores, objects)


# Maps


def test_the_pointing_game_asks_where_the_highest_score_lies():
    scores = np.zeros((3, 2, 3))
    scores[0, 1, 2], scores[1, 0, 0], scores[2, :, 1] = 1, 1, 1
    objects = np.zeros((3, 2, 3), dtype=bool)
    objects[0, 1, 2] = objects[1, 1, 1] = objects[2, 0, 1] = True
    assert pointing(scores, objects).tolist() == [True, False, True]  # of equals the first


def test_overlap_is_intersection_over_union():
    scores = np.array([[[0.9, 0.6], [0.4, 0.1]], [[0.1, 0.1], [0.1, 0.1]]])
    objects = np.array([[[True, False], [True, False]], [[False, False], [False, False]]])
    np.testing.assert_allclose(overlap(scores, objects, 0.5), [1 / 3, np.nan])
    np.testing.assert_allclose(overlap(scores, objects, 0.05), [2 / 4, 0])


@given(st.integers(2, 30), st.integers(0, 2**32 - 1))
def test_entropy_is_1_where_level_and_0_in_one_pixel(size, seed):
    maps = np.random.default_rng(seed).random((3, size, 2))
    maps[1], maps[2] = 0.3, 0
    maps[2, 0, 1] = 0.7
    entropies = entropy(maps)
    share = maps[0] / maps[0].sum()
    assert entropies[0] == pytest.approx(-(share * np.log(share)).sum() / np.log(2 * size))
    assert entropies[1:] == pytest.approx([1, 0], abs=1e-12)
    assert np.isnan(entropy(np.zeros((1, size, 2)))).all()
    with pytest.raises(ValueError, match="not negative, the least is -1"):
        entropy(-np.ones((1, size, 2)))


def test_merits_come_together_and_means_are_over_known_values():
    scores = np.random.default_rng(0).random((4, 5, 5))
    objects = scores > 0.6
    objects[3] = True
    plain, figures = merits(scores, None), merits(scores, objects, 0.6)
    assert list(plain) == ["coverage", "mean", "entropy", "saturation"]
    assert list(figures) == [*plain, "auroc", "pointing", "overlap"]
    np.testing.assert_allclose(figures["overlap"][:3], 1)
    np.testing.assert_allclose(figures["auroc"], [1, 1, 1, np.nan])
    np.testing.assert_allclose(figures["saturation"], ((scores < 0.05) | (scores > 0.95)).mean((1, 2)))
    assert known_mean(figures["auroc"]) == 1
    assert np.isnan(known_mean([np.nan]))
    for shape in ((4, 5, 6), (4, 5)):
        with pytest.raises(ValueError, match=r"both be \[N, H, W\]"):
            pointing(scores, np.zeros(shape))


@given(st.floats(0, 1), st.floats(2e-6, 1), st.integers(0, 11))
def test_a_map_is_level_where_no_place_differs(level, change, place):
    maps = np.full((2, 3, 4), level)
    maps[1].flat[place] += change
    assert is_level(maps).tolist() == [True, False]
    assert is_level(np.float32([[[1, 1 - 1e-7]]])).tolist() == [True]  # rounding of a map in float32


@pytest.mark.parametrize(
    "maps", [np.zeros((2, 2)), np.zeros((1, 0, 3)), [[[1j]]], [[["a"]]], {}, 3, np.zeros((1, 1, 1, 1))]
)
def test_only_maps_are_level_or_not(maps):
    with pytest.raises(ValueError, match=r"maps must"):
        is_level(maps)


def test_a_map_that_is_not_finite_is_not_level():
    assert is_level([[[np.nan, 0]], [[np.inf, np.inf]], [[1e308, -1e308]]]).tolist() == [False] * 3
    assert is_level(torch.ones(2, 3, 3, dtype=torch.bfloat16, requires_grad=True)).tolist() == [True, True]


@pytest.mark.parametrize("samples", [[10**400, 1], [1j, 1], ["1", "2"], {}, [[1], [2, 3]], [1e308, 1e308]])
def test_samples_are_numbers(samples):
    with pytest.raises(ValueError, match="samples"):
        average_over_samples([[0.5, None], [0.5, 0.5]], samples)
