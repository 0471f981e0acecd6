"""Printed figures: values in, a matplotlib Figure out; never pyplot, whose state all sessions of a process share."""

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

KINDS = ("png", "pdf", "svg")
RED, BLUE, ORANGE = "#d6604d", "#4393c3", "#e08214"
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
    step = width * (1 + GAP)
    figure = Figure(figsize=(1.6 + 1.05 * columns, 0.5 + 1.1 * len(rows)), layout="constrained")
    figure.patch.set_alpha(0)
    # A pair of axes for each row, not for each picture: laying out 144 of them takes ten times as long.
    strips = figure.subplots(len(rows), squeeze=False)[:, 0]
    drawn = None
    for row, strip in zip(rows, strips, strict=True):
        largest = abs(row.values).max() if row.kind == "change" else 1
        for column, values in enumerate(row.values):
            place = {"extent": (column * step, column * step + width, height, 0)}
            if row.kind == "map":
                drawn = strip.imshow(values, cmap=HIGH_RED, vmin=0, vmax=1, **place)
                continue
            # imshow takes whole numbers as 0..255 and others as 0..1 where there are colours.
            shown = 0.5 + values / (2 * (largest or 1)) if row.kind == "change" else values
            picture = shown.transpose(1, 2, 0).squeeze(-1) if len(shown) == 1 else shown.transpose(1, 2, 0)
            strip.imshow(picture, cmap="gray", vmin=0, vmax=255 if picture.dtype == np.uint8 else 1, **place)
        strip.set(xlim=(0, columns * step - width * GAP), ylim=(height, 0), xticks=[], yticks=[])
        strip.set_ylabel(row.name, fontsize=11)
        strip.spines[:].set_visible(False)
        strip.patch.set_alpha(0)
    for column, (label, prediction) in enumerate(answers):
        bold = "bold" if label != prediction else "normal"
        place = (column * step + width / 2, -height * GAP)
        strips[0].text(*place, f"{label} → {prediction}", fontsize=11, fontweight=bold, color=ink, ha="center")
    if drawn is not None:
        # Beside the rows of maps, yet taking its room from all, so that the columns stay in line.
        figure.colorbar(drawn, ax=strips.tolist(), label=maps, ticks=[0, 0.5, 1], shrink=0.62, anchor=(0, 0))
    figure.supxlabel("above: class → prediction, bold where wrong", fontsize=8, color=ink)
    for each in figure.axes:
        _colour(each, ink)
    return figure


def strips(rows: Sequence[tuple[str, NDArray[Any], bool]], ink: str = "black") -> Figure:
    """Rows of images, each with its name, its images [N, C, H, W] in [0, 1] and whether it is marked: orange."""
    most, (height, width) = max(len(images) for _, images, _ in rows), rows[0][1].shape[-2:]
    step = width * (1 + GAP)
    figure = Figure(figsize=(2.2 + 0.62 * most, 0.72 * len(rows)), layout="constrained")
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
    figure, axes = _axes((4.2, 2.9), ink)
    width = 0.8 / len(groups)
    for at, (name, values, colour) in enumerate(zip(groups, groups.values(), (BLUE, ORANGE, RED), strict=False)):
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
    figure, axes = _axes((3.5, 3.3), ink)
    angle = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(angle), np.sin(angle), color=ink, linewidth=1)
    axes.axhline(0, color=ink, linewidth=0.5)
    axes.axvline(0, color=ink, linewidth=0.5)
    if len(eigenvalues) > 1:
        second = abs(eigenvalues[1])
        axes.plot(second * np.cos(angle), second * np.sin(angle), color=BLUE, linewidth=1, linestyle="--")
    # Blue is the smaller and on top: where lambda = 1 comes twice, both dots are seen.
    axes.scatter(eigenvalues.real[:1], eigenvalues.imag[:1], s=110, color=RED, edgecolor=ink, zorder=3)
    axes.scatter(eigenvalues.real[1:], eigenvalues.imag[1:], s=45, color=BLUE, edgecolor=ink, zorder=4)
    axes.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), aspect="equal", xlabel="real part", ylabel="imaginary part")
    return figure


def limit_weights(
    measured: NDArray[np.float64], closed_form: NDArray[np.float64] | None, names: Sequence[str], ink: str = "black"
) -> Figure:
    """The left eigenvector pi [m] as bars, its closed form, where it has one, as dots, and the equal share 1/m."""
    figure, axes = _axes((4.2, 3.3), ink)
    axes.bar(range(len(names)), measured, color=BLUE, label="left eigenvector π, measured")
    if closed_form is not None:
        axes.scatter(range(len(names)), closed_form, color=RED, zorder=3, label="row sums of dif / sum of dif")
    _shares(axes, names, max(measured.max(), 1 / len(names)), "weight in the limit", ink)
    return figure


def fusion_weights(rows: Mapping[str, NDArray[np.float64]], names: Sequence[str], ink: str = "black") -> Figure:
    """The weights [m] that models bring to phi_f as bars, one or two such rows side by side, by their names."""
    figure, axes = _axes((5.2, 2.9), ink)
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
    figure, axes = _axes((4.8, 3.4), ink)
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


def distances(matrix: NDArray[np.float64], names: Sequence[str], what: str, ink: str = "black") -> Figure:
    """D or dif [m, m] as a heat map, 0 dark and its largest entry yellow; `what` names it at the colour bar."""
    figure, axes = _axes((4.8, 3.4), ink)
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
    axes.tick_params(axis="both", labelrotation=0)
    return figure


def dif_star(matrix: NDArray[np.float64], names: Sequence[str], ink: str = "black") -> Figure:
    """dif* [m, m] as a heat map, white at the equal share 1/m, blue at 0, red from 2/m on; the last row outlined."""
    figure, axes = _axes((4.8, 3.4), ink)
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
    axes.tick_params(axis="both", labelrotation=0)
    return figure


def confusion(counts: NDArray[np.int64], names: Sequence[str], ink: str = "black") -> Figure:
    """Row = class, column = answer [C, C]; colour is the share of the class, 0..1, the numbers are samples."""
    figure, axes = _axes((4.8, 3.8), ink)
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
    figure, axes = _axes((5.4, 3.4), ink)
    for (name, values), colour in zip(curves.items(), (RED, BLUE), strict=False):
        axes.plot(groups, values, color=colour, marker="o", markersize=3, label=name)
        axes.axhline(alone[name], color=colour, linestyle=":", linewidth=1.2)
    axes.axvline(chosen, color=ink, linewidth=1, linestyle="--")
    axes.set(xscale="log", ylim=(0, 1.02), xlabel="p, samples that vote together", ylabel="accuracy, mean over tasks")
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    axes.minorticks_off()
    figure.legend(labelcolor=ink, frameon=False, loc="outside upper center", ncols=len(curves))
    return figure


def _axes(size: tuple[float, float], ink: str) -> tuple[Figure, Axes]:
    """One pair of axes without a ground of its own: a page's light or dark one shows through."""
    figure = Figure(figsize=size, layout="constrained")
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
