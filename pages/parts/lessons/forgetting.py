"""Lesson 1: what fine-tuning leaves of the first task, beside replay and ARI."""

from functools import partial

import pandas as pd
import streamlit as st

from arli_core import figures
from arli_core.config import Ari
from arli_core.records import Record
from arli_core.statistics import Interval

from ..drawing import picture as picture_of
from ..run_bar import class_names
from .lesson import Answer, Door, Lesson, Told, comparable

METHODS = {"fine-tuning": "finetune", "replay": "replay", "ARI": "ari"}


def answers(left: float, classes: int, told_the_task: float, chance: float) -> tuple[Answer, ...]:
    """By what is left of the first task, per-sample; told_the_task is the task-aware accuracy beside it, chance
    what guessing within the task would have."""
    guess = 1 / classes
    low, high = guess / 2, (2 * guess + 1) / 2
    within = f"Told that an image is of task 1, it is right in {told_the_task:.3f}, where guessing has {chance:.3f}: "
    within += "little is left to tell its classes apart." if told_the_task < chance + 0.1 else (
        "it still tells its classes apart, better than by guessing."
    )  # fmt: skip
    return (
        Answer(
            f"Nearly all of them: {high:.2f} or more",
            left >= high,
            "The later tasks hardly got in the way of the first one in this run. " + within,
        ),
        Answer(
            f"Some of them: {2 * guess:.2f} to {high:.2f}",
            2 * guess <= left < high,
            "Later tasks overwrote a part of what the first one had taught. " + within,
        ),
        Answer(
            f"As many as by guessing among {classes} classes, about {guess:.2f}",
            low <= left < 2 * guess,
            "That is what guessing gives: of the first task nothing is left that helps. " + within,
        ),
        Answer(
            f"Fewer than by guessing: below {low:.2f}",
            left < low,
            f"That is **less than guessing**, {guess:.2f}. The network did not become clueless, it answers with the "
            "new classes: every later batch rewards high outputs for the classes in it and low ones for the others, "
            f"and nothing in it speaks for the classes of task 1, so their outputs sink for every image. {within}",
        ),
    )


def tell(finetune: Record, replay: Record, ari: Record) -> Told:
    comparable(finetune, replay, ari)
    runs = dict(zip(METHODS, (finetune, replay, ari), strict=True))
    curves = {name: record.accuracy_matrix("per_sample")[:, 0].tolist() for name, record in runs.items()}
    units = finetune.config.data.units
    tasks, classes = units.tasks, units.total
    first, left = class_names(finetune, 1) or "its classes", curves["fine-tuning"][-1]
    aware, guessing, by_chance = finetune.accuracy_matrix("task_aware"), units.chance, 1 / units.sizes[0]
    told_the_task = float(aware[-1, 0])
    kept = ari.config.memory.budget if isinstance(ari.config, Ari) else 0

    def picture() -> None:
        if (started := finetune.started) is not None and len(started.probes):
            captions = [f"task {task}" for task in units.task_of(started.probe_units)]
            st.image([image.transpose(1, 2, 0) for image in started.probes], captions, width=80, alt=captions)
        for column, (name, values) in zip(st.columns(len(curves)), curves.items(), strict=True):
            column.metric(f"{name}, after task 1", f"{values[0]:.3f}")
        st.caption(f"Accuracy on held-out images of task 1 ({first}), once it is learned.")

    def truth() -> None:
        lines = {name: {at: Interval(1, value, None, None) for at, value in enumerate(values, 1)}
                 for name, values in reversed(curves.items())}  # fmt: skip
        table = pd.DataFrame(curves, pd.RangeIndex(1, tasks + 1, name="tasks learned"))
        draw = partial(figures.curves, lines, METHODS, "tasks learned", "accuracy on task 1")
        picture_of(draw, "lesson-forgetting", table=table)

    return Told(
        scene=(
            f"{classes} classes arrive in {tasks} tasks, one after the other. **Fine-tuning** trains on each task's "
            f"new images alone. **Replay** and **ARI** also keep {kept} old images in all. After each task we ask "
            f"for task 1 ({first}) again, among all classes seen so far. With $R_i$ that accuracy after task i, what "
            "is *forgotten* is the fall from the best:"
        ),
        equation=rf"F = \max_i R_i - R_{tasks}",
        picture=picture,
        question=f"After task {tasks}, what share of the images of task 1 does fine-tuning still get right?",
        answers=answers(left, classes, told_the_task, by_chance),
        measured=f"**{left:.3f}** of them, from {curves['fine-tuning'][0]:.3f} after task 1.",
        figures={f"{name}: then → now": f"{values[0]:.3f} → {values[-1]:.3f}" for name, values in curves.items()},
        truth=truth,
        why=(
            f"Replay keeps {curves['replay'][-1]:.3f} and ARI {curves['ARI'][-1]:.3f}: old images in the batches "
            "speak for the old classes."
        ),
        not_shown=(
            "That ARI's fusion is what helps. These are single runs with one seed. Over several seeds "
            "(page Compare), replay whose batches hold as many images of every class, from the same memory, is "
            "nearly level with ARI on these data. Nor that all is lost: told each image's task, fine-tuning is right "
            f"in {aware[-1].mean():.3f} over all tasks, where guessing has {guessing:.3f} (lesson 6)."
        ),
        misconception=(
            "“It forgets little by little, and chance is the floor.” Ask what a network that answers at random would "
            "get, and how one can be worse: only by answering something else, on purpose. The answers are taken over "
            "at once; what fades little by little is what lies below them, and shows where the task is told: "
            f"{', '.join(f'{value:.2f}' for value in aware[:, 0])} on task 1."
        ),
        now_try=(
            Door(
                "pages/forgetting.py",
                "The whole accuracy matrices",
                {"run": "mnist-5k-ari", "other": "mnist-5k-finetune"},
                "Follow the first column down; then set the protocol to task-aware. What comes back?",
                f"Per sample, fine-tuning's first column falls from {curves['fine-tuning'][0]:.3f} to {left:.3f}. "
                f"Task-aware it falls more slowly, to {told_the_task:.3f}, where guessing has {by_chance:.3f}; its "
                f"last row has {aware[-1].mean():.3f} on average. What comes back is what the network can still tell "
                "apart once somebody names the task.",
            ),
            Door(
                "pages/train.py",
                "Train one that remembers",
                {"again": "mnist-5k-finetune"},
                "Set the method to replay-balanced, start it (half a minute), and watch task 1.",
                "Task 1 falls far less: every batch holds as many images of its classes as of the new ones. Compare "
                "has five seeds of it, beside ARI.",
            ),
        ),
    )


LESSON = Lesson(
    "Forgetting",
    "A network learns two digits after two others. What is left of the first two?",
    3,
    "nothing",
    ("mnist-5k-finetune", "mnist-5k-replay", "mnist-5k-ari"),
    tell,
)
