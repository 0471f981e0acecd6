"""Start: what retroactive interference is, with a matrix already moving."""

import math

import streamlit as st

from arli_core import records
from arli_core.player import Curve, payload
from arli_core.records import Record
from pages.parts.shell.drawing import labels, uniform_panel
from pages.parts.shell.frame import frame
from pages.parts.shell.player import play
from pages.parts.shell.run_bar import guarded, open_run

CURVE_NAMES = {"mnist-5k-ari": "ARI", "mnist-5k-replay": "replay", "mnist-5k-finetune": "fine-tuning"}


def first_task_curves(runs: dict[str, Record]) -> dict:
    """Accuracy on the first task after each task, one line per run; an unfinished run ends early."""
    lines = {name: [row[0] for row in run.accuracy["per_sample"]] for name, run in runs.items()}
    tasks = max(map(len, lines.values()))
    (name, first), *others = ((name, line + [math.nan] * (tasks - len(line))) for name, line in lines.items())
    title = "What is left of the first task, digits 0 and 1"
    curve = Curve(title, first, name=name, others=dict(others))
    return payload([], [curve], range(1, tasks + 1), autoplay=True, frames_per_second=1, unit="after task")


frame("Start")
st.markdown(
    "A network that learns task after task forgets: later learning overwrites what it knew. This is **retroactive "
    "interference**. **ARI** trains a model φᵢ for each task, also on images whose background is attacked. It fuses "
    "all models, weighed by the matrix **dif\\***, so that every task counts."
)
names = [name for name in CURVE_NAMES if name in records.names()]
left, right = st.columns([4, 5])
with left:
    if "mnist-5k-ari" in names:
        record = guarded(open_run, "mnist-5k-ari")
        frames = guarded(record.frames, record.tasks_begun)
        data = payload(
            [uniform_panel(frames.dif_star, labels(frames), "dif* while the fifth task is learned")],
            [],
            frames.iteration.tolist(),
            autoplay=True,
            legend="Each row mixes all models: red is more than an equal share, blue is less. The outlined row makes "
            "the next base φ_b, the model that all start from. When all is white, all models weigh the same.",
        )
        play(data, key="start")
    else:
        st.info("The recorded runs are missing; `make checkpoints` trains them again.")
with right:
    if names:
        play(first_task_curves({CURVE_NAMES[name]: guarded(open_run, name) for name in names}), key="first-task")
        st.caption(
            "Accuracy on held-out images of task 1. The network chooses among all digits seen so far, without any "
            "hint about the task."
        )

doors = st.columns([23, 16, 26, 18, 14])  # as wide as their labels, so that each has one line
doors[0].page_link("pages/train.py", label="Train a network yourself", icon=":material/model_training:")
doors[1].page_link("pages/matrix.py", label="Step through dif*", icon=":material/grid_on:")
doors[2].page_link("pages/masks.py", label="See where the network looks", icon=":material/visibility:")
doors[3].page_link("pages/forgetting.py", label="Compare forgetting", icon=":material/history_toggle_off:")
doors[4].page_link("pages/lessons.py", label="Take a lesson", icon=":material/school:")
