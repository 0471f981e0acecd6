"""Printed figures: values in, a matplotlib Figure out; never pyplot, whose state all sessions of a process share.

A figure's label says what it shows, for readers who cannot see it.
"""

from .canvas import KINDS, LOOKS, export, kind_of, looks, typeset
from .charts import (
    accuracy_over_tasks,
    bars,
    curves,
    fusion_weights,
    intervals,
    limit_weights,
    unit_disc,
    vote_curves,
)
from .matrices import accuracy_matrix, confusion, dif_star, distances
from .pictures import HIGH_RED, MasksDrawn, Row, figure9, grid, strips
from .recording import recording

__all__ = [
    "HIGH_RED",
    "KINDS",
    "LOOKS",
    "MasksDrawn",
    "Row",
    "accuracy_matrix",
    "accuracy_over_tasks",
    "bars",
    "confusion",
    "curves",
    "dif_star",
    "distances",
    "export",
    "figure9",
    "fusion_weights",
    "grid",
    "intervals",
    "kind_of",
    "limit_weights",
    "looks",
    "recording",
    "strips",
    "typeset",
    "unit_disc",
    "vote_curves",
]
