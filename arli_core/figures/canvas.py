"""What all figures share: axes without a background, ink, the colours of lines, and files."""

import io
import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..errors import LabError

KINDS = ("png", "pdf", "svg")
RED, BLUE, ORANGE, VIOLET = "#d6604d", "#4393c3", "#e08214", "#5e4fa2"


class Look(NamedTuple):
    """The style of a line. To readers who confuse red and green, and in print, lines still differ by lightness, or by
    dashes and marker."""

    colour: str
    dashes: str
    marker: str


# A method has one look on all pages; methods that are often compared get the most distinct styles.
LOOKS = {
    "ari": Look(BLUE, "-", "o"),
    "replay": Look(ORANGE, "--", "s"),
    "finetune": Look("#686868", ":", "v"),
    "replay-balanced": Look("#8a3fc4", "-.", "D"),
    "itaml": Look("#19a58f", "--", "^"),
    "der++": Look("#8a6400", ":", "P"),
    "joint": Look("#3d7d2f", "-.", "*"),
    "ewc": Look("#d1495b", "--", "X"),
    "lwf": Look("#b0603a", ":", "<"),
    "ari-adam": Look("#123a66", "--", "d"),
    "ari-paper": Look("#1d6fa5", "-.", ">"),
    "ari-released": Look("#86a9c4", "--", "h"),
}


def looks(methods: Mapping[str, str]) -> dict[str, Look]:
    """The look of each line by name, from its method: the method's own look, and for further lines of the same method
    the looks of methods that are not shown.
    """
    present = set(methods.values())
    spare = cycle([look for method, look in LOOKS.items() if method not in present] or LOOKS.values())
    styles, used = {}, set()
    for name, method in methods.items():
        styles[name] = next(spare) if method in used else LOOKS[method]
        used.add(method)
    return styles


def typeset(text: str) -> str:
    """The text with the names of models in it, such as φ_12, as formulas."""
    return re.sub(r"φ_(\w+)", r"$φ_{\1}$", text)


def summary_of(names: Sequence[str], values: NDArray[np.float64]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in zip(names, values, strict=True))


def bare_axes(size: tuple[float, float], ink: str, label: str) -> tuple[Figure, Axes]:
    """One pair of axes without a background of its own: the page's, light or dark, shows through."""
    figure = Figure(figsize=size, layout="constrained")
    figure.set_label(label)
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    in_ink(axes, ink)
    return figure, axes


def in_ink(axes: Axes, ink: str) -> None:
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
        endings = ", ".join(f".{ending}" for ending in KINDS)
        raise LabError(f"{path} has no ending of a known figure format; valid endings: {endings}")
    return kind


def export(figure: Figure, kind: str) -> bytes:
    """The file of a figure; the text of a pdf or svg stays text, which can be searched and edited."""
    content = io.BytesIO()
    figure.patch.set_alpha(1)  # a file may be shown on any background, so it brings its own
    with matplotlib.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):
        figure.savefig(content, format=kind, dpi=200)
    return content.getvalue()
