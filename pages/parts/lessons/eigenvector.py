"""Lesson 4: the eigenvector of eigenvalue 1, which every matrix of shares has."""

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from arli_core.player import payload
from arli_core.records import Record
from arli_core.theory.consensus import deviation_from_uniform, normalise_rows, residual_eq12, spectrum

from ..shell.drawing import save_table, uniform_panel
from ..shell.player import play
from .lesson import Answer, Door, Lesson, Story, fused

RUN = "mnist-5k-ari"
ROUNDING = 1e-12
NAMES = ("first iteration", "last iteration", "random numbers")
SEED = 0
TASK = 2  # three models: matrices small enough to add up a row in one's head


def answers(residuals: list[float]) -> tuple[Answer, ...]:
    """By the residual of dif*·1 = 1 in the first frame, in the last, and of random shares."""
    holds = tuple(residual <= ROUNDING for residual in residuals)
    only_last, trained, every = (False, True, False), (True, True, False), (True, True, True)
    return (
        Answer(
            "Only for the last iteration: training brings it about",
            holds == only_last,
            "Of these rows, only those of the last iteration sum to 1.",
        ),
        Answer(
            "For both matrices of the run, but not for the random numbers",
            holds == trained,
            "The rows of the random matrix do not sum to 1 here.",
        ),
        Answer(
            "For all three, the random numbers too",
            holds == every,
            "Entry i of T·**1** is the sum of row i, and each row was divided by its sum: so it is 1 **by "
            "construction**, whatever the numbers were.",
        ),
        Answer(
            "For none, or for another combination",
            holds not in (only_last, trained, every),
            "Some of these rows do not sum to 1, although rows divided by their sums must.",
        ),
    )


def tell(record: Record) -> Story:
    frames = fused(RUN, record, TASK)
    first, last = frames.matrix("dif_star", 0), frames.matrix("dif_star", len(frames) - 1)
    random = normalise_rows(np.random.default_rng(SEED).random(frames.dif_star.shape[1:]))
    matrices = (first, last, random)
    residuals = [residual_eq12(matrix) for matrix in matrices]
    second = [abs(spectrum(matrix)[1]) for matrix in matrices]
    table = pd.DataFrame(
        {
            "largest |T·1 − 1|": residuals,
            "|λ₂|": second,
            "deviation from uniform": [deviation_from_uniform(matrix) for matrix in matrices],
        },
        pd.Index(NAMES, name="T"),
    )

    def picture(place: str) -> None:
        models = [str(row + 1) for row in range(len(random))]
        drawn = (frames.dif_star[:1], frames.dif_star[-1:], random[None])
        panels = [uniform_panel(T, models, name, marked_row=None) for name, T in zip(NAMES, drawn, strict=True)]
        legend = "White is an equal share, red is more, blue is less."
        name = f"lesson-eigenvector-{place}"
        play(payload(panels, [], [0], legend=legend), name, file=name)

    def truth() -> None:
        picture("truth")
        st.dataframe(table.style.format("{:.1e}"))
        save_table(table, "lesson-eigenvector")

    row = random[0]
    total = " + ".join(f"{entry:.3f}" for entry in row)
    return Story(
        scene=(
            "The vector of ones, **1**, is an eigenvector of T = dif\\* with eigenvalue 1. The supplement to the "
            "paper concludes from this that all models reach one optimum in the end. Here are three matrices: dif\\* "
            f"in the first and the last iteration of task {TASK}, and a matrix of random numbers, with each row "
            "divided by its sum."
        ),
        equation=r"T\,\mathbf{1} = \mathbf{1}\qquad\text{(Eq. 12)}",
        picture=partial(picture, "scene"),
        question="For which of the three does Eq. 12 hold, up to rounding?",
        answers=answers(residuals),
        measured=f"T·**1** differs from **1** by at most **{max(residuals):.1e}** in all three.",
        figures={f"|λ₂|, {name}": f"{value:.2g}" for name, value in zip(NAMES, second, strict=True)},
        truth=truth,
        why=(
            f"The first row of the random matrix: {total} = {row.sum():.3f}. Even the identity matrix, which fuses "
            "nothing, has this eigenvector. So Eq. 12 by itself says nothing about training. What distinguishes "
            "these matrices is **λ₂**, the second largest eigenvalue by size: the smaller |λ₂|, the faster repeated "
            "fusion brings the models together."
        ),
        not_shown=(
            "That Eq. 12 is wrong: it is true of every matrix whose rows are shares. Nor does a small |λ₂| show that "
            "training found an optimum: models that no longer move have one too, however large the loss (lesson 3)."
        ),
        misconception=(
            "“The residual is 0, so the models have reached consensus.” Let a student make up three positive numbers "
            "for each row on the blackboard, divide by the sums, and multiply by (1, 1, 1). Consensus is Eq. 13, "
            "TΦ = Φ, and that does change while a network learns."
        ),
        now_try=(
            Door(
                "pages/spectrum.py",
                "The other eigenvalues",
                {"run": RUN, "task": str(TASK), "frame": "0", "view": "eigenvalues"},
                "Drag the slider and release it in several places: the red dot at 1 never moves, the blue ones do. "
                "Which curve follows them?",
                f"|λ₂|, the distance of the outermost blue dot from 0. It falls from {second[0]:.2g} to "
                f"{second[1]:.2g}.",
            ),
            Door(
                "pages/spectrum.py",
                "Where Eq. 12 holds and no models agree",
                {"view": "break"},
                "A permutation: T·1 = 1, and yet the models rotate for ever. What do its eigenvalues say?",
                "All its eigenvalues lie on the unit circle: |λ₂| = 1, so no fusion brings the models closer.",
            ),
        ),
    )


LESSON = Lesson(
    "The eigenvector",
    "dif*·1 = 1 holds in a trained network. Does it also hold for a matrix of random numbers?",
    3,
    "the product of a matrix and a vector",
    (RUN,),
    tell,
)
