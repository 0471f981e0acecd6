"""Recorded runs: `frames` of a task, a `record` grown from events, the `store` that reads and writes them, the
`shelf` of named ones, and `queries` about these."""

from .frames import Frames
from .queries import at_other_schedule, fuses
from .record import UNKNOWN, Record, digest, environment
from .shelf import ADDING, SHIPPED, add, claim, delete, files, rename, vacant
from .store import config_of, load, locate, names, root, save, status_of, tidy, whole

__all__ = [
    "ADDING",
    "SHIPPED",
    "UNKNOWN",
    "Frames",
    "Record",
    "add",
    "at_other_schedule",
    "claim",
    "config_of",
    "delete",
    "digest",
    "environment",
    "files",
    "fuses",
    "load",
    "locate",
    "names",
    "rename",
    "root",
    "save",
    "status_of",
    "tidy",
    "vacant",
    "whole",
]
