"""What a run is: one frozen, validated configuration per method, shared by command line, page, file and URL.

A configuration holds only switches that its method reads: `replay` has a memory but no fusion, `finetune` has
neither, so a setting without effect cannot be written down.
"""

from .methods import (
    METHODS,
    WEIGHING,
    Ari,
    AriAdam,
    AriReleased,
    Config,
    DarkExperienceReplay,
    Ewc,
    Finetune,
    Itaml,
    Joint,
    Lwf,
    Rehearsal,
    Remembering,
    Replay,
    keys,
    protocols,
    summary,
)
from .parsing import differences, in_current_names, parse, value_of
from .presets import PRESETS, changes, preset
from .sections import DATASETS, PROTOCOLS, SIDES, Augmentation, Data, Evaluation, Fusion, Section, Train
from .text import from_text, tasks_listed, text_of

__all__ = [
    "DATASETS",
    "METHODS",
    "PRESETS",
    "PROTOCOLS",
    "SIDES",
    "WEIGHING",
    "Ari",
    "AriAdam",
    "AriReleased",
    "Augmentation",
    "Config",
    "DarkExperienceReplay",
    "Data",
    "Evaluation",
    "Ewc",
    "Finetune",
    "Fusion",
    "Itaml",
    "Joint",
    "Lwf",
    "Rehearsal",
    "Remembering",
    "Replay",
    "Section",
    "Train",
    "changes",
    "differences",
    "from_text",
    "in_current_names",
    "keys",
    "parse",
    "preset",
    "protocols",
    "summary",
    "tasks_listed",
    "text_of",
    "value_of",
]
