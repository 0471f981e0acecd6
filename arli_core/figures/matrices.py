"""Matrices as heat maps."""

from collections.abc import Sequence

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from .canvas import bare_axes, in_ink, summary_of, typeset

SIZE = (4.2, 3.1)  # inches, of a matrix alone


def accuracy_matrix(accuracy: NDArray[np.float64], names: Sequence[str], ink: str = "black") -> Figure:
    """R [N, N] as a heat map: row = after learning a task, column = on a task, 0..1, empty above the diagonal."""
    figure, axes = bare_axes((4.8, 3.4), ink, f"Accuracies after the last task: {summary_of(names, accuracy[-1])}")
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
    for panel in figure.axes:
        in_ink(panel, ink)
    axes.set(xlabel="on task", ylabel="after learning task")
    axes.tick_params(axis="both", labelrotation=0)
    return figure


def distances(matrix: NDArray[np.float64], names: Sequence[str], what: str, ink: str = "black") -> Figure:
    """D or dif [m, m] as a heat map, 0 dark and its largest entry yellow; `what` labels the colour bar."""
    figure, axes = bare_axes(SIZE, ink, f"{what}, its last row: {summary_of(names, matrix[-1])}")
    heat_map(axes, matrix, names, "viridis", 0, float(matrix.max()) or 1, 0 if matrix.max() > 99 else 2, what, ink)
    return figure


def dif_star(matrix: NDArray[np.float64], names: Sequence[str], ink: str = "black") -> Figure:
    """dif* [m, m] as a heat map, white at the equal share 1/m, blue at 0, red from 2/m on; the last row outlined."""
    figure, axes = bare_axes(SIZE, ink, f"dif*, its last row: {summary_of(names, matrix[-1])}")
    heat_map(axes, matrix, names, "RdBu_r", 0, 2 / len(matrix), 2, "weight", ink, len(matrix) - 1)
    return figure


def heat_map(
    axes: Axes,
    matrix: NDArray[np.float64],
    names: Sequence[str],
    colours: str | Colormap,
    low: float,
    high: float,
    digits: int,
    what: str,
    ink: str,
    marked: int | None = None,
) -> None:
    """A matrix [m, m] of models from `low` to `high`, with its values in the cells, blank where there is none; `what`
    labels the colour bar. marked: the row that is outlined.
    """
    ticks = [typeset(name) for name in names]
    seaborn.heatmap(
        matrix,
        mask=np.isnan(matrix),
        vmin=low,
        vmax=high,
        cmap=colours,
        annot=True,
        fmt=f".{digits}f",
        square=True,
        xticklabels=ticks,
        yticklabels=ticks,
        cbar_kws={"label": what},
        ax=axes,
    )
    bar = axes.collections[0].colorbar
    for panel in (axes, bar.ax) if bar else (axes,):
        in_ink(panel, ink)
    axes.tick_params(axis="both", labelrotation=0, labelsize=12)
    if marked is not None:
        axes.add_patch(Rectangle((0, marked), len(matrix), 1, fill=False, edgecolor=ink, linewidth=2, clip_on=False))


def confusion(counts: NDArray[np.int64], names: Sequence[str], ink: str = "black") -> Figure:
    """Row = class, column = answer [C, C]; colour is the share of the class, 0..1, the numbers are samples."""
    recalls = counts.diagonal() / np.maximum(counts.sum(1), 1)
    figure, axes = bare_axes(
        (4.8, 3.8), ink, f"Confusion matrix; share of each class answered correctly: {summary_of(names, recalls)}"
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
    for panel in figure.axes:
        in_ink(panel, ink)
    axes.set(xlabel="answer", ylabel="class")
    axes.tick_params(axis="both", labelrotation=0)
    return figure
