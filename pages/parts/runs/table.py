"""The recorded runs as rows of a table, the damaged ones too."""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from arli_core import records
from arli_core.config import PRESETS, Config, changes, text_of
from arli_core.errors import LabError
from arli_core.live.messages import without_places
from arli_core.records import Record

from ..shell.run_bar import jobs

COLUMNS = [
    "run",
    "data",
    "method",
    "seed",
    "tasks",
    "status",
    "accuracy",
    "forgetting",
    "seconds",
    "device",
    "problem",
]


def table(names: list[str]) -> pd.DataFrame:
    """One row per run; the last column, its problem, is there only if a run has one."""
    runs = pd.DataFrame([row(name) for name in names], columns=COLUMNS).set_index("run")
    runs["seed"] = runs["seed"].astype("Int64")  # integers, and missing ones
    problems = runs["problem"].fillna("")
    return runs.assign(problem=problems) if any(problems) else runs.drop(columns="problem")


def row(name: str) -> dict[str, Any]:
    """The row of one run; of a damaged run only its status, `damaged`, and its problem."""
    job = jobs().get(name)
    if job and job.alive:  # its newest state; its files may change while they are read
        return {"run": name, **_figures(job.record), "status": job.state.value}
    path = records.locate(name)
    return {"run": name, **_recorded(path, _stamp(path))}


def _stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes when a file of the run does."""
    try:
        stats = [(file.name, file.stat()) for file in sorted(path.iterdir())]
    except OSError:  # another process is changing it
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


@st.cache_data(max_entries=500, show_spinner=False)
def _recorded(path: Path, stamp: tuple[tuple[str, int, int], ...]) -> dict[str, Any]:
    try:
        return _figures(records.whole(path))
    except LabError as error:
        return {"status": "damaged", "problem": without_places(str(error).replace(f"{path}{os.sep}", ""))}


def _figures(record: Record) -> dict[str, Any]:
    summary, config = record.summary(), record.config
    return {
        "data": config.data.name,
        "method": config.method,
        "seed": config.seed,
        "tasks": f"{len(record.tasks)} of {config.data.tasks}",
        "status": record.status,
        "accuracy": summary["average"]["per_sample"],
        "forgetting": summary["forgetting"]["per_sample"],
        "seconds": record.seconds,
        "device": summary["device"],
        "problem": record.error and without_places(record.error),
        # The table of all runs has no room for these.
        "preset": config.preset,
        "changed": _changed(config),
        "samples": record.samples,
        "samples a second": summary["samples_per_second"],
    }


def _changed(config: Config) -> str:
    """The settings that differ from its preset."""
    if config.preset not in PRESETS:
        return ""
    return ", ".join(f"{key} = {text_of(value)}" for key, value in changes(config).items())
