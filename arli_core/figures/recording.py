"""One frame of what the frame player shows, printed: the same panels and curves, in the same colours."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure, SubFigure

from ..player import decoded
from .canvas import BLUE, LOOKS, ORANGE, in_ink, typeset
from .matrices import heat_map

LINES = ((BLUE, "-"), (ORANGE, "--"), (LOOKS["finetune"].colour, ":"))  # as in the player
HEIGHTS = {"matrix": 3.2, "points": 3.2, "images": 1.5}  # inches; of images, a row
CURVE, WIDTH, ABREAST = 1.5, 4.2, 4


def recording(payload: dict[str, Any], frame: int, ink: str = "black") -> Figure:
    """Frame `frame`, counted from 0, of the recording that `arli_core.player.payload` describes.

    Raises IndexError where there is no such frame.
    """
    if frame not in range(len(payload["steps"])):
        raise IndexError(f"frame must be from 0 to {len(payload['steps']) - 1}, not {frame}")
    panels, curves = payload["panels"], payload["curves"]
    top = max((_height(panel) for panel in panels), default=0)
    figure = Figure(figsize=(WIDTH * max(len(panels), 1), top + CURVE * len(curves) + 0.9), layout="constrained")
    where = f"{payload['unit']} {payload['steps'][frame]}"
    figure.set_label(f"{', '.join(part['title'] for part in (*panels, *curves))}; {where}")
    figure.patch.set_alpha(0)
    figure.suptitle(where, color=ink)
    figure.supxlabel(typeset(payload["legend"]), color=ink, fontsize=9, wrap=True)
    heights = [height for height in (top, CURVE * len(curves)) if height]
    rows = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights).flatten()
    for row in rows:
        row.patch.set_alpha(0)
    if panels:
        for subfigure, panel in zip(rows[0].subfigures(1, len(panels), squeeze=False)[0], panels, strict=True):
            subfigure.patch.set_alpha(0)
            _PANELS[panel["kind"]](subfigure, panel, frame, ink)
    if curves:
        plots = rows[-1].subplots(len(curves), squeeze=False)[:, 0]
        for axes, curve in zip(plots, curves, strict=True):
            _curve(axes, curve, payload["steps"], frame, ink)
        plots[-1].set_xlabel(payload["unit"])
    return figure


def _height(panel: dict[str, Any]) -> float:
    rows = -(-len(panel["captions"]) // ABREAST) if panel["kind"] == "images" else 1
    return HEIGHTS[panel["kind"]] * rows


def _matrix(subfigure: SubFigure, panel: dict[str, Any], frame: int, ink: str) -> None:
    values = decoded(panel["values"], "<f4").reshape(-1, panel["size"], panel["size"])[frame].astype(np.float64)
    axes = _bare(subfigure.subplots(), panel["title"], ink)
    low, high, digits, marked = (panel[key] for key in ("low", "high", "digits", "marked_row"))
    heat_map(axes, values, panel["labels"], ListedColormap(panel["colours"]), low, high, digits, "", ink, marked)


def _images(subfigure: SubFigure, panel: dict[str, Any], frame: int, ink: str) -> None:
    """The latest set so far; before the first there is none."""
    count, latest = len(panel["captions"]), int(np.searchsorted(panel["at"], frame, side="right")) - 1
    sets = decoded(panel["values"], "u1").reshape(-1, count, panel["height"], panel["width"])
    subfigure.suptitle(panel["title"], color=ink, fontsize=11)
    grid = subfigure.subplots(-(-count // ABREAST), ABREAST, squeeze=False).flatten()
    for axes in grid:
        axes.set_axis_off()
    scale = ScalarMappable(Normalize(0, 1), ListedColormap(panel["colours"]))
    for axes, caption, at in zip(grid, panel["captions"], range(count), strict=False):
        axes.set_title(caption, color=ink, fontsize=9)
        if latest >= 0:
            axes.imshow(scale.to_rgba(sets[latest, at] / 255))
    in_ink(subfigure.colorbar(scale, ax=list(grid), shrink=0.6).ax, ink)


def _points(subfigure: SubFigure, panel: dict[str, Any], frame: int, ink: str) -> None:
    values = decoded(panel["values"], "<f4").reshape(-1, len(panel["labels"]), 2)
    axes = _bare(subfigure.subplots(), panel["title"], ink)
    axes.set_aspect("equal", "datalim")
    axes.margins(0.12)
    axes.tick_params(labelbottom=False, labelleft=False, length=0)
    axes.scatter(*values[0].T, s=330, facecolor="none", edgecolor=ink, linestyle="--", linewidth=0.8)
    axes.scatter(*values[frame].T, s=330, facecolor="white", edgecolor=BLUE, linewidth=2)
    for label, (x, y) in zip(panel["labels"], values[frame], strict=True):
        axes.text(x, y, typeset(label), ha="center", va="center")
    if panel["target"] is not None:
        axes.scatter(*panel["target"], marker="x", color=ORANGE, zorder=3)


def _curve(axes: Axes, curve: dict[str, Any], steps: list[int], frame: int, ink: str) -> None:
    _bare(axes, curve["title"], ink)
    for line, (colour, dashes) in zip([curve, *curve["others"]], LINES, strict=False):
        values = decoded(line["values"], "<f4")
        axes.plot(steps, np.where(values > 0, values, np.nan) if curve["log"] else values, dashes, color=colour,
                  label=typeset(line["name"]))  # fmt: skip
    if curve["log"]:
        axes.set_yscale("log")
    if curve["reference"] is not None:
        axes.axhline(curve["reference"], color=ink, linestyle=(0, (5, 4)), linewidth=1)
    axes.axvline(steps[frame], color=ink, linewidth=1)
    axes.spines[["top", "right"]].set_visible(False)
    if curve["others"]:
        axes.legend(frameon=False, labelcolor=ink, fontsize=9)


def _bare(axes: Axes, title: str, ink: str) -> Axes:
    axes.patch.set_alpha(0)
    axes.set_title(typeset(title), color=ink, fontsize=11)
    in_ink(axes, ink)
    return axes


_PANELS: dict[str, Callable[[SubFigure, dict[str, Any], int, str], None]] = {
    "matrix": _matrix,
    "images": _images,
    "points": _points,
}
