"""Spectrum: the eigenvector of eigenvalue 1, what the other eigenvalues say, and Eq. 13 over training."""

from functools import partial

import numpy as np
import streamlit as st

from arli_core import consensus, figures
from arli_core.fusion import dif, dif_star
from arli_core.player import Curve, payload
from pages.parts.drawing import labels, picture, uniform_panel
from pages.parts.frame import frame
from pages.parts.player import play
from pages.parts.run_bar import choose_view, show_live, to_address

frame("Spectrum")
view = choose_view(fusing=True)
show_live(view)
frames, eta = view.frames, view.eta
names = labels(frames)

count = range(len(frames))
stars = [frames.matrix("dif_star", index) for index in count]
eq13 = [consensus.residual_eq13(stars[i], frames.matrix("gram", i), frames.norm[i]) for i in count]
second = [abs(consensus.spectrum(star)[1]) for star in stars]
left, right = st.columns([2, 3])
with left:
    reached = play(
        payload(
            [uniform_panel(frames.dif_star, names)],
            [Curve("Eq. 13: ‖TΦ − Φ‖ / ‖Φ‖", eq13, log=True), Curve("|λ₂|, the pace of consensus", second, log=True)],
            frames.iteration.tolist(),
            frame=view.frame,
            legend="White is the equal share 1/(n+1), red more, blue less.",
        ),
        key=f"spectrum-{view.name}-{view.task}",
    )
shown = to_address("frame", reached, view.frame)

T = dif_star(dif(frames.matrix("distance", shown), eta))
here = [*np.flatnonzero(frames.present[shown]), len(names) - 1]
with right:
    residual = consensus.residual_eq12(T)
    st.success(
        f"**Eq. 12 holds:** dif*·**1** = **1** up to {residual:.1e}. It must: every row sums to 1 by construction.",
        icon=":material/verified:",
    )
    disc, bars = st.columns([5, 6])
    eigenvalues = consensus.spectrum(T)
    with disc:
        picture(partial(figures.unit_disc, eigenvalues), f"eigenvalues-{view.name}-{view.task}-{shown}")
    with bars:
        squared = dif(frames.matrix("distance", shown), eta)
        closed = squared.sum(1) / squared.sum()
        measured = consensus.stationary(T)
        picture(
            partial(figures.limit_weights, measured, closed, [names[model] for model in here]),
            f"left-eigenvector-{view.name}-{view.task}-{shown}",
        )
    columns = st.columns(3)
    columns[0].metric("|λ₂|", f"{abs(eigenvalues[1]):.4f}", help="After k fusions the models differ by about |λ₂|^k.")
    columns[1].metric(
        "Dobrushin's τ", f"{consensus.dobrushin(T):.4f}", help="One fusion shrinks the spread at least so."
    )
    columns[2].metric("Eq. 13 residual", f"{eq13[shown]:.2e}", help="0 exactly where all models are equal.")

st.markdown(
    """
**What this shows.** Red dot: λ = 1. Its *right* eigenvector is **1** for any matrix whose rows sum to 1 (Eq. 12),
trained or not. What differs is the rest: the other eigenvalues lie on the real line, because dif is symmetric, and
inside the disc, because every entry is positive. So fusing again and again would bring all models to one, at the
pace |λ₂|. The *left* eigenvector π says which one: each model counts by its row sum in dif.

**What it does not show.** Training restarts every φᵢ from φ_b and uses the last row alone. That the Eq. 13 residual
falls says that the inner loop moves the models less and less, and the falling learning rate does that by itself.
"""
)
