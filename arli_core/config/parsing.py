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
        raise ConfigError("; ".join(explained(merged.get("method"), fault) for fault in error.errors())) from None


def value_of(config: Config, key: str) -> Any:
    """The value of a dotted setting, or a whole section."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def differences(config: Config, default: Config) -> dict[str, Any]:
    """The settings in which a configuration differs from another of the same method."""
    values = {key: value_of(config, key) for key in keys(config.method)}
    return {key: value for key, value in values.items() if value != value_of(default, key)}


def in_current_names(values: dict[str, Any]) -> dict[str, Any]:
    """Nested values, with the names of older versions replaced by those of this one.

    `fusion.base_rate` was a switch of `ari` and `ari-paper`: a number now makes the method `ari-adam`; None is
    what the others do anyway.
    """
    method, fusion = values.get("method"), values.get("fusion")
    if method not in ("ari", "ari-paper") or not isinstance(fusion, dict) or "base_rate" not in fusion:
        return values
    if fusion["base_rate"] is not None:
        return {**values, "method": "ari-adam"}
    return {**values, "fusion": {key: value for key, value in fusion.items() if key != "base_rate"}}


def with_tasks(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, with the number of tasks that a list of class counts implies."""
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
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        merged[key] = _merged(inner if isinstance(inner, dict) else {}, value) if isinstance(value, dict) else value
    return merged


# Why settings have upper bounds: each keeps a typing error, or a record from elsewhere, from taking all memory or
# all time. Sensible values lie far below.
_REASONS = {
    "data.image_size": "a network's memory grows with the pixels of its images",
    "data.tasks": "accuracies are kept for every pair of tasks, and models for every task",
    "data.classes_per_task": "the network has a unit for every class",
    "augmentation.shift": "an image is padded by as much on each side",
    "train.epochs": "more take weeks on the smallest data",
    "train.batch_size": "a whole batch is held in memory",
    "memory.budget": "exemplars are trained on in every epoch",
    "fusion.inner_steps": "each iteration makes this many steps for each task, and cannot be stopped midway",
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
    message = error["msg"].removeprefix("Value error, ")
    if not key:  # about the whole: the message names the settings
        return message
    reason = ""
    if error["type"] == "less_than_equal":
        why = "with larger values, numbers do not stay finite" if error["ctx"]["le"] == HUGE else _REASONS.get(key)
        reason = f" ({why})" if why else ""
    return f"{key}: {message[0].lower()}{message[1:]}{reason}, got {shortened(error['input'])}"


def shortened(value: Any) -> str:
    """A value in a message, however long it is."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}…"
