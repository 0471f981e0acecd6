"""Questions about the recorded runs, answered from their settings alone: no frame and no weight is read."""

from pathlib import Path

from ..config import Ari, Config
from ..errors import LabError, RecordError
from .store import config_of, names


def fuses(run: str | Path) -> bool:
    """Whether a recorded run has a distance matrix. True of a damaged one: opening it says what is wrong with it."""
    try:
        return isinstance(config_of(run), Ari)
    except RecordError:
        return True


def at_other_schedule(config: Config) -> str | None:
    """The name of a recorded run that differs from this configuration in the schedule of its learning rate alone, if
    there is one."""
    for name in names():
        try:
            other = config_of(name)
        except LabError:
            continue
        same = other.model_copy(update={"train": other.train.model_copy(update={"schedule": config.train.schedule})})
        if other.train.schedule != config.train.schedule and same == config:
            return name
    return None
