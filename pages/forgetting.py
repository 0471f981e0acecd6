"""Forgetting: the accuracy matrices of two runs side by side, under each protocol."""

from functools import partial

import pandas as pd
import streamlit as st

from arli_core import figures, metrics
from arli_core.config import protocols
from arli_core.records import Record
from pages.parts.drawing import PROTOCOL_NAMES, picture
from pages.parts.frame import frame
from pages.parts.run_bar import choose_run, class_names, guarded, open_run

KNOWS = {
    "per_sample": "Knows nothing of a sample's task: the largest logit among all classes seen.",
    "task_aware": "Is told each sample's task: the largest logit among that task's classes.",
    "vote": "Is told that a group of samples (20, unless set otherwise) shares one unknown task, which it elects; as "
    "in the published figures.",
    "adapted": "The class is then the answer of that task's own copy of the model, adapted to its exemplars.",
}


def side(place: str, name: str, record: Record, protocol: str) -> None:
    tasks = range(1, record.config.data.tasks + 1)
    ticks = [f"{task}: {class_names(record, task)}" for task in tasks]
    st.markdown(f"**{record.config.method}** · {len(record.tasks)} of {len(tasks)} tasks · seed {record.config.seed}")
    if not record.tasks:
        st.info("No task is done yet.", icon=":material/hourglass_empty:")
        return
    accuracy = record.accuracy_matrix(protocol)
    table = pd.DataFrame(accuracy, ticks, ticks).rename_axis("after learning task")
    picture(partial(figures.accuracy_matrix, accuracy, ticks), f"{name}-{protocol}", place, table)
    columns = st.columns(3)
    measures = {
        "Average accuracy": metrics.average_accuracy,
        "Forgetting": metrics.forgetting,
        "Backward transfer": metrics.backward_transfer,
    }
    for column, (label, measure) in zip(columns, measures.items(), strict=True):
        value = record.figure(measure, protocol)
        column.metric(label, "–" if value is None else f"{value:.3f}")


frame("Forgetting")
st.markdown(
    "Row by row: accuracy on each task after learning one more. A column that fades downwards is a task being "
    "**forgotten**: later learning overwrites it."
)
place = st.container()
shown = []
for column, key, default in zip(st.columns(2), ("run", "other"), ("mnist-5k-ari", "mnist-5k-finetune"), strict=True):
    with column:
        name = choose_run("Run" if key == "run" else "Beside it", key, default)
        shown.append((column, key, name, guarded(open_run, name)))
with place:
    both = [name for name in PROTOCOL_NAMES if all(name in protocols(record.config) for *_, record in shown)]
    protocol = st.segmented_control(
        "Protocol", both, default="per_sample", format_func=PROTOCOL_NAMES.__getitem__, required=True
    )
    assert protocol
    base = protocol.removesuffix("_adapted")
    st.caption(f"{KNOWS[base]} {KNOWS['adapted'] if base != protocol else ''}")
for column, key, name, record in shown:
    with column:
        side(key, name, record, protocol)
