"""The runs of a sweep or an ablation: each method with each combination of the varied values, once for every seed."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config import Config, keys, preset, text_of
from ..errors import ConfigError

# Frames and probes change no result, and a sweep keeps neither; settings may ask for more.
LEAN = {"recording.frames": 2, "recording.probes": 0}


@dataclass(frozen=True)
class Arm:
    """One line of a table: a method, its varied settings, all settings that were set, and a run for each seed."""

    method: str
    varied: Mapping[str, Any]
    settings: Mapping[str, Any]  # varied ones included
    runs: tuple[Config, ...]

    @property
    def label(self) -> str:
        return " ".join([self.method, *(f"{key}={text_of(value)}" for key, value in self.varied.items())])


def plan(
    name: str,
    methods: Sequence[str],
    seeds: int,
    varied: Mapping[str, Sequence[Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> list[Arm]:
    """Each method of a preset with each combination of the varied values, with the seeds 0 .. seeds-1.

    A setting that a method does not have is left out of its arms, so its runs are made once. Raises ConfigError for a
    key that none of the methods has, and for values out of range.
    """
    varied, settings = dict(varied or {}), dict(settings or {})
    if seeds < 1:
        raise ConfigError(f"seeds: at least 1 is needed, got {seeds}")
    _each_once("methods", list(methods))
    for method in methods:
        preset(name, method)  # both names are valid from here on
    own = {method: keys(method) for method in methods}
    valid = sorted(set().union(*own.values()))
    for key in (*settings, *varied):
        if key not in valid:
            have = "have" if len(methods) > 1 else "has"
            raise ConfigError(f"{key}: {' and '.join(methods)} {have} no such setting; valid: {', '.join(valid)}")
        if key in settings and key in varied:
            raise ConfigError(f"{key} is both set and varied; choose one")
    for key, values in varied.items():
        _each_once(key, list(values))
    arms = []
    for method in methods:
        changed = [key for key in varied if key in own[method]]
        fixed = {key: value for key, value in settings.items() if key in own[method]}
        for values in itertools.product(*(varied[key] for key in changed)):
            combination = dict(zip(changed, values, strict=True))
            every_setting = {**LEAN, **fixed, **combination, "device": device}
            runs = tuple(preset(name, method, seed, **every_setting) for seed in range(seeds))
            arms.append(Arm(method, combination, fixed | combination, runs))
    return arms


def ablation(name: str, seeds: int, settings: Mapping[str, Any] | None = None, device: str = "auto") -> list[Arm]:
    """ARI with its parts on and off: attack, adaptive weights, reset, in all 12 combinations.

    At epsilon = 0 a second clean step takes the attacked one's place, so all arms make equally many updates.
    """
    fixed = dict(settings or {})
    for key in ("fusion.weights", "fusion.reset"):
        if key in fixed:
            raise ConfigError(f"an ablation varies {key} itself; leave it out")
    config = preset(name, "ari", **fixed)
    epsilon = config.model_dump()["attack"]["epsilon"]
    if epsilon == 0:
        raise ConfigError("attack.epsilon: 0 leaves no attack to switch off; set a value above 0")
    fixed.pop("attack.epsilon", None)
    return plan(name, ("ari",), seeds, switches(epsilon), fixed, device)


def switches(epsilon: float) -> dict[str, tuple[Any, ...]]:
    """What an ablation varies, the attack's own epsilon first."""
    return {
        "attack.epsilon": (epsilon, 0.0),
        "fusion.weights": ("adaptive", "uniform", "last"),
        "fusion.reset": (True, False),
    }


def _each_once(name: str, values: list[Any]) -> None:
    if not values:
        raise ConfigError(f"{name}: at least one is needed")
    for value in values:
        if values.count(value) > 1:
            raise ConfigError(f"{name}: {text_of(value)} is listed twice")


def name_of(config: Config) -> str:
    """The name of a run: equal for configurations that ask for the same result, wherever and however recorded."""
    content = config.model_dump(exclude={"preset", "seed", "device", "recording"})
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    return f"{config.preset}-{config.method}-{digest}-seed{config.seed}"
