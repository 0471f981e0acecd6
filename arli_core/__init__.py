"""The lab's engine: lifelong learning with anti-retroactive interference. README.md here says where to start."""

import sys
from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"

# Import paths of earlier releases, as README and notebooks had them.
_MOVED = {
    "attack": "theory.attack",
    "attention": "analysis.masks",
    "attribution": "analysis.attribution",
    "bench": "analysis.bench",
    "consensus": "theory.consensus",
    "fusion": "theory.fusion",
    "metrics": "theory.metrics",
    "widget": "player.widget",
}


class _Moved(ModuleType):
    """A module under its old path. It imports the one under the new path when a name is first read from it."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # read by whatever looks through all modules, such as `inspect`
            raise AttributeError(name)
        return getattr(import_module(f"{__name__}.{_MOVED[self.__name__.rpartition('.')[2]]}"), name)


for _old in _MOVED:
    globals()[_old] = sys.modules[f"{__name__}.{_old}"] = _Moved(f"{__name__}.{_old}")
