"""What is asked of recorded runs by their settings alone."""

import pytest

from arli_core import records
from arli_core.config import preset
from arli_core.live import runs

TINY = {"data.tasks": 2, "train.epochs": 1, "recording.frames": 2, "recording.probes": 0, "device": "cpu"}


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """recorded(name, method, **settings) trains and records a run; returns its configuration."""
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(tmp_path))

    def record(name, method, **settings):
        config = preset("digits", method, **TINY, **settings)
        for _ in runs.train(config, name):
            pass
        return config

    return record


def test_a_run_has_a_matrix_where_its_method_fuses(recorded, tmp_path):
    recorded("fusing", "ari")
    recorded("plain", "finetune")
    assert records.fuses("fusing") and not records.fuses("plain")
    (tmp_path / "plain" / "run.json").write_text("damaged")
    assert records.fuses("plain")  # so that it is listed, and opening it names the damage


def test_the_run_at_another_schedule_differs_in_nothing_else(recorded, tmp_path):
    falling = recorded("falling", "ari")
    assert records.at_other_schedule(falling) is None
    recorded("another-rate", "ari", **{"train.schedule": "constant", "train.learning_rate": 0.01})
    assert records.at_other_schedule(falling) is None
    constant = recorded("constant", "ari", **{"train.schedule": "constant"})
    assert records.at_other_schedule(falling) == "constant"
    assert records.at_other_schedule(constant) == "falling"
    (tmp_path / "constant" / "run.json").write_text("damaged")
    assert records.at_other_schedule(falling) is None
