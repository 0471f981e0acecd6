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

from ..drawing import picture
from ..run_bar import View, learned, masks, stamp
from .lesson import Answer, Door, Lesson, Told

if TYPE_CHECKING:
    from arli_core.bench import Strike

RUN = "scenes-ari"
STRUCK, DRAWN = 100, 5  # held-out images, evenly over the classes
SPARED = 0.1  # a tenth of a level share


def answers(share: float, level: float) -> tuple[Answer, ...]:
    """By the object's share of B∘delta, beside its share of the pixels, which a level perturbation would have."""
    part = share / level
    return (
        Answer(
            f"Next to none: less than {SPARED * level:.1%}",
            part < SPARED,
            "A is so near 1 on the digit that B shuts the perturbation out.",
        ),
        Answer(
            f"Some, but less than its share: {SPARED * level:.1%} to {(1 - SPARED) * level:.1%}",
            SPARED <= part < 1 - SPARED,
            "A is high on the digit, but not 1, and so B is low there, but not 0: what A leaves open gets through.",
        ),
        Answer(
            f"About {level:.1%}: as if B were not there",
            1 - SPARED <= part <= 1 + SPARED,
            "A does not tell the digit from what is around it, and so B takes from both alike.",
        ),
        Answer(
            f"More than its share: above {(1 + SPARED) * level:.1%}",
            part > 1 + SPARED,
            "A looks past the digit: B is higher on it than around it.",
        ),
    )


@st.cache_resource(max_entries=4, show_spinner=False)
def _struck(digest: str, task: int, data: str, _view: View, _chosen: np.ndarray) -> "Strike":
    from arli_core.bench import strike  # here, so that the other lessons need not wait for torch

    found, config = masks(_view), _view.record.config
    assert isinstance(config, Ari)
    return strike(learned(_view), found.images[_chosen], config.attack.epsilon, found.units[_chosen])


def tell(record: Record) -> Told:
    if not isinstance(record.config, Ari) or not record.config.attack.epsilon:
        raise RecordError(f"{RUN} was trained without the background attack")
    view = View(RUN, record, len(record.tasks), 0)
    with st.spinner("Running the network over the held-out images…"):
        found = masks(view)
        if found.objects is None:
            raise RecordError(f"the data of {RUN} do not say where the object is")
        chosen = found.spread(STRUCK)
        done = _struck(*stamp(record, view.task), view, chosen)
    objects, epsilon = found.objects[chosen], record.config.attack.epsilon
    change, through = abs(done.delta).sum(1), abs(done.applied).sum(1)  # [N, H, W]
    level, share = float(objects.mean()), float(through[objects].sum() / through.sum())
    drawn = np.linspace(0, len(chosen) - 1, DRAWN).astype(int)
    truths = [found.labels[index] for index in chosen]
    classes = learned(view).classes
    before, after = ([classes[unit] for unit in logits.argmax(1)] for logits in (done.before, done.after))
    correct = [float(np.mean(np.equal(truths, said))) for said in (before, after)]
    images = Row("input", found.images[chosen[drawn]], "image")
    attention = Row("A", done.attention[drawn])

    def grid(rows: list[Row], said: list[str], name: str) -> None:
        pairs = [(truths[index], said[index]) for index in drawn]
        picture(partial(_grid, rows, pairs), f"lesson-attack-{name}")

    inside, around = float(done.background[objects].mean()), float(done.background[~objects].mean())
    return Told(
        scene=(
            "A network looks for digits on photographs; its attention **A** is near 1 where it looks. While ARI "
            f"trains, it shifts every pixel by at most ε = {epsilon:g} of the pixel range, in the direction δ that "
            "raises the loss, and lets **B**∘δ through. "
            f"The digit covers {level:.1%} of the pixels of these images."
        ),
        equation=(r"\begin{aligned} B &= 1 - A\circ A \\ \tilde X &= \mathrm{clip}(X + B\circ\delta) \end{aligned}"),
        picture=lambda: grid([images, attention], before, "scene"),
        question="What share of the perturbation that gets through, |B∘δ|, lands on the digit?",
        answers=answers(share, level),
        measured=f"**{share:.1%}** of it, on {level:.1%} of the pixels ({len(chosen)} held-out images).",
        figures={
            "Digit: share of |δ|": f"{change[objects].sum() / change.sum():.1%}",
            "Digit: share of |B∘δ|": f"{share:.1%}",
            "Share of |δ| let through": f"{done.let_through:.1%}",
            "B on the digit, mean": f"{inside:.2f}",
            "B around it, mean": f"{around:.2f}",
            "Correct before, after": f"{correct[0]:.2f} → {correct[1]:.2f}",
        },
        truth=lambda: grid(
            [
                images,
                attention,
                Row("B", done.background[drawn]),
                Row("B∘δ", done.applied[drawn], "change"),
                Row("attacked", done.attacked[drawn], "image"),
            ],
            after,
            "truth",
        ),
        why=(
            f"δ strikes everywhere alike; B is {inside:.2f} on the digit and {around:.2f} around it, on average. The "
            "square keeps B high where A is middling: at A = 0.5, B is 0.75."
        ),
        not_shown=(
            "That training so keeps a network off the background. Where backgrounds tell the class in training "
            "and not afterwards, [it hardly does](reference?doc=results): with a strong attack the network "
            "relies on the background less, but loses where the background helps, and where it does not help "
            "nothing is gained beyond chance. Nor which pixels changed an answer: what of B∘δ lies on the digit "
            "may have, too."
        ),
        misconception=(
            "“The attack hides the background.” Let them compare input and attacked image: a pixel moves by ε at "
            "most. A likely reason, not measured, why the network goes on using the background: its colour and "
            "texture survive."
        ),
        now_try=(
            Door(
                "pages/masks.py",
                "The attack, with its knobs",
                {"run": RUN, "view": "attack"},
                "Raise ε until most answers change; then set B to 1 − A. What gets through then?",
                "Less, and nowhere more: 1 − A∘A exceeds 1 − A by A(1 − A), most where A is a half, at the digit's "
                "rim and on what the network is unsure of.",
            ),
            Door(
                "pages/masks.py",
                "A, over the tasks",
                {"run": RUN, "view": "drift"},
                "Step through the tasks: does A stay on the digit while new ones are learned?",
                "Read it off the curve: an AUROC of 1 is every pixel of the digit above every other, 0.5 is chance. "
                "[Results](reference?doc=results) has the mean over all held-out images after the five tasks, of "
                "five seeds.",
            ),
        ),
    )


def _grid(rows: list[Row], pairs: list[tuple[str, str]], ink: str = "black") -> Figure:
    return figures.grid(rows, pairs, "A and B", ink)


LESSON = Lesson(
    "The background attack",
    "ARI perturbs images where the network does not look. How much of that lands on the object?",
    4,
    "gradients; loads PyTorch first (seconds)",
    (RUN,),
    tell,
)
