"""Lesson 3: dif* on its way to uniform, and what the falling learning rate has to do with it."""

import numpy as np

from arli_core.config import Ari
from arli_core.figures import typeset
from arli_core.player import Curve, payload
from arli_core.records import Frames, Record
from arli_core.theory.consensus import UNIFORM, settled

from ..shell.drawing import labels, uniform_panel
from ..shell.player import play
from ..shell.run_bar import next_base
from .lesson import Answer, Door, Lesson, Story, fused

RUN, STEADY = "mnist-5k-ari", "mnist-5k-ari-constant"
SMALL = 100  # an η to try
LEGEND = (
    "White is the equal share 1/(n+1), red is more, blue is less; the outlined last row holds the models' weights in "
    "φ_f."
)


def answers(row: np.ndarray) -> tuple[Answer, ...]:
    """By the weights of phi_1..phi_n and phi_b in phi_f, in the last frame."""
    models = len(row)
    level = bool(abs(row - 1 / models).max() <= UNIFORM)
    most = int(row.argmax())
    return (
        Answer(
            f"{typeset(f'φ_{models - 1}')}, the newest task's model, weighs most",
            not level and most == models - 2,
            "The newest task still moves its model furthest from the base.",
        ),
        Answer(
            "$φ_b$, the base, weighs most: little is left to change",
            not level and most == models - 1,
            "This cannot be: at distance 0 from itself, the base has the smallest entry of its own row.",
        ),
        Answer(
            "The model of an old task weighs most: it needs the most help",
            not level and most < models - 2,
            "An old task's model moves furthest from the base: its few stored images pull hardest.",
        ),
        Answer(
            f"All {models} weigh the same, 1/{models}",
            level,
            "The models have come so close together that D∘D is small compared with η: every entry of dif is nearly "
            "η, and equal entries give equal shares.",
        ),
    )


def reason(falls: int | None, steady: int | None) -> str:
    """What the run at a constant rate says about the other. falls, steady: the frames where they settle, or None."""
    if falls is not None and steady is None:
        return (
            "**The twist:** with the same settings and a constant learning rate, dif\\* does not stay uniform. So "
            "here it is the falling rate that makes dif\\* uniform: models that no longer move agree. Uniformity "
            "marks the end of learning; it does not show an optimum."
        )
    if falls is not None:
        return (
            "**The twist** is missing here: with a constant learning rate, dif\\* becomes uniform too, so in this "
            "run it is not only the falling rate that brings the models together."
        )
    return "A falling learning rate alone did not bring the models together in this run."


def settling(frames: Frames, first: int | None) -> str:
    """From which of the task's iterations on it stays uniform."""
    return "never" if first is None else f"iteration {frames.iteration[first]:,} of {frames.iterations:,}"


def stays(frames: Frames, first: int | None) -> str:
    """The same as a verb of dif*."""
    return "does not stay uniform" if first is None else f"stays uniform from {settling(frames, first)} on"


def of_task_1(frames: Frames, first: int | None) -> str:
    """What becomes of dif* in the first task at a constant rate, from the frame where it settles."""
    if first is None:
        return "It does not settle there either: the one task model keeps moving away from the base."
    return (
        f"It does, from {settling(frames, first)} on, also at the constant rate. There is only one task model, its "
        f"loss ends at {frames.loss[-1]:.3f}, and hardly any gradient is left to move it. With several tasks, each "
        "batch pulls their models apart again."
    )


def tell(record: Record, steady: Record) -> Story:
    task = min(len(record.tasks), len(steady.tasks))
    frames, others = fused(RUN, record, task), fused(STEADY, steady, task)
    assert isinstance(record.config, Ari)
    eta = record.config.fusion.eta
    start, end = (frames.matrix("dif_star", frame)[-1] for frame in (0, -1))
    models, names = len(end), labels(frames)
    present_names = [name for name, present in zip(names, [*frames.present[0], True], strict=True) if present]
    heaviest, newest = typeset(present_names[start.argmax()]), typeset(names[-2])
    own, theirs = frames.deviations, others.deviations
    falls, steadies = settled(own), settled(theirs)
    less = frames.with_eta(SMALL)
    smaller, later = less.matrix("dif_star", 0)[-1], settled(less.deviations)
    first = fused(STEADY, steady, 1)
    alone = of_task_1(first, settled(first.deviations))

    def picture() -> None:
        panel = uniform_panel(frames.dif_star[:1], names, f"dif* in the first iteration of task {task}")
        data = payload([panel], [], frames.iteration[:1].tolist(), legend=LEGEND)
        play(data, "lesson-distances-scene", file="lesson-distances-scene")

    def truth() -> None:
        beside = {"constant learning rate": theirs} if len(theirs) == len(own) else {}
        deviation = Curve(
            "Largest deviation from the equal share",
            own,
            log=True,
            reference=UNIFORM,
            name="falling learning rate",
            others=beside,
        )
        panels = [uniform_panel(frames.dif_star, names, "dif*, falling learning rate")]
        if beside:
            panels.append(uniform_panel(others.dif_star, names, "dif*, constant learning rate"))
        data = payload(panels, [deviation], frames.iteration.tolist(), 0, True, legend=LEGEND)
        play(data, "lesson-distances-truth", file="lesson-distances")

    return Story(
        scene=(
            f"Task {task} begins. Each task so far has its model, $φ_1$ to {newest}, trained briefly from the base "
            "$φ_b$. **D** holds the distances between all models. The last row of **dif\\*** holds their weights in "
            f"$φ_f$; {next_base(record.config)}. At first {heaviest} has {start.max():.2f} of the weight: the "
            f"distant model counts most. During the task the learning rate falls from {frames.learning_rate[0]:.2g} "
            f"to {frames.learning_rate[-1]:.1e}."
        ),
        equation=(
            rf"\begin{{aligned}} dif &= D\circ D + \eta,\quad \eta = {eta:g} \\"
            r"dif^*_{ij} &= dif_{ij} \Big/ \sum_k dif_{ik} \end{aligned}"
        ),
        picture=picture,
        question=f"Which model weighs most in the last iteration of task {task}?",
        answers=answers(end),
        measured=(
            f"All entries of the last row end within **{abs(end - 1 / models).max():.1e}** of 1/{models} = "
            f"{1 / models:.4f}."
        ),
        figures={
            f"Weight of {heaviest}, first": f"{start.max():.3f}",
            "Deviation, first": f"{own[0]:.3f}",
            "Deviation, last": f"{own[-1]:.1e}",
            "Falling rate: uniform from": settling(frames, falls),
            "Constant rate: uniform from": settling(others, steadies),
            "Constant rate: last deviation": f"{theirs[-1]:.3f}",
        },
        truth=truth,
        why=reason(falls, steadies),
        not_shown=(
            "That every model has reached its optimum, or that nothing is forgotten: dif\\* compares models with "
            f"each other, not with the truth. Here “uniform” means a deviation of at most {UNIFORM} (dashed), and "
            "iterations are counted from 0. These are two runs with one seed."
        ),
        misconception=(
            "“dif\\* became uniform, so the models have converged to a common optimum.” Ask what else makes models "
            "stop moving apart, and how one would find out: train again and do not lower the rate."
        ),
        now_try=(
            Door(
                "pages/matrix.py",
                "Another η, from the start",
                {"run": RUN, "task": str(task), "frame": "0", "eta": str(SMALL)},
                f"Here η is {SMALL}, not {eta:g}. Which model gains weight, and how does the approach to uniform "
                "change?",
                f"{heaviest}, already the heaviest, gains: {start.max():.2f} becomes {smaller.max():.2f}. The "
                f"smaller η is, the more distances count. dif\\* {stays(frames, later)}; with η = {eta:g}, it "
                f"{stays(frames, falls)}.",
            ),
            Door(
                "pages/matrix.py",
                "The constant rate",
                {"run": STEADY, "task": str(task), "frame": "0"},
                "Play it: dif\\* comes near uniform and leaves it again. Then go to task 1: does it settle there, "
                "and why?",
                alone,
            ),
        ),
    )


LESSON = Lesson(
    "The distance matrix",
    "Distant models weigh most at first. Which model weighs most once the task is learned?",
    4,
    "row sums",
    (RUN, STEADY),
    tell,
)
