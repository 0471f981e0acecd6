"""Runs: every recorded run in one table; open, rename, export, import, delete, train again."""

import streamlit as st

from arli_core import records
from pages.parts.runs import actions
from pages.parts.runs.table import row, table
from pages.parts.shell.drawing import save_table
from pages.parts.shell.frame import frame
from pages.parts.shell.problem import problem
from pages.parts.shell.run_bar import choose_run

frame("Runs")
actions.tell()
st.markdown(
    "Every run recorded here, with its final per-sample accuracy and forgetting. Open a run, export it to another "
    "lab, or train it again."
)
names = records.names()
if names:
    with st.spinner("Reading the runs…"):
        overview = table(names)
    st.dataframe(
        overview,
        height="content" if len(overview) < 9 else 340,
        column_config={
            "accuracy": st.column_config.NumberColumn(format="%.3f"),
            "forgetting": st.column_config.NumberColumn(format="%.3f"),
            "seconds": st.column_config.NumberColumn(format="%.0f"),
        },
    )
    left, right = st.columns([1, 12])
    with left:
        save_table(overview, "runs")
    with right:
        actions.take_in()
else:
    actions.take_in()

name = choose_run()
details = row(name)
damaged = details["status"] == "damaged"
if details.get("problem"):
    problem(details["problem"])
actions.links(name, damaged)
left, right = st.columns(2)
with right:
    actions.change(name, unfinished=details["status"] == "unfinished")
with left:
    actions.downloads(name, damaged)
