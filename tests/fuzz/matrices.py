"""Arguments of any kind for the mathematics: a ValueError, or finite numbers of the right shape."""

import random
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch

from arli_core.theory import consensus, fusion, intervals, metrics

from . import hostile
from .case import Case
from .world import World

Check = Callable[..., bool]


def calls(rng: random.Random, world: World) -> Case:
    """One public function of fusion, consensus, metrics or intervals."""
    name = rng.choice(list(_FUNCTIONS))
    draws, right = _FUNCTIONS[name]
    arguments = [draw(rng) for draw in draws]
    module, _, function = name.partition(".")
    call = getattr(_MODULES[module], function)

    def attempt(place: Path) -> None:
        assert right(call(*arguments), *arguments), "the result has another shape, or is not finite"

    text = ", ".join(_short(argument) for argument in arguments)
    return Case(f"{name}({text})", attempt, (ValueError,))


_MODULES = {"fusion": fusion, "consensus": consensus, "metrics": metrics, "intervals": intervals}


# --- Arguments -----------------------------------------------------------------------------------------------------


def matrix(rng: random.Random) -> Any:
    """Mostly a matrix, often a square one, of any type; sometimes no matrix at all."""
    if rng.random() < 0.08:
        return hostile.value(rng)
    rows = rng.choice([0, 1, 2, 3, 4, 6])
    columns = rows if rng.random() < 0.6 else rng.choice([0, 1, 2, 5])
    shape = (
        (rows, columns) if rng.random() < 0.85 else tuple(rng.choice([0, 1, 2, 3]) for _ in range(rng.randrange(5)))
    )
    return _converted(rng, _filled(rng, shape))


def stack(rng: random.Random) -> Any:
    """[N, H, W], mostly."""
    shape = tuple(rng.choice([1, 2, 3]) for _ in range(3))
    return matrix(rng) if rng.random() < 0.2 else _converted(rng, _filled(rng, shape))


def values(rng: random.Random) -> Any:
    return _converted(rng, _filled(rng, (rng.randrange(6),))) if rng.random() < 0.8 else matrix(rng)


# An argument has the type in the signature, since a wrong one is Python's own TypeError; any value is tried.


def several(rng: random.Random) -> Any:
    """Anything that can be iterated over."""
    items = values(rng)
    try:
        iter(items)
    except TypeError:
        return [items]
    return items


def number(rng: random.Random) -> float:
    worst = rng.choice(hostile.NUMBERS)
    return worst if rng.random() < 0.4 else rng.choice([0, 1, 0.5, 0.85, 1e-12, 1000.0, -1.0, 1e200, True])


def count(rng: random.Random) -> int:
    return rng.randint(-1, 12) if rng.random() < 0.8 else rng.choice([-(10**400), -1, 0, 10**6])


def kind(rng: random.Random) -> str:
    return rng.choice(fusion.KINDS) if rng.random() < 0.9 else rng.choice(hostile.TEXTS)


def sizes(rng: random.Random) -> list[int]:
    worst = [-1, 0, 2**63, 10**400]
    return [rng.choice(worst) if rng.random() < 0.05 else rng.randint(0, 3) for _ in range(rng.randint(0, 3))]


def by_seed(rng: random.Random) -> dict[int, float]:
    return {seed: number(rng) for seed in rng.sample(range(5), rng.randint(0, 5))}


def _filled(rng: random.Random, shape: tuple[int, ...]) -> np.ndarray:
    numbers = np.random.default_rng(rng.getrandbits(64))
    plain = numbers.random(shape)
    match rng.randrange(9):
        case 0:
            return plain - 0.5
        case 1 | 2:  # row-stochastic
            return plain / plain.sum(-1, keepdims=True) if plain.ndim and plain.size else plain
        case 3:
            return np.full(shape, rng.choice([0.0, 1.0, 1e308, -1e308, 5e-324, 1e200, float("nan"), float("inf")]))
        case 4:
            return np.where(plain < 0.3, rng.choice([float("nan"), float("inf"), 1e308, -1.0]), plain)
        case 5:
            return np.tril(plain) if plain.ndim >= 2 else plain
        case 6:
            return np.eye(*shape) if len(shape) == 2 else plain > 0.5
        case 7:
            return numbers.integers(-3, 4, shape)
        case _:
            return plain * 10.0 ** rng.randint(-300, 300)


def _converted(rng: random.Random, array: np.ndarray) -> Any:
    """The same values in another type or another container."""
    array = np.asarray(array)
    match rng.randrange(13):
        case 0:
            return array.tolist()
        case 1:
            return torch.tensor(array)
        case 2:
            return torch.tensor(array).to(rng.choice([torch.float16, torch.bfloat16, torch.float32, torch.int64,
                                                      torch.uint8, torch.bool, torch.complex64]))  # fmt: skip
        case 3:
            return torch.tensor(array, dtype=torch.float64, requires_grad=True)
        case 4:
            with np.errstate(all="ignore"):
                return array.astype(rng.choice(["f2", "f4", "i8", "u1", "?", "c8", "c16", "U8", "S8", "g"]))
        case 5:
            return array.astype(object)
        case 6:
            mixed = array.astype(object)
            if mixed.size:
                mixed.flat[rng.randrange(mixed.size)] = hostile.value(rng)
            return mixed.tolist() if rng.random() < 0.5 else mixed
        case 7:
            ragged = array.tolist()
            if isinstance(ragged, list):
                ragged.append(rng.choice([[], 3, [1, 2, 3, 4, 5, 6, 7], None, "x"]))
            return ragged
        case 8:
            return np.asfortranarray(array)[::-1] if array.ndim else array
        case _:
            return array


def _short(argument: Any) -> str:
    if isinstance(argument, np.ndarray | torch.Tensor):
        return f"{type(argument).__name__} {argument.dtype} {list(argument.shape)} {hostile.short(argument, 90)}"
    return hostile.short(argument, 120)


# --- Results -------------------------------------------------------------------------------------------------------


def finite(result: Any) -> bool:
    array = result.detach().to(torch.float64).numpy() if isinstance(result, torch.Tensor) else np.asarray(result)
    return array.dtype != object and bool(np.isfinite(array).all())


def _shape(result: Any) -> tuple[int, ...]:
    return tuple(result.shape) if isinstance(result, np.ndarray | torch.Tensor) else np.shape(result)


def _rows(argument: Any) -> int:
    return len(argument)


def square(result: Any, argument: Any, *_: Any) -> bool:
    return finite(result) and _shape(result) == (_rows(argument), _rows(argument))


def row(result: Any, argument: Any, *_: Any) -> bool:
    return finite(result) and _shape(result) == (_rows(argument),)


def last_row(result: Any, argument: Any, *_: Any) -> bool:
    return finite(result) and _shape(result) == (1, _rows(argument))


def scalar(result: Any, *_: Any) -> bool:
    return isinstance(result, float) and finite(result)


def scalar_or_unknown(result: Any, *_: Any) -> bool:
    """NaN is documented for a single task, or where no value is known."""
    return isinstance(result, float) and not np.isinf(result)


def an_image_each(result: Any, scores: Any, *_: Any) -> bool:
    """NaN is documented for an image that is all object, or has no score."""
    return _shape(result) == (_rows(scores),) and not np.isinf(result).any()


def layers(result: Any, models: Any, sizes: Any, *_: Any) -> bool:
    return finite(result) and _shape(result) == (len(sizes), _rows(models), _rows(models))


def same_shape(result: Any, argument: Any, *_: Any) -> bool:
    return finite(result) and _shape(result) == _shape(argument)


def fused(result: Any, weights: Any, models: Any) -> bool:
    """Values that are not finite are documented to be passed on."""
    return _shape(result) == (_rows(weights), _shape(models)[1])


def nothing(result: Any, *_: Any) -> bool:
    return result is None


def texts(result: Any, *_: Any) -> bool:
    return isinstance(result, list) and all(isinstance(text, str) for text in result)


def gram(result: Any, models: Any) -> bool:
    matrix, norm = result
    return square(matrix, models) and finite(norm) and _shape(norm) == ()


def corners(result: Any, count: Any) -> bool:
    return finite(result) and _shape(result) == (count, 2)


def spreads(result: Any, models: Any) -> bool:
    return finite(result) and _shape(result) == _shape(models)[:-2]


def repeated(result: Any, matrix: Any, models: Any, count: Any) -> bool:
    """The curves are documented to be NaN where only rounding is left."""
    size = _rows(matrix)
    curves = (result.spread, result.pace, result.bound)
    return (
        finite(result.powers) and result.powers.shape == (count + 1, size, size)
        and finite(result.models) and result.models.shape[:2] == (count + 1, size)
        and all(curve.shape == (count + 1,) and not np.isinf(curve).any() for curve in curves)
    )  # fmt: skip


def whole_number(result: Any, matrix: Any, share: Any, most: Any) -> bool:
    return isinstance(result, int) and min(_rows(matrix), most) <= result <= most


def an_index(result: Any, values: Any, limit: Any) -> bool:
    return result is None or (isinstance(result, int) and 0 <= result < _rows(values))


def counted(result: Any, classes: Any, answers: Any, count: Any) -> bool:
    return result.shape == (count, count) and result.sum() == np.size(classes) and (result >= 0).all()


def images_each(result: Any, scores: Any, *_: Any) -> bool:
    return all(an_image_each(measure, scores) for measure in result.values())


def interval(result: Any, *_: Any) -> bool:
    numbers = [number for number in (result.mean, result.low, result.high) if number is not None]
    return result.n >= 0 and all(isinstance(number, float) and np.isfinite(number) for number in numbers)


_FUNCTIONS: dict[str, tuple[tuple[Callable[[random.Random], Any], ...], Check]] = {
    "fusion.distance_matrix": ((matrix, kind), square),
    "fusion.base_distances": ((matrix, kind), row),
    "fusion.layer_distances": ((matrix, sizes, kind), layers),
    "fusion.dif": ((matrix, number), same_shape),
    "fusion.dif_star": ((matrix,), same_shape),
    "fusion.fuse": ((matrix, matrix), fused),
    "fusion.base_weights": ((matrix, kind, number), last_row),
    "fusion.base_weight": ((number, count, count), scalar),
    "consensus.check_row_stochastic": ((matrix, number), nothing),
    "consensus.row_faults": ((matrix, number), texts),
    "consensus.normalise_rows": ((matrix,), square),
    "consensus.spectrum": ((matrix,), row),
    "consensus.dobrushin": ((matrix,), scalar),
    "consensus.stationary": ((matrix,), row),
    "consensus.residual_eq12": ((matrix,), scalar),
    "consensus.residual_eq13": ((matrix, matrix, number), scalar),
    "consensus.gram_matrix": ((matrix,), gram),
    "consensus.principal_coordinates": ((matrix,), square),
    "consensus.regular_polygon": ((count,), corners),
    "consensus.spread": ((matrix,), spreads),
    "consensus.repeated_fusion": ((matrix, matrix, count), repeated),
    "consensus.fusions_until": ((matrix, number, count), whole_number),
    "consensus.settled": ((values, number), an_index),
    "consensus.deviation_from_uniform": ((matrix,), scalar),
    "metrics.average_accuracy": ((matrix,), scalar),
    "metrics.average_over_samples": ((matrix, values), scalar),
    "metrics.average_incremental_accuracy": ((matrix,), scalar),
    "metrics.forgetting": ((matrix,), scalar_or_unknown),
    "metrics.backward_transfer": ((matrix,), scalar_or_unknown),
    "metrics.confusion": ((values, values, count), counted),
    "metrics.auroc": ((stack, stack), an_image_each),
    "metrics.pointing": ((stack, stack), an_image_each),
    "metrics.overlap": ((stack, stack, number), an_image_each),
    "metrics.entropy": ((stack,), an_image_each),
    "metrics.is_level": ((stack,), an_image_each),
    "metrics.known_mean": ((values,), scalar_or_unknown),
    "metrics.merits": ((stack, stack, number), images_each),
    "intervals.t_interval": ((several, number), interval),
    "intervals.paired": ((by_seed, by_seed), interval),
}


def public_functions() -> set[str]:
    """All that exist: tests/test_fuzz.py compares."""
    return {
        f"{name}.{function}"
        for name, module in _MODULES.items()
        for function, value in vars(module).items()
        if isinstance(value, FunctionType) and value.__module__ == module.__name__ and not function.startswith("_")
    }  # fmt: skip


def called_functions() -> set[str]:
    return set(_FUNCTIONS)
