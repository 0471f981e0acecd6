"""What a run was trained on, in a few kilobytes: enough to say whether data are the same, and what differs.

Pure: datasets/dataset.py makes fingerprints, events.py hands them on, records/ keeps them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .errors import DataError

MOST_NAMED = 6  # differences that one message names


@dataclass(frozen=True)
class ClassPrint:
    """One class: how many training and test images it has, and a digest of all of them, whatever their order."""

    name: str
    train: int
    test: int
    digest: str


@dataclass(frozen=True)
class Fingerprint:
    """shape: (C, H, W) of one image. classes: in the data set's order. order: a digest of both splits as they stand,
    sample by sample, so that pictures that only change places are noticed as well."""

    shape: tuple[int, int, int]
    classes: tuple[ClassPrint, ...]
    order: str

    @property
    def digest(self) -> str:
        """A short text, equal only for equal fingerprints."""
        return hashlib.sha256(json.dumps(self.plain()).encode()).hexdigest()[:32]

    def plain(self) -> dict[str, Any]:
        """As JSON values; `parse` reads them."""
        return asdict(self)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "Fingerprint":
        """From what `plain` returned, also after JSON. ValueError, LookupError or TypeError for anything else."""
        channels, height, width = (_count(value) for value in values["shape"])
        classes = tuple(
            ClassPrint(_text(entry["name"]), _count(entry["train"]), _count(entry["test"]), _text(entry["digest"]))
            for entry in values["classes"]
        )
        return cls((channels, height, width), classes, _text(values["order"]))


def differences(before: Fingerprint, now: Fingerprint) -> list[str]:
    """How the data have changed, in words; empty where they are the same."""
    if before == now:
        return []
    changes = _of_the_classes(before, now)
    if before.shape != now.shape:
        return [*changes, f"images are {_size(now)} instead of {_size(before)}"]  # then every picture differs
    earlier = {entry.name: entry for entry in before.classes}
    for entry in now.classes:
        if entry.name in earlier:
            changes += _of_the_pictures(earlier[entry.name], entry)
    # Where changes are named above, a different split follows from them; without any, it is named itself.
    return changes or ["the same pictures are in another order: files were renamed, or moved between the splits"]


def refuse_other(name: str, before: Fingerprint, now: Fingerprint) -> None:
    """DataError, with what differs, where a data set of that name is no longer what a run was trained on."""
    if changes := in_words(before, now):
        raise DataError(
            f"{name} is not what this run was trained on: {changes}. Restore the data as they were, or train a new "
            "run on these"
        )


def in_words(before: Fingerprint, now: Fingerprint) -> str:
    """The first differences, as one clause; empty where there are none."""
    changes = differences(before, now)
    more = [f"and {len(changes) - MOST_NAMED} more"] if len(changes) > MOST_NAMED else []
    return "; ".join([*changes[:MOST_NAMED], *more])


def _of_the_classes(before: Fingerprint, now: Fingerprint) -> list[str]:
    old, new = ([entry.name for entry in data.classes] for data in (before, now))
    removed = {entry.digest: entry.name for entry in before.classes if entry.name not in new}
    changes = []
    for entry in now.classes:
        if entry.name not in old:
            was = removed.pop(entry.digest, None)
            changes.append(f"class {was!r} is now called {entry.name!r}" if was else f"class {entry.name!r} is added")
    changes += [f"class {name!r} is removed" for name in removed.values()]
    if not changes and old != new:
        changes.append("the classes are in another order")
    return changes


def _of_the_pictures(before: ClassPrint, now: ClassPrint) -> list[str]:
    changes = []
    for kind, old, new in (("training", before.train, now.train), ("test", before.test, now.test)):
        if old != new:
            changes.append(f"class {now.name!r} has {new} {kind} images instead of {old}")
    if not changes and before.digest != now.digest:
        changes.append(f"pictures of class {now.name!r} have changed")
    return changes


def _size(data: Fingerprint) -> str:
    channels, height, width = data.shape
    return f"{height}x{width} pixels in {channels} channel{'s' * (channels > 1)}"


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError(f"{value!r:.40} is not a count")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is not a text")
    return value
