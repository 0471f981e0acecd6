"""Train: presets first, then all settings; start, pause, one step, stop, live. A race; one iteration in parts."""

import streamlit as st

from arli_core import records
from pages.parts.shell.address import choose_one
from pages.parts.shell.frame import frame
from pages.parts.shell.run_bar import jobs
from pages.parts.train.live import show
from pages.parts.train.part_by_part import part_by_part
from pages.parts.train.race import race
from pages.parts.train.setup import ask
from pages.parts.train.tried import tried


def train() -> None:
    name = st.query_params.get("run", "")
    job = jobs().get(name)
    if job:
        show(job)
    else:
        if name and name not in records.names():
            st.warning(f"{name} is not recorded here.", icon=":material/swap_horiz:")
        ask()
        tried(st.session_state["preset-box"])


VIEWS = {
    "train": ("One run", train),
    "race": ("A race of two", race),
    "parts": ("One iteration, part by part", part_by_part),
}

frame("Train")
view = choose_one("view", {key: title for key, (title, _) in VIEWS.items()}, "View")
VIEWS[view][1]()
