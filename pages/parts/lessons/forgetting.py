"""Lesson 1: what fine-tuning leaves of the first task, beside replay and ARI."""

from functools import partial

import pandas as pd
import streamlit as st

from arli_core import figures
from arli_core.config import Ari
from arli_core.records import Record
from arli_core.theory.intervals import Interval

from ..shell.drawing import picture as picture_of
from ..shell.run_bar import class_names
from .lesson import Answer, Door, Lesson, Story, comparable

METHODS = {"fine-tuning": "finetune", "replay": "replay", "ARI": "ari"}


def answers(remaining: float, classes: int, task_aware: float, chance: float) -> tuple[Answer, ...]:
    """By the per-sample accuracy that remains on the first task. task_aware: its task-aware accuracy. chance: that
    of guessing within the task."""
    guess = 1 / classes
    low, high = guess / 2, (2 * guess + 1) / 2
    within = "If the network is told that an image is of task 1, its accuracy is "
    within += f"{task_aware:.3f} (guessing: {chance:.3f}): "
    within += "little is left to tell its classes apart." if task_aware < chance + 0.1 else (
        "it still tells its classes apart better than guessing."
    )  # fmt: skip
    return (
        Answer(
            f"Nearly all of them: {high:.2f} or more",
            remaining >= high,
            "The later tasks hardly got in the way of the first one in this run. " + within,
        ),
        Answer(
            f"Some of them: {2 * guess:.2f} to {high:.2f}",
            2 * guess <= remaining < high,
            "Later tasks overwrote part of what the first one had taught. " + within,
        ),
        Answer(
            f"About as many as guessing among {classes} classes would: {guess:.2f}",
            low <= remaining < 2 * guess,
            "That is what guessing gives: nothing useful is left of the first task. " + within,
        ),
        Answer(
            f"Fewer than guessing would: below {low:.2f}",
            remaining < low,
            f"That is **less than guessing** would give ({guess:.2f}). The network does not answer at random: it "
            "answers with the new classes. Every later batch rewards high outputs for the classes in it and low "
            "ones for the others. No such batch holds an image of task 1, so the outputs for its classes sink for "
            f"every image. {within}",
        ),
    )


def tell(finetune: Record, replay: Record, ari: Record) -> Story:
    comparable(finetune, replay, ari)
    runs = dict(zip(METHODS, (finetune, replay, ari), strict=True))
    curves = {name: record.accuracy_matrix("per_sample")[:, 0].tolist() for name, record in runs.items()}
    units = finetune.config.data.units
    tasks, classes = units.tasks, units.total
    names, remaining = class_names(finetune, 1) or "its classes", curves["fine-tuning"][-1]
    first = names if "classes" in names else f"classes {names}"
    aware, guessing, by_chance = finetune.accuracy_matrix("task_aware"), units.chance, 1 / units.sizes[0]
    task_aware = float(aware[-1, 0])
    budget = ari.config.memory.budget if isinstance(ari.config, Ari) else 0

    def picture() -> None:
        if (started := finetune.started) is not None and len(started.probes):
            captions = [f"task {task}" for task in units.task_of(started.probe_units)]
            st.image([image.transpose(1, 2, 0) for image in started.probes], captions, width=80, alt=captions)
        for column, (name, values) in zip(st.columns(len(curves)), curves.items(), strict=True):
            column.metric(f"{name}, after task 1", f"{values[0]:.3f}")
        st.caption(f"Accuracy on held-out images of task 1 ({first}), right after learning it.")

    def truth() -> None:
        lines = {name: {at: Interval(1, value, None, None) for at, value in enumerate(values, 1)}
                 for name, values in reversed(curves.items())}  # fmt: skip
        table = pd.DataFrame(curves, pd.RangeIndex(1, tasks + 1, name="tasks learned"))
        draw = partial(figures.curves, lines, METHODS, "tasks learned", "accuracy on task 1")
        picture_of(draw, "lesson-forgetting", table=table)

    return Story(
        scene=(
            f"{classes} classes arrive in {tasks} tasks, one after the other. **Fine-tuning** trains on each task's "
            f"new images alone. **Replay** and **ARI** each keep {budget} old images as well, and train on these "
            f"too. After each task we test task 1 ({first}) again, among all classes seen so far. Let $R_i$ be that "
            "accuracy after task i. *Forgetting* is the fall from its best value:"
        ),
        equation=rf"F = \max_i R_i - R_{tasks}",
        picture=picture,
        question=f"After task {tasks}, what share of the images of task 1 does fine-tuning still get right?",
        answers=answers(remaining, classes, task_aware, by_chance),
        measured=f"a share of **{remaining:.3f}**; after task 1 it was {curves['fine-tuning'][0]:.3f}.",
        figures={
            f"{name}: after task 1 → {tasks}": f"{values[0]:.3f} → {values[-1]:.3f}"
            for name, values in curves.items()
        },
        truth=truth,
        why=(
            f"Replay keeps {curves['replay'][-1]:.3f} and ARI {curves['ARI'][-1]:.3f}: old images in the batches "
            "keep rewarding high outputs for the old classes."
        ),
        not_shown=(
            "That ARI's fusion is what helps. These are single runs with one seed. The page Compare has several "
            "seeds: there, replay from a memory of the same size is nearly level with ARI on these data if its "
            "batches hold equally many images of every class. Nor does it show that all is lost: told each image's "
            f"task, the fine-tuned network has an accuracy of {aware[-1].mean():.3f} over all tasks (guessing: "
            f"{guessing:.3f}; lesson 6)."
        ),
        misconception=(
            "“It forgets little by little, and chance is the floor.” Ask what a network that answers at random would "
            "get, and how a network can be worse: only by consistently answering something else. The new classes "
            "take over the answers at once. What does fade little by little is how well the network tells the "
            "classes of task 1 apart. This shows when it is told the task. Its accuracy on task 1 is then, task by "
            f"task: {', '.join(f'{value:.2f}' for value in aware[:, 0])}."
        ),
        now_try=(
            Door(
                "pages/forgetting.py",
                "The whole accuracy matrices",
                {"run": "mnist-5k-ari", "other": "mnist-5k-finetune"},
                "Follow the first column down; then set the protocol to task-aware. What comes back?",
                f"Per sample, fine-tuning's first column falls from {curves['fine-tuning'][0]:.3f} to "
                f"{remaining:.3f}. Task-aware, it falls more slowly, to {task_aware:.3f} (guessing: "
                f"{by_chance:.3f}); the last row has {aware[-1].mean():.3f} on average. What comes back is what the "
                "network can still tell apart once it is told the task.",
            ),
            Door(
                "pages/train.py",
                "Train a network that remembers",
                {"again": "mnist-5k-finetune"},
                "Set the method to replay-balanced, start it (half a minute), and watch task 1.",
                "Task 1 falls far less: every batch holds as many images of each class of task 1 as of each new "
                "class. The page Compare has five seeds of this method, beside ARI.",
            ),
        ),
    )


LESSON = Lesson(
    "Forgetting",
    "A network learns ten digits, two at a time. What is left of the first two?",
    3,
    "no prior knowledge",
    ("mnist-5k-finetune", "mnist-5k-replay", "mnist-5k-ari"),
    tell,
)
