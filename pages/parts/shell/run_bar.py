"""Which run, task and frame a page shows, as the address says."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from arli_core import records
from arli_core.config import Ari, AriAdam
from arli_core.errors import LabError
from arli_core.live.jobs import Jobs
from arli_core.records import Frames, Record

from .address import from_widget, number
from .problem import problem

if TYPE_CHECKING:
    from arli_core.analysis.masks import Learned, Masks


# What a finished task shows is cached by the digest of its settings and weights: a live run goes on, and a name may
# belong to another run tomorrow.


@st.cache_resource(max_entries=8, show_spinner=False)
def _learned(digest: str, task: int, data: str, _record: Record) -> "Learned":
    from arli_core.analysis.masks import learned

    return learned(_record, task)


def learned(view: "View") -> "Learned":
    """The view's data and network after its task."""
    return _learned(*stamp(view.record, view.task), view.record)


@st.cache_resource(max_entries=8, show_spinner=False)
def _masks(digest: str, task: int, data: str, _record: Record) -> "Masks":
    from arli_core.analysis.masks import masks_of

    return masks_of(_record, task)


def view_masks(view: "View") -> "Masks":
    """A, B and answers of the view's model on all held-out images of the tasks seen."""
    return _masks(*stamp(view.record, view.task), view.record)


def stamp(record: Record, task: int) -> tuple[str, int, str]:
    """The cache key of what a task's network answers: the same while its weights and its data are. LabError where
    one of them cannot be read."""
    from arli_core.analysis.masks import data_stamp

    return records.digest(record, task), task, data_stamp(record)


READABLE = 12  # how many letters of class names are shown in full


@dataclass(frozen=True)
class View:
    name: str
    record: Record
    task: int  # counted from 1
    frame: int  # counted from 0

    @property
    def eta(self) -> float:
        """The eta of a run that fuses, as `choose_view(fusing=True)` guarantees."""
        assert isinstance(self.record.config, Ari)
        return self.record.config.fusion.eta

    @property
    def next_base(self) -> str:
        """What becomes of phi_f in such a run, as the end of a sentence."""
        assert isinstance(self.record.config, Ari)
        return next_base(self.record.config)

    @property
    def frames(self) -> Frames:
        return self.record.frames(self.task)

    @property
    def digest(self) -> str:
        """The digest of the settings and of the weights after the task, which is done."""
        return records.digest(self.record, self.task)


@st.cache_resource
def jobs() -> Jobs:
    """The live runs of this server."""
    return Jobs()


@st.cache_resource(max_entries=16)
def _load(path: Path, stamp: int) -> Record:
    return records.load(path)


def open_run(name: str) -> Record:
    """A live run's newest state, or the recorded run; RecordError as `records.load`."""
    job = jobs().get(name)
    if job and job.alive:
        return job.record
    path = records.locate(name)
    index = path / "run.json"
    return _load(path, index.stat().st_mtime_ns if index.exists() else 0)


def choose_run(label: str = "Run", key: str = "run", default: str | None = None, fusing: bool = False) -> str:
    """A select box of runs whose choice is the query parameter `key`. Ends the page with a hint if there is none.

    fusing: only runs of methods that record a distance matrix.
    """
    names = [name for name in records.names() if not fusing or records.fuses(name)]
    if not names:
        st.info("No recorded run yet. Start one on the Train page.", icon=":material/info:")
        st.page_link("pages/train.py", label="Train a run", icon=":material/model_training:")
        st.stop()
    first = default if default in names else names[0]
    name = st.query_params.get(key, first)
    if name not in names:
        what = (
            "fuses no models, so it has no matrix" if fusing and name in records.names() else "is not recorded here"
        )
        st.warning(f"{name} {what}; showing {first} instead.", icon=":material/swap_horiz:")
        name = first
    st.session_state[f"{key}-box"] = name
    st.selectbox(label, names, key=f"{key}-box", on_change=from_widget, args=(key, f"{key}-box"))
    return name


def choose_view(fusing: bool = False, of_done_tasks: bool = False, label: str = "After learning task") -> View:
    """Run, task and frame of this page, from the address; values that do not exist are corrected with a note.

    of_done_tasks: only tasks that are learned, whose weights are recorded. label: of the choice of a task.
    """
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    with left:
        name = choose_run(default="mnist-5k-ari", fusing=fusing)
    record = guarded(open_run, name)
    tasks = len(record.tasks) if of_done_tasks else record.tasks_begun
    if not tasks:
        say_untaught(name, record, "learned its first task" if of_done_tasks else "recorded an iteration")
        st.stop()
    with right:
        task = choose_task(record, tasks, label)
    frames = record.frames(task)
    frame = number("frame", 0, 0, len(frames) - 1)
    return View(name, record, task, frame)


def say_untaught(name: str, record: Record, what: str = "learned its first task") -> None:
    """Why a run has nothing to show, and whether it ever will."""
    if record.error:
        problem(f"{name} has not {what}: {record.error}")
    else:
        st.info(f"{name} has not {what} yet.", icon=":material/hourglass_empty:")


def show_live(view: View) -> None:
    """Notes above what a run shows: what is not known of an old run, and that a live run still grows."""
    if view.record.note:
        st.caption(view.record.note)
    job = jobs().get(view.name)
    if job and job.alive:
        left, right = st.columns([4, 1], vertical_alignment="center")
        left.info(f"{view.name} is {job.state.value}; this is its state so far.", icon=":material/sensors:")
        right.button("Show newer", icon=":material/refresh:")


def guarded(action, *arguments):
    """The result, or the page ends with the error's message in place of a traceback."""
    try:
        return action(*arguments)
    except LabError as error:
        problem(error)
        st.stop()


def choose_task(record: Record, tasks: int, label: str = "After learning task") -> int:
    """One of tasks 1..tasks, the query parameter `task`; the last until the reader chooses."""
    task = number("task", tasks, 1, tasks)
    st.session_state["task-box"] = task
    st.segmented_control(
        label,
        range(1, tasks + 1),
        format_func=lambda task: _task_name(record, task),
        key="task-box",
        required=True,
        on_change=from_widget,
        args=("task", "task-box", "frame"),
    )
    return task


def _task_name(record: Record, task: int) -> str:
    names = class_names(record, task)
    return f"{task}: {names}" if names else str(task)


def class_names(record: Record, task: int) -> str:
    """The classes of a task, as `4 5`, or only their number if they are too many to read."""
    names = record.started.classes[record.config.data.units.of(task)] if record.started else ()
    joined = " ".join(names)
    return joined if len(names) <= 3 or len(joined) <= READABLE else f"{len(names)} classes"


def next_base(config: Ari) -> str:
    """What becomes of phi_f, as the end of a sentence."""
    if isinstance(config, AriAdam):
        return "the base takes an Adam step towards this fused model"
    if config.fusion.beta:
        return "the base takes a step of size $α$ towards this fused model"
    return "this fused model is the next base (Eq. 11)"
