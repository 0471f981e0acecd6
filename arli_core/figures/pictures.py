"""Images and maps as rows and columns of pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ..theory.metrics import is_level
from .canvas import ORANGE, in_ink

GAP = 0.06  # between two pictures of a grid, of a picture's width
HIGH_RED = "RdYlBu_r"  # high values red, low values blue, as in the paper's Fig. 9


class MasksDrawn(Protocol):
    """The part of attention.Masks that `figure9` draws, so that drawing needs no torch."""

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


ANSWERED = "class → answer, bold where wrong"


def grid(
    rows: Sequence[Row], answers: Sequence[tuple[str, str]], maps: str, ink: str = "black", above: str = ANSWERED
) -> Figure:
    """Images as columns, their pictures and maps as rows; above each column class -> prediction, from `answers` [N].

    `maps` labels the colour bar of the maps; `above` says what `answers` are, where no class is known. A map that is
    the same everywhere is marked "level".
    """
    columns, (height, width) = len(answers), rows[0].values.shape[-2:]
    gap = max(1, round(width * GAP))
    step = width + gap
    figure = Figure(figsize=(1.6 + 1.05 * columns, 0.5 + 1.1 * len(rows)), layout="constrained")
    summary = ", ".join(f"{label} answered {prediction}" for label, prediction in answers)
    figure.set_label(f"A column for each image ({summary}), with rows: {', '.join(row.name for row in rows)}")
    figure.patch.set_alpha(0)
    # One pair of axes and one image for each row, not for each picture: drawing 144 of those takes ten times as long.
    strips = figure.subplots(len(rows), squeeze=False)[:, 0]
    mappable = None
    for row, strip in zip(rows, strips, strict=True):
        image = strip.imshow(_side_by_side(row, gap), cmap=HIGH_RED if row.kind == "map" else "gray", vmin=0, vmax=1)
        mappable = image if row.kind == "map" else mappable
        if row.kind == "map":
            _mark_level(strip, row.values, step)
        strip.set(xticks=[], yticks=[])
        strip.set_ylabel(row.name if len(row.name) < 13 else row.name.replace(" ", "\n", 1), fontsize=11)
        strip.spines[:].set_visible(False)
        strip.patch.set_alpha(0)
    for column, (label, prediction) in enumerate(answers):
        bold = "bold" if label != prediction else "normal"
        position = (column * step + (width - 1) / 2, -0.5 - height * GAP)
        strips[0].text(*position, f"{label} → {prediction}", fontsize=11, fontweight=bold, color=ink, ha="center")
    if mappable is not None:
        # Beside the rows of maps, but taking room from all rows, so that the columns stay in line.
        figure.colorbar(mappable, ax=strips.tolist(), label=maps, ticks=[0, 0.5, 1], shrink=0.62, anchor=(0, 0))
    figure.supxlabel(f"above: {above}", fontsize=10, color=ink)
    for panel in figure.axes:
        in_ink(panel, ink)
    return figure


def _mark_level(strip: Axes, maps: NDArray[np.floating], step: int) -> None:
    """Writes "level" on each map that is the same everywhere: it singles out no place, whatever its colour."""
    height, width = maps.shape[1:]
    for column in np.flatnonzero(is_level(maps)):
        dark = abs(maps[column].mean() - 0.5) > 0.3  # the colours of HIGH_RED near both ends
        position = (column * step + (width - 1) / 2, (height - 1) / 2)
        strip.text(*position, "level", fontsize=10, color="white" if dark else "black", ha="center", va="center")


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
    # An empty pixel is NaN among shades, and transparent among colours.
    margin = np.full((*values.shape[:2], gap, *values.shape[3:]), 0.0 if values.ndim == 4 else np.nan)
    return np.concatenate([*np.concatenate([values, margin], 2)], 1)[:, :-gap]


def strips(rows: Sequence[tuple[str, NDArray[Any], bool]], ink: str = "black") -> Figure:
    """Rows of images, each with its name, its images [N, C, H, W] in [0, 1] and whether it is marked, in orange."""
    most, (height, width) = max(len(images) for _, images, _ in rows), rows[0][1].shape[-2:]
    step = width * (1 + GAP)
    figure = Figure(figsize=(2.2 + 0.62 * most, 0.72 * len(rows)), layout="constrained")
    figure.set_label(f"Rows of images: {', '.join(name for name, *_ in rows)}")
    figure.patch.set_alpha(0)
    for (name, images, marked), axes in zip(rows, figure.subplots(len(rows), squeeze=False)[:, 0], strict=True):
        for column, image in enumerate(images):
            pixels = image.transpose(1, 2, 0)
            extent = (column * step, column * step + width, height, 0)
            axes.imshow(pixels.squeeze(-1) if len(image) == 1 else pixels, cmap="gray", vmin=0, vmax=1, extent=extent)
            if marked:
                frame = Rectangle((column * step, 0), width, height, fill=False, edgecolor=ORANGE, linewidth=2.5)
                axes.add_patch(frame)
        axes.set(xlim=(-1, most * step), ylim=(height + 1, -1), xticks=[], yticks=[])
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11, fontweight="bold" if marked else None)
        axes.spines[:].set_visible(False)
        axes.patch.set_alpha(0)
        axes.yaxis.label.set_color(ink)
    return figure
