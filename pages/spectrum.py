"""Spectrum: the eigenvector of eigenvalue 1, what the other eigenvalues say, and what breaks the claims."""

import numpy as np
import streamlit as st

from arli_core.player import Curve, payload
from arli_core.theory import consensus
from arli_core.theory.fusion import dif, dif_star
from pages.parts.shell.address import choose_one
from pages.parts.shell.drawing import labels, uniform_panel
from pages.parts.shell.frame import frame
from pages.parts.shell.player import play
from pages.parts.shell.run_bar import View, choose_view, show_live
from pages.parts.spectrum.break_it import break_it
from pages.parts.spectrum.consensus import draw, fuse_again, measure
from pages.parts.spectrum.own_matrix import own_matrix

LEGEND = "White is the equal share 1/(n+1), red is more, blue is less."


def choose_frame(view: View, player: str, curves: list[Curve]) -> tuple[int, list[str]]:
    """The frame where the reader stopped the player, and the names of the models in it."""
    frames = view.frames
    names = labels(frames)
    data = payload(
        [uniform_panel(frames.dif_star, names)], curves, frames.iteration.tolist(), frame=view.frame, legend=LEGEND
    )
    name = f"{player}-{view.name}-{view.task}"
    current = play(data, key=name, follow="frame", file=name)
    present = [*np.flatnonzero(frames.present[current]), len(names) - 1]
    return current, [names[model] for model in present]


def eigenvalues_over_training() -> None:
    view = choose_view(fusing=True)
    show_live(view)
    frames = view.frames
    count = range(len(frames))
    stars = [frames.matrix("dif_star", index) for index in count]
    eq13 = [consensus.residual_eq13(stars[i], frames.matrix("gram", i), frames.norm[i]) for i in count]
    second = [abs(consensus.spectrum(star)[1]) for star in stars]
    curves = [Curve("Eq. 13: ‖TΦ − Φ‖ / ‖Φ‖", eq13, log=True), Curve("|λ₂|, the rate of consensus", second, log=True)]
    left, right = st.columns([2, 3])
    with left:
        current, names = choose_frame(view, "eigenvalues", curves)
    squared = dif(frames.matrix("distance", current), view.eta)
    T = dif_star(squared)
    with right:
        st.success(
            f"**Eq. 12 holds** in iteration {frames.iteration[current]:,} (counted from 0): dif*·**1** = **1** up to "
            f"{consensus.residual_eq12(T):.1e} (**1** is the vector of ones). This must be so, because every row "
            "sums to 1 by construction.",
            icon=":material/verified:",
        )
        draw(T, names, f"{view.name}-{view.task}-{current}", squared.sum(1) / squared.sum())
        numbers, last = st.columns([2, 1])
        with numbers:
            measure(T)
        last.metric(
            "Eq. 13 residual",
            f"{eq13[current]:.2e}",
            help="How much one fusion of all models would change them; 0 exactly when all are equal.",
        )
    st.markdown(
        """
**What this shows.** The red dot is λ = 1. Its *right* eigenvector is **1** for any matrix whose rows sum to 1
(Eq. 12), trained or not. Only the other eigenvalues differ from matrix to matrix. They lie on the real line, because
dif is symmetric, and inside the unit disc, because every entry is positive. So fusing again and again would bring all
models to one point, at the rate |λ₂|. The *left* eigenvector π gives that point: each model counts in proportion to
its row sum in dif.

**What this does not show.** Training restarts every φᵢ from $φ_b$ and uses only the last row. A falling Eq. 13
residual means that the inner loop moves the models less and less, and a falling learning rate alone has this effect.
"""
    )


def consensus_of_a_frame() -> None:
    view = choose_view(fusing=True)
    show_live(view)
    left, right = st.columns([2, 5])
    with left:
        current, names = choose_frame(view, "models", [])
    T = dif_star(dif(view.frames.matrix("distance", current), view.eta))
    models = consensus.principal_coordinates(view.frames.matrix("gram", current))
    with right:
        fuse_again(T, models, names, f"consensus-{view.name}-{view.task}-{current}")
    share = (models[:, :2] ** 2).sum() / ((models**2).sum() or 1)
    st.markdown(
        f"**What this shows.** The points are the models of iteration {view.frames.iteration[current]:,} (counted "
        "from 0), as far apart as their parameters are. The plane of the first two principal coordinates holds "
        f"{share:.0%} of the squared distances. If this one T = dif\\* fuses them again and again, Φ → TᵏΦ, the "
        "models meet at the point that π gives, the left eigenvector of T. Their largest distance falls like |λ₂|ᵏ = "
        f"{abs(consensus.spectrum(T)[1]):.3g}ᵏ and never exceeds τᵏ = {consensus.dobrushin(T):.3g}ᵏ times what it "
        "was at the start.\n\n**What this does not show.** Training. There, T fuses once, and only its last row is "
        "used; then every φᵢ starts from the new $φ_b$."
    )


VIEWS = {
    "eigenvalues": ("Eigenvalues", eigenvalues_over_training),
    "consensus": ("Consensus", consensus_of_a_frame),
    "own": ("Your own matrix", own_matrix),
    "break": ("Break it", break_it),
}

frame("Spectrum")
view = choose_one("view", {key: title for key, (title, _) in VIEWS.items()}, "View")
VIEWS[view][1]()
