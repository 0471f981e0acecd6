"""Printed figures: values in, a matplotlib Figure out; never pyplot, whose state all sessions of a process share.

A figure's label says what it shows, for those who do not see it.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import matplotlib
import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from .errors import LabError
from .statistics import Interval

KINDS = ("png", "pdf", "svg")
RED, BLUE, ORANGE, VIOLET = "#d6604d", "#4393c3", "#e08214", "#5e4fa2"
# Lines that also differ where red and green look alike, and in print: by lightness, marker and dashes.
LINES = (BLUE, ORANGE, "#9970ab", "#1b9e8f", "#8a8a8a", "#c2a21c", RED, VIOLET)
MARKERS = "osD^vPX*"
DASHES = ("-", "--", "-.", ":")
GAP = 0.06  # between two pictures of a grid, of a picture's width
HIGH_RED = "RdYlBu_r"  # high values red, low values blue, as in the paper's Fig. 9


class MasksDrawn(Protocol):
    """What `figure9` draws of attention.Masks, so that drawing needs no torch."""

    @property
    def images(self) -> NDArray[np.uint8]: ...  # [N, C, H, W]

    @property
    def attention(self) -> NDArray[np.float32]: ...  # [N, H, W]

    @property
    def background(self) -> NDArray[np.float32]: ...  # [N, H, W]

    @property
    def labels(self) -> Sequence[str]: ...  # [N]

    @property
    def predictions(self) -> Sequence[str]: ...  # [N]


@dataclass(frozen=True, eq=False)
class Row:
    """One row of `grid`: N pictures of one kind.

    image   [N, C, H, W], uint8 or in [0, 1]
    map     [N, H, W] in [0, 1], red high and blue low, all on the one colour bar
    change  [N, C, H, W], drawn about middle grey, which is 0; the row's largest change is black or white
    """

    name: str
    values: NDArray[Any]
    kind: Literal["image", "map", "change"] = "map"


def figure9(masks: MasksDrawn, indices: Sequence[int] | NDArray[np.int64], ink: str = "black") -> Figure:
    """Fig. 9 of the supplement: the images at `indices` as columns; rows input, A and B = 1 - A∘A.

    One colour bar for A and B, fixed to 0..1 so that figures can be compared. Above each column: class -> prediction.
    """
    rows = [
        Row("input", masks.images[indices], "image"),
        Row("A", masks.attention[indices]),
        Row("B = 1 − A∘A", masks.background[indices]),
    ]
    answers = [(masks.labels[index], masks.predictions[index]) for index in indices]
    return grid(rows, answers, "A and B", ink)


def grid(rows: Sequence[Row], answers: Sequence[tuple[str, str]], maps: str, ink: str = "black") -> Figure:
    """Images as columns, what is known of them as rows; above each column class -> prediction, from `answers` [N].

    `maps` says at the colour bar what the maps show.
    """
    columns, (height, width) = len(answers), rows[0].values.shape[-2:]
    gap = max(1, round(width * GAP))
    step = width + gap
    figure = Figure(figsize=(1.6 + 1.05 * columns, 0.5 + 1.1 * len(rows)), layout="constrained")
    told = ", ".join(f"{label} answered {prediction}" for label, prediction in answers)
    figure.set_label(f"A column for each image ({told}), with rows: {', '.join(row.name for row in rows)}")
    figure.patch.set_alpha(0)
    # A pair of axes and one image for each row, not for each picture: drawing 144 of them takes ten times as long.
    strips = figure.subplots(len(rows), squeeze=False)[:, 0]
    drawn = None
    for row, strip in zip(rows, strips, strict=True):
        image = strip.imshow(_side_by_side(row, gap), cmap=HIGH_RED if row.kind == "map" else "gray", vmin=0, vmax=1)
        drawn = image if row.kind == "map" else drawn
        strip.set(xticks=[], yticks=[])
        strip.set_ylabel(row.name if len(row.name) < 13 else row.name.replace(" ", "\n", 1), fontsize=11)
        strip.spines[:].set_visible(False)
        strip.patch.set_alpha(0)
    for column, (label, prediction) in enumerate(answers):
        bold = "bold" if label != prediction else "normal"
        place = (column * step + (width - 1) / 2, -0.5 - height * GAP)
        strips[0].text(*place, f"{label} → {prediction}", fontsize=11, fontweight=bold, color=ink, ha="center")
    if drawn is not None:
        # Beside the rows of maps, yet taking its room from all, so that the columns stay in line.
        figure.colorbar(drawn, ax=strips.tolist(), label=maps, ticks=[0, 0.5, 1], shrink=0.62, anchor=(0, 0))
    figure.supxlabel("above: class → prediction, bold where wrong", fontsize=10, color=ink)
    for each in figure.axes:
        _colour(each, ink)
    return figure


def _side_by_side(row: Row, gap: int) -> NDArray[np.floating]:
    """A row's pictures in one, `gap` empty pixels apart: [H, W'] of shades in 0..1, or [H, W', 4] of colours."""
    values = row.values.astype(np.float64)
    if row.kind == "change":
        values = 0.5 + values / (2 * (abs(values).max() or 1))
    elif row.kind == "image" and row.values.dtype == np.uint8:
        values = values / 255
    if values.ndim == 4:
        colours = values.shape[1] == 3
        values = np.moveaxis(values, 1, -1) if colours else values[:, 0]
        if colours:
            values = np.concatenate([values, np.ones((*values.shape[:-1], 1))], -1)
    # Emptiness is a shade that is no number, and a colour of no opacity.
    margin = np.full((*values.shape[:2], gap, *values.shape[3:]), 0.0 if values.ndim == 4 else np.nan)
    return np.concatenate([*np.concatenate([values, margin], 2)], 1)[:, :-gap]


def strips(rows: Sequence[tuple[str, NDArray[Any], bool]], ink: str = "black") -> Figure:
    """Rows of images, each with its name, its images [N, C, H, W] in [0, 1] and whether it is marked: orange."""
    most, (height, width) = max(len(images) for _, images, _ in rows), rows[0][1].shape[-2:]
    step = width * (1 + GAP)
    figure = Figure(figsize=(2.2 + 0.62 * most, 0.72 * len(rows)), layout="constrained")
    figure.set_label(f"Rows of images: {', '.join(name for name, *_ in rows)}")
    figure.patch.set_alpha(0)
    for (name, images, marked), axes in zip(rows, figure.subplots(len(rows), squeeze=False)[:, 0], strict=True):
        for column, image in enumerate(images):
            shown = image.transpose(1, 2, 0)
            place = (column * step, column * step + width, height, 0)
            axes.imshow(shown.squeeze(-1) if len(image) == 1 else shown, cmap="gray", vmin=0, vmax=1, extent=place)
            if marked:
                frame = Rectangle((column * step, 0), width, height, fill=False, edgecolor=ORANGE, linewidth=2.5)
                axes.add_patch(frame)
        axes.set(xlim=(-1, most * step), ylim=(height + 1, -1), xticks=[], yticks=[])
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11, fontweight="bold" if marked else None)
        axes.spines[:].set_visible(False)
        axes.patch.set_alpha(0)
        axes.yaxis.label.set_color(ink)
    return figure


def bars(
    groups: Mapping[str, NDArray[np.float64]],
    names: Sequence[str],
    what: str,
    top: float | None = None,
    ink: str = "black",
) -> Figure:
    """One to three groups of values [N] side by side as bars, by their names; `what` says what they are.

    top: where the axis ends, so that two pictures can be compared; above the highest bar where left out.
    """
    told = "; ".join(f"{name}: {_told(names, values)}" for name, values in groups.items())
    figure, axes = _axes((4.2, 2.9), ink, f"{what} as bars, {told}")
    width = 0.8 / len(groups)
    for at, (name, values, colour) in enumerate(zip(groups, groups.values(), (BLUE, ORANGE, VIOLET), strict=False)):
        axes.bar(np.arange(len(names)) - 0.4 + (at + 0.5) * width, values, width, color=colour, label=name)
    step = 1 if len(names) <= 12 else 10  # as many names as can be read
    axes.set_xticks(range(0, len(names), step), names[::step], fontsize=11)
    axes.set_ylabel(what)
    axes.set_ylim(0, top or 1.3 * max(float(np.nanmax(values)) for values in groups.values()) or 1)
    if len(groups) > 1:
        axes.legend(labelcolor=ink, frameon=False, loc="upper left", ncols=len(groups))
    return figure


def unit_disc(eigenvalues: NDArray[np.complex128], ink: str = "black") -> Figure:
    """Eigenvalues on the complex unit disc: the first red, the others blue, |lambda_2| as a dashed circle."""
    told = ", ".join(f"{value:.3g}" for value in eigenvalues)
    figure, axes = _axes((3.1, 3.1), ink, f"Eigenvalues in the complex unit disc: {told}")
    angle = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(angle), np.sin(angle), color=ink, linewidth=1)
    axes.axhline(0, color=ink, linewidth=0.5)
    axes.axvline(0, color=ink, linewidth=0.5)
    if len(eigenvalues) > 1:
        second = abs(eigenvalues[1])
        circle = (second * np.cos(angle), second * np.sin(angle))
        axes.plot(*circle, color=BLUE, linewidth=1, linestyle="--", label="|λ₂|")
    # Blue is much the smaller and on top: where lambda = 1 comes twice, both dots are seen.
    first, others = eigenvalues[:1], eigenvalues[1:]
    axes.scatter(first.real, first.imag, s=170, color=RED, edgecolor=ink, linewidth=0.8, zorder=3, label="λ = 1")
    axes.scatter(others.real, others.imag, s=35, color=BLUE, edgecolor=ink, linewidth=0.6, zorder=4, label="others")
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal", xlabel="real part", ylabel="imaginary part")
    axes.set(xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    figure.legend(
        labelcolor=ink, frameon=False, loc="outside upper center", ncols=3, columnspacing=1, handlelength=1.2
    )
    return figure


def limit_weights(
    measured: NDArray[np.float64], closed_form: NDArray[np.float64] | None, names: Sequence[str], ink: str = "black"
) -> Figure:
    """The left eigenvector pi [m] as bars, its closed form, where it has one, as dots, and the equal share 1/m."""
    figure, axes = _axes((3.7, 3.1), ink, f"Weights in the limit as bars: {_told(names, measured)}")
    axes.bar(range(len(names)), measured, color=BLUE, label="left eigenvector π, measured")
    if closed_form is not None:
        axes.scatter(range(len(names)), closed_form, color=RED, zorder=3, label="row sums of dif / sum of dif")
    _shares(axes, names, max(measured.max(), 1 / len(names)), "weight in the limit", ink)
    return figure


def fusion_weights(rows: Mapping[str, NDArray[np.float64]], names: Sequence[str], ink: str = "black") -> Figure:
    """The weights [m] that models bring to phi_f as bars, one or two such rows side by side, by their names."""
    told = "; ".join(f"{name}: {_told(names, weights)}" for name, weights in rows.items())
    figure, axes = _axes((4.6, 2.9), ink, f"Weights in phi_f as bars, {told}")
    width = 0.8 / len(rows)
    for at, (name, weights, colour) in enumerate(zip(rows, rows.values(), (BLUE, ORANGE), strict=False)):
        axes.bar(np.arange(len(names)) - 0.4 + (at + 0.5) * width, weights, width, color=colour, label=name)
    _shares(axes, names, max(row.max() for row in rows.values()), "weight in $φ_f$", ink)
    return figure


def _shares(axes: Axes, names: Sequence[str], highest: float, what: str, ink: str) -> None:
    """What bars of weights share: the equal share 1/m as a dashed line, the models' names, room for the legend."""
    axes.axhline(1 / len(names), color=ink, linewidth=1, linestyle="--", label=f"equal share 1/{len(names)}")
    axes.set_xticks(range(len(names)), [f"${name}$" for name in names], fontsize=13)
    axes.set_ylabel(what)
    axes.set_ylim(0, 1.5 * highest)
    axes.legend(labelcolor=ink, frameon=False, loc="upper right")


def accuracy_matrix(accuracy: NDArray[np.float64], names: Sequence[str], ink: str = "black") -> Figure:
    """R [N, N] as a heat map: row = after learning a task, column = on a task, 0..1, empty above the diagonal."""
    figure, axes = _axes((4.8, 3.4), ink, f"Accuracies after the last task: {_told(names, accuracy[-1])}")
    seaborn.heatmap(
        accuracy,
        mask=np.isnan(accuracy),
        vmin=0,
        vmax=1,
        cmap="viridis",
        annot=True,
        fmt=".2f",
        square=True,
        xticklabels=list(names),
        yticklabels=list(names),
        cbar_kws={"label": "accuracy"},
        ax=axes,
    )
    for each in figure.axes:
        _colour(each, ink)
    axes.set(xlabel="on task", ylabel="after learning task")
    axes.tick_params(axis="both", labelrotation=0)
    return figure


def intervals(
    rows: Mapping[str, tuple[Interval, Sequence[float]]],
    what: str,
    reference: str | None = None,
    within: float | None = None,
    ink: str = "black",
) -> Figure:
    """By name, from top down, an interval as a bar, its mean as a dot, and the values it is of as faint dots.

    The reference is orange, its mean a dashed line. Differences have none: their line is at 0, and means get a sign.
    within: only this far from the line is drawn, and arrows point at what lies farther off.
    """
    told = ", ".join(
        f"{name} {interval.mean:.3f}" for name, (interval, _) in rows.items() if interval.mean is not None
    )
    figure, axes = _axes((5.4, 0.9 + 0.34 * max(len(rows), 3)), ink, f"{what}, means with intervals: {told}")
    centre = rows[reference][0].mean if reference else 0.0
    known = [each for interval, values in rows.values() for each in (interval.low, interval.high, *values)]
    ends = [each for each in known if each is not None]
    if within is not None and centre is not None:
        axes.set_xlim(centre - within, centre + within)
    elif ends:
        margin = 0.04 * (max(ends) - min(ends) or 1)
        axes.set_xlim(min(ends) - margin, max(ends) + margin)
    if centre is not None and axes.get_xlim()[0] <= centre <= axes.get_xlim()[1]:
        axes.axvline(centre, color=ORANGE if reference else ink, linewidth=1, linestyle="--", zorder=0)
    for at, (name, (interval, values)) in enumerate(rows.items()):
        _interval(axes, at, interval, values, ORANGE if name == reference else BLUE, bool(reference), ink)
    axes.set_yticks(range(len(rows)), [name.replace(" ", "\n", 1) for name in rows])
    for label in axes.get_yticklabels():
        label.set_fontsize(9 if "\n" in label.get_text() else 10)
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=what)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def _interval(
    axes: Axes, at: int, interval: Interval, values: Sequence[float], colour: str, plain: bool, ink: str
) -> None:
    """A row of `intervals`, its mean written at the right; plain: without a sign."""
    if interval.mean is None:
        return
    left, right = axes.get_xlim()
    axes.text(1.01, at, f"{interval.mean:{'' if plain else '+'}.3f}", color=ink, fontsize=9, va="center",
              transform=axes.get_yaxis_transform())  # fmt: skip
    if not left <= interval.mean <= right:
        edge, marker = (0.015, "<") if interval.mean < left else (0.985, ">")
        axes.plot(edge, at, marker, color=colour, markersize=9, transform=axes.get_yaxis_transform())
        return
    axes.scatter(values, [at + 0.25] * len(values), s=12, color=colour, alpha=0.6, linewidth=0)
    if interval.low is not None and interval.high is not None:
        axes.plot((interval.low, interval.high), (at, at), color=colour, linewidth=2.5, solid_capstyle="butt")
    axes.plot(interval.mean, at, "o", color=colour, markersize=7, markeredgecolor=ink)


def curves(lines: Mapping[str, Mapping[Any, Interval]], setting: str, what: str, ink: str = "black") -> Figure:
    """By name, a line of means over the values of a setting, each with its interval; values in their given order.

    Numbers stand where they belong, on a logarithmic axis where they span more than a power of ten; anything else
    stands side by side.
    """
    figure, axes = _axes((5.4, 3.9), ink, f"{what} over {setting} as lines with intervals: {', '.join(lines)}")
    every = list(dict.fromkeys(value for line in lines.values() for value in line))
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in every)
    log = numbers and min(every) > 0 and max(every) >= 10 * min(every)
    place = {value: float(value) if numbers else at for at, value in enumerate(every)}
    span = max(place.values()) - min(place.values())
    for number, (name, line) in enumerate(lines.items()):
        aside = 0.012 * (number - (len(lines) - 1) / 2)  # so that equal values do not hide each other
        known = {value: interval for value, interval in line.items() if interval.mean is not None}
        x = np.array([place[value] for value in known])
        x = x * (1 + 2 * aside) if log else x + aside * span
        mean = np.array([interval.mean for interval in known.values()], dtype=np.float64)
        ends = np.array([(interval.low, interval.high) for interval in known.values()], dtype=np.float64)
        half = abs(ends.reshape(-1, 2).T - mean)
        axes.errorbar(
            x,
            mean,
            half,
            color=LINES[number % len(LINES)],
            marker=MARKERS[number % len(MARKERS)],
            linestyle=DASHES[number % len(DASHES)],
            capsize=2,
            label=name,
        )
    if log:
        axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks([place[value] for value in every], [str(value) for value in every])
    axes.set(xlabel=setting, ylabel=what)
    axes.legend(labelcolor=ink, frameon=False, fontsize=9)
    return figure


def accuracy_over_tasks(runs: Mapping[str, NDArray[np.float64]], ink: str = "black") -> Figure:
    """By name, R [N, N] of a run: a panel for each task with its accuracy after each task learned, all on one scale,
    and before them the mean over the tasks learned so far."""
    tasks = max(len(accuracy) for accuracy in runs.values())
    columns = 3 if tasks < 9 else 4
    rows = -(-(tasks + 1) // columns)
    figure = Figure(figsize=(5.4, 1.1 + 1.5 * rows), layout="constrained")
    told = ", ".join(f"{name} {accuracy[-1].mean():.2f}" for name, accuracy in runs.items())
    figure.set_label(f"Accuracy on each task over the tasks learned, as lines; their mean in the end: {told}")
    figure.patch.set_alpha(0)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for panel, axes in enumerate(panels):
        axes.patch.set_alpha(0)
        _colour(axes, ink)
        if panel > tasks:
            axes.set_visible(False)
            continue
        axes.set_title("mean of all learned" if panel == 0 else f"on task {panel}", color=ink, fontsize=10)
        axes.set(xlim=(0.7, tasks + 0.3), ylim=(-0.03, 1.03), xticks=range(1, tasks + 1))
        axes.tick_params(labelsize=9, labelbottom=panel + columns > tasks)
        for number, (name, accuracy) in enumerate(runs.items()):
            after = np.arange(1, len(accuracy) + 1)
            if panel > len(accuracy):
                continue
            mean = [row[:task].mean() for task, row in zip(after, accuracy, strict=True)]
            axes.plot(
                after,
                accuracy[:, panel - 1] if panel else mean,
                color=LINES[number],
                marker=MARKERS[number],
                markersize=4,
                linestyle=DASHES[number],
                label=name,
            )
    figure.supxlabel("after learning task", fontsize=10, color=ink)
    figure.supylabel("accuracy", fontsize=10, color=ink)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=2, frameon=False, labelcolor=ink, fontsize=10)
    return figure


def distances(matrix: NDArray[np.float64], names: Sequence[str], what: str, ink: str = "black") -> Figure:
    """D or dif [m, m] as a heat map, 0 dark and its largest entry yellow; `what` names it at the colour bar."""
    figure, axes = _axes((4.2, 3.1), ink, f"{what}, its last row: {_told(names, matrix[-1])}")
    ticks = [f"${name}$" for name in names]
    seaborn.heatmap(
        matrix,
        vmin=0,
        vmax=float(matrix.max()) or 1,
        cmap="viridis",
        annot=True,
        fmt=".0f" if matrix.max() > 99 else ".2f",
        square=True,
        xticklabels=ticks,
        yticklabels=ticks,
        cbar_kws={"label": what},
        ax=axes,
    )
    for each in figure.axes:
        _colour(each, ink)
    axes.tick_params(axis="both", labelrotation=0, labelsize=12)
    return figure


def dif_star(matrix: NDArray[np.float64], names: Sequence[str], ink: str = "black") -> Figure:
    """dif* [m, m] as a heat map, white at the equal share 1/m, blue at 0, red from 2/m on; the last row outlined."""
    figure, axes = _axes((4.2, 3.1), ink, f"dif*, its last row: {_told(names, matrix[-1])}")
    ticks = [f"${name}$" for name in names]
    seaborn.heatmap(
        matrix,
        vmin=0,
        vmax=2 / len(matrix),
        cmap="RdBu_r",
        annot=True,
        fmt=".2f",
        square=True,
        xticklabels=ticks,
        yticklabels=ticks,
        cbar_kws={"label": "weight"},
        ax=axes,
    )
    for each in figure.axes:
        _colour(each, ink)
    last = len(matrix) - 1
    axes.add_patch(Rectangle((0, last), len(matrix), 1, fill=False, edgecolor=ink, linewidth=2, clip_on=False))
    axes.tick_params(axis="both", labelrotation=0, labelsize=12)
    return figure


def confusion(counts: NDArray[np.int64], names: Sequence[str], ink: str = "black") -> Figure:
    """Row = class, column = answer [C, C]; colour is the share of the class, 0..1, the numbers are samples."""
    right = counts.diagonal() / np.maximum(counts.sum(1), 1)
    figure, axes = _axes(
        (4.8, 3.8), ink, f"Confusion matrix; share of each class answered right: {_told(names, right)}"
    )
    few = len(counts) <= 12
    seaborn.heatmap(
        counts / np.maximum(counts.sum(1, keepdims=True), 1),
        vmin=0,
        vmax=1,
        cmap="viridis",
        annot=counts if few else False,
        fmt="d",
        annot_kws={"size": 8},
        square=True,
        xticklabels=list(names) if few else 10,
        yticklabels=list(names) if few else 10,
        cbar_kws={"label": "share of the class"},
        ax=axes,
    )
    for each in figure.axes:
        _colour(each, ink)
    axes.set(xlabel="answer", ylabel="class")
    axes.tick_params(axis="both", labelrotation=0)
    return figure


def vote_curves(
    groups: Sequence[int],
    curves: Mapping[str, NDArray[np.float64]],
    alone: Mapping[str, float],
    chosen: int,
    ink: str = "black",
) -> Figure:
    """Accuracy of the vote [P] over the group size p, one line a run; dotted, the same run without a vote."""
    told = ", ".join(f"{name} {values[-1]:.2f}" for name, values in curves.items())
    figure, axes = _axes((5.4, 3.4), ink, f"Accuracy of the vote over the group size; for the largest {told}")
    for (name, values), colour in zip(curves.items(), (RED, BLUE), strict=False):
        axes.plot(groups, values, color=colour, marker="o", markersize=3, label=name)
        axes.axhline(alone[name], color=colour, linestyle=":", linewidth=1.2)
    axes.axvline(chosen, color=ink, linewidth=1, linestyle="--")
    axes.set(xscale="log", ylim=(0, 1.02), xlabel="p, samples that vote together", ylabel="accuracy, mean over tasks")
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    axes.minorticks_off()
    figure.legend(labelcolor=ink, frameon=False, loc="outside upper center", ncols=len(curves))
    return figure


def _told(names: Sequence[str], values: NDArray[np.float64]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in zip(names, values, strict=True))


def _axes(size: tuple[float, float], ink: str, label: str) -> tuple[Figure, Axes]:
    """One pair of axes without a ground of its own: a page's light or dark one shows through."""
    figure = Figure(figsize=size, layout="constrained")
    figure.set_label(label)
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    _colour(axes, ink)
    return figure, axes


def _colour(axes: Axes, ink: str) -> None:
    """Text and lines in `ink`."""
    axes.tick_params(colors=ink)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(ink)
    for spine in axes.spines.values():
        spine.set_color(ink)


def kind_of(path: Path) -> str:
    """`png`, `pdf` or `svg`, from a file's suffix; LabError for another."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in KINDS:
        endings = ", ".join(f".{each}" for each in KINDS)
        raise LabError(f"{path} has no ending of a known figure format; valid endings: {endings}")
    return kind


def export(figure: Figure, kind: str) -> bytes:
    """The file of a figure; the text of a pdf or svg stays text, which can be searched and edited."""
    content = io.BytesIO()
    figure.patch.set_alpha(1)  # a file is looked at on any ground, and so brings its own
    with matplotlib.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):
        figure.savefig(content, format=kind, dpi=200)
    return content.getvalue()
