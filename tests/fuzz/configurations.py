"""Configurations at, near and beyond every bound: those that cannot run are refused with a message, the others make a
step."""

import json
import math
import random
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from arli_core.config import METHODS, PRESETS, Config, keys, parse, preset
from arli_core.errors import ConfigError, DataError, Diverged
from arli_core.events import Started, Step
from arli_core.learn import learn

from . import hostile
from .case import Case
from .world import TINY, World


def settings(rng: random.Random, world: World) -> Case:
    """A few settings of any value, over a preset or as a whole tree."""
    method = rng.choice(METHODS)
    own = keys(method)
    if rng.random() < 0.5:
        name = rng.choice(PRESETS)
        if rng.random() < 0.5:
            changed = {key: rng.choice(list(_near(own[key]))) for key in rng.sample(sorted(own), rng.randint(1, 2))}
        else:
            changed = {_key(rng, own): _any_value(rng, own) for _ in range(rng.randint(1, 3))}
        changed = {
            key: value for key, value in changed.items() if key not in ("seed", "method")
        }  # parameters by name
        seed = rng.choice([0, 1, hostile.value(rng)])
        return Case(
            f"preset({name!r}, {method!r}, {hostile.short(seed)}, **{hostile.short(changed, 200)})",
            lambda _: _check(preset(name, method, seed, **changed)),
            (ConfigError,),
        )
    text, tree = hostile.spoilt(rng, preset(rng.choice(PRESETS), method).model_dump())
    for _ in range(rng.randrange(3)):
        more, tree = hostile.spoilt(rng, tree)
        text += f"; {more}"
    return Case(f"parse, {method}: {text}", lambda _: _check(parse(tree)), (ConfigError,))


def starts(rng: random.Random, world: World) -> Case:
    """A run of digits with a few settings at the limits of what is valid: refused, or started and one step made."""
    method = rng.choice(METHODS)
    own = keys(method)
    changed = {key: value for key, value in TINY.items() if key in own}
    if rng.random() < 0.5:
        changed |= {key: value for key, value in _costly(rng).items() if key in own}
    for key in rng.sample(sorted(own.keys() - {"data.name"}), rng.randint(1, 3)):
        changed[key] = rng.choice(list(_near(own[key])))
    return Case(
        f"learn, digits, {method}: {hostile.short(changed, 400)}",
        lambda _: _starts(preset("digits", method, **changed)),
        (ConfigError, DataError, Diverged),
    )


def _check(config: Config) -> None:
    """A configuration holds finite numbers, and comes back from JSON as it was."""
    assert parse(json.loads(config.model_dump_json())) == config
    for key in keys(config.method):
        node: Any = config
        for part in key.split("."):
            node = getattr(node, part)
        assert not isinstance(node, float) or math.isfinite(node), key


def _starts(config: Config) -> None:
    events = learn(config)
    started = next(events)
    assert isinstance(started, Started) and len(started.classes) >= config.data.tasks
    step = next(events)
    assert isinstance(step, Step) and math.isfinite(step.loss) and step.samples > 0


def _costly(rng: random.Random) -> dict[str, Any]:
    """Settings that cost memory and time together, each of any valid size on digits."""
    return {
        "data.image_size": rng.choice([8, 16, rng.randint(8, 64), 64, 65]),
        "data.tasks": rng.randint(1, 5),
        "network.name": rng.choice(get_args(keys("ari")["network.name"].annotation)),
        "train.batch_size": int(2 ** rng.uniform(0, 12)),
        "fusion.inner_steps": int(2 ** rng.uniform(0, 6.6)),
    }


def _key(rng: random.Random, own: dict[str, Any]) -> str:
    if rng.random() < 0.85:
        return rng.choice(list(own))
    return rng.choice(["data", "train.epochs.more", "method", "preset", "no.such.thing", "", ".", "data.", "a" * 500,
                       "data.name\0", ".".join("abc" * 100), "model_config", "__class__.x"])  # fmt: skip


def _any_value(rng: random.Random, own: dict[str, Any]) -> Any:
    return hostile.value(rng) if rng.random() < 0.6 else rng.choice(list(_near(rng.choice(list(own.values())))))


def _near(field: Any) -> Iterator[Any]:
    """What a field may be, and what lies just beyond: its default, its bounds and their neighbours, its choices."""
    yield field.default
    bounds = [value for constraint in field.metadata for value in _bounds_in(constraint).values()]
    kinds = get_args(field.annotation) if type(None) in get_args(field.annotation) else (field.annotation,)
    for kind in kinds:
        if kind is type(None):
            yield None
        elif kind is bool:
            yield from (True, False)
        elif kind is str:
            yield from ("digits", "scenes", "folder:", "folder:x")
        elif get_origin(kind) is Literal:
            yield from get_args(kind)
        elif get_origin(kind) is tuple:  # of each task, or of classes
            yield from (
                [4, 2, 2, 2],
                "4,2,2,2",
                [1] * 10,
                [1] * 500,
                [],
                [0],
                "1," * 3000,
                ["3", "1", "2", "0"],
                "3,1,2,0",
            )
        elif kind is int:
            for bound in bounds:
                yield from (int(bound) - 1, int(bound), int(bound) + 1)
            if not any(bound > 1 for bound in bounds):  # no upper bound: its cost must bound it
                yield from (10**3, 10**5, 10**9, 2**63)
            yield from (2, 5, 10)
        elif kind is float:
            for bound in bounds:
                yield from (math.nextafter(bound, -math.inf), float(bound), math.nextafter(bound, math.inf))
            yield from (0.5, 1e-300, 1e6, 1e30, 1e300)


def _bounds_in(constraint: Any) -> dict[str, float]:
    """The bounds in one of pydantic's constraints: Ge, Gt, Le, Lt."""
    return {key: getattr(constraint, key) for key in ("ge", "gt", "le", "lt") if hasattr(constraint, key)}
