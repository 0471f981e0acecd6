"""What two runs answer after a task: confusion matrices, accuracy per class, and the vote with other groups."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from arli_core import figures
from arli_core.config import PROTOCOLS, Evaluation
from arli_core.records import Record

from .address import Number, choose_one, from_widget, number, write
from .drawing import PROTOCOL_NAMES, picture
from .run_bar import choose_task, guarded, say_untaught, stamp

if TYPE_CHECKING:  # torch is imported only where answers are asked for
    from arli_core.answers import Answers

Side = tuple[str, Record]  # a run and its name
GROUPS = (1, 2, 3, 4, 5, 7, 10, 14, 20, 28, 40, 56, 80, 100)
KNOWS = {
    "per_sample": "Knows nothing of a sample's task: the largest logit among all classes seen.",
    "task_aware": "Is told each sample's task: the largest logit among that task's classes.",
    "vote": "Is told that a group of samples (20, unless set otherwise) shares one unknown task, which it elects; as "
    "in the published figures.",
    "adapted": "The class is then the answer of that task's own copy of the model, adapted to its exemplars.",
}


@st.cache_resource(max_entries=8, show_spinner=False)
def _answers(digest: str, task: int, data: str, _record: Record) -> "Answers":
    from arli_core.answers import answers_of

    with st.spinner("Running the network over the held-out images…"):
        return answers_of(_record, task)


@st.cache_data(max_entries=64, show_spinner=False)
def _votes(
    digest: str, task: int, data: str, groups: Sequence[int], mixing: float, _found: "Answers"
) -> list[tuple[float, ...]]:
    """Accuracy of the vote on each task, for each size of the groups."""
    with st.spinner("Voting…"):
        return [_found.accuracies(Evaluation(group=group, mixing=mixing))["vote"] for group in groups]


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
            found = _answered(record, task)
            counts = found.confusion(protocol)
            hits = counts.diagonal() / np.maximum(counts.sum(1), 1)
            st.markdown(
                f"**{record.config.method}** · {counts.sum():,} images · {hits.mean():.3f} correct, mean over classes"
            )
            table = pd.DataFrame(counts, found.classes, found.classes).rename_axis("class, then answers")
            file = f"{name}-{task}-{protocol}"
            picture(partial(figures.confusion, counts, found.classes), f"confusion-{file}", place, table)
            table = pd.DataFrame({"accuracy": hits}, pd.Index(found.classes, name="class"))
            bars = partial(figures.bars, {"": hits}, found.classes, "accuracy per class", 1)
            picture(bars, f"classes-{file}", place, table)
    st.markdown(
        "**What this shows.** Row: the class of a held-out image; column: the answer. What lies off the diagonal in "
        "the columns of the last task's classes is forgetting at work: images of earlier classes, answered with the "
        "newest ones."
    )


def vote(sides: Sequence[Side]) -> None:
    task = _common_task(sides)
    own = sides[0][1].config.evaluation
    left, middle, right = st.columns([3, 3, 2], vertical_alignment="bottom")
    with left:
        group = _slider("p", own.group, 1, max(100, own.group), 1, "p: samples that elect their task together")
    with middle:
        mixing = _slider(
            "mixing", own.mixing, 0.0, max(0.5, own.mixing), 0.05, "mixing: share of a group from other tasks"
        )
    right.button(
        f"Back to p = {own.group}, mixing {own.mixing:g}",
        icon=":material/undo:",
        disabled=(group, mixing) == (own.group, own.mixing),
        on_click=_back,
        help=f"The settings with which {sides[0][0]} was evaluated.",
    )
    groups = sorted({*GROUPS, own.group, group})
    curves, alone, methods = {}, {}, {}
    for column, (name, record) in zip(st.columns(2), _named(sides), strict=True):
        found = _answered(record, task)
        votes = _votes(*guarded(stamp, record, task), groups, mixing, found)
        curves[name] = np.array([np.mean(each) for each in votes])
        told = {protocol: record.accuracy[protocol][task - 1] for protocol in PROTOCOLS}
        methods[name] = record.config.method
        alone[name] = float(np.mean(told["per_sample"]))
        chosen = float(curves[name][groups.index(group)])
        recorded = float(np.mean(told["vote"]))
        with column:
            st.markdown(f"**{name}** · after task {task}")
            columns = st.columns(3)
            columns[0].metric(f"Vote, p = {group}", f"{chosen:.3f}")
            columns[1].metric(f"Recorded, p = {record.config.evaluation.group}", f"{recorded:.3f}")
            columns[2].metric("Per-sample", f"{alone[name]:.3f}")
    table = pd.DataFrame(curves, pd.Index(groups, name="p"))
    file = f"vote-{sides[0][0]}-{sides[1][0]}-{task}-{mixing:g}"
    left, right = st.columns([5, 3])
    with left:
        picture(partial(figures.vote_curves, groups, curves, alone, methods, group), file, table=table)
    right.markdown(
        "**What this shows.** Line: accuracy of the group vote, mean over tasks; dotted: the same network when every "
        "sample speaks for itself; dashed: the p chosen. A larger p hands the vote more knowledge of the test data, "
        "namely that p samples share one task. Mixing makes that knowledge wrong: a share of each group is of other "
        "tasks, and is outvoted."
        + (" Shares of small groups are rounded to whole samples: hence the jumps." * bool(mixing))
    )


def _common_task(sides: Sequence[Side]) -> int:
    """A task that both runs have learned; the page ends, kindly, where there is none."""
    done = min(len(record.tasks) for _, record in sides)
    if not done:
        say_untaught(*next(side for side in sides if not side[1].tasks))
        st.stop()
    return choose_task(sides[0][1], done)


def _answered(record: Record, task: int) -> "Answers":
    return guarded(_answers, *guarded(stamp, record, task), record)


def _named(sides: Sequence[Side]) -> list[Side]:
    """The sides under different names, where one run stands beside itself too."""
    (one, first), (other, second) = sides
    return [(one, first), (f"{other} (beside)" if other == one else other, second)]


def _slider(key: str, own: Number, low: Number, high: Number, step: Number, label: str) -> Number:
    """A slider whose value is the query parameter `key`: the run's own until the reader moves it."""
    value = number(key, own, low, high)
    st.session_state[f"{key}-box"] = value
    st.slider(label, low, high, step=step, key=f"{key}-box", on_change=from_widget, args=(key, f"{key}-box"))
    return value


def _back() -> None:
    write(p=None, mixing=None)
