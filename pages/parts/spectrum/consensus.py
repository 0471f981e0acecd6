"""Fusing again and again: the eigenvalues of a matrix, its limit, and whether it brings models together."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import streamlit as st

from arli_core import figures
from arli_core.player import Curve, PointPanel, payload
from arli_core.theory import consensus

from ..shell.drawing import picture, uniform_panel
from ..shell.player import play

AGREED, MOST = 1e-6, 60  # fuse until this share of a difference is left, or this many times


def fuse_again(matrix: np.ndarray, models: np.ndarray, names: Sequence[str], key: str) -> None:
    """Plays T^k and T^k Phi. models: [m, P], P >= 2: two coordinates are drawn, all are measured."""
    fused = consensus.repeated_fusion(matrix, models, consensus.fusions_until(matrix, AGREED, MOST))
    try:
        target = (consensus.stationary(matrix) @ models)[:2]
    except ValueError:  # separate camps have no single limit
        target = None
    panels = [
        uniform_panel(fused.powers, list(names), "Tᵏ", marked_row=None),
        PointPanel("The models, Tᵏ Φ", fused.models[:, :, :2], list(names), target),
    ]
    distance = Curve(
        "Largest distance between two models",
        fused.spread,
        log=True,
        name="measured",
        others={"start · |λ₂|ᵏ": fused.pace, "start · τᵏ, the bound": fused.bound},
    )
    legend = (
        "Tᵏ: white is the equal share, red is more, blue is less. Dashed rings: the start. Points in one place: "
        "models that agree."
    )
    legend += " Cross: the limit, which π gives." if target is not None else " No cross: there is no single limit."
    steps = range(len(fused.powers))
    data = payload(panels, [distance], steps, 0, True, 5, legend, unit="fusion")
    play(data, key, file=key)


def draw(matrix: np.ndarray, names: Sequence[str], key: str, closed: np.ndarray | None = None) -> None:
    """Eigenvalues of a row-stochastic T on the unit disc, and its left eigenvector, or why it is not unique."""
    disc, bars = st.columns([5, 6])
    with disc:
        picture(partial(figures.unit_disc, consensus.spectrum(matrix)), f"eigenvalues-{key}")
    with bars:
        try:
            weights = consensus.stationary(matrix)
        except ValueError as error:
            st.warning(f"No single left eigenvector: {error}.", icon=":material/call_split:")
        else:
            picture(partial(figures.limit_weights, weights, closed, names), f"left-eigenvector-{key}")


def measure(matrix: np.ndarray) -> None:
    """How fast a row-stochastic T brings models together: in the long run, and at least in every fusion."""
    second, tau = abs(consensus.spectrum(matrix)[1]), consensus.dobrushin(matrix)
    columns = st.columns(2)
    columns[0].metric(
        "|λ₂|",
        f"{second:.4f}",
        help="After k fusions about |λ₂|^k of the first differences between the models is left.",
    )
    columns[1].metric(
        "Dobrushin's τ",
        f"{tau:.4f}",
        help="One fusion shrinks the largest distance between two models to at most τ times what it was.",
    )
