"""Recorded runs: `frames` of a task, a `record` grown from events, the `store` that reads and writes them, and the
`shelf` of named ones."""

from .frames import Frames
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
    "claim",
    "config_of",
    "delete",
    "digest",
    "environment",
    "files",
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
