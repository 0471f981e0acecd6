"""The same code on a GPU."""

import pytest
import torch

from arli_core import runs
from arli_core.config import METHODS, preset
from arli_core.learn import choose_device, learn

pytestmark = pytest.mark.cuda
TINY = {"data.tasks": 2, "train.epochs": 2, "train.batch_size": 256, "recording.probes": 2}


def accuracy(device: str, method: str, place) -> list[float]:
    *_, (record, _) = runs.train(preset("digits", method, device=device, **TINY), place)
    return record.accuracy_matrix("task_aware")[-1].tolist()


def test_auto_takes_cuda():
    assert choose_device("auto").type == "cuda"


@pytest.mark.parametrize("method", METHODS)
def test_a_run_trains_on_cuda_to_about_what_it_trains_to_on_the_cpu(method, tmp_path):
    on_cuda, on_cpu = accuracy("cuda", method, tmp_path / "cuda"), accuracy("cpu", method, tmp_path / "cpu")
    assert on_cuda == pytest.approx(on_cpu, abs=0.1)


def test_no_event_holds_memory_of_the_device():
    for event in learn(preset("digits", "ari", device="cuda", **TINY)):
        assert not any(isinstance(value, torch.Tensor) for value in vars(event).values())
