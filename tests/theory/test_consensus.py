"""The supplement's claims about dif*, as method.md makes them exact: eigenvalues, contraction, residuals."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from arli_core.theory.consensus import (
    check_row_stochastic,
    deviation_from_uniform,
    dobrushin,
    fusions_until,
    gram_matrix,
    normalise_rows,
    principal_coordinates,
    regular_polygon,
    repeated_fusion,
    residual_eq12,
    residual_eq13,
    row_faults,
    settled,
    spectrum,
    stationary,
)
from arli_core.theory.consensus import spread as measured_spread
from arli_core.theory.fusion import dif, dif_star, distance_matrix, fuse

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
def test_only_square_matrices_are_accepted(function, values):
    with pytest.raises(ValueError, match="square matrix"):
        function(values)


def test_every_faulty_row_is_named():
    faults = row_faults([[0.5, 0.6, 0], [0, 1, 0], [-1, np.nan, 2]])
    assert faults == [
        "row 1 (index 0) sums to 1.1, not to 1",
        "row 3 (index 2) holds nan; all entries must be finite",
    ]
    assert row_faults(np.eye(3)) == []


@light
@given(matrix=stochastic, data=st.data())
def test_normalised_rows_sum_to_one_in_their_old_proportions(matrix, data):
    scale = data.draw(arrays(np.float64, len(matrix), elements=st.floats(1e-3, 1e3)))
    rescaled = normalise_rows(scale[:, None] * matrix)
    np.testing.assert_allclose(rescaled, matrix, rtol=1e-12)
    assert row_faults(rescaled) == []


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ([[1, 1], [0, 0]], r"row 2 \(index 1\) holds only zeros"),
        ([[2, -1], [0, 0]], r"row 1 \(index 0\) holds -1; all entries must be >= 0"),
        ([[1, 1], [np.inf, 0]], r"row 2 \(index 1\) holds inf"),
    ],
)
def test_rows_that_cannot_be_normalised_are_named(values, what):
    with pytest.raises(ValueError, match=what):
        normalise_rows(values)


def test_rows_of_the_largest_numbers_are_normalised():
    np.testing.assert_allclose(normalise_rows([[1e308, 1e308], [1e-320, 0]]), [[0.5, 0.5], [1, 0]])


# Eigenvalues


@light
@given(matrix=stochastic)
def test_spectrum_is_sorted_by_modulus_and_leads_with_one(matrix):
    values = spectrum(matrix)
    assert (np.diff(abs(values)) <= 0).all()
    assert values[0] == pytest.approx(1, abs=1e-9)
    assert (abs(values[1:]) < 1).all()  # Perron-Frobenius: every entry is positive
    assert values.sum() == pytest.approx(np.trace(matrix), abs=1e-9)


@pytest.mark.parametrize("size", range(2, 9))
def test_one_comes_first_among_eigenvalues_of_modulus_one(size):
    values = spectrum(np.roll(np.eye(size), 1, axis=1))
    assert values[0] == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(abs(values), 1, rtol=1e-12)


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
    weights = stationary(dif_star(table))
    np.testing.assert_allclose(weights, table.sum(1) / table.sum(), rtol=1e-8)


@light
@given(matrix=stochastic)
def test_left_eigenvector_is_unchanged_by_fusion_and_is_its_limit(matrix):
    weights = stationary(matrix)
    assert weights.sum() == pytest.approx(1) and (weights > 0).all()
    np.testing.assert_allclose(weights @ matrix, weights, atol=1e-9)
    limit = np.linalg.matrix_power(matrix, 2**14)
    np.testing.assert_allclose(limit, np.tile(weights, (len(matrix), 1)), atol=1e-8)


def test_single_precision_matrices_have_a_left_eigenvector():
    """A matrix that is row-stochastic to a millionth must be accepted: float32 rows sum to 1 to about 1e-7."""
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


# Repeated fusion


def literal_spread(models):
    largest = 0.0
    for first in models:
        for second in models:
            squared = 0.0
            for k in range(len(first)):
                squared += (first[k] - second[k]) ** 2
            largest = max(largest, squared**0.5)
    return largest


def literal_fusion(matrix, models):
    fused = np.zeros(models.shape)
    for i in range(len(matrix)):
        for j in range(len(matrix)):
            for k in range(models.shape[1]):
                fused[i, k] += matrix[i, j] * models[j, k]
    return fused


@light
@given(models=several_models)
def test_principal_coordinates_keep_every_distance(models):
    gram, _ = gram_matrix(models)
    points = principal_coordinates(gram)
    scale = 1 + abs(models).max()
    np.testing.assert_allclose(distance_matrix(points, "l2"), distance_matrix(models, "l2"), atol=1e-6 * scale)
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-7 * scale)
    assert (np.diff((points**2).sum(0)) <= 1e-9 * scale**2).all()  # the first column holds most
    products = points.T @ points  # columns are at right angles
    np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-7 * scale**2)


def test_principal_coordinates_of_a_line_and_of_a_single_point():
    points = principal_coordinates(np.outer([0, 3, 6], [0, 3, 6]))
    np.testing.assert_allclose(abs(points), [[3, 0, 0], [0, 0, 0], [3, 0, 0]], atol=1e-7)
    assert (principal_coordinates(np.zeros((3, 3))) == 0).all()


def test_principal_coordinates_do_not_depend_on_the_origin():
    models = np.random.default_rng(3).normal(size=(5, 9))
    shifted = models + 4
    np.testing.assert_allclose(
        principal_coordinates(models @ models.T), principal_coordinates(shifted @ shifted.T), atol=1e-10
    )


@pytest.mark.parametrize(
    ("gram", "what"),
    [
        ([[1, 2], [0, 1]], "symmetric"),
        ([[1, np.nan], [np.nan, 1]], "finite"),
        ([[0, 1], [1, 0]], "no negative eigenvalue"),
        ([[1.0, 2]], "square"),
    ],
)
def test_matrices_that_are_not_gram_matrices_are_refused(gram, what):
    with pytest.raises(ValueError, match=what):
        principal_coordinates(gram)


@light
@given(models=several_models)
def test_spread_equals_literal_loops(models):
    assert measured_spread(models) == pytest.approx(literal_spread(models), rel=1e-12)
    np.testing.assert_array_equal(measured_spread(np.stack([models, 2 * models]))[0], measured_spread(models))


@light
@given(models=several_models, data=st.data())
def test_repeated_fusion_equals_literal_loops_and_keeps_its_bound(models, data):
    matrix = normalised(data.draw(arrays(np.float64, (len(models),) * 2, elements=st.floats(1e-3, 1))))
    repeated = repeated_fusion(matrix, models, 4)
    expected, start = models, literal_spread(models)
    for k in range(5):
        np.testing.assert_allclose(repeated.models[k], expected, atol=1e-12)
        np.testing.assert_allclose(repeated.powers[k], np.linalg.matrix_power(matrix, k), atol=1e-12)
        if np.isfinite(repeated.spread[k]):
            assert repeated.spread[k] == pytest.approx(literal_spread(expected), abs=1e-12)
            assert repeated.spread[k] <= np.nan_to_num(repeated.bound[k]) + 1e-11 * (1 + start)
        if np.isfinite(repeated.pace[k]):
            assert repeated.pace[k] == pytest.approx(start * abs(spectrum(matrix)[1]) ** k, abs=1e-12)
        expected = literal_fusion(matrix, expected)


@light
@given(models=several_models, data=st.data())
def test_coordinates_of_fused_models_are_fused_coordinates(models, data):
    """So a page may fuse points in place of models of millions of parameters."""
    matrix = normalised(data.draw(arrays(np.float64, (len(models),) * 2, elements=st.floats(1e-3, 1))))
    gram, _ = gram_matrix(models)
    points, whole = (repeated_fusion(matrix, rows, 3) for rows in (principal_coordinates(gram), models))
    for k in range(4):
        np.testing.assert_allclose(
            distance_matrix(points.models[k], "l2"), distance_matrix(whole.models[k], "l2"), atol=1e-4
        )


def test_repeated_fusion_ends_where_the_left_eigenvector_says():
    matrix, models = normalised(np.random.default_rng(5).uniform(0.1, 1, (4, 4))), regular_polygon(4)
    repeated = repeated_fusion(matrix, models, 60)
    np.testing.assert_allclose(repeated.models[-1], np.tile(stationary(matrix) @ models, (4, 1)), atol=1e-12)
    assert np.isnan(repeated.spread[-1])  # rounding alone
    assert (np.nan_to_num(repeated.spread) <= np.nan_to_num(repeated.bound) + 1e-12).all()


def test_models_that_never_agree_keep_their_spread():
    for matrix in (SWAP, CAMPS):
        repeated = repeated_fusion(matrix, regular_polygon(len(matrix)), 9)
        np.testing.assert_allclose(repeated.bound, repeated.spread[0])
        assert repeated.spread[-1] > 0.5
    np.testing.assert_allclose(repeated_fusion(SWAP, regular_polygon(2), 3).models[[1, 3]], [[[-1, 0], [1, 0]]] * 2,
                               atol=1e-15)  # fmt: skip


def test_repeated_fusion_names_arguments_that_do_not_fit():
    with pytest.raises(ValueError, match=r"models must be \[2, P\], got shape \(3, 2\)"):
        repeated_fusion(SWAP, regular_polygon(3), 2)
    with pytest.raises(ValueError, match=r"row 1 \(index 0\) sums to 2"):
        repeated_fusion([[1, 1], [0, 1]], regular_polygon(2), 2)


@light
@given(matrix=stochastic, share=st.floats(1e-9, 0.5))
def test_fusions_until_is_the_least_that_suffices(matrix, share):
    count, second = fusions_until(matrix, share, 1000), abs(spectrum(matrix)[1])
    assert len(matrix) <= count <= 1000
    if count < 1000:
        assert second**count <= share * (1 + 1e-9)
    if len(matrix) < count:
        assert second ** (count - 1) > share * (1 - 1e-9)


def test_fusions_until_stops_without_consensus():
    assert fusions_until(SWAP, 1e-6, 60) == fusions_until(CAMPS, 1e-6, 60) == 60
    assert fusions_until(np.full((3, 3), 1 / 3), 1e-6, 60) == 3


@pytest.mark.parametrize("corners", [1, 2, 3, 8])
def test_a_regular_polygon_lies_on_the_circle_about_the_origin(corners):
    points = regular_polygon(corners)
    np.testing.assert_allclose((points**2).sum(1), 1)
    assert points[0].tolist() == [1, 0]
    if corners > 1:
        np.testing.assert_allclose(points.mean(0), 0, atol=1e-15)


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


def test_gram_is_that_of_the_models_minus_the_base():
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
def test_settled_is_the_index_after_the_last_value_above_the_limit(values, first):
    assert settled(values, 0.03) == first
