"""The configurations of a preset that were tried so far, with what each cost."""

import pandas as pd
import streamlit as st

from arli_core import records

from ..runs.table import row
from ..shell.address import write
from ..shell.drawing import save_table
from ..shell.run_bar import jobs

COLUMNS = [
    "run",
    "method",
    "seed",
    "changed",
    "accuracy",
    "forgetting",
    "seconds",
    "samples",
    "samples a second",
    "device",
    "status",
]


def tried(preset: str) -> None:
    """Every run of the preset that is recorded here or training, and a button to train one again."""
    st.markdown(f"##### Tried so far with {preset}")
    with st.spinner("Reading the runs…"):
        rows = [details for name in _newest_first() if (details := row(name)).get("preset") == preset]
    if not rows:
        st.caption(
            f"No run of {preset} is recorded here yet. The run that you start will appear here, with the time it "
            "took."
        )
        return
    order = st.segmented_control("Order", ("newest first", "best first"), default="newest first", required=True)
    table = pd.DataFrame(rows, columns=COLUMNS).set_index("run")
    if order == "best first":
        table = table.sort_values("accuracy", ascending=False, kind="stable")
    st.dataframe(
        table,
        height="content" if len(table) < 9 else 340,
        column_config={
            # Widths in pixels that show all columns beside the sidebar at 1280.
            "_index": st.column_config.Column(width=160),
            "method": st.column_config.Column(width=70),
            "seed": st.column_config.Column(width=45),
            "changed": st.column_config.TextColumn(
                help="Settings that differ from the preset's for this method", width=190
            ),
            "accuracy": st.column_config.NumberColumn(
                format="%.3f", help="average over the tasks done, per-sample", width=75
            ),
            "forgetting": st.column_config.NumberColumn(format="%.3f", help="per-sample", width=80),
            "seconds": st.column_config.NumberColumn(format="%.1f", width=70),
            "samples": st.column_config.NumberColumn(format="localized", width=70),
            "samples a second": st.column_config.NumberColumn("samples/s", format="%.0f", width=75),
            "device": st.column_config.Column(width=60),
            "status": st.column_config.Column(width=75),
        },
    )
    left, middle, right = st.columns([1, 4, 2], vertical_alignment="bottom")
    with left:
        save_table(table, f"{preset}-tried")
    name = middle.selectbox("Settings of", table.index, key=f"tried-{preset}", label_visibility="collapsed")
    right.button(
        "Fill the form with these settings",
        icon=":material/replay:",
        width="stretch",
        on_click=_make_again,
        args=(name, str(table.loc[name, "method"])),
        disabled=name not in records.names(),
        help="Sets the form above to the settings of this run.",
    )


def _newest_first() -> list[str]:
    """All runs by the time of their last save; one that has saved nothing yet is the newest."""
    saved = {name: _saved_at(name) for name in records.names()}
    live = [job.name for job in jobs().alive() if job.name not in saved]
    return [*live, *sorted(saved, key=saved.__getitem__, reverse=True)]


def _saved_at(name: str) -> float:
    try:
        return (records.locate(name) / "run.json").stat().st_mtime
    except OSError:  # another process has just removed it
        return 0.0


def _make_again(name: str, method: str) -> None:
    write(again=name)
    st.session_state["method-box"] = method
    st.session_state["knobs-revision"] += 1  # fresh widgets: they begin at the values of that run
