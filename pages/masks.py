"""Masks: where the network looks (A), where the attack strikes (B = 1 - A∘A), and a bench to find out why."""

import numpy as np
import streamlit as st

from pages.parts.masks import bench as mask_bench
from pages.parts.shell.address import choose_one
from pages.parts.shell.frame import frame
from pages.parts.shell.run_bar import choose_view, guarded, show_live, view_masks

VIEWS = {
    "figure-9": ("A and B", mask_bench.figure9),
    "attack": ("The attack", mask_bench.attack),
    "captum": ("A beside Captum's methods", mask_bench.captum),
    "drift": ("Over the tasks", mask_bench.drift),
    "stability": ("What changes A", mask_bench.stability),
    "own-image": ("Your own image", mask_bench.own_image),
}

ORDERS = ("classes in turn", "lowest AUROC", "highest AUROC")

frame("Masks")
view = choose_view(of_done_tasks=True)
show_live(view)
with st.spinner("Running the network over the held-out images…"):
    held_out = guarded(view_masks, view)

st.markdown(
    "The spatial attention **A** should cover the object. The background mask **B** = 1 − A∘A should cover the rest: "
    "there the background attack strikes. Red is high and blue is low, on one scale from 0 to 1."
)
bench = choose_one("view", {key: title for key, (title, _) in VIEWS.items()}, "View")
indices = np.arange(0)
if bench != "own-image":
    left, middle, right = st.columns([3, 4, 2], vertical_alignment="bottom")
    classes = left.multiselect("Classes", sorted(set(held_out.labels)), placeholder="all classes seen")
    order = middle.segmented_control("Order", ORDERS, default=ORDERS[0], required=True)
    count = right.slider("Images", 1, 16, 8)
    indices = np.flatnonzero(np.isin(held_out.labels, classes or held_out.labels))
    if order == ORDERS[0]:
        indices = held_out.spread(count, indices)
    elif held_out.auroc is None:
        st.info("These data have no object masks, so there is no AUROC to sort by.")
        indices = held_out.spread(count, indices)
    else:
        indices = indices[np.argsort(held_out.auroc[indices] * (1 if order == ORDERS[1] else -1))][:count]
guarded(VIEWS[bench][1], view, held_out, indices)
