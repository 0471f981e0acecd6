"""The frame player: `payload` says what to show, player.js with player.css shows it, in pages and in notebooks."""

from .panels import Curve, ImagePanel, MatrixPanel, PointPanel, decoded, payload

__all__ = ["Curve", "ImagePanel", "MatrixPanel", "PointPanel", "decoded", "payload"]
