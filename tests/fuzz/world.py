"""The recorded runs and the sweep whose copies the cases spoil: made once, and never changed."""

from functools import cached_property
from itertools import islice
from pathlib import Path

from arli_core import records, sweeps
from arli_core.config import Config, keys, preset
from arli_core.live import runs

TINY = {
    "data.tasks": 2, "train.epochs": 1, "train.batch_size": 150, "memory.budget": 20, "recording.frames": 3,
    "recording.probes": 2, "recording.probe_frames": 2, "device": "cpu",
}  # fmt: skip
RUNS = ("ari", "finetune", "cut")


def tiny(method: str, **changes: object) -> Config:
    """A run of about a second, on digits."""
    own = {key: value for key, value in TINY.items() if key in keys(method)}
    return preset("digits", method, **own | changes)


class World:
    """`checkpoints/` with a finished run of ari and one of finetune, one of ari cut short in its second task, and a
    sweep of both methods."""

    def __init__(self, root: Path) -> None:
        self.checkpoints = root / "checkpoints"
        self.sweep = self.checkpoints / "sweeps" / "tiny"

    def make(self) -> None:
        """Trains what does not exist yet."""
        if self.sweep.exists():
            return
        for method in ("ari", "finetune"):
            for _ in runs.train(tiny(method), self.checkpoints / method):
                pass
        cut = runs.train(tiny("ari", **{"train.epochs": 2, "train.batch_size": 200}), self.checkpoints / "cut")
        for _ in islice(cut, 12):
            pass
        cut.close()
        arms = sweeps.plan("digits", ("ari", "finetune"), 2, settings={"data.tasks": 2, "train.epochs": 1})
        for _ in sweeps.make(arms, self.sweep):
            pass

    @cached_property
    def files(self) -> dict[str, dict[str, bytes]]:
        """The files of each run."""
        return {name: records.files(self.checkpoints / name) for name in RUNS}

    @cached_property
    def outcomes(self) -> dict[str, bytes]:
        """The files of the sweep's finished runs."""
        return {file.name: file.read_bytes() for file in sweeps.outcome_files(self.sweep)}
