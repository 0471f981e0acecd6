"""Values become a configuration, or a message that says which setting is wrong, what is valid, and what was given."""

from typing import Any

from pydantic import ValidationError

from ..errors import ConfigError
from .methods import ADAPTER, METHOD_SETTINGS, METHODS, Config, keys
from .sections import HUGE
from .text import tasks_listed


def parse(values: dict[str, Any], /, **settings: Any) -> Config:
    """A configuration from nested `values` with dotted `settings` laid over them; ConfigError otherwise."""
    values = in_current_names(_laid_over(_merged({}, values), with_tasks(settings)))
    method = values.get("method")
    merged = _laid_over({}, METHOD_SETTINGS.get(method, {}) if isinstance(method, str) else {})
    merged = _merged(merged, values)
    try:
        return ADAPTER.validate_python(merged)
    except ValidationError as error:
        raise ConfigError("; ".join(explained(merged.get("method"), each) for each in error.errors())) from None


def value_of(config: Config, key: str) -> Any:
    """The value of a dotted setting, or a whole section."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def differences(config: Config, default: Config) -> dict[str, Any]:
    """The settings of a configuration that another of the same method has otherwise."""
    found = {key: value_of(config, key) for key in keys(config.method)}
    return {key: value for key, value in found.items() if value != value_of(default, key)}


def in_current_names(values: dict[str, Any]) -> dict[str, Any]:
    """Nested values, with those of older versions in the names of this one.

    `fusion.base_rate` was a switch of `ari` and `ari-paper`: a number is now what makes `ari-adam`, None what the
    others do without saying so.
    """
    method, fusion = values.get("method"), values.get("fusion")
    if method not in ("ari", "ari-paper") or not isinstance(fusion, dict) or "base_rate" not in fusion:
        return values
    if fusion["base_rate"] is not None:
        return {**values, "method": "ari-adam"}
    return {**values, "fusion": {key: value for key, value in fusion.items() if key != "base_rate"}}


def with_tasks(settings: dict[str, Any]) -> dict[str, Any]:
    """Increments bring their own number of tasks, in place of the one that they are laid over."""
    count = tasks_listed(settings.get("data.classes_per_task"))
    return {"data.tasks": count, **settings} if count else settings


def _laid_over(values: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """`values` with dotted settings put into it."""
    for key, value in settings.items():
        *sections, last = key.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{key}: {section} is a single setting, not a section")
        place[last] = value
    return values


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """A copy of both nested dictionaries, `above` where they differ."""
    found = dict(below)
    for key, value in above.items():
        inner = found.get(key)
        found[key] = _merged(inner if isinstance(inner, dict) else {}, value) if isinstance(value, dict) else value
    return found


# Why settings have upper bounds: each keeps a slip of the hand, or a record from elsewhere, from taking all memory or
# all time. What is sensible lies far below.
_REASONS = {
    "data.image_size": "a network's memory grows with the pixels of its images",
    "data.tasks": "accuracies are kept for every pair of tasks, and models for every task",
    "data.classes_per_task": "the network has a unit for every class",
    "augmentation.shift": "an image is enlarged by so much at each side",
    "train.epochs": "more take weeks on the smallest data",
    "train.batch_size": "a batch is held in memory whole",
    "memory.budget": "exemplars are trained on in every epoch",
    "fusion.inner_steps": "each iteration makes so many steps for each task, and is not stopped within",
    "adaptation.epochs": "they are made for every task after every task",
    "evaluation.group": "no task has as many test images",
    "recording.frames": "every frame keeps a row and a column for each model",
    "recording.probes": "their attention is kept at every probe frame",
    "recording.probe_frames": "the attention of all probes is kept at each of them",
}


def explained(method: Any, error: Any) -> str:
    """One pydantic error in the words of the command line: dotted key, what is wrong, what is valid."""
    path = [str(part) for part in error["loc"] if part != method]
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        valid = sorted(keys(method))
        return f"{key}: {method} has no such setting; valid: {', '.join(valid)}"
    if error["type"].startswith("union_tag"):
        return f"unknown method {shortened(method)}; valid methods: {', '.join(METHODS)}"
    if not key:  # of the whole: the message names its settings
        return error["msg"].removeprefix("Value error, ")
    reason = ""
    if error["type"] == "less_than_equal":
        why = "beyond it, numbers do not stay finite" if error["ctx"]["le"] == HUGE else _REASONS.get(key)
        reason = f" ({why})" if why else ""
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}{reason}, got {shortened(error['input'])}"


def shortened(value: Any) -> str:
    """A value in a message, however long it is."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}…"
