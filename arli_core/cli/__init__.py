"""The command line, `python -m arli_core`."""

from .commands import main

__all__ = ["main"]
