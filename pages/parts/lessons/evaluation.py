"""Lesson 6: one model, the same images, three accuracies."""

from functools import partial

import pandas as pd
import streamlit as st

from arli_core import figures
from arli_core.records import Record
from arli_core.theory import metrics

from ..shell.drawing import PROTOCOL_NAMES, picture, save_table
from ..shell.run_bar import class_names
from .lesson import Answer, Door, Lesson, Story, comparable

NAMES = ("fine-tuning", "replay", "ARI")
PROTOCOLS = ("task_aware", "vote", "per_sample")
SLIGHT, FAR = 0.05, 0.25


def answers(aware: float, per_sample: float, tasks: int) -> tuple[Answer, ...]:
    """By the average per-sample accuracy, compared with the task-aware one of the same model."""
    lost = aware - per_sample
    confused = (
        "If the network is told the task, a class competes only with the classes of that task; if not, with those of "
        "all"
    )
    return (
        Answer(
            f"Higher than {aware:.3f}",
            lost < 0,
            "This cannot be: the largest output of all is also the largest of its task.",
        ),
        Answer(
            f"About the same: at most {SLIGHT:g} lower",
            0 <= lost <= SLIGHT,
            f"{confused} {tasks} tasks, and this model hardly confuses classes of different tasks.",
        ),
        Answer(
            f"Lower by {SLIGHT:g} to {FAR:g}",
            SLIGHT < lost <= FAR,
            f"{confused} {tasks} tasks, and this model confuses some of them.",
        ),
        Answer(
            f"Far lower: by more than {FAR:g}",
            lost > FAR,
            f"{confused} {tasks} tasks. This model can tell classes apart within a task, but it cannot tell to which "
            "task an image belongs.",
        ),
    )


def tell(finetune: Record, replay: Record, ari: Record) -> Story:
    comparable(finetune, replay, ari)
    runs = dict(zip(NAMES, (finetune, replay, ari), strict=True))
    table = pd.DataFrame(
        {
            PROTOCOL_NAMES[protocol]: [
                metrics.average_accuracy(record.accuracy_matrix(protocol)) for record in runs.values()
            ]
            for protocol in PROTOCOLS
        },
        pd.Index(NAMES, name="method"),
    )
    aware, vote, per_sample = table.loc["replay"]
    data, group = replay.config.data, replay.config.evaluation.group
    units = data.units
    within, among = units.chance, 1 / units.total
    ticks = [f"{task}: {class_names(replay, task)}" for task in range(1, data.tasks + 1)]
    last = replay.accuracy_matrix("per_sample")[-1]
    newest, older = last[-1], last[:-1].mean()
    gain = "more than" if vote > per_sample else "less than" if vote < per_sample else "as much as"

    def truth() -> None:
        groups = {str(name): row.to_numpy() for name, row in table[::-1].iterrows()}
        draw = partial(figures.bars, groups, list(table.columns), "average accuracy", 1.2)
        picture(draw, "lesson-evaluation")
        st.dataframe(table.style.format("{:.3f}"))
        save_table(table, "lesson-evaluation")

    return Story(
        scene=(
            f"This network was trained by replay on {data.tasks} tasks. Here it was **told the task** of each image "
            f"and chose among that task's {units.classes}: its average accuracy was {aware:.3f}. Now test the same "
            f"network on the same images and do **not** tell it the task: it chooses among all {units.total}."
        ),
        equation=(
            r"\begin{aligned} \text{task-aware: } & \arg\max_{c\,\in\,\text{task}} z_c \\"
            r"\text{per-sample: } & \arg\max_{\text{all } c} z_c \end{aligned}"
        ),
        picture=lambda: picture(
            partial(figures.accuracy_matrix, replay.accuracy_matrix("task_aware"), ticks), "lesson-evaluation-scene"
        ),
        question=f"The task-aware accuracy is {aware:.3f}. What is the per-sample accuracy of the same network?",
        answers=answers(aware, per_sample, data.tasks),
        measured=f"**{per_sample:.3f}** per sample, {aware:.3f} task-aware; {vote:.3f} by a group vote of {group} "
        "images.",
        figures={
            "Task-aware": f"{aware:.3f}",
            f"Group vote, p = {group}": f"{vote:.3f}",
            "Per-sample": f"{per_sample:.3f}",
            "Guessing, task-aware": f"{within:.3f}",
            "Guessing, per-sample": f"{among:.3f}",
            "Fine-tuning, task-aware": f"{table.loc['fine-tuning', PROTOCOL_NAMES['task_aware']]:.3f}",
        },
        truth=truth,
        why=(
            f"Per sample, its accuracy is {newest:.3f} on the newest task and {older:.3f} on the older ones, on "
            f"average. Even guessing gets {within:.2f} task-aware, but only {among:.2f} per sample. In a group vote, "
            f"{group} images of one unknown task elect that task together; here this gives {gain} the per-sample "
            "accuracy. The accuracies published for ARI and iTAML come from group votes ([the "
            "method](reference?doc=method)); most tables of class-incremental learning are per-sample. **Accuracies "
            "of both kinds do not belong in one table.**"
        ),
        not_shown=(
            "Which protocol is right: that depends on what is known when the network is used. Nor does it rank "
            "methods: these are single runs. The page Compare has several seeds and intervals, for each protocol."
        ),
        misconception=(
            "“Accuracy is accuracy.” Hand out two published tables, and ask of each: among how many classes was an "
            "image classified, was the task told, and what would guessing have scored?"
        ),
        now_try=(
            Door(
                "pages/forgetting.py",
                "Replay beside ARI, protocol by protocol",
                {"run": "mnist-5k-replay", "other": "mnist-5k-ari"},
                "Switch from task-aware to per-sample: which run changes, and in which tasks?",
                f"Replay, in the older tasks: there {replay.accuracy_matrix('task_aware')[-1, :-1].mean():.3f} "
                f"becomes {older:.3f} on average, while the newest task has {newest:.3f}. For ARI, over all tasks, "
                f"{ari.accuracy_matrix('task_aware')[-1].mean():.3f} becomes {table.loc['ARI', 'per-sample']:.3f}.",
            ),
            Door(
                "pages/forgetting.py",
                "Spoil the vote",
                {"view": "vote", "run": "mnist-5k-replay", "other": "mnist-5k-ari", "mixing": "0.5"},
                "Now half of every voting group comes from other tasks. What is left of the vote in each run, and "
                "can a larger p bring it back?",
                f"In both runs the vote falls below the per-sample accuracy. For replay the vote was {gain} that "
                f"before{', too' * (gain == 'less than')}: {vote:.3f} against {per_sample:.3f}. No p brings it back: "
                "half of a group is no majority for the right task, and a wrong vote is wrong for the whole group.",
            ),
        ),
    )


LESSON = Lesson(
    "Honest evaluation",
    "The same network on the same images: how far apart can two accuracies be?",
    4,
    "lesson 1",
    ("mnist-5k-finetune", "mnist-5k-replay", "mnist-5k-ari"),
    tell,
)
