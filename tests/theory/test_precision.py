"""Double precision: where it is used, devices that have none, and the mathematics for what is not a number."""

import ast
import datetime
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from arli_core.analysis import attribution
from arli_core.config import METHODS, keys, preset
from arli_core.errors import Diverged
from arli_core.learn import learn
from arli_core.theory import consensus, fusion, metrics, precision

CORE = Path(precision.__file__).parents[1]
light = settings(max_examples=60, deadline=None, derandomize=True)

# --- One place converts to float64 ----------------------------------------------------------------------------------


def asks_for_double(file: Path) -> Iterator[int]:
    """Lines where a tensor becomes float64, by whatever name torch has for it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            of_torch = isinstance(node.value, ast.Name) and node.value.id == "torch"
            if node.attr == "double" or (of_torch and node.attr in ("float64", "complex128", "DoubleTensor")):
                yield node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module == "torch":
            names = {alias.name for alias in node.names}
            yield from [node.lineno] * bool(names & {"float64", "double", "complex128"})


@pytest.mark.parametrize("file", sorted(CORE.rglob("*.py")), ids=lambda file: str(file.relative_to(CORE)))
def test_no_other_code_converts_a_tensor_to_float64(file):
    lines = list(asks_for_double(file))
    assert not lines if file.name != "precision.py" else len(lines) == 1


@pytest.mark.parametrize(
    ("code", "asks"),
    [("x.double()", True), ("torch.zeros(2, dtype=torch.float64)", True), ("x.to(torch.double)", True),
     ("from torch import float64", True), ("np.float64(1)", False), ("x.float()", False), ("float64(x)", False)],
)  # fmt: skip
def test_conversions_to_float64_are_detected(code, asks, tmp_path):
    (tmp_path / "code.py").write_text(code)
    assert bool(list(asks_for_double(tmp_path / "code.py"))) is asks


class NoFloat64(TorchDispatchMode):
    """Torch as on a device without float64: only a tensor that `cpu()` has moved away may be float64, and it never
    meets one that has not been moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.moved = WeakTensorKeyDictionary()
        self.made = 0
        monkeypatch.setattr(precision, "WITHOUT_FLOAT64", ("cpu",))
        monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: self.cpu(tensor))

    def cpu(self, tensor: torch.Tensor) -> torch.Tensor:
        copy = tensor.clone()
        self.moved[copy] = True
        return copy

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        leaves = torch.utils._pytree.tree_leaves
        inputs = [tensor for tensor in leaves((args, kwargs)) if isinstance(tensor, torch.Tensor)]
        double = [tensor for tensor in inputs if tensor.dtype == torch.float64]
        outputs = [tensor for tensor in leaves(out) if isinstance(tensor, torch.Tensor)]
        if inputs and any(tensor.dtype == torch.float64 for tensor in outputs):
            narrow = [t for t in inputs if t.dtype != torch.float64 and t.ndim and t not in self.moved]
            if narrow and (double or func.overloadpacket == torch.ops.aten._to_copy):
                raise TypeError(f"the device has no float64, for which {func} asks")
            self.made += 1
        return out


def settings_of(method: str) -> dict[str, object]:
    base = {"data.tasks": 2, "train.epochs": 1, "train.batch_size": 200, "memory.budget": 40, "recording.frames": 2,
            "recording.probes": 1, "evaluation.group": 20, "adaptation.epochs": 1, "device": "cpu"}  # fmt: skip
    return {key: value for key, value in base.items() if key in keys(method)}


@pytest.mark.parametrize("method", METHODS)
def test_no_method_needs_float64_of_its_device(method, monkeypatch):
    config = preset("digits", method, **settings_of(method))
    plain = list(learn(config))
    with NoFloat64(monkeypatch) as mode:
        events = list(learn(config))
    assert mode.made > 0  # evaluation, at least, measures in float64
    assert [type(event) for event in events] == [type(event) for event in plain]
    assert [event.loss for event in events if hasattr(event, "loss")] == [
        event.loss for event in plain if hasattr(event, "loss")
    ]


@pytest.mark.parametrize("distance", fusion.KINDS)
@pytest.mark.parametrize("over", ["model", "tensor"])
def test_training_with_numbers_that_are_not_finite_ends_as_diverged(distance, over):
    """Not as a ValueError of the mathematics."""
    far = {"fusion.distance": distance, "fusion.over": over, "train.learning_rate": 1e30, "train.optimiser": "sgd"}
    with pytest.raises(Diverged, match=r"lower train\.learning_rate"):
        list(learn(preset("digits", "ari", **settings_of("ari"), **far)))


def test_attribution_needs_no_float64_of_its_device(monkeypatch):
    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Linear(2, 3)

        def forward(self, images):
            features = self.first(images)
            attention = features.mean(1, keepdim=True).sigmoid()
            return self.head((features * attention).mean((2, 3))), attention

    with NoFloat64(monkeypatch) as mode:
        attribution.attribute(Small(), torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), "integrated gradients")
    assert mode.made > 0


@pytest.mark.parametrize(
    "asking",
    [lambda x: x.double(), lambda x: x.to(torch.float64), lambda x: torch.add(x, torch.ones(3, dtype=torch.float64))],
)
def test_a_device_without_float64_is_simulated_as_one(asking, monkeypatch):
    with NoFloat64(monkeypatch), pytest.raises(TypeError, match="no float64"):
        asking(torch.ones(3))
    with NoFloat64(monkeypatch):
        assert precision.float64(torch.ones(3)).dtype == torch.float64


# --- What is not a number -------------------------------------------------------------------------------------------

SQUARE = [[0.2, 0.8], [0.5, 0.5]]
OF_A_MATRIX: dict[str, Callable] = {
    "distance_matrix": fusion.distance_matrix,
    "distance_matrix, l2": lambda x: fusion.distance_matrix(x, "l2"),
    "distance_matrix, relative": lambda x: fusion.distance_matrix(x, "relative"),
    "base_distances": fusion.base_distances,
    "base_weights": lambda x: fusion.base_weights(x, "l1", 0.5),
    "layer_distances": lambda x: fusion.layer_distances(x, [1, 1]),
    "layer_distances, sizes": lambda x: fusion.layer_distances(SQUARE, x),
    "dif": lambda x: fusion.dif(x, 0.5),
    "dif, eta": lambda x: fusion.dif(SQUARE, x),
    "dif_star": fusion.dif_star,
    "base_weight, beta": lambda x: fusion.base_weight(x, 1, 2),
    "base_weight, task": lambda x: fusion.base_weight(1.0, x, 2),
    "base_weight, tasks": lambda x: fusion.base_weight(1.0, 1, x),
    "check_row_stochastic": consensus.check_row_stochastic,
    "normalise_rows": consensus.normalise_rows,
    "spectrum": consensus.spectrum,
    "dobrushin": consensus.dobrushin,
    "stationary": consensus.stationary,
    "residual_eq12": consensus.residual_eq12,
    "residual_eq13": lambda x: consensus.residual_eq13(x, SQUARE, 1.0),
    "residual_eq13, gram": lambda x: consensus.residual_eq13(SQUARE, x, 1.0),
    "residual_eq13, norm": lambda x: consensus.residual_eq13(SQUARE, SQUARE, x),
    "gram_matrix": consensus.gram_matrix,
    "principal_coordinates": consensus.principal_coordinates,
    "regular_polygon": consensus.regular_polygon,
    "spread": consensus.spread,
    "repeated_fusion": lambda x: consensus.repeated_fusion(x, SQUARE, 2).models,
    "repeated_fusion, models": lambda x: consensus.repeated_fusion(SQUARE, x, 2).models,
    "repeated_fusion, count": lambda x: consensus.repeated_fusion(SQUARE, SQUARE, x).models,
    "fusions_until": lambda x: consensus.fusions_until(x, 0.1, 10),
    "fusions_until, share": lambda x: consensus.fusions_until(SQUARE, x, 10),
    "fusions_until, most": lambda x: consensus.fusions_until(SQUARE, 0.1, x),
    "deviation_from_uniform": consensus.deviation_from_uniform,
    "average_accuracy": metrics.average_accuracy,
    "average_incremental_accuracy": metrics.average_incremental_accuracy,
    "confusion": lambda x: metrics.confusion(x, [0, 1], 2),
    "confusion, answers": lambda x: metrics.confusion([0, 1], x, 2),
    "confusion, count": lambda x: metrics.confusion([0, 1], [0, 1], x),
    "overlap": lambda x: metrics.overlap(x, np.ones((1, 2, 2)), 0.5),
    "overlap, threshold": lambda x: metrics.overlap(np.ones((1, 2, 2)), np.ones((1, 2, 2)), x),
    "pointing": lambda x: metrics.pointing(x, np.ones((1, 2, 2))),
    "entropy": metrics.entropy,
}
# These read NaN: as unknown, as faulty, or as not settled.
THAT_READ_NAN: dict[str, Callable] = {
    "forgetting": metrics.forgetting,
    "backward_transfer": metrics.backward_transfer,
    "known_mean": metrics.known_mean,
    "row_faults": consensus.row_faults,
    "settled": lambda x: consensus.settled(x, 0.5),
    "settled, limit": lambda x: consensus.settled([0.1, 0.2], x),
    "fuse": lambda x: fusion.fuse(x, SQUARE),
    "fuse, models": lambda x: fusion.fuse(SQUARE, x),
    "auroc": lambda x: metrics.auroc(x, np.ones((1, 2, 2))),
    "auroc, objects": lambda x: metrics.auroc(np.ones((1, 2, 2)), x),
}
EVERY = OF_A_MATRIX | THAT_READ_NAN

BAD = {
    "complex": [[1 + 1j, 0], [0, 1]],
    "complex array": np.eye(2, dtype=complex),
    "complex tensor": torch.eye(2, dtype=torch.complex64),
    "texts": [["1", "0"], ["0", "1"]],
    "a text": "1 0",
    "bytes": b"10",
    "None": None,
    "objects": [[object(), 1], [1, object()]],
    "a dictionary": {0: 1},
    "a set": {1, 2},
    "ragged": [[1, 2], [3]],
    "a whole number too large": [[10**400, 1], [1, 1]],
    "too large beside a fraction": [[10**400, 0.5], [1, 1]],
    "one too large": 10**400,
    "dates": [[datetime.date(2020, 1, 1)] * 2] * 2,
    "dates of numpy": np.zeros((2, 2), "datetime64[s]"),
    "a structure": np.zeros((2, 2), [("a", float)]),
    "a sparse tensor": torch.eye(2).to_sparse(),
    "float8": torch.eye(2).to(torch.float8_e4m3fn),
    "tensors that require a gradient, and none": [torch.ones(2, requires_grad=True), object()],
    "empty": np.zeros((0, 0)),
    "nothing": [],
    "too many dimensions": np.ones((2, 2, 2, 2)),
}


@pytest.mark.parametrize("function", EVERY)
@pytest.mark.parametrize("bad", BAD)
def test_entries_that_are_not_real_numbers_are_a_value_error(bad, function):
    fits = {"known_mean": ("empty", "nothing", "too many dimensions"), "settled": ("nothing",),
            "spread": ("too many dimensions",), "dif": ("empty", "nothing", "too many dimensions")}  # fmt: skip
    if bad in fits.get(function, ()):
        EVERY[function](BAD[bad])
        return
    with pytest.raises(ValueError, match=r"."):
        EVERY[function](BAD[bad])


@pytest.mark.parametrize("function", OF_A_MATRIX)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_a_value_error(bad, function):
    maps = function.partition(",")[0] in ("overlap", "pointing", "entropy")
    shape = () if ", " in function else (1, 2, 2) if maps else (2,) if function == "confusion" else (2, 2)
    for values in (np.full(shape, bad), np.full(shape, bad).tolist(), torch.full(shape, bad)):
        with pytest.raises(ValueError, match=r"."):
            OF_A_MATRIX[function](values)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fusion.distance_matrix([[1j, 1], [0, 1]]), "models must hold real numbers, not complex128"),
        (lambda: fusion.distance_matrix([["a", "b"]]), "models must hold real numbers, not str"),
        (lambda: fusion.base_distances([[10**400, 1]]), "models holds a number beyond the range of float64"),
        (lambda: fusion.base_distances([[1, 2], [3]]), "models must hold real numbers in rows of equal lengths"),
        (lambda: fusion.base_distances([[1e308], [-1e308]]), "distances must be finite"),
        (lambda: fusion.base_distances(torch.tensor([[3e38, 3e38], [0, 0]])), "distances must be finite"),
        (lambda: fusion.distance_matrix([[1e200], [0]], "l2"), "distances must be finite"),
        (lambda: fusion.dif([[1e200]], 1), "dif must be finite"),
        (lambda: fusion.dif([[1.0]], math.inf), "eta must be one finite number, got inf"),
        (lambda: fusion.dif([[1.0]], "1"), "eta must hold real numbers, not str"),
        (lambda: fusion.dif_star([[1, 1], [2, -1]]), r"row 2 \(index 1\) of dif holds -1, which is below 0"),
        (lambda: fusion.dif_star([[1, -1], [1, 1]]), r"row 1 \(index 0\) of dif holds -1"),
        (lambda: fusion.dif_star([[1, -math.inf], [1, 1]]), r"row 1 \(index 0\) of dif is not finite"),
        (
            lambda: fusion.fuse([[1.0]], torch.ones(1, 2)),
            "dif_star and models must be of the same kind, not ndarray float64",
        ),
        (lambda: fusion.base_weight(1, 0, 5), "task must be a whole number from 1 on, got 0"),
        (lambda: consensus.gram_matrix([[1e200], [0]]), "the Gram matrix must be finite"),
        (lambda: consensus.gram_matrix(torch.tensor([[3e30], [0]])), "the Gram matrix must be finite"),
        (lambda: consensus.dobrushin([[math.nan, 1], [0, 1]]), "the entries of a matrix must be finite"),
        (lambda: consensus.residual_eq13(SQUARE, np.eye(3), 1), "as many models as T"),
        (lambda: consensus.fusions_until(SQUARE, 2, 10), "share must lie between 0 and 1, got 2"),
        (lambda: metrics.confusion([0, 2], [0, 1], 2), "whole numbers from 0 to 1"),
        (lambda: metrics.confusion([0, -1], [0, 1], 2), "whole numbers from 0 to 1"),
        (lambda: metrics.confusion([0, 1], [0], 2), r"must both be \[S\], got \(2,\) and \(1,\)"),
        (lambda: metrics.auroc(np.full((1, 2, 2), math.nan), np.ones((1, 2, 2))), "scores must be finite"),
    ],
)
def test_the_message_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


anything = st.one_of(
    st.floats(), st.integers(), st.complex_numbers(), st.none(), st.booleans(), st.text(max_size=3), st.fractions(),
    st.integers(10**300, 10**320), st.decimals(), st.sampled_from([1e308, -1e308, 1e200, 5e-324]),
)  # fmt: skip
tables = st.one_of(anything, st.lists(anything, max_size=3), st.lists(st.lists(anything, max_size=3), max_size=3))
numbers = st.one_of(st.floats(), st.sampled_from([1e308, -1e308, 1e200, 1e160, 5e-324]))
squares = st.integers(1, 3).flatmap(lambda size: st.lists(st.lists(numbers, min_size=size, max_size=size),
                                                          min_size=size, max_size=size))  # fmt: skip


@pytest.mark.parametrize("function", EVERY)
@light
@given(values=st.one_of(tables, squares, squares.map(torch.tensor)))
@example(values=[[0.0, 0.0], [0.0, math.inf]])
@example(values=[[0.0, math.nan], [-math.inf, math.inf]])
def test_any_values_give_finite_numbers_or_a_value_error(function, values):
    try:
        result = EVERY[function](values)
    except ValueError:
        return
    if function in OF_A_MATRIX and result is not None:
        for part in result if isinstance(result, tuple) else (result,):
            array = np.asarray(part)
            assert array.dtype.kind in "fiubc" and (function == "entropy" or np.isfinite(array).all())


def test_real_numbers_of_every_kind_are_accepted():
    for values in ([[True, False], [1, 2]], np.array([[1, 0], [1, 2]], np.uint8), [[1, 0], [1.0, np.float32(2)]],
                   torch.tensor([[1, 0], [1, 2]]), torch.tensor([[1, 0], [1, 2.0]], dtype=torch.bfloat16),
                   torch.tensor([[1, 0], [1, 2.0]], requires_grad=True)):  # fmt: skip
        np.testing.assert_array_equal(precision.array(values, "values"), [[1, 0], [1, 2]])
    assert precision.array([10**30, 1], "values").tolist() == [1e30, 1.0]
    identity = np.eye(2)
    assert precision.array(identity, "values") is identity  # nothing is copied that need not be
