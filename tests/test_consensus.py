"""The supplement's claims about dif*, as method.md makes them exact: eigenvalues, contraction, residuals."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from arli_core.consensus import (
    check_row_stochastic,
    deviation_from_uniform,
    dobrushin,
    gram_matrix,
    residual_eq12,
    residual_eq13,
    settled,
    spectrum,
    stationary,
)
from arli_core.fusion import dif, dif_star, distance_matrix, fuse

light = settings(max_examples=40, deadline=None, derandomize=True)
sizes = st.integers(2, 7)

SWAP = np.array([[0.0, 1], [1, 0]])
CAMPS = np.array([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0.25, 0.75], [0, 0, 0.5, 0.5]])


def normalised(values):
    return values / values.sum(1, keepdims=True)


stochastic = sizes.flatmap(lambda m: arrays(np.float64, (m, m), elements=st.floats(1e-3, 1))).map(normalised)
symmetric = sizes.flatmap(lambda m: arrays(np.float64, (m, m), elements=st.floats(0.01, 50))).map(lambda a: a + a.T)
several_models = st.tuples(sizes, st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-10, 10, allow_subnormal=False))
)


def spread(models):
    return distance_matrix(models, "l2").max()


# Row-stochastic


@light
@given(matrix=stochastic)
def test_row_stochastic_matrices_pass(matrix):
    assert check_row_stochastic(matrix) is None
    assert check_row_stochastic(matrix.tolist()) is None
    assert check_row_stochastic(torch.tensor(matrix).float()) is None


@light
@given(matrix=stochastic, data=st.data())
def test_the_first_faulty_row_is_named(matrix, data):
    row = data.draw(st.integers(0, len(matrix) - 1))
    column = data.draw(st.integers(0, len(matrix) - 1))
    where = rf"row {row + 1} \(index {row}\)"
    for change, what in ((0.01, "sums to 1.01"), (-2, "must be >= 0"), (np.nan, "finite"), (np.inf, "finite")):
        faulty = matrix.copy()
        faulty[row, column] += change
        faulty[row + 1 :] *= 7  # later rows are faulty too
        with pytest.raises(ValueError, match=rf"^{where} .*{what}"):
            check_row_stochastic(faulty)


def test_the_tolerance_of_a_row_sum_is_a_millionth():
    assert check_row_stochastic([[0.5, 0.5 + 9e-7], [1, 0]]) is None
    with pytest.raises(ValueError, match="row 1 "):
        check_row_stochastic([[0.5, 0.5 + 2e-6], [1, 0]])
    assert check_row_stochastic([[0.5, 0.6], [1, 0]], tolerance=0.2) is None


@pytest.mark.parametrize("values", [[1.0], [[0.5, 0.5]], np.zeros((0, 0)), np.ones((1, 1, 1))])
@pytest.mark.parametrize(
    "function", [check_row_stochastic, spectrum, dobrushin, stationary, residual_eq12, deviation_from_uniform]
)
def test_only_square_matrices_are_answered(function, values):
    with pytest.raises(ValueError, match="square matrix"):
        function(values)


# Eigenvalues


@light
@given(matrix=stochastic)
def test_spectrum_is_sorted_by_modulus_and_leads_with_one(matrix):
    values = spectrum(matrix)
    assert (np.diff(abs(values)) <= 0).all()
    assert values[0] == pytest.approx(1, abs=1e-9)
    assert (abs(values[1:]) < 1).all()  # Perron-Frobenius: every entry is positive
    assert values.sum() == pytest.approx(np.trace(matrix), abs=1e-9)


@light
@given(table=symmetric)
def test_dif_star_of_a_symmetric_dif_has_real_eigenvalues(table):
    assert abs(spectrum(dif_star(table)).imag).max() < 1e-7


def test_an_edited_matrix_may_have_complex_eigenvalues():
    turned = spectrum([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    np.testing.assert_allclose(abs(turned), 1, rtol=1e-12)
    assert abs(turned.imag).max() == pytest.approx(3**0.5 / 2)


@light
@example(table=np.array([[10.0, 1], [1, 34]]))  # T - I has full rank by rounding
@given(table=symmetric)
def test_left_eigenvector_has_its_closed_form(table):
    found = stationary(dif_star(table))
    np.testing.assert_allclose(found, table.sum(1) / table.sum(), rtol=1e-8)


@light
@given(matrix=stochastic)
def test_left_eigenvector_is_kept_by_fusion_and_is_its_limit(matrix):
    found = stationary(matrix)
    assert found.sum() == pytest.approx(1) and (found > 0).all()
    np.testing.assert_allclose(found @ matrix, found, atol=1e-9)
    limit = np.linalg.matrix_power(matrix, 2**14)
    np.testing.assert_allclose(limit, np.tile(found, (len(matrix), 1)), atol=1e-8)


def test_single_precision_matrices_have_a_left_eigenvector():
    """What passes as row-stochastic, to a millionth, must be answered: float32 rows sum to 1 to about 1e-7."""
    table = torch.tensor([[0.85, 2, 3], [2, 0.85, 5], [3, 5, 0.85]])
    closed = table.sum(1) / table.sum()
    for matrix, expected in ((dif_star(table), closed), ([[0.3333333] * 3] * 3, 1 / 3)):
        assert check_row_stochastic(matrix) is None
        np.testing.assert_allclose(stationary(matrix), expected, rtol=1e-5)


def test_a_swap_never_settles():
    """A permutation matrix has lambda = -1: its powers alternate, and it contracts nothing."""
    np.testing.assert_allclose(sorted(spectrum(SWAP).real), [-1, 1], atol=1e-12)
    assert dobrushin(SWAP) == 1
    np.testing.assert_allclose(stationary(SWAP), 0.5)
    assert spread(fuse(SWAP, [[0.0], [1]])) == 1


def test_separate_camps_have_no_single_left_eigenvector():
    np.testing.assert_allclose(spectrum(CAMPS)[:2], 1, atol=1e-12)
    assert dobrushin(CAMPS) == 1
    with pytest.raises(ValueError, match="2 camps"):
        stationary(CAMPS)


def test_a_row_that_does_not_sum_to_one_is_no_dif_star():
    """mu = [1..1] is then no eigenvector: its residual is the error of the row sum."""
    edited = [[0.5, 0.5], [0.4, 0.4]]
    assert residual_eq12(edited) == pytest.approx(0.2)
    with pytest.raises(ValueError, match=r"row 2 \(index 1\) sums to 0.8"):
        stationary(edited)


@pytest.mark.parametrize("size", [2, 3, 6, 11])
def test_a_uniform_matrix_is_consensus_in_one_fusion(size):
    uniform = np.full((size, size), 1 / size)
    assert abs(spectrum(uniform)[1]) < 1e-12
    assert dobrushin(uniform) == pytest.approx(0, abs=1e-15)
    np.testing.assert_allclose(stationary(uniform), 1 / size, rtol=1e-12)
    assert deviation_from_uniform(uniform) == 0
    assert spread(fuse(uniform, np.random.default_rng(size).normal(size=(size, 5)))) < 1e-14


def test_with_one_task_and_distant_models_dif_star_is_nearly_a_swap():
    matrix = dif_star(dif(distance_matrix([[0.0], [100]]), 0.85))
    values = spectrum(matrix)
    assert abs(values.imag).max() == 0
    assert values[1].real == pytest.approx(-1, abs=1e-3)


@light
@given(models=several_models)
def test_eq12_holds_for_every_dif_star(models):
    matrix = dif_star(dif(distance_matrix(models), 0.85))
    assert residual_eq12(matrix) <= 1e-14
    np.testing.assert_allclose(matrix @ np.ones(len(matrix)), 1, rtol=1e-14)  # T mu = mu


# Contraction


@light
@given(matrix=stochastic)
def test_dobrushin_equals_literal_loops(matrix):
    size, least = len(matrix), np.inf
    for i in range(size):
        for j in range(size):
            overlap = 0.0
            for k in range(size):
                overlap += min(matrix[i, k], matrix[j, k])
            least = min(least, overlap)
    assert dobrushin(matrix) == pytest.approx(1 - least, abs=1e-14)
    assert type(dobrushin(matrix)) is float
    # The same by its other definition: half the largest l1 distance of two rows.
    assert dobrushin(matrix) == pytest.approx(distance_matrix(matrix).max() / 2, abs=1e-14)


@light
@given(matrix=stochastic)
def test_dobrushin_lies_between_the_second_eigenvalue_and_one(matrix):
    assert abs(spectrum(matrix)[1]) - 1e-9 <= dobrushin(matrix) < 1


@light
@given(models=several_models, data=st.data())
def test_one_fusion_shrinks_the_spread_by_dobrushin(models, data):
    size = len(models)
    matrix = normalised(data.draw(arrays(np.float64, (size, size), elements=st.floats(1e-3, 1))))
    assert spread(fuse(matrix, models)) <= dobrushin(matrix) * spread(models) + 1e-12


def test_the_bound_is_reached_by_two_models():
    matrix = [[0.9, 0.1], [0.3, 0.7]]
    assert dobrushin(matrix) == pytest.approx(0.6)
    assert spread(fuse(matrix, [[0.0], [1]])) == pytest.approx(0.6)


# Eq. 13


def literal_residual(matrix, models):
    moved, whole = 0.0, 0.0
    for i in range(len(models)):
        for k in range(models.shape[1]):
            step = -models[i, k]
            for j in range(len(models)):
                step += matrix[i, j] * models[j, k]
            moved += step**2
            whole += models[i, k] ** 2
    return (moved / whole) ** 0.5


@pytest.mark.parametrize("apart", [1, 1e-2, 1e-4, 1e-6])
def test_residual_from_gram_equals_the_residual_from_the_models(apart):
    """Uncentred, G would cancel at small distances: at 1e-6 nothing of the residual would be left."""
    rng = np.random.default_rng(0)
    # Differences that are exact in binary, so that the literal residual loses nothing to Phi's own rounding.
    base = np.round(rng.normal(size=40) * 2**20) / 2**20
    models = base + np.vstack([apart * np.round(rng.normal(size=(4, 40)) * 2**10) / 2**10, np.zeros(40)])
    matrix = dif_star(dif(distance_matrix(models), 0.85))
    gram, norm = gram_matrix(models)
    shifted = models - models[-1]  # rows of T - I sum to 0: the shift changes no residual, and keeps its digits
    expected = literal_residual(matrix, shifted) * np.linalg.norm(shifted) / np.linalg.norm(models)
    assert residual_eq13(matrix, gram, norm) == pytest.approx(expected, rel=1e-8)
    if apart >= 1e-4:
        assert residual_eq13(matrix, gram, norm) == pytest.approx(literal_residual(matrix, models), rel=1e-8)


@light
@given(models=several_models, data=st.data())
def test_residual_from_gram_equals_the_residual_for_any_matrix(models, data):
    models = models + np.arange(models.shape[0])[:, None] + 20  # no two alike, none zero
    matrix = normalised(data.draw(arrays(np.float64, (len(models),) * 2, elements=st.floats(1e-3, 1))))
    gram, norm = gram_matrix(models)
    assert residual_eq13(matrix, gram, norm) == pytest.approx(literal_residual(matrix, models), rel=1e-8, abs=1e-12)


def test_gram_is_that_of_the_models_less_the_base():
    models = torch.tensor([[3.0, 4], [1, 1], [1, 0]], dtype=torch.float64)
    gram, norm = gram_matrix(models)
    assert gram.tolist() == [[20, 4, 0], [4, 1, 0], [0, 0, 0]]
    assert float(norm) == pytest.approx(28**0.5)


def test_eq13_holds_exactly_when_all_models_are_equal():
    equal = np.tile(np.random.default_rng(1).normal(size=8), (4, 1))
    matrix = dif_star(dif(distance_matrix(equal), 0.85))
    assert residual_eq13(matrix, *gram_matrix(equal)) == 0
    apart = equal.copy()
    apart[0, 0] += 1e-3
    matrix = dif_star(dif(distance_matrix(apart), 0.85))
    assert residual_eq13(matrix, *gram_matrix(apart)) > 1e-5


def test_deviation_from_uniform_is_the_largest_entry_of_the_difference():
    assert deviation_from_uniform([[0.5, 0.5], [0.25, 0.75]]) == 0.25
    assert deviation_from_uniform(torch.eye(4)) == 0.75


@pytest.mark.parametrize(
    ("values", "first"),
    [
        ([0.5, 0.1, 0.03, 0.01], 2),
        ([0.01, 0.5, 0.01], 2),
        ([0.01, 0.02], 0),
        ([0.01, 0.04], None),
        ([0.01, np.nan], None),
    ],
)
def test_settled_is_where_the_last_value_above_the_limit_was_left(values, first):
    assert settled(values, 0.03) == first
