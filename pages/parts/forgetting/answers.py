"""What two runs answer after a task: confusion matrices, accuracy per class, and the vote of other groups."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from arli_core import figures
from arli_core.config import PROTOCOLS, Evaluation
from arli_core.records import Record

from ..shell.address import Number, choose_one, from_widget, number, write
from ..shell.drawing import PROTOCOL_NAMES, picture
from ..shell.run_bar import choose_task, guarded, say_untaught, stamp

if TYPE_CHECKING:  # torch is imported only when answers are computed
    from arli_core.analysis.answers import Answers

Side = tuple[str, Record]  # a run and its name
GROUPS = (1, 2, 3, 4, 5, 7, 10, 14, 20, 28, 40, 56, 80, 100)
KNOWS = {
    "per_sample": "The network is not told the task: its answer is the class with the largest logit among all "
    "classes seen.",
    "task_aware": "The network is told each sample's task: its answer is the class with the largest logit among that "
    "task's classes.",
    "vote": "A group of samples (20, unless set otherwise) is known to share one task. It elects that task by vote, "
    "as in the published figures.",
    "adapted": "The class is then chosen by that task's own copy of the model, adapted to its exemplars.",
}


@st.cache_resource(max_entries=8, show_spinner=False)
def _cached_answers(digest: str, task: int, data: str, _record: Record) -> "Answers":
    from arli_core.analysis.answers import answers_of

    with st.spinner("Running the network over the held-out images…"):
        return answers_of(_record, task)


@st.cache_data(max_entries=64, show_spinner=False)
def _votes(
    digest: str, task: int, data: str, groups: Sequence[int], mixing: float, _answers: "Answers"
) -> list[tuple[float, ...]]:
    """Accuracy of the vote on each task, for each size of the groups."""
    with st.spinner("Voting…"):
        return [_answers.accuracies(Evaluation(group=group, mixing=mixing))["vote"] for group in groups]


def choose_protocol(names: Sequence[str]) -> str:
    """One of the protocols, the query parameter `protocol`, with what it knows."""
    protocol = choose_one("protocol", {name: PROTOCOL_NAMES[name] for name in names}, "Protocol")
    base = protocol.removesuffix("_adapted")
    st.caption(f"{KNOWS[base]} {KNOWS['adapted'] if base != protocol else ''}")
    return protocol


def confusion(sides: Sequence[Side]) -> None:
    left, right = st.columns(2)
    with left:
        task = _common_task(sides)
    with right:
        protocol = choose_protocol([name for name in PROTOCOL_NAMES if name in PROTOCOLS])
    for column, place, (name, record) in zip(st.columns(2), "ab", sides, strict=True):
        with column:
            answers = _answers_after(record, task)
            counts = answers.confusion(protocol)
            hits = counts.diagonal() / np.maximum(counts.sum(1), 1)
            st.markdown(
                f"**{record.config.method}** · {counts.sum():,} images · accuracy {hits.mean():.3f}, mean over "
                "classes"
            )
            table = pd.DataFrame(counts, answers.classes, answers.classes).rename_axis("class, then answers")
            file = f"{name}-{task}-{protocol}"
            picture(partial(figures.confusion, counts, answers.classes), f"confusion-{file}", place, table)
            table = pd.DataFrame({"accuracy": hits}, pd.Index(answers.classes, name="class"))
            bars = partial(figures.bars, {"": hits}, answers.classes, "accuracy per class", 1)
            picture(bars, f"classes-{file}", place, table)
    st.markdown(
        "**What this shows.** Row: the class of a held-out image. Column: the network's answer. Forgetting shows in "
        "the columns of the last task's classes: entries in earlier classes' rows are images that get one of the "
        "newest classes as an answer."
    )


def vote(sides: Sequence[Side]) -> None:
    task = _common_task(sides)
    own = sides[0][1].config.evaluation
    left, middle, right = st.columns([3, 3, 2], vertical_alignment="bottom")
    with left:
        group = _slider("p", own.group, 1, max(100, own.group), 1, "p: samples that vote together on their task")
    with middle:
        mixing = _slider(
            "mixing", own.mixing, 0.0, max(0.5, own.mixing), 0.05, "mixing: share of a group from other tasks"
        )
    right.button(
        f"Back to p = {own.group}, mixing {own.mixing:g}",
        icon=":material/undo:",
        disabled=(group, mixing) == (own.group, own.mixing),
        on_click=_back,
        help=f"The settings that {sides[0][0]} was evaluated with.",
    )
    groups = sorted({*GROUPS, own.group, group})
    curves, alone, methods = {}, {}, {}
    for column, (name, record) in zip(st.columns(2), _named(sides), strict=True):
        answers = _answers_after(record, task)
        votes = _votes(*guarded(stamp, record, task), groups, mixing, answers)
        curves[name] = np.array([np.mean(accuracies) for accuracies in votes])
        recorded = {protocol: record.accuracy[protocol][task - 1] for protocol in PROTOCOLS}
        methods[name] = record.config.method
        alone[name] = float(np.mean(recorded["per_sample"]))
        current = float(curves[name][groups.index(group)])
        recorded_vote = float(np.mean(recorded["vote"]))
        with column:
            st.markdown(f"**{name}** · after task {task}")
            columns = st.columns(3)
            columns[0].metric(f"Vote, p = {group}", f"{current:.3f}")
            columns[1].metric(f"Recorded, p = {record.config.evaluation.group}", f"{recorded_vote:.3f}")
            columns[2].metric("Per-sample", f"{alone[name]:.3f}")
    table = pd.DataFrame(curves, pd.Index(groups, name="p"))
    file = f"vote-{sides[0][0]}-{sides[1][0]}-{task}-{mixing:g}"
    left, right = st.columns([5, 3])
    with left:
        picture(partial(figures.vote_curves, groups, curves, alone, methods, group), file, table=table)
    right.markdown(
        "**What this shows.** Solid lines: accuracy of the group vote, mean over tasks. Dotted lines: the same "
        "network when every sample is classified alone. Dashed line: the chosen p. A larger p gives the vote more "
        "knowledge of the test data, namely that p samples share one task. Mixing makes that knowledge wrong: a "
        "share of each group comes from other tasks and is outvoted."
        + (" The jumps come from rounding the shares of small groups to whole samples." * bool(mixing))
    )


def _common_task(sides: Sequence[Side]) -> int:
    """A task that both runs have learned; if there is none, the page says so and ends."""
    done = min(len(record.tasks) for _, record in sides)
    if not done:
        say_untaught(*next(side for side in sides if not side[1].tasks))
        st.stop()
    return choose_task(sides[0][1], done)


def _answers_after(record: Record, task: int) -> "Answers":
    return guarded(_cached_answers, *guarded(stamp, record, task), record)


def _named(sides: Sequence[Side]) -> list[Side]:
    """The sides under different names, even if one run is compared with itself."""
    (one, first), (other, second) = sides
    return [(one, first), (f"{other} (again)" if other == one else other, second)]


def _slider(key: str, own: Number, low: Number, high: Number, step: Number, label: str) -> Number:
    """A slider whose value is the query parameter `key`: the run's own until the reader moves it."""
    value = number(key, own, low, high)
    st.session_state[f"{key}-box"] = value
    st.slider(label, low, high, step=step, key=f"{key}-box", on_change=from_widget, args=(key, f"{key}-box"))
    return value


def _back() -> None:
    write(p=None, mixing=None)
