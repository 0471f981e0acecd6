"""Two to four recorded runs side by side: accuracy over time, final figures, the settings that differ, cost."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from arli_core import figures, records
from arli_core.config import protocols, text_of
from arli_core.errors import LabError
from arli_core.records import Record
from arli_core.sweeps import comparisons
from arli_core.theory import metrics

from ..shell.address import choose_one, write
from ..shell.drawing import PROTOCOL_NAMES, picture, save_table
from ..shell.problem import problem
from ..shell.run_bar import choose_run, open_run, say_untaught

MOST = 4
USUAL = ("mnist-5k-ari", "mnist-5k-replay", "mnist-5k-finetune")


def side_by_side() -> None:
    if not records.names():
        choose_run()  # it says so and ends the page
    left, right = st.columns([5, 3], vertical_alignment="bottom")
    with left:
        runs = _open(_choose_runs())
    if not runs:
        st.stop()
    common = [name for name in PROTOCOL_NAMES if all(name in protocols(record.config) for record in runs.values())]
    with right:
        protocol = choose_one("protocol", {name: PROTOCOL_NAMES[name] for name in common}, "Protocol")
    plot, words = st.columns([6, 5])
    with plot:
        begun = {name: record for name, record in runs.items() if record.tasks}
        for name, record in runs.items():
            if name not in begun:
                say_untaught(name, record)
        if begun:
            accuracy = {name: record.accuracy_matrix(protocol) for name, record in begun.items()}
            table = pd.concat({name: _over_tasks(matrix) for name, matrix in accuracy.items()}, names=["run"])
            methods = {name: record.config.method for name, record in begun.items()}
            picture(partial(figures.accuracy_over_tasks, accuracy, methods), f"runs-{protocol}", table=table)
    with words:
        seeds = sorted({record.config.seed for record in runs.values()})
        st.markdown(
            "**What this shows.** Each panel has the accuracy of every run on one task, after each task that the run "
            "learned; the first panel has the mean. All panels share one scale. A line that falls is a task being "
            "forgotten."
        )
        st.info(
            f"Each is a single run (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}): a difference may be "
            "luck, and one run gives no interval.",
            icon=":material/casino:",
        )
        st.page_link(
            "pages/compare.py",
            label="Methods, over several seeds",
            icon=":material/compare_arrows:",
            query_params={"view": "methods"},
        )
        if len({record.config.data.name for record in runs.values()}) > 1:
            st.warning(
                "These runs learn different data: their accuracies cannot be compared.", icon=":material/rule:"
            )
        elif changes := comparisons.of_other_data(runs):
            st.warning(f"{changes}: their accuracies cannot be compared.", icon=":material/rule:")
    _tables(runs)


def _choose_runs() -> list[str]:
    """The runs in the address, with a note on missing ones; otherwise the usual ones."""
    names = records.names()
    usual = [name for name in dict.fromkeys((st.query_params.get("run"), *USUAL)) if name in names][:MOST]
    usual = list(dict.fromkeys((*usual, *names)))[: max(2, len(usual))]
    requested = list(dict.fromkeys(name for name in st.query_params.get("runs", "").split(",") if name))
    valid = [name for name in requested if name in names]
    if missing := [name for name in requested if name not in names]:
        instead = "showing the others" if valid else "showing the usual ones"
        st.warning(f"{', '.join(missing)}: not recorded here; {instead}.", icon=":material/swap_horiz:")
    if len(valid) > MOST:
        st.warning(f"{len(valid)} runs are too many to tell apart; showing {MOST}.", icon=":material/swap_horiz:")
    selection = valid[:MOST] or usual
    st.session_state["runs-box"] = selection
    st.multiselect("Runs", names, key="runs-box", on_change=_to_address, max_selections=MOST)
    if len(selection) < 2:
        st.info("Choose another run to compare it with.", icon=":material/info:")
    return selection


def _to_address() -> None:
    write(runs=",".join(st.session_state["runs-box"]) or None)


def _open(names: list[str]) -> dict[str, Record]:
    """The runs that can be read; for the others the page says what is wrong."""
    runs = {}
    for name in names:
        try:
            runs[name] = open_run(name)
        except LabError as error:
            problem(error)
    return runs


def _over_tasks(accuracy: NDArray[np.float64]) -> pd.DataFrame:
    tasks = range(1, 1 + len(accuracy))
    return pd.DataFrame(accuracy, tasks, [f"on task {task}" for task in tasks]).rename_axis("after task")


def _tables(runs: dict[str, Record]) -> None:
    st.markdown("##### Final figures")
    measures: dict[str, Callable[[Record, str], float | None]] = {
        "average accuracy": lambda record, name: record.figure(metrics.average_accuracy, name),
        "average over samples": lambda record, name: record.average_over_samples(name),
        "forgetting": lambda record, name: record.figure(metrics.forgetting, name),
        "backward transfer": lambda record, name: record.figure(metrics.backward_transfer, name),
    }
    final = pd.DataFrame(
        {
            name: {
                f"{label}, {text}": measure(record, protocol)
                for label, measure in measures.items()
                for protocol, text in PROTOCOL_NAMES.items()
                if any(protocol in protocols(other.config) for other in runs.values())
            }
            for name, record in runs.items()
        },
        dtype=float,
    )
    st.dataframe(
        final.style.format("{:.3f}", na_rep="–"),
        height="content",
        column_config={"_index": st.column_config.Column(width=260)},  # all of "average accuracy, per-sample"
    )
    save_table(final, "final-figures", "final-")
    left, right = st.columns(2)
    with left:
        st.markdown("##### Settings that differ")
        differ = pd.DataFrame(_differing(runs), columns=list(runs)).rename_axis("setting")
        if len(differ):
            st.dataframe(differ, height="content")
            save_table(differ, "settings", "settings-")
        else:
            st.caption("None.")
    with right:
        st.markdown("##### Cost")
        cost = pd.DataFrame({name: _cost(record) for name, record in runs.items()})
        st.dataframe(cost, height="content")
        save_table(cost, "cost", "cost-")


def _differing(runs: dict[str, Record]) -> pd.DataFrame:
    """Each run's value of the settings that differ, `–` where its method has no such setting."""
    every = {}
    for name, record in runs.items():
        config = record.config
        settings = {"method": config.method, "seed": config.seed, **comparisons.settings_of(config)}
        every[name] = {key: text_of(value) for key, value in settings.items()}
    order = dict.fromkeys(key for settings in every.values() for key in settings)
    values: dict[str, dict[str, Any]] = {
        key: {name: settings.get(key, "–") for name, settings in every.items()} for key in order
    }
    differ = {key: row for key, row in values.items() if len(set(row.values())) > 1}
    return pd.DataFrame.from_dict(differ, orient="index")


def _cost(record: Record) -> dict[str, str]:
    summary = record.summary()
    rate = summary["samples_per_second"]
    return {
        "status": record.status,
        "seconds": f"{record.seconds:,.0f}",
        "samples": f"{record.samples:,}",
        "samples a second": f"{rate:,.0f}" if rate else "–",
        "parameters": f"{record.started.parameters:,}" if record.started else "–",
        "device": summary["device"] or "–",
    }
