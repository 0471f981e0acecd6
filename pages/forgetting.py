"""Forgetting: accuracy matrices of two runs side by side, their confusions, and the vote of other groups."""

from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st

from arli_core import figures, records
from arli_core.config import Data, protocols
from arli_core.errors import LabError
from arli_core.records import Record
from arli_core.theory import metrics
from pages.parts.forgetting.answers import Side, choose_protocol, confusion, vote
from pages.parts.shell.address import choose_one
from pages.parts.shell.drawing import PROTOCOL_NAMES, picture
from pages.parts.shell.frame import frame
from pages.parts.shell.run_bar import choose_run, class_names, guarded, open_run, say_untaught


def matrices(sides: Sequence[Side]) -> None:
    st.markdown(
        "Each row holds the accuracy on every task learned so far. A column whose values fall from top to bottom is "
        "a task being **forgotten**: later learning overwrites it."
    )
    both = [name for name in PROTOCOL_NAMES if all(name in protocols(record.config) for _, record in sides)]
    protocol = choose_protocol(both)
    for column, place, (name, record) in zip(st.columns(2), ("run", "other"), sides, strict=True):
        with column:
            side(place, name, record, protocol)


def side(place: str, name: str, record: Record, protocol: str) -> None:
    tasks = range(1, record.config.data.tasks + 1)
    ticks = [f"{task}: {class_names(record, task)}" for task in tasks]
    st.markdown(f"**{record.config.method}** · {len(record.tasks)} of {len(tasks)} tasks · seed {record.config.seed}")
    if not record.tasks:
        say_untaught(name, record)
        return
    accuracy = record.accuracy_matrix(protocol)
    table = pd.DataFrame(accuracy, ticks, ticks).rename_axis("after learning task")
    picture(partial(figures.accuracy_matrix, accuracy, ticks), f"{name}-{protocol}", place, table)
    over_samples = record.average_over_samples(protocol)
    values = {
        "Average accuracy": record.figure(metrics.average_accuracy, protocol),
        "Average over samples": over_samples,
        "Forgetting": record.figure(metrics.forgetting, protocol),
        "Backward transfer": record.figure(metrics.backward_transfer, protocol),
    }
    notes = {
        "Average accuracy": "Over the tasks: a large task counts as much as a small one.",
        "Average over samples": "The share of correct answers among all held-out images: a large task counts for "
        "more."
        if over_samples is not None
        else "This run was recorded before the lab kept the number of images of each task.",
    }
    for column, (label, value) in zip(st.columns(len(values)), values.items(), strict=True):
        column.metric(label, "–" if value is None else f"{value:.3f}", help=notes.get(label))


def comparable_to(name: str, record: Record) -> str:
    """Another run on the same data: fine-tuning if there is one, since nothing forgets more."""
    others = [other for other in records.names() if other != name and _data(other) == record.config.data]
    return next((other for other in others if records.config_of(other).method == "finetune"), (others or [name])[0])


def _data(name: str) -> Data | None:
    try:
        return records.config_of(name).data
    except LabError:  # damaged: the page says so when it is chosen
        return None


VIEWS = {
    "matrices": ("Accuracy matrices", matrices),
    "confusion": ("Confusion", confusion),
    "vote": ("Group vote", vote),
}

frame("Forgetting")
view = choose_one("view", {key: title for key, (title, _) in VIEWS.items()}, "View")
left, right = st.columns(2)
with left:
    name = choose_run(default="mnist-5k-ari")
    sides = [(name, guarded(open_run, name))]
with right:
    name = choose_run("Compare with", "other", comparable_to(*sides[0]))
    sides.append((name, guarded(open_run, name)))
VIEWS[view][1](sides)
