"""Many runs: what to train (`planning`), training it (`making`, `folder`), and what comes out (`comparisons`)."""

from .folder import (
    COSTS,
    MEASURES,
    Outcome,
    Row,
    in_order,
    mixed,
    outcome,
    outcome_files,
    outcomes,
    rows,
    unknown_data,
)
from .making import Advanced, Done, News, make, notes
from .planning import LEAN, Arm, ablation, name_of, plan, switches

__all__ = [
    "COSTS",
    "LEAN",
    "MEASURES",
    "Advanced",
    "Arm",
    "Done",
    "News",
    "Outcome",
    "Row",
    "ablation",
    "in_order",
    "make",
    "mixed",
    "name_of",
    "notes",
    "outcome",
    "outcome_files",
    "outcomes",
    "plan",
    "rows",
    "switches",
    "unknown_data",
]
