"""D, dif, dif* and their fusion against literal double loops, and the properties of Eq. 7, 8 and 11."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from arli_core.theory.fusion import (
    KINDS,
    base_distances,
    base_weight,
    dif,
    dif_star,
    distance_matrix,
    fuse,
    layer_distances,
)

light = settings(max_examples=30, deadline=None, derandomize=True)
each_kind = pytest.mark.parametrize("kind", KINDS)

numbers = st.floats(-100, 100, allow_subnormal=False).map(lambda x: x if abs(x) > 1e-6 else 0.0)
shapes = st.tuples(st.integers(2, 5), st.integers(1, 7))
some_models = shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=numbers))


def with_a_norm(models):
    """`relative` divides by the mean l1 norm, so one entry is kept from zero."""
    models = models.copy()
    models[0, 0] += 200
    return models


def literal_distance(models, kind):
    size, length = models.shape
    matrix = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            total = 0.0
            for k in range(length):
                gap = abs(models[i, k] - models[j, k])
                total += gap * gap if kind == "l2" else gap
            matrix[i, j] = total**0.5 if kind == "l2" else total
    if kind == "relative":
        norm = 0.0
        for i in range(size):
            for k in range(length):
                norm += abs(models[i, k]) / size
        matrix /= norm
    return matrix


def literal_dif_star(distance, eta):
    size = len(distance)
    matrix = np.zeros((size, size))
    for i in range(size):
        total = 0.0
        for j in range(size):
            total += distance[i, j] * distance[i, j] + eta
        for j in range(size):
            matrix[i, j] = (distance[i, j] * distance[i, j] + eta) / total
    return matrix


def literal_fuse(weights, models):
    matrix = np.zeros((len(weights), models.shape[1]))
    for i in range(len(weights)):
        for j in range(len(models)):
            for k in range(models.shape[1]):
                matrix[i, k] += weights[i, j] * models[j, k]
    return matrix


@each_kind
@light
@given(models=some_models, eta=st.floats(0.01, 10))
def test_equal_to_literal_loops(kind, models, eta):
    models = with_a_norm(models)
    distance = distance_matrix(models, kind)
    np.testing.assert_allclose(distance, literal_distance(models, kind), rtol=1e-12)
    np.testing.assert_allclose(dif(distance, eta), distance**2 + eta, rtol=1e-15)
    weights = dif_star(dif(distance, eta))
    np.testing.assert_allclose(weights, literal_dif_star(distance, eta), rtol=1e-12)
    np.testing.assert_allclose(fuse(weights, models), literal_fuse(weights, models), rtol=1e-12, atol=1e-10)


@each_kind
@light
@given(models=some_models)
def test_d_is_a_distance(kind, models):
    distance = distance_matrix(with_a_norm(models), kind)
    assert (distance >= 0).all()
    assert (distance == distance.T).all()
    assert (distance.diagonal() == 0).all()
    detours = (distance[:, :, None] + distance[None, :, :]).min(1)
    assert (distance <= detours * (1 + 1e-12) + 1e-12).all()  # the triangle inequality


@each_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_d_is_a_distance_of_long_models_too(kind, dtype):
    """Sums over many parameters are blocked and threaded; the two halves must still agree bit for bit."""
    models = torch.randn(6, 20_011, generator=torch.Generator().manual_seed(0)).to(dtype)
    distance = distance_matrix(models, kind)
    assert torch.equal(distance, distance.T) and (distance.diagonal() == 0).all()
    assert (distance + torch.eye(6) > 0).all()


@each_kind
@light
@given(models=some_models, data=st.data())
def test_the_parts_of_the_layers_make_up_d(kind, models, data):
    models = with_a_norm(models)
    cuts = data.draw(st.sets(st.integers(1, models.shape[1] - 1))) if models.shape[1] > 1 else set()
    ends = [0, *sorted(cuts), models.shape[1]]
    layers = layer_distances(models, np.diff(ends).tolist(), kind)
    whole = distance_matrix(models, kind)
    if kind == "l2":
        layers, whole = layers**2, whole**2
    np.testing.assert_allclose(layers.sum(0), whole, rtol=1e-12, atol=1e-300)
    for layer, begin, end in zip(layers, ends, ends[1:], strict=False):
        part = np.zeros_like(models)
        part[:, begin:end] = models[:, begin:end]  # all other entries equal
        if kind != "relative":
            alone = distance_matrix(part, kind)
            np.testing.assert_allclose(layer, alone**2 if kind == "l2" else alone, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("sizes", [[], [1], [2, 2], [4]])
def test_layers_that_are_not_all_of_the_model_are_refused(sizes):
    with pytest.raises(ValueError, match=r"sizes must sum to the 3 entries of a model, not \d"):
        layer_distances(np.ones((2, 3)), sizes)


@each_kind
@light
@given(models=some_models)
def test_last_row_of_d_is_the_base_distances(kind, models):
    models = with_a_norm(models)
    assert (distance_matrix(models, kind)[-1] == base_distances(models, kind)).all()
    tensors = torch.tensor(models)
    assert torch.equal(distance_matrix(tensors, kind)[-1], base_distances(tensors, kind))


@each_kind
@light
@given(models=some_models, data=st.data())
def test_permuting_models_permutes_dif_star(kind, models, data):
    models = with_a_norm(models)
    order = np.array(data.draw(st.permutations(range(len(models)))))
    weights = dif_star(dif(distance_matrix(models, kind), 0.85))
    permuted = dif_star(dif(distance_matrix(models[order], kind), 0.85))
    np.testing.assert_allclose(permuted, weights[np.ix_(order, order)], rtol=1e-12)


@light
@given(models=some_models, eta=st.floats(1e-3, 100))
def test_rows_of_dif_star_sum_to_one_and_are_positive(models, eta):
    weights = dif_star(dif(distance_matrix(models), eta))
    assert (weights > 0).all()
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-14)


@each_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [2, 3, 4, 6, 7, 10, 11, 21, 49])
@pytest.mark.parametrize("eta", [0.85, 0.1, 1e-6])
def test_equal_models_give_exactly_one_over_m_and_fuse_to_themselves(kind, dtype, size, eta):
    model = torch.randn(13, generator=torch.Generator().manual_seed(size), dtype=dtype)
    models = model.expand(size, -1).clone()
    weights = dif_star(dif(distance_matrix(models, kind), eta))
    assert (weights == torch.tensor(1 / size, dtype=dtype)).all()
    torch.testing.assert_close(fuse(weights, models), models, rtol=size * torch.finfo(dtype).eps, atol=0)
    again = dif_star(dif(distance_matrix(models.numpy().astype(np.float64), kind), eta))
    assert (again == 1 / size).all()


def test_small_and_large_distances_lead_to_both_limits():
    """Far below sqrt(eta) dif* is uniform; far above, the diagonal gets nothing (supplement, Eq. 7 and 8)."""
    apart = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    close, far = (dif_star(dif(distance_matrix(scale * apart), 0.85)) for scale in (1e-6, 1e6))
    np.testing.assert_allclose(close, 1 / 3, atol=1e-11)
    np.testing.assert_allclose(far, [[0, 0.5, 0.5], [0.2, 0, 0.8], [0.2, 0.8, 0]], atol=1e-11)


def test_deviation_at_distance_sqrt_eta_is_that_of_the_design():
    """All n = 5 models at D = sqrt(eta) from each other: weights eta and 2 eta, 1/11 against 1/6."""
    weights = dif_star(dif(np.sqrt(0.85) * (1 - np.eye(6)), 0.85))
    assert abs(weights - 1 / 6).max() == pytest.approx(1 / 6 - 1 / 11)


def test_without_eta_coinciding_models_leave_dif_star_undefined():
    with pytest.raises(ValueError, match=r"row 1 \(index 0\).*eta > 0"):
        dif_star(dif(distance_matrix(np.ones((3, 4))), 0))
    with pytest.raises(ValueError, match=r"row 2 \(index 1\)"):
        dif_star([[0, 1], [0, 0]])
    with pytest.raises(ValueError, match=r"row 2 \(index 1\)"):
        dif_star(torch.tensor([[0.0, 1], [0, 0]]))


def test_without_eta_distinct_models_have_weights_by_squared_distance():
    weights = dif_star(dif(distance_matrix([[0.0], [1], [3]]), 0))
    np.testing.assert_allclose(weights, [[0, 1 / 10, 9 / 10], [1 / 5, 0, 4 / 5], [9 / 13, 4 / 13, 0]], rtol=1e-15)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_entries_that_are_not_numbers_are_refused(bad):
    for table in ([[1, 1.0], [bad, 1]], torch.tensor([[1, 1.0], [bad, 1]])):
        with pytest.raises(ValueError, match="row 2"):
            dif_star(table)


@each_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_give_tensors_of_their_own_kind_and_arrays_give_the_same_values(kind, dtype):
    models = torch.randn(4, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    array = models.numpy().astype(np.float64)
    eps = torch.finfo(dtype).eps

    def chain(models):
        distance = distance_matrix(models, kind)
        weights = dif_star(dif(distance, 0.85))
        return distance, base_distances(models, kind), dif(distance, 0.85), weights, fuse(weights, models)

    for tensor, reference, listed in zip(chain(models), chain(array), chain(array.tolist()), strict=True):
        assert isinstance(tensor, torch.Tensor)
        assert tensor.dtype == dtype and tensor.device == models.device
        for plain in (reference, listed):
            assert isinstance(plain, np.ndarray) and plain.dtype == np.float64
        assert (reference == listed).all()
        np.testing.assert_allclose(tensor.numpy(), reference, rtol=50 * eps, atol=50 * eps)


def test_whole_numbers_are_computed_in_float64():
    assert distance_matrix(torch.tensor([[0, 1], [2, 3]])).dtype == torch.float64
    assert distance_matrix([[0, 1], [2, 3]]).tolist() == [[0, 4], [4, 0]]
    assert distance_matrix(np.array([[0, 1], [2, 3]], dtype=np.uint8)).tolist() == [[0, 4], [4, 0]]


def test_inputs_are_left_alone():
    models = np.arange(6.0).reshape(3, 2)
    distance = distance_matrix(models)
    table = dif(distance, 0.85)
    copies = [array.copy() for array in (models, distance, table)]
    fuse(dif_star(table), models)
    assert all((a == b).all() for a, b in zip(copies, (models, distance, table), strict=True))


def test_last_row_of_the_fused_models_is_the_last_row_of_dif_star_alone():
    models = np.random.default_rng(0).normal(size=(4, 6))
    weights = dif_star(dif(distance_matrix(models), 0.85))
    alone = dif_star(dif(base_distances(models)[None], 0.85))
    np.testing.assert_allclose(alone[0], weights[-1], rtol=1e-15)
    np.testing.assert_allclose(fuse(alone, models)[0], fuse(weights, models)[-1], rtol=1e-13)


@pytest.mark.parametrize(("beta", "task", "tasks"), [(0.0, 3, 5), (1.0, 1, 5), (1.0, 4, 10), (0.5, 10, 10)])
def test_the_base_takes_less_of_the_fused_model_as_tasks_go_by(beta, task, tasks):
    assert base_weight(beta, task, tasks) == pytest.approx(np.e ** (-beta * (task - 1) / tasks), rel=1e-15)


def test_the_fused_model_is_the_next_base_at_the_first_task_and_at_beta_zero():
    assert all(base_weight(beta, 1, 5) == 1 for beta in (0, 1, 7))
    assert all(base_weight(0, task, 5) == 1 for task in range(1, 6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: distance_matrix([[1.0], [2]], "cosine"), "unknown distance 'cosine'; valid: l1, l2, relative"),
        (lambda: base_distances([[1.0], [2]], "cosine"), "unknown distance 'cosine'; valid: l1, l2, relative"),
        (lambda: distance_matrix([1.0, 2]), r"models must be a matrix.*\(2,\)"),
        (lambda: base_distances(torch.zeros(0, 3)), r"models must be a matrix.*\(0, 3\)"),
        (lambda: distance_matrix(np.zeros((2, 3)), "relative"), "all of these are"),
        (lambda: dif([[0, 1.0], [1, 0]], -0.1), "eta must be >= 0, got -0.1"),
        (lambda: dif([[0, 1.0], [1, 0]], float("nan")), "eta must be one finite number, got nan"),
        (lambda: dif_star([0.5, 0.5]), r"dif must be a matrix.*\(2,\)"),
        (lambda: fuse(np.full((2, 2), 0.5), np.zeros((3, 4))), "weighs 2 models, but models holds 3"),
    ],
)
def test_invalid_arguments_are_refused_with_the_cause(call, message):
    with pytest.raises(ValueError, match=message):
        call()
