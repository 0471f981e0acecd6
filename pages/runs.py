"""Runs: every recorded run in one table; open, rename, export, import, delete, make again."""

import streamlit as st

from arli_core import records
from pages.parts import run_actions
from pages.parts.drawing import save_table
from pages.parts.frame import frame
from pages.parts.problem import problem
from pages.parts.run_bar import choose_run
from pages.parts.run_table import row, table

frame("Runs")
run_actions.tell()
st.markdown(
    "Every run recorded here, with its final figures (per-sample): to open, to carry to another lab, to make again."
)
names = records.names()
if names:
    with st.spinner("Reading the runs…"):
        found = table(names)
    st.dataframe(
        found,
        height="content" if len(found) < 9 else 340,
        column_config={
            "accuracy": st.column_config.NumberColumn(format="%.3f"),
            "forgetting": st.column_config.NumberColumn(format="%.3f"),
            "seconds": st.column_config.NumberColumn(format="%.0f"),
        },
    )
    left, right = st.columns([1, 12])
    with left:
        save_table(found, "runs")
    with right:
        run_actions.take_in()
else:
    run_actions.take_in()

name = choose_run()
chosen = row(name)
damaged = chosen["status"] == "damaged"
if chosen.get("problem"):
    problem(chosen["problem"])
run_actions.links(name, damaged)
left, right = st.columns(2)
with right:
    run_actions.change(name, unfinished=chosen["status"] == "unfinished")
with left:
    run_actions.downloads(name, damaged)
