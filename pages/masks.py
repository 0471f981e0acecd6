"""Masks: where the network looks (A), where the attack strikes (B = 1 - A∘A), and a bench to find out why."""

import numpy as np
import streamlit as st

from pages.parts import mask_bench
from pages.parts.address import choose_one
from pages.parts.frame import frame
from pages.parts.run_bar import choose_view, guarded, masks, show_live

VIEWS = {
    "figure-9": ("A and B", mask_bench.figure9),
    "attack": ("The attack", mask_bench.attack),
    "captum": ("Beside Captum", mask_bench.captum),
    "drift": ("Over the tasks", mask_bench.drift),
    "stability": ("What moves A", mask_bench.stability),
    "own-image": ("Own image", mask_bench.own_image),
}

frame("Masks")
view = choose_view(of_done_tasks=True)
show_live(view)
with st.spinner("Running the network over the held-out images…"):
    found = guarded(masks, view)

st.markdown(
    "The spatial attention **A** should cover the object, and so the background mask **B** = 1 − A∘A the rest: there "
    "the background attack strikes. Red is high, blue is low, on one scale from 0 to 1."
)
shown = choose_one("view", {key: title for key, (title, _) in VIEWS.items()}, "Bench")
chosen = np.arange(0)
if shown != "own-image":
    left, middle, right = st.columns([3, 3, 2], vertical_alignment="bottom")
    classes = left.multiselect("Classes", sorted(set(found.labels)), placeholder="all classes seen")
    order = middle.segmented_control(
        "Which first", ["in turn", "worst A", "best A"], default="in turn", required=True
    )
    count = right.slider("Images", 1, 16, 8)
    chosen = np.flatnonzero(np.isin(found.labels, classes or found.labels))
    if order == "in turn":
        chosen = found.spread(count, chosen)
    elif found.auroc is None:
        st.info("These data do not say where the object is: without object masks no A is better or worse.")
        chosen = found.spread(count, chosen)
    else:
        chosen = chosen[np.argsort(found.auroc[chosen] * (1 if order == "worst A" else -1))][:count]
guarded(VIEWS[shown][1], view, found, chosen)
