"""What another eta would have made of the recorded distances: a slider, and the row of phi_f."""

from functools import partial

import numpy as np
import streamlit as st

from arli_core import figures
from arli_core.config import Ari
from arli_core.records import Frames

from ..shell.address import from_widget, number, write
from ..shell.drawing import labels, picture
from ..shell.run_bar import View

LOW, HIGH = 1e-3, 1e6
STEPS = [float(f"{value:.2g}") for value in np.geomspace(LOW, HIGH, 37)]  # four to a power of ten


def choose_eta(own: float) -> float:
    """A slider whose value is the query parameter `eta`: the run's own until the reader moves it."""
    eta = number("eta", float(own), min(own, LOW), max(own, HIGH))
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    st.session_state["eta-box"] = eta
    left.select_slider(
        "What if η were…",
        sorted({*STEPS, float(own), eta}),
        format_func=lambda value: f"{value:g}",
        key="eta-box",
        on_change=from_widget,
        args=("eta", "eta-box"),
        help="Recomputes dif and dif* from the recorded distances D.",
    )
    right.button(
        f"Back to {own:g}",
        disabled=eta == own,
        on_click=write,
        kwargs={"eta": None},
        width="stretch",
        help="The run's own η.",
    )
    return eta


def draw_row(view: View, frame: int, stars: dict[str, Frames]) -> None:
    """The last row of dif*, which weighs the models for phi_f, as bars: recorded, and what it would have been."""
    st.markdown(f"##### The models' weights in $φ_f$, iteration {view.frames.iteration[frame]:,}")
    rows = {name: star_frames.matrix("dif_star", frame)[-1] for name, star_frames in stars.items()}
    present = np.flatnonzero(np.append(view.frames.present[frame], True))
    names = labels(view.frames)
    bars = partial(figures.fusion_weights, rows, [names[model] for model in present])
    picture(bars, f"weights-{view.name}-{view.task}-{frame}")
    assert isinstance(view.record.config, Ari)
    fusion = view.record.config.fusion
    if fusion.weights != "adaptive":
        st.caption(f"This run fused with fusion.weights = {fusion.weights}: it recorded dif* but did not use it.")
    elif fusion.over == "tensor":
        st.caption(
            "This run had separate weights for every parameter tensor; the recorded dif* is that of the whole model."
        )
