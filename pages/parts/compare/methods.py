"""Methods over several seeds: a dot and an interval each, and how far each is from a reference, seed by seed."""

from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd
import streamlit as st

from arli_core import figures
from arli_core.sweeps import Arm, comparisons
from arli_core.sweeps.comparisons import Line

from ..shell.address import choose_one
from ..shell.drawing import PROTOCOL_NAMES, picture, save_table
from .sweep_bar import (
    MEASURE_NAMES,
    choose_measure,
    choose_protocol,
    choose_rows,
    choose_sweep,
    making,
    number,
    numbers,
    tell_common,
    verdict,
    written,
)

SCALES = {"all": "All", "0.2": "± 0.2", "0.1": "± 0.1", "0.05": "± 0.05"}


def methods() -> None:
    left, middle, right, last = st.columns([3, 3, 4, 4])
    sweep = choose_sweep(left)
    with middle:
        protocol = choose_protocol(sweep.arms)
    with right:
        measure = choose_measure(sweep)
    tell_common(sweep)
    rows, scale = st.columns([3, 5], vertical_alignment="bottom")
    every = {arm.label: arm for arm in sweep.arms}
    usual = [arm.label for arm in (sweep.plain if len(sweep.plain) > 1 else sweep.arms)]
    with rows:
        arms = [every[label] for label in choose_rows("rows", list(every), usual)]
    with last:
        against = choose_one("against", {arm.label: arm.label for arm in arms}, "Reference", box=True)
    with scale:
        within = choose_one("scale", SCALES, "Range around the reference")
    reference = next(arm for arm in arms if arm.label == against)
    lines = in_order(comparisons.lines(arms, sweep.outcomes, protocol, reference, measure), measure)
    plot, words = st.columns([6, 5])
    with plot:
        draw(lines, against, measure, protocol, None if within == "all" else float(within))
    with words:
        explain(lines, against, measure)
    show(lines, against, measure, f"{sweep.preset}-{measure}-{protocol}")
    st.caption(
        "Seconds: the median time of a run, on a machine that may have done other work meanwhile. A sweep of your "
        f"own appears here by itself: `{making('sweep …')}`."
    )


def in_order(lines: Sequence[Line], measure: str) -> list[Line]:
    """The best first; lines without a figure last."""

    def place(line: Line) -> tuple[bool, float]:
        mean = line.measures[measure].mean
        return (mean is None, 0.0 if mean is None else mean if measure == "forgetting" else -mean)

    return sorted(lines, key=place)


def draw(lines: Sequence[Line], against: str, measure: str, protocol: str, within: float | None) -> None:
    rows = {line.arm.label: (line.measures[measure], list(line.values.values())) for line in lines}
    reference = against if against in rows else None
    title = f"{MEASURE_NAMES[measure]}, {PROTOCOL_NAMES[protocol]}"
    names = {measure: MEASURE_NAMES[measure]}
    picture(
        partial(figures.intervals, rows, title, reference, within),
        f"{measure}-{protocol}",
        table=numbers(lines, names),
    )


def explain(lines: Sequence[Line], against: str, measure: str) -> None:
    """What an interval and a paired difference are, with numbers of this table."""
    base = next((line for line in lines if line.difference is None), None)
    if base is None or base.measures[measure].low is None:
        st.markdown(
            "**No interval.** The reference has fewer than two seeds here, and one run cannot say how far "
            "another would differ from it."
        )
        return
    own = base.measures[measure]
    assert own.mean is not None and own.low is not None and own.high is not None
    st.markdown(
        f"**What a bar means.** {against} was trained {own.n} times, with only the seed changed: the faint dots. "
        f"Their mean is {number(own.mean)}; the bar from {number(own.low)} to {number(own.high)} is its 95% "
        f"confidence interval (Student's t for {own.n} values). Of a hundred bars made in this way with new seeds, "
        "about 95 contain the true mean, which more and more seeds would approach."
    )
    others = [line for line in lines if line.difference and line.difference.mean is not None]
    if not others:
        return
    near = min(others, key=lambda line: abs(line.difference.mean))  # pyright: ignore
    paired, other = near.difference, near.measures[measure]
    assert paired and paired.mean is not None and other.low is not None and other.high is not None
    overlap = own.low <= other.high and other.low <= own.high
    text = (
        "**What a paired difference is.** A lucky seed is often lucky for all methods. So first subtract seed by "
        f"seed, then take the interval of the differences. Here {near.arm.label} minus {against} is "
        f"{written(paired, '+')}. This is {verdict(paired)}, because 0 lies "
        f"{'outside' if paired.measurable else 'inside'} the interval"
    )
    if overlap and paired.measurable:
        text += ", although the two bars overlap"
    if paired.measurable:
        size = abs(paired.mean)
        text += f". Beyond chance does not mean large: {size:.3f} is {1000 * size:.0f} images in 1,000"
    st.markdown(f"{text}. Where two rows are truly equal, about one verdict in 20 still says “beyond chance”.")


def show(
    lines: Sequence[Line],
    against: str,
    measure: str,
    name: str,
    call: Callable[[Arm], str] = lambda arm: arm.label,
) -> None:
    """The table, and its file. call: the name of an arm in both."""
    names = {key: MEASURE_NAMES[key] for key in dict.fromkeys((measure, "average", "forgetting"))}
    minus = f"minus {against}, by seed"
    table = pd.DataFrame(
        [
            {
                "row": call(line.arm),
                **{text: written(line.measures[key]) for key, text in names.items()},
                minus: "" if line.difference is None else written(line.difference, "+"),
                "verdict": verdict(line.difference),
                "seeds": len(line.values),
                "seconds": line.seconds,
                "failed": line.failed,
            }
            for line in lines
        ]
    ).set_index("row")
    if not any(table["failed"]):
        table = table.drop(columns="failed")
    st.dataframe(table, column_config={"seconds": st.column_config.NumberColumn(format="%.0f")}, height="content")
    save_table(numbers(lines, names, call), name, "table-")
