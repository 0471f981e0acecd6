"""One setting varied: a line for each method over its values, with intervals."""

from functools import partial

import pandas as pd
import streamlit as st

from arli_core import figures
from arli_core.config import keys, text_of
from arli_core.sweeps import Arm, comparisons
from arli_core.sweeps.comparisons import Line, Sweep

from ..shell.address import choose_one
from ..shell.drawing import PROTOCOL_NAMES, picture, save_table
from .sweep_bar import (
    MEASURE_NAMES,
    choose_measure,
    choose_protocol,
    choose_rows,
    choose_sweep,
    tell_common,
    verdict,
    written,
)


def one_setting() -> None:
    one, two, three, four = st.columns([3, 4, 3, 4])
    rows, five, _ = st.columns([3, 4, 7], vertical_alignment="bottom")
    command = "sweep --preset mnist-5k --methods ari,replay-balanced --vary memory.budget=20,50,100"
    sweep = choose_sweep(one, comparisons.curves, "a setting with several values", command)
    curves = comparisons.curves(sweep)
    with two:
        setting = choose_one("setting", {key: key for key in curves}, "Setting", "lines", "against", box=True)
    every = curves[setting]
    with rows:
        labels = choose_rows("lines", list(every), list(every))
    lines = {label: every[label] for label in every if label in labels}
    arms = [arm for line in lines.values() for arm in line.values()]
    with three:
        protocol = choose_protocol(arms)
    with four:
        measure = choose_measure(sweep)
    with five:
        against = choose_one("against", {label: label for label in lines}, "Reference", box=True)
    tell_common(sweep)
    results = _results(sweep, lines, against, protocol, measure)
    table = _table(results, setting, measure)
    plot, words = st.columns([6, 5])
    with plot:
        drawn = {
            label: {text_of(value): line.measures[measure] for value, line in points.items()}
            if any(isinstance(value, bool | tuple) for value in points)
            else {value: line.measures[measure] for value, line in points.items()}
            for label, points in results.items()
        }
        methods = {label: next(iter(points.values())).method for label, points in lines.items()}
        title = f"{MEASURE_NAMES[measure]}, {PROTOCOL_NAMES[protocol]}"
        picture(
            partial(figures.curves, drawn, methods, setting, title), f"{setting}-{measure}-{protocol}", table=table
        )
    with words:
        described = next(keys(arm.method)[setting].description for arm in arms)
        st.markdown(f"**{setting}**: {described}." if described else f"**{setting}**")
        _say(results, setting, against, measure)
    widths = {"_index": "medium", "verdict": 170, "seeds": 60}
    widened = {name: st.column_config.Column(width=width) for name, width in widths.items()}
    st.dataframe(table, column_config=widened, height="content")
    save_table(table, f"{sweep.preset}-{setting}-{measure}-{protocol}", "table-")


def _results(
    sweep: Sweep, lines: dict[str, dict[object, Arm]], against: str, protocol: str, measure: str
) -> dict[str, dict[object, Line]]:
    """By label and value; differences are from the reference's arm of the same value, where there is one."""
    results: dict[str, dict[object, Line]] = {}
    for label, points in lines.items():
        for value, arm in points.items():
            reference = lines[against].get(value, arm)
            for line in comparisons.lines([arm], sweep.outcomes, protocol, reference, measure):
                results.setdefault(label, {})[value] = line
    return results


def _table(results: dict[str, dict[object, Line]], setting: str, measure: str) -> pd.DataFrame:
    table = pd.DataFrame(
        [
            {
                "row": label,
                setting: text_of(value),
                MEASURE_NAMES[measure]: written(line.measures[measure]),
                "minus the reference, by seed": "" if line.difference is None else written(line.difference, "+"),
                "verdict": "" if line.difference is None else verdict(line.difference),
                "seeds": len(line.values),
                "failed": line.failed,
            }
            for label, points in results.items()
            for value, line in points.items()
        ]
    ).set_index("row")
    return table if any(table["failed"]) else table.drop(columns="failed")


def _say(results: dict[str, dict[object, Line]], setting: str, against: str, measure: str) -> None:
    """The two ends of the reference's line, and how much the others differ from it there."""
    ends = list(results.get(against, {}))
    for value in dict.fromkeys((ends[0], ends[-1]) if ends else ()):
        own = written(results[against][value].measures[measure])
        others = [
            f"{label}: {written(line.difference, '+')} ({verdict(line.difference)})"
            for label, points in results.items()
            if (line := points.get(value)) and line.difference
        ]
        st.markdown(
            f"**At {setting} = {text_of(value)}**, the {MEASURE_NAMES[measure]} of {against} is {own}. Differences "
            f"from it, paired by seed: {'; '.join(others) or '–'}."
        )
    st.caption(
        "A point is the mean over the seeds, and its bar the 95% confidence interval. Points of the same value are "
        "drawn a little apart, so that all can be seen. Some values may have fewer seeds than others; the table says "
        "how many."
    )
