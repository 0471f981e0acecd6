"""What a kind of input draws."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .world import World


@dataclass(frozen=True)
class Case:
    """One attempt. `attempt` gets an empty folder of its own, and ends in one of the documented errors or with all
    its assertions true."""

    text: str  # what is tried, in a line
    attempt: Callable[[Path], None]
    documented: tuple[type[Exception], ...]


Draw = Callable[[random.Random, World], Case]
