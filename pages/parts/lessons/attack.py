"""Lesson 2: where the background attack strikes. The one lesson that runs a network."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from matplotlib.figure import Figure

from arli_core import figures
from arli_core.config import Ari
from arli_core.errors import RecordError
from arli_core.figures import Row
from arli_core.records import Record

from ..shell.drawing import picture
from ..shell.run_bar import View, learned, stamp, view_masks
from .lesson import Answer, Door, Lesson, Story

if TYPE_CHECKING:
    from arli_core.analysis.bench import Strike

RUN = "scenes-ari"
STRUCK, DRAWN = 100, 5  # held-out images, evenly over the classes
SPARED = 0.1  # a tenth of its share of the pixels


def answers(share: float, level: float) -> tuple[Answer, ...]:
    """By the object's share of B∘delta. level: its share of the pixels, and so of a uniform perturbation."""
    part = share / level
    return (
        Answer(
            f"Next to none: less than {SPARED * level:.1%}",
            part < SPARED,
            "A is so near 1 on the digit that B keeps the perturbation out.",
        ),
        Answer(
            f"Some, but less than the digit's share of the pixels: {SPARED * level:.1%} to "
            f"{(1 - SPARED) * level:.1%}",
            SPARED <= part < 1 - SPARED,
            "A is high on the digit but not 1, so B is low there but not 0, and lets a part through.",
        ),
        Answer(
            f"About {level:.1%}: as if B were not there",
            1 - SPARED <= part <= 1 + SPARED,
            "A does not distinguish the digit from what is around it, so B weakens both alike.",
        ),
        Answer(
            f"More than the digit's share of the pixels: above {(1 + SPARED) * level:.1%}",
            part > 1 + SPARED,
            "A misses the digit: B is higher on it than around it.",
        ),
    )


@st.cache_resource(max_entries=4, show_spinner=False)
def _strike(digest: str, task: int, data: str, _view: View, _indices: np.ndarray) -> "Strike":
    from arli_core.analysis.bench import strike  # imported late, so that the other lessons need not wait for torch

    masks, config = view_masks(_view), _view.record.config
    assert isinstance(config, Ari)
    return strike(learned(_view), masks.images[_indices], config.attack.epsilon, masks.units[_indices])


def tell(record: Record) -> Story:
    if not isinstance(record.config, Ari) or not record.config.attack.epsilon:
        raise RecordError(f"{RUN} was trained without the background attack")
    view = View(RUN, record, len(record.tasks), 0)
    with st.spinner("Running the network over the held-out images…"):
        masks = view_masks(view)
        if masks.objects is None:
            raise RecordError(f"the data of {RUN} have no object masks")
        indices = masks.spread(STRUCK)
        outcome = _strike(*stamp(record, view.task), view, indices)
    objects, epsilon = masks.objects[indices], record.config.attack.epsilon
    change, through = abs(outcome.delta).sum(1), abs(outcome.applied).sum(1)  # [N, H, W]
    level, share = float(objects.mean()), float(through[objects].sum() / through.sum())
    drawn = np.linspace(0, len(indices) - 1, DRAWN).astype(int)
    truths = [masks.labels[index] for index in indices]
    classes = learned(view).classes
    before, after = ([classes[unit] for unit in logits.argmax(1)] for logits in (outcome.before, outcome.after))
    correct = [float(np.mean(np.equal(truths, predictions))) for predictions in (before, after)]
    images = Row("input", masks.images[indices[drawn]], "image")
    attention = Row("A", outcome.attention[drawn])

    def grid(rows: list[Row], predictions: list[str], name: str) -> None:
        pairs = [(truths[index], predictions[index]) for index in drawn]
        picture(partial(_grid, rows, pairs), f"lesson-attack-{name}")

    inside, around = float(outcome.background[objects].mean()), float(outcome.background[~objects].mean())
    return Story(
        scene=(
            "A network recognises digits on photographs. Its attention **A** is near 1 where it looks. In training, "
            "ARI computes a perturbation δ that raises the loss and changes each pixel by at most ε = "
            f"{epsilon:g} of the pixel range. It adds only **B**∘δ to the image (∘: pixel by pixel). The digit "
            f"covers {level:.1%} of the pixels of these images."
        ),
        equation=(r"\begin{aligned} B &= 1 - A\circ A \\ \tilde X &= \mathrm{clip}(X + B\circ\delta) \end{aligned}"),
        picture=lambda: grid([images, attention], before, "scene"),
        question="What share of the perturbation that gets through, |B∘δ|, lands on the digit?",
        answers=answers(share, level),
        measured=f"**{share:.1%}** of it, on {level:.1%} of the pixels ({len(indices)} held-out images).",
        figures={
            "Digit: share of |δ|": f"{change[objects].sum() / change.sum():.1%}",
            "Digit: share of |B∘δ|": f"{share:.1%}",
            "Share of |δ| let through": f"{outcome.let_through:.1%}",
            "B on the digit, mean": f"{inside:.2f}",
            "B around it, mean": f"{around:.2f}",
            "Share correct, before → after": f"{correct[0]:.2f} → {correct[1]:.2f}",
        },
        truth=lambda: grid(
            [
                images,
                attention,
                Row("B", outcome.background[drawn]),
                Row("B∘δ", outcome.applied[drawn], "change"),
                Row("attacked", outcome.attacked[drawn], "image"),
            ],
            after,
            "truth",
        ),
        why=(
            f"δ is equally strong everywhere; B is {inside:.2f} on the digit and {around:.2f} around it, on average. "
            "The square keeps B high where A is moderate: at A = 0.5, B is 0.75."
        ),
        not_shown=(
            "That such training keeps a network from using the background. It hardly does, as "
            "[Results](reference?doc=results) show for backgrounds that give the class away in training but not "
            "afterwards. With a strong attack the network relies on the background less, but loses accuracy where "
            "the background helps. Where it does not help, nothing is gained beyond chance. Nor does it show which "
            "pixels changed an answer: the part of B∘δ on the digit may have contributed."
        ),
        misconception=(
            "“The attack hides the background.” Let students compare input and attacked image: a pixel changes by ε "
            "at most. The network still uses the background. A likely reason, which was not measured: the colour and "
            "texture of the background survive."
        ),
        now_try=(
            Door(
                "pages/masks.py",
                "The attack, with sliders",
                {"run": RUN, "view": "attack"},
                "Raise ε until most answers change; then set B to 1 − A. What gets through then?",
                "Less, and nowhere more: 1 − A∘A exceeds 1 − A by A(1 − A). The difference is largest where A is a "
                "half: at the digit's edge, and wherever the network is unsure.",
            ),
            Door(
                "pages/masks.py",
                "A, over the tasks",
                {"run": RUN, "view": "drift"},
                "Step through the tasks: does A stay on the digit while new tasks are learned?",
                "Read it off the curve: an AUROC of 1 means that A is higher on every pixel of the digit than on any "
                "other; 0.5 is chance. [Results](reference?doc=results) has the mean over all held-out images after "
                "the five tasks, for five seeds.",
            ),
        ),
    )


def _grid(rows: list[Row], pairs: list[tuple[str, str]], ink: str = "black") -> Figure:
    return figures.grid(rows, pairs, "A and B", ink)


LESSON = Lesson(
    "The background attack",
    "ARI perturbs images where the network does not look. How much of that lands on the object?",
    4,
    "the idea of a gradient; loads PyTorch first (a few seconds)",
    (RUN,),
    tell,
)
