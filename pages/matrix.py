"""Matrix: D -> dif -> dif* at every recorded iteration, on its way to the uniform matrix."""

import numpy as np
import streamlit as st

from arli_core.consensus import deviation_from_uniform, settled
from arli_core.fusion import dif
from arli_core.player import Curve, MatrixPanel, payload
from arli_core.records import Frames
from pages.parts.drawing import download_frames, labels, uniform_panel
from pages.parts.frame import frame
from pages.parts.player import play
from pages.parts.run_bar import at_other_schedule, choose_view, guarded, open_run, show_live, to_address

SETTLED = 0.03  # a deviation that the eye takes for uniform


def deviations(frames: Frames) -> list[float]:
    return [deviation_from_uniform(frames.matrix("dif_star", index)) for index in range(len(frames))]


def settling(schedule: str, frames: Frames, values: list[float]) -> str:
    first = settled(values, SETTLED)
    if first is None:
        return f"at a {schedule} learning rate it never stays there"
    return f"at a {schedule} learning rate it stays there from iteration {frames.iteration[first]:,} on"


frame("Matrix")
view = choose_view(fusing=True)
show_live(view)
frames, eta = view.frames, view.eta
names = labels(frames)
models = len(names)

st.markdown(
    f"The distances **D** between the {models - 1} task models and the base φ_b, squared and regularised "
    f"(**dif** = D∘D + {eta:g}), each row over its sum: **dif\\***. Its last row fuses them into φ_f; "
    f"the base moves there. As the models come to agree, every entry tends to 1/{models} = {1 / models:.3f}."
)
regularised = dif(frames.distance, eta)
panels = [
    MatrixPanel("D: distances", frames.distance, names, "viridis", 0, float(np.nanmax(frames.distance)) or 1.0),
    MatrixPanel("dif = D∘D + η", regularised, names, "viridis", 0, float(np.nanmax(regularised))),
    uniform_panel(frames.dif_star, names, "dif*: row-normalised"),
]
deviation = deviations(frames)
curves = [Curve("largest deviation of dif* from 1/(n+1)", deviation, log=True, reference=SETTLED)]
told = [settling(view.record.config.train.schedule, frames, deviation)]
if other := at_other_schedule(view):
    second = guarded(open_run, other)
    schedule = second.config.train.schedule
    theirs = second.frames(view.task) if view.task <= second.tasks_begun else None
    if theirs and len(theirs) == len(frames):
        beside = deviations(theirs)
        curves.append(Curve(f"at a {schedule} rate ({other})", beside, log=True, reference=SETTLED))
        told.append(settling(schedule, theirs, beside))
legend = (
    "D, dif: dark is small, yellow large. dif*: white is the equal share 1/(n+1), red more, blue less; "
    "the outlined last row holds the weights of φ_f."
)
reached = play(
    payload(panels, curves, frames.iteration.tolist(), frame=view.frame, legend=legend),
    key=f"matrix-{view.name}-{view.task}",
)
shown = to_address("frame", reached, view.frame)

matrix = frames.matrix("dif_star", shown)
columns = st.columns(4)
columns[0].metric("Largest deviation from 1/(n+1)", f"{deviation_from_uniform(matrix):.4f}")
columns[1].metric("Row sums within", f"{abs(matrix.sum(1) - 1).max():.1e} of 1")
columns[2].metric("Share α of the way to φ_f (or of its step)", f"{frames.alpha[shown]:.3f}")
columns[3].metric("Learning rate", f"{frames.learning_rate[shown]:.2e}")
if not frames.present[shown].all():
    absent = ", ".join(f"φ_{task + 1}" for task in np.flatnonzero(~frames.present[shown]))
    st.info(f"No sample of {absent} was in this batch: the matrix covers the other models.")
st.markdown(
    f"**Is it the optimum, or only the end of learning?** Uniform to the eye is a deviation of {SETTLED} (dashed): "
    f"{'; '.join(told)}. A rate that falls to 0 stops the models from moving, and models that do not move agree."
)
download_frames(view, shown)
