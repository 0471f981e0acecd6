"""Which sweep, protocol and measure the page Compare shows, and how it writes intervals and verdicts."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from arli_core import sweeps
from arli_core.config import text_of
from arli_core.sweeps import Arm, comparisons
from arli_core.sweeps.comparisons import Line, Sweep
from arli_core.theory.intervals import Interval

from ..shell.address import choose_one, from_widget, write
from ..shell.drawing import PROTOCOL_NAMES
from ..shell.problem import problem

MEASURE_NAMES = {
    "average": "average accuracy",
    "average_over_samples": "average over samples",
    "forgetting": "forgetting",
    "average_incremental": "average incremental accuracy",
    "bwt": "backward transfer",
}
FIRST = "mnist-5k"  # the sweep that answers most questions
MOST = 3  # damaged files, each with its message


def choose_sweep(
    place: DeltaGenerator,
    fits: Callable[[Sweep], Any] = lambda sweep: sweep.arms,
    without: str = "",
    command: str = "",
) -> Sweep:
    """A select box, in `place`, of the sweeps that fit. If none does, ends the page with a command that makes one.

    without: what the other sweeps lack.
    """
    sweeps, problems = _sweeps()
    for text in problems[:MOST]:
        problem(text)
    if len(problems) > MOST:
        st.error(f"{len(problems) - MOST} more files are damaged.", icon=":material/error:")
    fitting = {name: sweep for name, sweep in sweeps.items() if fits(sweep)}
    if not fitting:
        what = f"No sweep here has {without} yet." if sweeps else "There is no sweep here yet."
        st.info(
            f"{what} A sweep collects the results of many recorded runs, over several seeds. This command makes "
            "one, and the page finds it:",
            icon=":material/info:",
        )
        st.code(making(command or "sweep --preset mnist-5k --methods ari,replay-balanced"), "sh")
        st.stop()
    first = next(iter(fitting))
    choice = st.query_params.get("sweep", first)
    if choice not in fitting:
        what = f"{choice} does not have {without}" if choice in sweeps else f"There is no sweep {choice}"
        st.warning(f"{what}; showing {first}.", icon=":material/swap_horiz:")
        choice = first
    st.session_state["sweep-box"] = choice
    place.selectbox(
        "Sweep", list(fitting), key="sweep-box", help="The results of many runs, over several seeds.",
        on_change=from_widget, args=("sweep", "sweep-box", "rows", "lines", "against", "setting"),
    )  # fmt: skip
    return fitting[choice]


def making(command: str) -> str:
    """The command that makes a sweep in the folder where this page looks."""
    root = comparisons.root().absolute()
    path = root.relative_to(Path.cwd()) if root.is_relative_to(Path.cwd()) else root
    return f"python -m arli_core {command} --seeds 5 --out {shlex.quote(f'{path}/NAME')}"


def _sweeps() -> tuple[dict[str, Sweep], list[str]]:
    """All sweeps by name, one for each preset of a folder, and the problems of damaged files."""
    sweeps, problems = {}, []
    for folder in comparisons.places():
        by_preset, wrong = _read(folder, _stamp(folder))
        problems += wrong
        for preset, sweep in by_preset.items():
            sweeps[folder.name if len(by_preset) == 1 else f"{folder.name}/{preset}"] = sweep
    return {name: sweeps[name] for name in sorted(sweeps, key=lambda name: (name != FIRST, name))}, problems


@st.cache_resource(max_entries=32, show_spinner="Reading the sweeps…")
def _read(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> tuple[dict[str, Sweep], list[str]]:
    return comparisons.read(folder)


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes when a file of the sweep does."""
    stats = []
    for file in sweeps.outcome_files(folder):
        try:
            stat = file.stat()
        except OSError:  # removed meanwhile
            continue
        stats.append((file.name, stat.st_size, stat.st_mtime_ns))
    return tuple(stats)


def choose_protocol(arms: Sequence[Arm]) -> str:
    available = comparisons.protocols_of(arms)
    names = {name: text for name, text in PROTOCOL_NAMES.items() if name in available}
    return choose_one("protocol", names, "Protocol", box=True)


def choose_measure(sweep: Sweep) -> str:
    available = comparisons.measures_of(sweep.outcomes)
    return choose_one(
        "measure", {key: text for key, text in MEASURE_NAMES.items() if key in available}, "Measure", box=True
    )


def choose_rows(key: str, every: Sequence[str], usual: Sequence[str]) -> list[str]:
    """The rows to show: those in the address, otherwise the usual ones. A reference no longer shown is dropped."""
    requested = [label for label in st.query_params.get(key, "").split(",") if label]
    valid = [label for label in requested if label in every]
    if missing := [label for label in requested if label not in every]:
        instead = "showing the others" if valid else "showing the usual ones"
        st.warning(f"There is no row {', '.join(missing)}; {instead}.", icon=":material/swap_horiz:")
    selection = valid or list(usual)
    st.session_state[f"{key}-box"] = selection
    with st.popover(f"Rows: {len(selection)} of {len(every)}", icon=":material/checklist:", width="stretch"):
        st.multiselect(
            "Each row is a method with its preset's settings, except for those named",
            every,
            key=f"{key}-box",
            on_change=_rows_to_address,
            args=(key,),
            placeholder="The usual ones",
        )
    return selection


def _rows_to_address(key: str) -> None:
    labels = st.session_state[f"{key}-box"]
    against = st.query_params.get("against")
    write(**{key: ",".join(labels) or None, "against": against if not labels or against in labels else None})


def tell_common(sweep: Sweep) -> None:
    """The settings of all runs of a sweep that differ from its preset, and what is not known of them."""
    if sweep.note:
        st.caption(sweep.note)
    if sweep.common:
        settings = ", ".join(f"{key} = {text_of(value)}" for key, value in sweep.common.items())
        st.caption(f"All runs here: the preset {sweep.preset} with {settings}.")


def written(interval: Interval, sign: str = "") -> str:
    """A mean and its interval: `0.921 [0.907, 0.935]`; sign "+" for a difference. It has enough digits to show on
    which side of 0 each end of the interval lies.
    """
    if interval.mean is None:
        return "–"
    if interval.low is None or interval.high is None:
        return number(interval.mean, sign)
    nearest = min(abs(interval.low), abs(interval.high))
    digits = 3
    while nearest and digits < 6 and not round(nearest, digits):
        digits += 1
    mean, low, high = (number(value, sign, digits) for value in (interval.mean, interval.low, interval.high))
    return f"{mean} [{low}, {high}]"


def number(value: float, sign: str = "", digits: int = 3) -> str:
    return f"{value:{sign}z.{digits}f}".replace("-", "−")


def verdict(difference: Interval | None) -> str:
    """Whether a difference is beyond what the seeds explain by chance."""
    return "reference" if difference is None else comparisons.verdict(difference)


def numbers(
    lines: Sequence[Line], names: Mapping[str, str], call: Callable[[Arm], str] = lambda arm: arm.label
) -> pd.DataFrame:
    """The numbers of a table for a file: in full precision, one per column."""
    rows = []
    for line in lines:
        row: dict[str, Any] = {"row": call(line.arm)}
        for key, name in names.items():
            interval = line.measures[key]
            row |= {name: interval.mean, f"{name}, from": interval.low, f"{name}, to": interval.high}
        difference = line.difference or Interval(0, None, None, None)
        row |= {"difference": difference.mean, "difference, from": difference.low, "difference, to": difference.high}
        row |= {f"seed {seed}": value for seed, value in line.values.items()}
        rows.append(row | {"seeds": len(line.values), "failed": line.failed, "seconds": line.seconds})
    return pd.DataFrame(rows).set_index("row")
