"""The benches of the Masks page: each draws one view of chosen held-out images, or of the reader's own."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from arli_core import figures
from arli_core.config import Ari, AriReleased
from arli_core.figures import HIGH_RED, Row
from arli_core.player import Curve, ImagePanel, payload
from arli_core.theory.metrics import known_mean, merits

from ..shell.drawing import picture, save_table
from ..shell.player import play
from ..shell.run_bar import View, learned, stamp

if TYPE_CHECKING:  # torch is imported only when a bench is used
    from arli_core.analysis.attribution import Attribution
    from arli_core.analysis.bench import Strike
    from arli_core.analysis.masks import Learned, Masks

Indices = np.ndarray  # indices into the held-out images
ATTACKED = "answer before → when attacked"  # for an image of unknown class


def figure9(view: View, masks: "Masks", indices: Indices) -> None:
    picture(partial(figures.figure9, masks, indices), f"figure9-{view.name}-{view.task}")
    st.caption("Above each column: class → the model's answer among all classes seen, bold if it is wrong.")
    threshold = st.slider("Threshold of A", 0.0, 1.0, 0.5, 0.05, help="For coverage and overlap.")
    measures = merits(masks.attention, masks.objects, threshold)
    names = {
        "auroc": ("AUROC", "How often an object pixel has more attention than a background pixel; 0.5 is chance."),
        "pointing": ("Pointing", "The pointing game: share of images whose highest A lies on the object."),
        "overlap": ("Overlap", "Intersection over union of A above the threshold and the object."),
        "coverage": ("Coverage", "Share of pixels with A above the threshold."),
        "mean": ("Mean of A", "Over all pixels."),
        "entropy": ("Entropy", "1: A is uniform; 0: all of A is in one pixel."),
        "saturation": ("Saturation", "Share of pixels with A below 0.05 or above 0.95."),
    }
    st.markdown(f"Means over all {len(masks):,} held-out images of the tasks seen:")
    columns = st.columns(len(names) + 1)
    columns[0].metric(
        "Correct", f"{np.mean(np.equal(masks.labels, masks.predictions)):.3f}", help="Per-sample accuracy."
    )
    for place, (key, (name, text)) in zip(columns[1:], names.items(), strict=True):
        available = key in measures
        place.metric(name, f"{known_mean(measures[key]):.3f}" if available else "–", help=text)
    _while_learning(view)


def _while_learning(view: View) -> None:
    """A of the run's probe images, in the frames of the other pages, each with the latest A so far."""
    frames, started = view.frames, view.record.started
    if started is None or not len(frames.attention):
        st.info("This run recorded no attention while it trained (recording.probes is 0).")
        return
    st.markdown(f"**While task {view.task} was learned:** A of the run's own held-out images")
    first = np.minimum(np.searchsorted(frames.iteration, frames.attention_at), len(frames) - 1)
    latest = np.append(np.diff(first) > 0, True)  # where several belong to one frame
    captions = [started.classes[unit] for unit in started.probe_units]
    panel = ImagePanel("A of held-out images", frames.attention[latest], captions, HIGH_RED, first[latest].tolist())
    legend = "Red: high attention; blue: low. Each frame shows the latest A recorded."
    data = payload([panel], [], frames.iteration.tolist(), frame=view.frame, legend=legend)
    name = f"masks-{view.name}-{view.task}"
    play(data, name, follow="frame", file=name)


def attack(view: View, masks: "Masks", indices: Indices) -> None:
    _attack(view, masks.images[indices], masks.units[indices], [masks.labels[index] for index in indices])


def _attack(view: View, images: np.ndarray, targets: np.ndarray | None, labels: list[str] | None) -> "Strike":
    """The knobs, the picture and the answers; targets and labels are None if the class is unknown."""
    from arli_core.analysis.bench import strike
    from arli_core.theory.attack import MASKS

    config = view.record.config
    attacked = isinstance(config, Ari | AriReleased)
    trained = config.attack.epsilon if attacked else 0.03
    columns = st.columns([3, 3, 2, 2], vertical_alignment="bottom")
    epsilon = columns[0].slider(
        "ε, as a share of the pixel range",
        0.0,
        max(0.5, trained),
        trained,
        0.001,
        "%.3f",
        help=f"This run was trained with {trained:.3g}." if attacked else "This run was trained without an attack.",
    )
    mask = columns[1].segmented_control("B", list(MASKS), default=next(iter(MASKS)), required=True)
    steps = columns[2].slider("Steps", 1, 10, 1, help="ARI takes one step.")
    seed = columns[3].number_input("Seed", 0, 2**31 - 1, 0, help="For the random start of δ.")
    run = learned(view)
    outcome = strike(run, images, epsilon, targets, steps, seed, mask)
    before, after = ([run.classes[unit] for unit in logits.argmax(1)] for logits in (outcome.before, outcome.after))
    truth = labels or before
    rows = [
        Row("input", images, "image"),
        Row("A", outcome.attention),
        Row(f"B = {mask}", outcome.background),
        Row("δ", outcome.delta, "change"),
        Row("B∘δ", outcome.applied, "change"),
        Row("attacked", outcome.attacked, "image"),
    ]
    answers = list(zip(truth, after, strict=True))
    above = "class → answer when attacked, bold where wrong" if labels else ATTACKED
    draw = partial(figures.grid, rows, answers, "A and B", above=above)
    picture(draw, f"attack-{view.name}-{view.task}")
    st.caption(
        "δ and B∘δ: middle grey means no change. A is computed on the input. B is computed on the image from which "
        "the attack starts: the input with random noise up to ε, as in training. Where the input has a uniform "
        "colour, B depends only on that noise."
    )
    row = np.arange(len(images))
    of = "class" if labels else "first answer"
    table = pd.DataFrame(
        {
            of: truth,
            "answer before": before,
            "answer after": after,
            f"logit of the {of} before": outcome.before[row, outcome.targets],
            f"logit of the {of} after": outcome.after[row, outcome.targets],
            "highest other logit after": _others(outcome.after, outcome.targets),
        }
    )
    columns = st.columns(3)
    if labels is None:  # the correct answer is unknown
        columns[0].metric("Answer before", ", ".join(before))
        columns[1].metric("Answer after", ", ".join(after))
    else:
        images_used = "1 image" if len(truth) == 1 else f"{len(truth)} images"
        columns[0].metric(f"Share correct before ({images_used})", f"{np.mean(np.equal(truth, before)):.2f}")
        columns[1].metric("Share correct after", f"{np.mean(np.equal(truth, after)):.2f}")
    columns[2].metric(
        "Share of δ let through by B", "–" if np.isnan(outcome.let_through) else f"{outcome.let_through:.2f}"
    )
    st.dataframe(table, hide_index=True, height="content")
    save_table(table, f"attack-{view.name}-{view.task}", "table-")
    return outcome


def _others(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    rest = logits.copy()
    rest[np.arange(len(rest)), targets] = -np.inf
    return rest.max(1)


@st.cache_data(max_entries=16, show_spinner=False)
def _attributions(key: tuple, _run: "Learned", _images: np.ndarray, _targets: np.ndarray) -> "list[Attribution]":
    from arli_core.analysis.bench import attributions

    with st.spinner("Running Captum…"):
        return list(attributions(_run, _images, _targets))


def captum(view: View, masks: "Masks", indices: Indices) -> None:
    left, right = st.columns(2, vertical_alignment="bottom")
    of = left.segmented_control(
        "Explain the logit of", ["the true class", "the network's answer"], default="the true class", required=True
    )
    threshold = right.slider("Threshold", 0.0, 1.0, 0.5, 0.05, help="For coverage and overlap.")
    run, images = learned(view), masks.images[indices]
    answers = [(masks.labels[index], masks.predictions[index]) for index in indices]
    targets = masks.units[indices]
    if of == "the network's answer":
        targets = np.array([run.classes.index(prediction) for _, prediction in answers])
    key = (*stamp(view.record, view.task), tuple(indices.tolist()), of)
    attributions = _attributions(key, run, images, targets)
    maps = {"A": masks.attention[indices]} | {attribution.method: attribution.scores for attribution in attributions}
    rows = [Row("input", images, "image"), *(Row(name, values) for name, values in maps.items())]
    name = f"captum-{view.name}-{view.task}"
    picture(
        lambda ink="black": figures.grid(rows, answers, "A, and |attribution| divided by its largest value", ink),
        name,
    )
    objects = None if masks.objects is None else masks.objects[indices]
    table = pd.DataFrame(
        {name: {key: known_mean(values) for key, values in merits(scores, objects, threshold).items()}
         for name, scores in maps.items()}
    ).T  # fmt: skip
    st.dataframe(table.style.format("{:.3f}"), height="content")
    save_table(table, name, "table-")
    st.caption(
        "The table has means over the images shown. The network computes A on its way to an answer; the other "
        "methods explain the chosen logit afterwards."
    )
    _note_level_maps(attributions)
    for attribution in attributions:
        if attribution.converged is not None and attribution.delta is not None and attribution.steps is not None:
            late = int((~attribution.converged).sum())
            tolerance = "the tolerance (1% of the difference or 0.001, whichever is larger)"
            convergence = (
                f"beyond {tolerance} for {late} of {len(images)} images even at 1,024 steps"
                if late
                else f"within {tolerance} for all images"
            )
            st.caption(
                "Integrated gradients start from the blurred image; their sum should be the difference between its "
                f"logit and that of the image. Here the error is at most {abs(attribution.delta).max():.1e}, "
                f"{convergence}; {attribution.steps.min():,} to {attribution.steps.max():,} steps were taken."
            )


def _note_level_maps(attributions: "list[Attribution]") -> None:
    for attribution in attributions:
        if attribution.note:
            st.caption(attribution.note)


@st.cache_data(max_entries=16, show_spinner=False)
def _drift(key: tuple, _view: View, _images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from arli_core.analysis.bench import drift

    with st.spinner("Running the network with the weights of every task…"):
        return drift(_view.record, _images)


def drift(view: View, masks: "Masks", indices: Indices) -> None:
    last = len(view.record.tasks)
    key = (*stamp(view.record, last), view.task, tuple(indices.tolist()))
    tasks, maps = _drift(key, view, masks.images[indices])
    captions = [masks.labels[index] for index in indices]
    panel = ImagePanel("A of these images", maps, captions, HIGH_RED, range(len(tasks)))
    curves = []
    if masks.objects is not None:
        objects = masks.objects[indices]
        curves = [Curve("AUROC of A, mean", [known_mean(merits(scores, objects)["auroc"]) for scores in maps])]
    legend = "Red: high attention; blue: low. One frame for each task."
    data = payload([panel], curves, tasks.tolist(), legend=legend, unit="after task")
    play(data, "drift-tasks", file=f"drift-{view.name}")


def stability(view: View, masks: "Masks", indices: Indices) -> None:
    from arli_core.analysis.bench import sensitivity

    objects = None if masks.objects is None else masks.objects[indices]
    effects = sensitivity(learned(view), masks.images[indices], objects)
    table = pd.DataFrame(
        {
            "change of the image": [effect.change for effect in effects],
            "correlation of A": [effect.correlation for effect in effects],
            "largest change of A": [effect.difference for effect in effects],
            "AUROC after": [effect.auroc for effect in effects],
            "same answer": [effect.same_answer for effect in effects],
        }
    ).set_index("change of the image")
    formats = {"correlation of A": "{:.3f}", "largest change of A": "{:.1e}", "AUROC after": "{:.3f}"}
    st.dataframe(table.style.format({**formats, "same answer": "{:.2f}"}, na_rep="–"))
    save_table(table, f"stability-{view.name}-{view.task}")
    st.caption(
        "If A follows the object, A stays the same when the image is brightened or inverted, and moves along when "
        "the image is shifted."
    )


def own_image(view: View, masks: "Masks", indices: Indices) -> None:
    from arli_core.analysis.uploads import read_upload

    file = st.file_uploader("An image: PNG, JPEG or WebP", type=["png", "jpg", "jpeg", "webp"])
    if file is None:
        st.info(
            "Your image will be cropped to its central square and resized to the network's image size. It is not "
            "stored."
        )
        return
    shape = masks.images.shape[1:]
    upload = read_upload(file.getvalue(), file.name, (shape[0], shape[1], shape[2]))
    left, right = st.columns([1, 4])
    left.image(upload.original, caption=f"{upload.name}, {upload.size[0]}x{upload.size[1]}", alt=upload.name)
    right.markdown("\n".join(f"- {note}" for note in upload.notes) or "Used as it is.")
    with right:
        st.caption("The network answers with one of the classes it knows, whatever the image shows.")
    outcome = _attack(view, upload.image[None], None, None)
    run = learned(view)
    key = (*stamp(view.record, view.task), upload.image.tobytes())
    attributions = _attributions(key, run, upload.image[None], outcome.targets)
    answer = run.classes[outcome.targets[0]]
    rows = [Row("input", upload.image[None], "image"), Row("A", outcome.attention)]
    rows += [Row(attribution.method, attribution.scores) for attribution in attributions]
    name = f"own-image-{view.name}-{view.task}"
    answers = [(answer, run.classes[outcome.after[0].argmax()])]
    picture(partial(figures.grid, rows, answers, "A and attributions", above=ATTACKED), name)
    _note_level_maps(attributions)
