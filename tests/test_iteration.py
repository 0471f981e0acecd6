"""An iteration made again is the one that was trained; and looking at its parts changes nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from arli_core import records
from arli_core.config import preset
from arli_core.errors import RecordError
from arli_core.fusion import dif, dif_star, distance_matrix, fuse
from arli_core.iteration import Iteration, first_of
from arli_core.learn import first_batch, learn, open_world
from arli_core.methods import Setting
from arli_core.methods.ari import AntiRetroactiveInterference
from arli_core.methods.parts import Attack, AttackedStep, CleanStep, Fusion, Measured
from arli_core.records import Record
from arli_core.tasks import INITIAL, generator_for

SHIPPED = Path(__file__).parents[1] / "checkpoints"
CPU = torch.device("cpu")
TINY = {"data.tasks": 3, "train.epochs": 1, "train.batch_size": 150, "recording.probes": 0, "recording.frames": 3,
        "device": "cpu"}  # fmt: skip


def trained(**settings: object) -> Record:
    record = Record(preset("digits", "ari", **{**TINY, **settings}))
    for event in learn(record.config):
        record = record.after(event)
    return record


def told(found: Iteration) -> dict[str, np.ndarray]:
    return {
        "distance": found.fused.distance,
        "dif_star": found.fused.dif_star,
        "gram": found.fused.gram,
        "losses": np.array([model.clean_loss for model in found.models]),
        "attacked_losses": np.array([model.attacked_loss for model in found.models]),
        "alpha": np.array(found.fused.alpha),
        "loss": np.array(found.loss),
        "learning_rate": np.array(found.learning_rate),
    }


@pytest.mark.parametrize(
    ("run", "task"), [*(("mnist-5k-ari", task) for task in range(1, 6)), ("scenes-ari", 1), ("scenes-ari", 4)]
)
def test_the_parts_are_those_of_the_recorded_first_frame(run, task):
    """Of runs that ship, trained long before: D, dif*, the losses and alpha, to float tolerance."""
    record = records.load(SHIPPED / run)
    frames, found = record.frames(task), first_of(record, task)
    assert frames.iteration[0] == 0
    assert found.fused.present == tuple(range(1, task + 1))
    for name, values in told(found).items():
        np.testing.assert_allclose(values, getattr(frames, name)[0], rtol=1e-4, atol=1e-6, err_msg=name)
    assert found.departure(frames) < 1e-4
    assert sum(len(model.labels) for model in found.models) <= record.config.train.batch_size
