"""What the frame player shows: arrays in, a payload of plain JSON values out.

The player itself is `player.js` with `player.css`. It holds every frame in the browser, so the payload is
kept small: numbers travel as base64 of little-endian float32 or uint8. Colours come from matplotlib's colour
maps, so that the browser and a printed figure show a value in the same colour.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False)
class MatrixPanel:
    """A square matrix that changes from frame to frame, with the value written in every cell.

    values: [frames, m, m], finite; NaN marks an absent entry, drawn as an empty hatched cell.
    labels: m names for rows and columns; "φ_b" is written with a subscript b.
    colour_map: a name of matplotlib; low and high take its first and last colour, values beyond them too.
    marked_row: the row to outline, counted as in Python (-1 is the last); None marks none.
    digits: decimals of the written values, 0 to 6.
    Raises ValueError, naming the panel, for anything else.
    """

    title: str
    values: ArrayLike
    labels: Sequence[str]
    colour_map: str
    low: float
    high: float
    marked_row: int | None = None
    digits: int = 2

    def __post_init__(self):
        shape, size = np.shape(self.values), len(self.labels)
        _require(
            self,
            len(shape) == 3 and shape[1] == shape[2] > 0,
            f"values must be [frames, m, m], not {_text(shape)}",
        )
        _require(self, size == shape[1], f"{shape[1]} labels are needed, one for each row, not {size}")
        _require(self, not np.isinf(self.values).any(), "values must be finite, or NaN where an entry is absent")
        _require(
            self,
            np.isfinite([self.low, self.high]).all() and self.low < self.high,
            f"low must be a number below high, not {self.low} with high {self.high}",
        )
        _require(
            self,
            self.marked_row is None or -size <= self.marked_row < size,
            f"marked_row must be None or from {-size} to {size - 1}, not {self.marked_row}",
        )
        _require(self, self.digits in range(7), f"digits must be a whole number from 0 to 6, not {self.digits}")
        _colours(self)


@dataclass(frozen=True, eq=False)
class ImagePanel:
    """A few small grey images, recorded at some of the frames; each frame shows the latest set so far.

    values: [sets, images, height, width], uint8, or float in 0..1.
    captions: one for each image.
    colour_map: a name of matplotlib; its first colour is 0, its last is 1.
    at: the frame at which each set was recorded, ascending from 0 on.
    Raises ValueError, naming the panel, for anything else.
    """

    title: str
    values: ArrayLike
    captions: Sequence[str]
    colour_map: str
    at: Sequence[int]

    def __post_init__(self):
        values, at = np.asarray(self.values), np.asarray(self.at)
        _require(self, values.ndim == 4, f"values must be [sets, images, height, width], not {_text(values.shape)}")
        _require(
            self,
            values.dtype == np.uint8
            or (np.issubdtype(values.dtype, np.floating) and ((values >= 0) & (values <= 1)).all()),
            f"values must be uint8, or float in 0..1, not {values.dtype}{_range(values)}",
        )
        _require(
            self,
            values.shape[1] == len(self.captions),
            f"{values.shape[1]} captions are needed, one for each image, not {len(self.captions)}",
        )
        _require(
            self,
            at.shape == values.shape[:1] and (at >= 0).all() and (np.diff(at) > 0).all(),
            f"at must hold {values.shape[0]} frames, ascending from 0 on, not {at.tolist()}",
        )
        _colours(self)


@dataclass(frozen=True, eq=False)
class PointPanel:
    """Named points that move in the plane from frame to frame, with rings where they began.

    values: [frames, m, 2], finite; both axes have one scale, the same in all frames.
    labels: m names, written in the points; "φ_b" is written with a subscript b.
    target: [2], where the points are to go, drawn as a cross; None draws none.
    Raises ValueError, naming the panel, for anything else.
    """

    title: str
    values: ArrayLike
    labels: Sequence[str]
    target: ArrayLike | None = None

    def __post_init__(self):
        shape = np.shape(self.values)
        _require(
            self,
            len(shape) == 3 and shape[1] > 0 and shape[2] == 2,
            f"values must be [frames, m, 2], not {_text(shape)}",
        )
        _require(
            self,
            shape[1] == len(self.labels),
            f"{shape[1]} labels are needed, one for each point, not {len(self.labels)}",
        )
        _require(self, np.isfinite(self.values).all(), "values must be finite")
        _require(
            self,
            self.target is None or (np.shape(self.target) == (2,) and np.isfinite(self.target).all()),
            f"target must be None or two finite numbers, not {self.target}",
        )


@dataclass(frozen=True, eq=False)
class Curve:
    """One number for each frame, drawn over the iterations, with a cursor at the current frame.

    values: [frames], finite; NaN leaves a gap, and so does a value of 0 or less where log is set.
    log: whether the axis of values is logarithmic.
    reference: the height of a dashed line, positive where log is set; None draws none.
    name: of the line of these values, where there are others.
    others: up to two further lines on the same axis, by their names.
    Raises ValueError, naming the curve, for anything else.
    """

    title: str
    values: ArrayLike
    log: bool = False
    reference: float | None = None
    name: str = ""
    others: Mapping[str, ArrayLike] = field(default_factory=dict)

    def __post_init__(self):
        _require(self, len(self.others) <= 2, f"at most two others can be told apart, not {len(self.others)}")
        _require(self, bool(self.name) or not self.others, "a name is needed where there are others")
        for values in (self.values, *self.others.values()):
            _require(self, np.ndim(values) == 1, f"values must be [frames], not {_text(np.shape(values))}")
            _require(self, not np.isinf(values).any(), "values must be finite, or NaN for a gap")
        _require(
            self,
            self.reference is None or (np.isfinite(self.reference) and (self.reference > 0 or not self.log)),
            f"reference must be finite{' and positive on a log axis' * self.log}, not {self.reference}",
        )


def payload(
    panels: Sequence[MatrixPanel | ImagePanel | PointPanel],
    curves: Sequence[Curve],
    steps: Sequence[int],
    frame: int = 0,
    autoplay: bool = False,
    frames_per_second: float = 16,
    legend: str = "",
    unit: str = "iteration",
) -> dict:
    """The JSON-able description of a recording that the frame player draws.

    steps: the iteration of each frame, strictly ascending; its length is the number of frames, at least 1.
    frame: the frame to begin with, 0 to frames - 1.
    autoplay: play at once and repeat (not where the reader's system asks for reduced motion).
    frames_per_second: at speed 1; 130 frames take 8 seconds by default.
    legend: one sentence that says what the colours mean.
    unit: the word for a step, where it is not an iteration.
    Raises ValueError where these or the frames of a panel or curve do not fit.
    """
    at = np.asarray(steps)
    if at.ndim != 1 or not len(at) or not np.issubdtype(at.dtype, np.integer) or (np.diff(at) <= 0).any():
        raise ValueError(
            "steps must hold the iteration of each frame: whole numbers, strictly ascending, at least one"
        )
    frames = len(at)
    if frame not in range(frames):
        raise ValueError(f"frame must be a whole number from 0 to {frames - 1}, not {frame}")
    if not 0 < frames_per_second < np.inf:
        raise ValueError(f"frames_per_second must be positive, not {frames_per_second}")
    for part in (*panels, *curves):
        if isinstance(part, ImagePanel):
            _require(
                part,
                max(part.at, default=0) < frames,
                f"at must stay below the {frames} frames of the recording",
            )
            continue
        for values in (part.values, *(part.others.values() if isinstance(part, Curve) else ())):
            length = len(np.asarray(values))
            _require(part, length == frames, f"values must have {frames} frames, one for each step, not {length}")
    return {
        "steps": at.tolist(),
        "frame": int(frame),
        "autoplay": bool(autoplay),
        "frames_per_second": float(frames_per_second),
        "legend": legend,
        "unit": unit,
        "panels": [_panel(panel) for panel in panels],
        "curves": [_curve(curve) for curve in curves],
    }


def _panel(panel: MatrixPanel | ImagePanel | PointPanel) -> dict:
    if isinstance(panel, PointPanel):
        return {
            "kind": "points",
            "title": panel.title,
            "values": _encode(panel.values, "<f4"),
            "labels": list(panel.labels),
            "target": None if panel.target is None else np.asarray(panel.target, dtype=float).tolist(),
        }
    if isinstance(panel, MatrixPanel):
        size = len(panel.labels)
        return {
            "kind": "matrix",
            "title": panel.title,
            "values": _encode(panel.values, "<f4"),
            "size": size,
            "labels": list(panel.labels),
            "colours": _colours(panel),
            "low": float(panel.low),
            "high": float(panel.high),
            "marked_row": None if panel.marked_row is None else int(panel.marked_row) % size,
            "digits": int(panel.digits),
        }
    values = np.asarray(panel.values)
    if values.dtype != np.uint8:
        values = np.round(values * 255)
    return {
        "kind": "images",
        "title": panel.title,
        "values": _encode(values, "u1"),
        "height": values.shape[2],
        "width": values.shape[3],
        "captions": list(panel.captions),
        "colours": _colours(panel),
        "at": np.asarray(panel.at).tolist(),
    }


def _curve(curve: Curve) -> dict:
    return {
        "title": curve.title,
        "values": _encode(curve.values, "<f4"),
        "log": bool(curve.log),
        "reference": None if curve.reference is None else float(curve.reference),
        "name": curve.name,
        "others": [{"name": name, "values": _encode(values, "<f4")} for name, values in curve.others.items()],
    }


def _encode(values: ArrayLike, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")


def decoded(values: str, dtype: str) -> np.ndarray:
    """The numbers of a payload, flat: `<f4`, or `u1` of images."""
    return np.frombuffer(base64.b64decode(values), dtype)


def _colours(panel: MatrixPanel | ImagePanel) -> list[str]:
    _require(
        panel,
        panel.colour_map in colormaps,
        f"colour_map must be one of matplotlib's, such as 'RdYlBu_r' or 'viridis', not {panel.colour_map!r}",
    )
    return [to_hex(colour) for colour in colormaps[panel.colour_map](np.arange(256) / 255)]


def _require(part: MatrixPanel | ImagePanel | PointPanel | Curve, fits: bool | np.bool_, message: str) -> None:
    if not fits:
        kinds = {MatrixPanel: "matrix panel", ImagePanel: "image panel", PointPanel: "point panel", Curve: "curve"}
        kind = kinds[type(part)]
        raise ValueError(f"{kind} '{part.title}': {message}")


def _text(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _range(values: np.ndarray) -> str:
    return f" from {values.min()} to {values.max()}" if values.size else ""
