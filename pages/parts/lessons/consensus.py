"""Lesson 5: where models meet when they are fused again and again, and how fast."""

import numpy as np

from arli_core.config import Ari
from arli_core.figures import typeset
from arli_core.player import PointPanel, payload
from arli_core.records import Frames, Record
from arli_core.theory import consensus
from arli_core.theory.fusion import dif

from ..shell.drawing import labels, uniform_panel
from ..shell.player import play
from ..spectrum.consensus import AGREED, MOST, fuse_again
from .lesson import Answer, Door, Lesson, Story, fused

RUN = "mnist-5k-ari"
FUSIONS = 2**20  # so many that models that do not agree by then never will
NEAR = 0.005  # weights that differ less look equal


def answers(T: np.ndarray, regularised: np.ndarray) -> tuple[Answer, ...]:
    """By the weights of the models where they meet: the rows of T^k for a large k, where they are all the same."""
    models = len(T)
    rows = np.linalg.matrix_power(T, FUSIONS)
    agree = bool(np.ptp(rows, axis=0).max() <= AGREED)
    level, once = abs(rows[-1] - 1 / models).max(), abs(rows[-1] - T[-1]).max()
    far = abs(rows[-1] - regularised.sum(1) / regularised.sum()).max()
    plain = bool(level <= NEAR)
    at_once = bool(not plain and once < far)
    return (
        Answer(
            f"At their plain mean: each counts 1/{models}",
            agree and plain,
            "Every model is equally far from the others, and so all count alike.",
        ),
        Answer(
            "At $φ_f$, which the first fusion makes the base",
            agree and at_once,
            "All rows of T are nearly the same: one fusion is enough.",
        ),
        Answer(
            "At a weighted mean: the further a model is from the others, the more it counts",
            agree and not plain and not at_once,
            "The meeting point Σ πᵢ φᵢ must not move when all are fused once more: πT = π, so π is the **left** "
            "eigenvector. As dif is symmetric, πᵢ is the sum of row i of dif, over the sum of all of dif. The row "
            "holds the squared distances of model i to the others, plus η.",
        ),
        Answer(
            "Nowhere: some stay apart for ever",
            not agree,
            "Some models give the others no weight at all, not even indirectly.",
        ),
    )


def fusions_needed(frames: Frames, at: int) -> int:
    """How often the matrix of a frame must fuse its models until AGREED of their distance is left; at most MOST."""
    models = consensus.principal_coordinates(frames.matrix("gram", at))
    spreads = consensus.repeated_fusion(frames.matrix("dif_star", at), models, MOST).spread
    return next((k for k, spread in enumerate(spreads) if spread <= AGREED * spreads[0]), MOST)


def tell(record: Record) -> Story:
    task = len(record.tasks)
    frames = fused(RUN, record, task)
    assert isinstance(record.config, Ari)
    T, regularised = frames.matrix("dif_star", 0), dif(frames.matrix("distance", 0), record.config.fusion.eta)
    names = [name for name, present in zip(labels(frames), [*frames.present[0], True], strict=True) if present]
    points = consensus.principal_coordinates(frames.matrix("gram", 0))
    spreads = consensus.spread(consensus.repeated_fusion(T, points, 5).models)
    limit = np.linalg.matrix_power(T, FUSIONS)[-1]
    second, most = consensus.spectrum(T)[1], int(limit.argmax())
    furthest = typeset(names[most])
    needed = [fusions_needed(frames, at) for at in (0, len(frames) - 1)]
    sides = " λ₂ is negative: with each fusion the models change sides." if second.real < 0 else ""

    def picture() -> None:
        panels = [
            uniform_panel(T[None], names, "T = dif*"),
            PointPanel("The models Φ, as far apart as they are", points[None, :, :2], names),
        ]
        legend = "White is the equal share, red is more, blue is less; the outlined row makes φ_f."
        play(payload(panels, [], [0], legend=legend), "lesson-consensus-scene", file="lesson-consensus-scene")

    return Story(
        scene=(
            f"These are the {len(names)} models of the first iteration of task {task}, as points in a plane. **One "
            "fusion** replaces every model by a weighted mean of all, with the weights of its row of T = dif\\* (Eq. "
            "11). Training uses only the last row, once an iteration. Here we follow the theory: fuse **again and "
            "again** with this T."
        ),
        equation=r"\Phi \;\to\; T\Phi \;\to\; T^2\Phi \;\to\;\dots\;\to\; T^k\Phi",
        picture=picture,
        question="Where do the models meet?",
        answers=answers(T, regularised),
        measured=(
            f"{furthest} has weight **{limit[most]:.3f}** where they meet, {T[-1, most]:.3f} in the first $φ_f$ and "
            f"1/{len(names)} = {1 / len(names):.3f} in the plain mean."
        ),
        figures={
            f"{furthest} where they meet": f"{limit[most]:.3f}",
            f"{furthest}: its row's share of dif": f"{regularised.sum(1)[most] / regularised.sum():.3f}",
            f"{furthest} in the first $φ_f$": f"{T[-1, most]:.3f}",
            "|λ₂|": f"{abs(second):.3f}",
            "Distance left after 1 fusion": f"{spreads[1] / spreads[0]:.1%}",
            "Distance left after 5 fusions": f"{spreads[5] / spreads[0]:.1%}",
        },
        truth=lambda: fuse_again(T, points, names, "lesson-consensus-truth"),
        why=(
            f"How fast do they meet? In the long run, each fusion leaves a share |λ₂| = {abs(second):.2f} of the "
            f"distances.{sides} "
            "They meet in one point because, with η > 0, every model gives weight to every other. Two camps that "
            "give each other no weight would never meet."
        ),
        not_shown=(
            "Training. There, T fuses once, only its last row makes the new base, and every φᵢ then starts from it "
            "and is trained again. That models agree at the end of training is another matter (lesson 3)."
        ),
        misconception=(
            "“Consensus is the average.” That is true if T is symmetric. dif is symmetric, but dif\\* is not: the "
            "furthest model pulls the meeting point towards itself. Ask whether that is wanted if one noisy batch "
            "led that model astray."
        ),
        now_try=(
            Door(
                "pages/spectrum.py",
                "Fuse the models of another iteration",
                {"run": RUN, "task": str(task), "frame": "0", "view": "consensus"},
                "Step the left player forward and watch the right one: fewer and fewer fusions are needed.",
                f"It takes {needed[0]} fusions with the first matrix, and {needed[1]} with the last, until a share "
                f"of {AGREED:g} of the largest distance is left. The player shows at least as many fusions as there "
                "are models.",
            ),
            Door(
                "pages/spectrum.py",
                "Two camps",
                {"view": "break", "example": "two-blocks"},
                "They never meet. Press “Change this matrix” and let one model give weight to the other camp. What "
                "now?",
                "Now all meet where the camp that receives the weight meets. That camp gives no weight to the other, "
                "so it alone decides: π is 0 for every model of the other camp.",
            ),
        ),
    )


LESSON = Lesson(
    "Consensus",
    "Fuse the models again and again. Where do they meet, and how fast?",
    4,
    "lesson 4",
    (RUN,),
    tell,
)
