"""Train: presets first, knobs behind them; start, pause, one step, stop, and everything live."""

import streamlit as st

from pages.parts.frame import frame
from pages.parts.live import show
from pages.parts.run_bar import jobs
from pages.parts.setup import ask

frame("Train")
job = jobs().get(st.query_params.get("run", ""))
if job:
    show(job)
else:
    ask()
