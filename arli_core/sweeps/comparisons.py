"""What sweeps show: tables, intervals and effects over seeds, of planned runs or of those in a folder.

Pure, but for `read` and `places`, which look into folders.

The runs of an arm differ only in the seed. `planning.plan` makes arms from settings; `regrouped` recovers them
from what was recorded, so that a folder itself says what it compares.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from .. import records
from ..config import METHODS, Config, keys, parse, preset, protocols
from ..errors import ConfigError, RecordError
from ..records import Record
from ..theory import intervals
from ..theory.intervals import Interval
from .folder import MEASURES, Outcome, in_order, mixed, outcome_files, unknown_data
from .folder import outcome as outcome_in
from .planning import Arm, name_of, switches

# --- What arms show ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """The combined results of an arm's runs, under one protocol."""

    arm: Arm
    measures: Mapping[str, Interval]  # each of MEASURES
    values: Mapping[int, float]  # by seed, of the measure that is compared
    difference: Interval | None  # of that measure, paired, to the reference; None for the reference itself
    failed: int
    seconds: float | None  # the median over the runs that did not fail: other load on a machine distorts a mean


def lines(
    arms: Sequence[Arm], outcomes: Mapping[str, Outcome], protocol: str, reference: Arm, measure: str = "average"
) -> list[Line]:
    """A line for each arm that has the protocol, in their order. Runs that failed count in `failed` only."""
    base = _of(reference, outcomes, protocol, measure)
    result = []
    for arm in arms:
        if protocol not in protocols(arm.runs[0]):
            continue
        made = [outcomes[name] for name in map(name_of, arm.runs) if name in outcomes]
        seconds = [outcome["seconds"] for outcome in made if not outcome["error"]]
        values = _of(arm, outcomes, protocol, measure)
        result.append(
            Line(
                arm,
                {key: intervals.t_interval(_of(arm, outcomes, protocol, key).values()) for key in MEASURES},
                values,
                None if arm is reference else intervals.paired(values, base),
                failed=sum(1 for outcome in made if outcome["error"]),
                seconds=median(seconds) if seconds else None,
            )
        )
    return result


def tables(
    arms: Sequence[Arm], outcomes: Mapping[str, Outcome], against: str | None = None
) -> dict[str, list[dict[str, Any]]]:
    """By protocol, a row for each arm: mean and 95% t interval over seeds of each measure (of the average accuracy:
    n, mean, low, high of the row itself), and the paired difference of its average accuracy to the first arm, or the
    first of the method `against`, over the seeds that both have; None for that arm itself.

    Runs that failed count in `failed` only. ConfigError where no arm has that method.
    """
    reference = next((arm for arm in arms if against in (None, arm.method)), None)
    if reference is None:
        raise ConfigError(f"against: {against} is not in this comparison; valid: {', '.join(methods_of(arms))}")
    return {
        protocol: [_plain(line) for line in lines(arms, outcomes, protocol, reference)]
        for protocol in protocols_of(arms)
    }


def _plain(line: Line) -> dict[str, Any]:
    measures = {key: asdict(interval) for key, interval in line.measures.items()}
    return {
        "method": line.arm.method,
        "settings": dict(line.arm.varied),
        **measures.pop("average"),
        **measures,
        "failed": line.failed,
        "difference": None if line.difference is None else asdict(line.difference),
    }


def methods_of(arms: Sequence[Arm]) -> list[str]:
    return list(dict.fromkeys(arm.method for arm in arms))


def protocols_of(arms: Sequence[Arm]) -> list[str]:
    """The protocols of all arms, in their order."""
    return list(dict.fromkeys(protocol for arm in arms for protocol in protocols(arm.runs[0])))


def measures_of(outcomes: Mapping[str, Outcome]) -> list[str]:
    """The average accuracy, and the other measures that some run has: older runs have fewer."""
    all_figures = [figures for outcome in outcomes.values() for figures in outcome.get("figures", {}).values()]
    return [
        key for key in MEASURES if key == "average" or any(figures.get(key) is not None for figures in all_figures)
    ]


def _of(arm: Arm, outcomes: Mapping[str, Outcome], protocol: str, measure: str) -> dict[int, float]:
    """A measure by seed, of the runs that have it."""
    values = {
        config.seed: outcomes.get(name_of(config), {}).get("figures", {}).get(protocol, {}).get(measure)
        for config in arm.runs
    }
    return {seed: value for seed, value in values.items() if value is not None}


# --- What an ablation shows ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Effect:
    """What one switch does to the average accuracy, over the seeds."""

    switch: str
    difference: str
    interval: Interval

    @property
    def verdict(self) -> str:
        return verdict(self.interval)


def verdict(difference: Interval) -> str:
    """Whether a difference is beyond what the seeds explain by chance."""
    if difference.mean is None or difference.low is None:
        return "no interval"
    if not difference.measurable:
        return "within chance"
    return f"{'higher' if difference.mean > 0 else 'lower'}, beyond chance"


def effects(arms: Sequence[Arm], outcomes: Mapping[str, Outcome]) -> dict[str, list[Effect]]:
    """By protocol, the main effects of an `ablation`: per seed, the mean of (one position - the other) over all
    settings of the other switches; of these, mean and t interval over the seeds whose runs are all there."""
    on = arms[0].varied["attack.epsilon"]
    contrasts = (
        ("attack", "on - off", "attack.epsilon", on, 0),
        ("weights", "adaptive - uniform", "fusion.weights", "adaptive", "uniform"),
        ("weights", "adaptive - last", "fusion.weights", "adaptive", "last"),
        ("reset", "on - off", "fusion.reset", True, False),
    )
    return {
        protocol: [
            Effect(switch, difference, contrast(arms, outcomes, protocol, key, *pair))
            for switch, difference, key, *pair in contrasts
        ]
        for protocol in protocols_of(arms)
    }


def contrast(
    arms: Sequence[Arm], outcomes: Mapping[str, Outcome], protocol: str, key: str, value: Any, baseline: Any
) -> Interval:
    """The mean average accuracy of the arms at one value of a setting minus that at the baseline, paired by seed."""
    return intervals.paired(*(_mean_of(arms, outcomes, protocol, key, setting) for setting in (value, baseline)))


def _mean_of(
    arms: Sequence[Arm], outcomes: Mapping[str, Outcome], protocol: str, key: str, value: Any
) -> dict[int, float]:
    """By seed, the mean average accuracy of the arms with that value, where all of them have one."""
    by_seed = [_of(arm, outcomes, protocol, "average") for arm in arms if arm.varied[key] == value]
    seeds = set.intersection(*(set(values) for values in by_seed))
    return {seed: sum(values[seed] for values in by_seed) / len(by_seed) for seed in sorted(seeds)}


# --- What a folder compares ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sweep:
    """The finished runs of one preset in a folder, as arms again.

    An arm's `varied` is what differs from the preset; what differs alike in all arms is in `common` instead.
    """

    preset: str
    arms: tuple[Arm, ...]
    outcomes: Mapping[str, Outcome]  # by name_of, as `lines` and `effects` ask for it
    common: Mapping[str, Any]

    @property
    def note(self) -> str:
        """What cannot be known about its runs, in one line."""
        return unknown_data(self.outcomes)

    @property
    def plain(self) -> tuple[Arm, ...]:
        """Each method as the preset has it."""
        return tuple(arm for arm in self.arms if not arm.varied)


def root() -> Path:
    """Where the shipped sweeps are, and where the page finds a user's own: sweeps/ beside the named runs."""
    return records.root() / "sweeps"


def places() -> list[Path]:
    """The sweeps' folders, in alphabetical order."""
    if not root().is_dir():
        return []
    return sorted(path for path in root().iterdir() if (path / "finished").is_dir())


def read(folder: Path) -> tuple[dict[str, Sweep], list[str]]:
    """What a folder compares, by preset, and the problems: files that are damaged, and presets whose runs were
    trained on different data, which are left out."""
    finished, problems = [], []
    for file in outcome_files(folder):
        try:
            finished.append(outcome_of(file))
        except RecordError as error:
            problems.append(str(error))
    by_preset = {}
    for name, sweep in regrouped(finished).items():
        if problem := mixed(sweep.outcomes):
            problems.append(f"{folder.name}, {name}: {problem}. Runs on different data are not compared")
        else:
            by_preset[name] = sweep
    return by_preset, problems


def of_other_data(runs: Mapping[str, Record]) -> str:
    """Which two of these runs ask for the same data but were trained on different ones, and how these differ; empty
    where there are none, as far as is recorded."""
    return mixed(
        {
            name: {"config": record.config.model_dump(), "data": record.started.data.plain()}
            for name, record in runs.items()
            if record.started and record.started.data
        }
    )


def outcome_of(file: Path) -> tuple[Config, Outcome]:
    """A finished run with its configuration; RecordError where the file is damaged or a figure is not a number."""
    outcome = outcome_in(file)
    try:
        config = parse(outcome["config"])
        preset(config.preset or "none", config.method)  # with which its settings are compared
    except ConfigError as error:
        raise RecordError(f"{file} holds a configuration that is not valid here: {error}; remove it") from None
    try:
        values = [outcome["figures"].get(name, {}).get(key) for name in protocols(config) for key in MEASURES]
        numbers = [outcome["seconds"], *(value for value in values if value is not None)]
        whole = all(math.isfinite(value) for value in numbers)
    except (AttributeError, TypeError):
        whole = False
    if not whole:
        raise RecordError(
            f"{file} is damaged: a figure is not a number; remove it, and the same sweep trains it again"
        )
    return config, outcome


def regrouped(finished: Iterable[tuple[Config, Outcome]]) -> dict[str, Sweep]:
    """By preset, the runs as arms: methods in their order, and of one method those as in the preset first."""
    groups: dict[str, dict[str, list[tuple[Config, Outcome]]]] = {}
    for config, outcome in finished:
        assert config.preset
        arm_name = name_of(config.model_copy(update={"seed": 0}))
        groups.setdefault(config.preset, {}).setdefault(arm_name, []).append((config, outcome))
    return {name: _sweep(name, list(by_arm.values())) for name, by_arm in sorted(groups.items())}


def _sweep(name: str, groups: Sequence[Sequence[tuple[Config, Outcome]]]) -> Sweep:
    arms = []
    for group in groups:
        by_seed = {config.seed: config for config, _ in group}
        runs = tuple(by_seed[seed] for seed in sorted(by_seed))
        changed = differing(runs[0], preset(name, runs[0].method))
        arms.append(Arm(runs[0].method, changed, changed, runs))
    common = _common(arms)
    arms = [
        replace(arm, varied={key: value for key, value in arm.varied.items() if key not in common}) for arm in arms
    ]
    arms.sort(key=lambda arm: (METHODS.index(arm.method), len(arm.varied), _order(arm.varied)))
    return Sweep(
        name, tuple(arms), {name_of(config): outcome for group in groups for config, outcome in group}, common
    )


def _common(arms: Sequence[Arm]) -> dict[str, Any]:
    """The settings that differ from the preset, alike in every arm that has them."""
    common = {}
    for key in {key: None for arm in arms for key in arm.settings}:
        having = [arm.settings.get(key) for arm in arms if key in keys(arm.method)]
        if having[0] is not None and all(value == having[0] for value in having):
            common[key] = having[0]
    return common


def _order(settings: Mapping[str, Any]) -> list[tuple[str, bool, float, str]]:
    return [(key, *in_order(value)) for key, value in settings.items()]


def settings_of(config: Config) -> dict[str, Any]:
    """The dotted settings that a result depends on, without the seed."""
    content = config.model_dump(exclude={"preset", "method", "seed", "device", "recording"})
    return {f"{section}.{key}": value for section, inner in content.items() for key, value in inner.items()}


def differing(config: Config, other: Config) -> dict[str, Any]:
    """The settings in which a configuration differs from the other; without the number of tasks where class counts
    imply it."""
    other_settings = settings_of(other)
    return {key: value for key, value in _free(config).items() if other_settings.get(key) != value}


def _free(config: Config) -> dict[str, Any]:
    """The settings that do not follow from others."""
    follows = {"data.tasks"} if isinstance(config.data.classes_per_task, tuple) else set()
    return {key: value for key, value in settings_of(config).items() if key not in follows}


# --- Questions found in a folder -----------------------------------------------------------------------------------


def parts(sweep: Sweep) -> list[Arm]:
    """The 12 arms of an ablation as `planning.ablation` orders them, where all are there; else none."""
    switched = tuple(switches(0))
    for group in _alike(sweep.arms, switched).values():
        at = {tuple(settings_of(arm.runs[0])[key] for key in switched): arm for arm in group if arm.method == "ari"}
        for epsilon in sorted({epsilon for epsilon, *_ in at if epsilon > 0}):
            combinations = list(product(*switches(epsilon).values()))
            if all(combination in at for combination in combinations):
                return [
                    replace(at[combination], varied=dict(zip(switched, combination, strict=True)))
                    for combination in combinations
                ]
    return []


def curves(sweep: Sweep) -> dict[str, dict[str, dict[Any, Arm]]]:
    """By setting, and by the label of the arms that differ only in it, these by its value, wherever there are
    several.

    The setting with the most arms comes first.
    """
    result = {}
    for key in sorted({key for arm in sweep.arms for key in arm.varied}):
        by_label = {}
        for group in _alike([arm for arm in sweep.arms if key in keys(arm.method)], (key,)).values():
            if len(group) < 2:
                continue
            rest = {other: value for other, value in group[-1].varied.items() if other != key}
            at = {settings_of(arm.runs[0])[key]: arm for arm in group}
            label = replace(group[-1], varied=rest).label
            by_label[label] = {value: at[value] for value in sorted(at, key=in_order)}
        if by_label:
            result[key] = by_label
    return dict(sorted(result.items(), key=lambda item: -sum(map(len, item[1].values()))))


def _alike(arms: Sequence[Arm], but_for: Sequence[str]) -> dict[str, list[Arm]]:
    """The arms by method and all settings other than `but_for`."""
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        rest = {key: value for key, value in _free(arm.runs[0]).items() if key not in but_for}
        groups.setdefault(arm.method + json.dumps(rest, sort_keys=True), []).append(arm)
    return groups
