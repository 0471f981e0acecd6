"""Data that need no download: `load(name)` gives images, labels and, where known, object masks.

name       images                 train  test   object masks
digits     uint8 [N, 1, 8, 8]     1,438    359  no
mnist-5k   uint8 [N, 1, 28, 28]   4,000  1,000  no
scenes     uint8 [N, 3, 40, 40]   4,000  1,000  yes
"""

from functools import lru_cache

from . import digits, mnist5k, scenes
from .dataset import Dataset, Split

__all__ = ["NAMES", "Dataset", "Split", "load"]

_BUILDERS = {"digits": digits.build, "mnist-5k": mnist5k.build, "scenes": scenes.build}

NAMES = tuple(_BUILDERS)


@lru_cache
def load(name: str) -> Dataset:
    """The dataset of that name, built once a process. Raises ValueError for a name that is not in `NAMES`."""
    if name not in _BUILDERS:
        raise ValueError(f"no dataset is called {name!r}; there are {', '.join(NAMES)}")
    return _BUILDERS[name]()
