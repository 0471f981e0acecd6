"""A run while it trains, redrawn every second, and its controls."""

import pandas as pd
import streamlit as st

from arli_core.config import WEIGHING, protocols
from arli_core.errors import LabError
from arli_core.figures import HIGH_RED
from arli_core.live.jobs import Job, State
from arli_core.live.messages import without_places
from arli_core.player import ImagePanel, payload
from arli_core.records import Frames, Record
from arli_core.theory import metrics

from ..runs.actions import links
from ..shell.address import write
from ..shell.drawing import PROTOCOL_NAMES, labels, uniform_panel
from ..shell.player import play
from ..shell.problem import problem
from ..shell.run_bar import class_names, jobs
from .setup import watch


def show(job: Job) -> None:
    """The live view. Redraws itself while the run may change (a paused run can step), then the whole page once."""
    st.fragment(_view, run_every=1.0 if job.alive else None)(job, job.state)


def _view(job: Job, drawn: State) -> None:
    if job.state is not drawn:
        st.rerun()
    record = job.record
    _controls(job)
    _numbers(job, record)
    for note in record.started.notes if record.started else ():
        st.caption(without_places(note))
    if not record.tasks_begun:
        if job.state is State.PAUSED:
            st.info(
                "Paused before the first iteration. “One step” makes one iteration; “Go on” makes all of them.",
                icon=":material/pause:",
            )
        elif job.state is State.RUNNING:
            st.info(
                "Loading the data and PyTorch; the first iteration starts in a few seconds.",
                icon=":material/hourglass_empty:",
            )
        return
    frames = record.frames(record.tasks_begun)
    left, middle, right = st.columns([4, 4, 3])
    with left:
        _accuracy(record)
        _loss(frames)
    with middle:
        matrix(job.name, record, frames)
    with right:
        _attention(job, record, frames)


def _controls(job: Job) -> None:
    st.markdown(f"**{job.name}** · {job.record.config.method} · {job.state.value}")
    if job.error:
        problem(job.error)
    if len(job.racers) > 1:
        left, right = st.columns([5, 1], vertical_alignment="center")
        names = [racer.name for racer in job.racers]
        left.info(f"{' and '.join(names)} are in a race: they pause, step and stop together.", icon=":material/flag:")
        if right.button("See the race", width="stretch"):
            watch(*names)
    columns = st.columns(5)
    if job.state is State.RUNNING:
        columns[0].button("Pause", icon=":material/pause:", on_click=job.pause, width="stretch")
    elif job.state in (State.PAUSED, State.STOPPED) and columns[0].button(
        "Go on", icon=":material/play_arrow:", type="primary", width="stretch"
    ):
        _go_on(job)
    if job.alive:
        stopping = job.state is State.STOPPING
        if columns[1].button("One step", icon=":material/skip_next:", disabled=stopping, width="stretch"):
            step(job)
        columns[2].button("Stop", icon=":material/stop:", on_click=job.stop, disabled=stopping, width="stretch")
    elif columns[3].button("Train another run", icon=":material/add:", width="stretch"):
        write(run=None)
        st.rerun()  # the whole page: a callback would redraw this part alone
    if job.state is State.FINISHED:
        links(job.name, damaged=False)


def step(job: Job) -> None:
    """Makes one iteration, unless another run trains."""
    ran = job.state is State.RUNNING
    try:
        jobs().step(job.name)
    except LabError as error:
        problem(error)
    else:
        if ran:  # it is paused now and has other buttons
            st.rerun()


def _go_on(job: Job) -> None:
    try:
        jobs().resume(job.name)
    except LabError as error:
        problem(error)
    else:
        st.rerun()


def _numbers(job: Job, record: Record) -> None:
    last, tasks = record.last, record.config.data.tasks
    done = record.share_done
    st.progress(done, text=f"task {min(record.tasks_begun, tasks)} of {tasks}")
    figures = {
        "Iteration": f"{last.iteration + 1} of {last.iterations}" if last else "–",
        "Loss": f"{last.loss:.3f}" if last else "–",
        "Samples": f"{record.samples:,}",
        "Samples a second": f"{record.samples / record.seconds:,.0f}" if record.seconds else "–",
        "Time so far" if job.alive else "Total time": duration(record.seconds),
    }
    if job.alive:
        figures["Time left"] = duration(record.seconds * (1 - done) / done) if done else "–"
    figures["Device"] = record.started.device if record.started else "–"
    for column, (label, value) in zip(st.columns(len(figures)), figures.items(), strict=True):
        column.metric(label, value)


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def _accuracy(record: Record) -> None:
    st.markdown("##### Accuracy on each task so far")
    if not record.tasks:
        st.caption("Measured when the first task is done.")
        return
    # The strictest first, where it is in sight: the others give higher figures.
    names = sorted(protocols(record.config), key=lambda name: not name.startswith("per_sample"))
    rows: dict[str, dict[str, float | None]] = {
        f"{task}: {class_names(record, task)}": {
            PROTOCOL_NAMES[name]: record.accuracy[name][-1][task - 1] for name in names
        }
        for task in range(1, len(record.tasks) + 1)
    }
    rows["average"] = {PROTOCOL_NAMES[name]: record.figure(metrics.average_accuracy, name) for name in names}
    rows["average over samples"] = {PROTOCOL_NAMES[name]: record.average_over_samples(name) for name in names}
    st.dataframe(pd.DataFrame(rows).T.style.format("{:.3f}", na_rep="–"), width="stretch")


def _loss(frames: Frames) -> None:
    st.markdown("##### Loss, overall and by task")
    curve = {"all": frames.loss}
    if frames.fuses:  # names are as short as possible: the legend has a single line
        curve |= {str(task + 1): frames.losses[:, task] for task in range(frames.losses.shape[1])}
    chart = pd.DataFrame(curve, index=pd.Index(frames.iteration, name="iteration"))
    st.line_chart(chart, height=220, x_label="iteration", y_label="loss")


def matrix(name: str, record: Record, frames: Frames) -> None:
    """dif* of the newest frame."""
    if not frames.fuses:
        st.info(f"{record.config.method} has no dif*: only {', '.join(WEIGHING)} weigh models by it.")
        return
    panel = uniform_panel(frames.dif_star[-1:], labels(frames))
    legend = "Red: more than an equal share; blue: less; white: 1/(n+1). Last row: the models' weights in φ_f."
    play(payload([panel], [], [int(frames.iteration[-1])], legend=legend), f"live-matrix-{name}")


def _attention(job: Job, record: Record, frames: Frames) -> None:
    if not len(frames.attention) or not record.started:
        return
    captions = [record.started.classes[unit] for unit in record.started.probe_units]
    panel = ImagePanel("Attention of held-out images", frames.attention[-1:], captions, HIGH_RED, [0])
    data = payload([panel], [], [int(frames.attention_at[-1])], legend="Red: high attention; blue: low.")
    play(data, f"live-attention-{job.name}")
