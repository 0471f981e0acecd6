"""The folder of a sweep: the outcomes of its finished runs, and a table of them.

    FOLDER/results.csv           a view of all finished runs: one row per run and protocol
    FOLDER/finished/NAME.json    the outcome of a finished run: configuration, accuracy matrices, figures
    FOLDER/runs/NAME/            the recorded run, while it is under way or where it is to be kept

NAME gives preset, method, seed and a digest of all other settings that a result depends on. So the same sweep again,
or another that shares runs with it, finds the finished runs and resumes the interrupted ones.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import files
from ..config import METHODS, PROTOCOLS, in_current_names, text_of
from ..errors import RecordError
from ..fingerprint import Fingerprint, in_words
from ..records import Record, checks
from ..theory import metrics
from .planning import Arm, name_of

MEASURE_OF: dict[str, Callable[[Record, str], float | None]] = {
    "average": lambda record, name: record.figure(metrics.average_accuracy, name),
    "average_over_samples": lambda record, name: record.average_over_samples(name),
    "average_incremental": lambda record, name: record.figure(metrics.average_incremental_accuracy, name),
    "forgetting": lambda record, name: record.figure(metrics.forgetting, name),
    "bwt": lambda record, name: record.figure(metrics.backward_transfer, name),
}
MEASURES = tuple(MEASURE_OF)
COSTS = ("seconds", "samples", "device", "error")

Row = dict[str, Any]
Outcome = Mapping[str, Any]  # the content of a file in finished/


def outcomes(folder: Path) -> dict[str, Outcome]:
    """All finished runs of a folder by name; RecordError names a file that is damaged."""
    return {file.stem: outcome(file) for file in outcome_files(folder)}


def outcome_files(folder: Path) -> list[Path]:
    return sorted((folder / "finished").glob("*.json"))


def outcome(file: Path) -> Outcome:
    """The outcome of one run; RecordError where the file is damaged."""
    try:
        with file.open("rb") as source:
            content = checks.outcome(source.read(checks.INDEX_BYTES + 1))
        content["config"] = in_current_names(content["config"])
        _rows(content, list(content["settings"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        message = f"{file} is damaged: {error!r:.300}; remove it, and the same sweep trains its run again"
        raise RecordError(message) from None
    return content


def claim(folder: Path) -> None:
    if (folder / "results.csv").exists() and not (folder / "finished").is_dir():
        raise RecordError(f"{folder} holds a results.csv that no sweep made; choose another --out")
    try:
        for name in ("finished", "runs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"{folder} cannot be written: {error.strerror or error}; choose another --out") from None


def write(file: Path, content: bytes) -> None:
    try:
        files.write(file, content)
    except OSError as error:
        raise RecordError(f"{file} cannot be written: {error.strerror or error}") from None


def write_csv(folder: Path, arms: Sequence[Arm]) -> None:
    """Writes results.csv from all finished runs in the folder: other sweeps there keep their rows."""
    finished = outcomes(folder)
    settings = {key for arm in arms for key in arm.settings}
    names = sorted(settings.union(*(outcome["settings"] for outcome in finished.values())))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["preset", "method", *names, "seed", "protocol", *MEASURES, *COSTS])
    table = [row for outcome in finished.values() for row in _rows(outcome, names)]
    for row in sorted(table, key=lambda row: _place(row, names)):
        writer.writerow(["" if value is None else text_of(value) for value in row.values()])
    write(folder / "results.csv", text.getvalue().encode())


def rows(arms: Sequence[Arm], outcomes: Mapping[str, Outcome]) -> list[Row]:
    """The rows of the arms' runs, arm by arm: columns as in results.csv, null where unknown or not of the method."""
    names = sorted({key for arm in arms for key in arm.settings})
    made = [outcomes[name] for arm in arms for name in map(name_of, arm.runs) if name in outcomes]
    return [row for outcome in made for row in _rows(outcome, names)]


def _rows(outcome: Outcome, names: Sequence[str]) -> list[Row]:
    config, figures = outcome["config"], outcome["figures"]
    return [
        {
            "preset": config["preset"],
            "method": config["method"],
            **{key: _value(config, key) for key in names},
            "seed": config["seed"],
            "protocol": protocol,
            **{key: figures.get(protocol, {}).get(key) for key in MEASURES},
            **{key: outcome[key] for key in COSTS},
        }
        for protocol in outcome["accuracy"]
    ]


def _value(config: Mapping[str, Any], key: str) -> Any:
    """A dotted setting of a dumped configuration, None where it is not there."""
    place: Any = config
    for part in key.split("."):
        place = place.get(part) if isinstance(place, Mapping) else None
    return place


def _place(row: Row, names: Sequence[str]) -> tuple[Any, ...]:
    method = METHODS.index(row["method"]) if row["method"] in METHODS else len(METHODS)
    protocols = (*PROTOCOLS, *(f"{name}_adapted" for name in PROTOCOLS))
    protocol = protocols.index(row["protocol"]) if row["protocol"] in protocols else len(protocols)
    return row["preset"], method, [in_order(row[key]) for key in names], row["seed"], protocol


def in_order(value: Any) -> tuple[bool, float, str]:
    """A key that sorts the values of a setting: numbers by size, before texts."""
    number = isinstance(value, int | float)
    return (not number, value if number else 0.0, text_of(value))


def mixed(outcomes: Mapping[str, Outcome]) -> str:
    """Which two runs ask for the same data but were trained on different ones, and how these differ; empty where
    there are none. What a run of an older version was trained on is not known."""
    first: dict[str, tuple[str, Fingerprint]] = {}
    for name, outcome in outcomes.items():
        if outcome.get("data"):
            data = Fingerprint.parse(outcome["data"])
            other, before = first.setdefault(data_key(outcome["config"]), (name, data))
            if changes := in_words(before, data):
                return f"{name} was not trained on the same data as {other}: {changes}"
    return ""


def unknown_data(outcomes: Mapping[str, Outcome]) -> str:
    """What cannot be known about these runs, in one line; empty where there is nothing of the kind."""
    old = sum(1 for outcome in outcomes.values() if not outcome.get("data") and not outcome["error"])
    return (
        f"{old} of {len(outcomes)} runs were recorded before the lab kept checksums of data and files, so a change "
        "to either would go unnoticed."
        if old
        else ""
    )


def data_key(config: Mapping[str, Any]) -> str:
    """Equal where the same data are asked for, however their classes are used."""
    return json.dumps([config["data"].get(key) for key in ("name", "image_size", "spurious", "evaluate_on")])
