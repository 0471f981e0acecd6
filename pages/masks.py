"""Masks: Fig. 9 for the images one chooses: input, attention A, background mask B = 1 - A∘A."""

from functools import partial

import numpy as np
import streamlit as st

from arli_core import figures
from pages.parts.drawing import picture
from pages.parts.frame import frame
from pages.parts.run_bar import choose_view, guarded, masks, show_live

frame("Masks")
view = choose_view(of_done_tasks=True)
show_live(view)
with st.spinner("Running the network over the held-out images…"):
    found = guarded(masks, view)

st.markdown(
    "The spatial attention **A** should cover the object, and so the background mask **B** = 1 − A∘A the rest: there "
    "the background attack strikes. Red is high, blue is low, on one scale from 0 to 1."
)
left, middle, right = st.columns([3, 3, 2], vertical_alignment="bottom")
classes = left.multiselect("Classes", sorted(set(found.labels)), placeholder="all classes seen")
order = middle.segmented_control("Which first", ["in turn", "worst A", "best A"], default="in turn", required=True)
count = right.slider("Images", 1, 16, 8)

chosen = np.flatnonzero(np.isin(found.labels, classes or found.labels))
if order == "in turn":
    chosen = found.spread(count, chosen)
elif found.auroc is None:
    st.info("Where the object is, is known for `scenes` alone: without object masks no A is better or worse.")
    chosen = found.spread(count, chosen)
else:
    chosen = chosen[np.argsort(found.auroc[chosen] * (1 if order == "worst A" else -1))][:count]
picture(partial(figures.figure9, found, chosen), f"figure9-{view.name}-{view.task}")
st.caption("Above each column: class → the model's answer among all classes seen, bold where it is wrong.")

columns = st.columns(4)
columns[0].metric("Mean of A", f"{found.attention.mean():.2f}", help="Over all held-out images of the tasks seen.")
columns[1].metric("Share of A above 0.5", f"{(found.attention > 0.5).mean():.2f}")
columns[2].metric("Correct", f"{np.mean(np.equal(found.labels, found.predictions)):.3f}", help="Per-sample accuracy.")
columns[3].metric(
    "AUROC of A, mean per image",
    "–" if found.auroc is None else f"{found.auroc.mean():.3f}",
    help="How often an object pixel has more attention than a background pixel; 0.5 is chance. Needs object masks.",
)
