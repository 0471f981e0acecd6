"""Train: presets first, knobs behind them; start, pause, one step, stop, and everything live. Also two at once."""

import streamlit as st

from pages.parts.frame import frame
from pages.parts.live import show
from pages.parts.race import race
from pages.parts.run_bar import choose_one, jobs
from pages.parts.setup import ask
from pages.parts.tried import tried


def train() -> None:
    job = jobs().get(st.query_params.get("run", ""))
    if job:
        show(job)
    else:
        ask()
        tried(st.session_state["preset-box"])


VIEWS = {
    "train": ("One run", train),
    "race": ("A race of two", race),
}

frame("Train")
shown_view = choose_one("view", {key: title for key, (title, _) in VIEWS.items()}, "View")
VIEWS[shown_view][1]()
