"""Matrix: D -> dif -> dif* at every recorded iteration, on its way to uniform; at another eta, and layer by layer."""

import numpy as np
import streamlit as st

from arli_core import records
from arli_core.figures import typeset
from arli_core.player import Curve, MatrixPanel, payload
from arli_core.records import Frames
from arli_core.theory.consensus import UNIFORM, deviation_from_uniform, settled, spectrum
from arli_core.theory.fusion import dif
from pages.parts.matrix.layers import ALL, choose_layer, of_layer, tell_layer
from pages.parts.matrix.what_if import choose_eta, draw_row
from pages.parts.shell.drawing import labels, save_frame, uniform_panel
from pages.parts.shell.frame import frame
from pages.parts.shell.player import play
from pages.parts.shell.run_bar import View, choose_view, guarded, open_run, show_live

ADJECTIVES = {"cosine": "cosine", "steps": "stepped", "constant": "constant"}  # of a learning rate, by its schedule


def deviations(frames: Frames) -> list[float]:
    return frames.deviations


def second_eigenvalues(frames: Frames) -> list[float]:
    return frames.of_dif_star(lambda matrix: abs(spectrum(matrix)[1]))


def settling(schedule: str, frames: Frames) -> str:
    first = settled(frames.deviations)
    if first is None:
        return f"With a {ADJECTIVES[schedule]} learning rate it does not stay uniform"
    return (
        f"With a {ADJECTIVES[schedule]} learning rate it stays uniform from iteration {frames.iteration[first]:,} on"
    )


def beside(view: View, layer: str) -> tuple[str, str, Frames] | None:
    """Name, schedule and frames of the run that differs only in the schedule, if it has the same iterations."""
    if other := records.at_other_schedule(view.record.config):
        record = guarded(open_run, other)
        if view.task > record.tasks_begun or len(frames := record.frames(view.task)) != len(view.frames):
            return None
        if layer == ALL or frames.layers.shape == view.frames.layers.shape:
            return other, record.config.train.schedule, guarded(of_layer, frames, record, layer, view.eta)
    return None


frame("Matrix")
view = choose_view(fusing=True)
show_live(view)
own = view.eta
left, right = st.columns([2, 5], vertical_alignment="bottom")
with left:
    layer = choose_layer(view.record)
with right:
    eta = choose_eta(own)
frames = guarded(of_layer, view.frames, view.record, layer, own)
names = labels(frames)
models = len(names)

st.markdown(
    f"**D** holds the distances between {models} models: the {models - 1} task model{'s' * (models > 2)} and the "
    f"base $φ_b$. **dif** = D∘D + η: every distance squared, plus η = {eta:g}. **dif\\*** is dif with each row "
    f"divided by its sum. The last row of dif\\* holds the models' weights in $φ_f$; {view.next_base}. As the models "
    f"come to agree, every entry of dif\\* tends to 1/{models} = {1 / models:.3f}."
)
changed = eta != own
at_eta = frames.with_eta(eta) if changed else frames
if changed:
    st.info(
        f"**What would have happened to the weights:** dif and dif\\* below are recomputed from the recorded D with "
        f"η = {eta:g}; the run itself had η = {own:g}. This is not a new training run: fused with other weights, the "
        "models would have moved elsewhere, and D would have been different.",
        icon=":material/science:",
    )

tell_layer(view.record, layer)
regularised = dif(frames.distance, eta)
most = float(np.nanmax(regularised))
panels = [
    MatrixPanel("D: distances", frames.distance, names, "viridis", 0, float(np.nanmax(frames.distance)) or 1.0),
    MatrixPanel(f"dif = D∘D + {eta:g}", regularised, names, "viridis", 0, most or 1.0, digits=0 if most > 999 else 2),
    uniform_panel(at_eta.dif_star, names, f"dif* if η were {eta:g}" if changed else "dif*: row-normalised"),
]
others = {f"if η were {eta:g}": at_eta} if changed else {}
settlings = [settling(view.record.config.train.schedule, frames)]
if second := beside(view, layer):
    other, schedule, theirs = second
    others[f"with a {ADJECTIVES[schedule]} rate ({other})"] = theirs
    settlings.append(settling(schedule, theirs))
curves = [
    Curve(
        title,
        measure(frames),
        log=True,
        reference=reference,
        name="recorded",
        others={name: measure(other_frames) for name, other_frames in others.items()},
    )
    for title, measure, reference in (
        ("Largest deviation from the equal share", deviations, UNIFORM),
        ("|λ₂| of dif*", second_eigenvalues, None),
    )
]
legend = (
    "D, dif: dark is small, yellow is large. dif*: white is the equal share 1/(n+1), red is more, blue is less; "
    "the outlined last row holds the models' weights in φ_f."
)
current = play(
    payload(panels, curves, frames.iteration.tolist(), frame=view.frame, legend=legend),
    key=f"matrix-{view.name}-{view.task}-{layer}",
    follow="frame",
)

matrix = at_eta.matrix("dif_star", current)
left, right = st.columns([4, 5])
with left:
    draw_row(view, current, {f"recorded, η = {own:g}": frames} | ({f"if η were {eta:g}": at_eta} if changed else {}))
with right:
    first, second = st.columns(2), st.columns(2)
    first[0].metric("Largest deviation from the equal share", f"{deviation_from_uniform(matrix):.4f}")
    first[1].metric("Row sums: largest error", f"{abs(matrix.sum(1) - 1).max():.1e}")
    second[0].metric("Step size α towards $φ_f$", f"{frames.alpha[current]:.3f}")
    second[1].metric("Learning rate", f"{frames.learning_rate[current]:.2e}")
    if not frames.present[current].all():
        absent = ", ".join(typeset(f"φ_{task + 1}") for task in np.flatnonzero(~frames.present[current]))
        st.info(f"This batch has no samples for {absent}: the matrix covers the other models.")
    st.markdown(
        "**Is this the optimum, or only the end of learning?** dif\\* counts as uniform when its largest deviation "
        f"is at most {UNIFORM} (dashed line). {'. '.join(settlings)}. A rate that falls to 0 stops the models from "
        "moving. All start from the same base, so models that do not move agree. Iterations are counted from 0."
    )
    file = f"{view.name}-task-{view.task}-frame-{current}" + (f"-{layer}" if layer != ALL else "")
    save_frame(file, frames, current, eta, {"dif*": frames} | ({f"dif* at {eta:g}": at_eta} if changed else {}))
