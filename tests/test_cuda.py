"""The same code on a GPU."""

import pytest
import torch

from arli_core.config import METHODS, keys, preset
from arli_core.events import Saved
from arli_core.learn import learn
from arli_core.live import runs
from arli_core.world import choose_device

pytestmark = pytest.mark.cuda
TINY = {"data.tasks": 2, "train.epochs": 2, "train.batch_size": 256, "recording.probes": 2}


def accuracy(device: str, method: str, place) -> list[float]:
    augmented = {"augmentation.shift": 1, "adaptation.epochs": 1}
    settings = TINY | {key: value for key, value in augmented.items() if key in keys(method)}
    *_, (record, _) = runs.train(preset("digits", method, device=device, **settings), place)
    return record.accuracy_matrix("task_aware")[-1].tolist()


def test_auto_takes_cuda():
    assert choose_device("auto").type == "cuda"


@pytest.mark.parametrize("method", METHODS)
def test_a_run_trains_on_cuda_to_about_what_it_trains_to_on_the_cpu(method, tmp_path):
    on_cuda, on_cpu = accuracy("cuda", method, tmp_path / "cuda"), accuracy("cpu", method, tmp_path / "cpu")
    assert on_cuda == pytest.approx(on_cpu, abs=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_no_event_holds_memory_of_the_device(method):
    for event in learn(preset("digits", method, device="cuda", **TINY)):
        values = list(vars(event).values())
        values += [inner for value in values if isinstance(value, dict) for inner in value.values()]
        assert not any(isinstance(value, torch.Tensor) for value in values)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_is_resumed_on_cuda(method):
    """From every saved point, with moments, logits and importances back on the device."""
    config = preset("digits", method, device="cuda", **TINY, **{"train.optimiser": "adam"})
    events = list(learn(config))
    for place, point in enumerate(events):
        if isinstance(point, Saved):
            rest = list(learn(config, point))
            assert [type(event) for event in rest] == [type(event) for event in events[place + 1 :]]
            losses = [[e.loss for e in continued if hasattr(e, "loss")] for continued in (rest, events[place + 1 :])]
            assert losses[0][:2] == pytest.approx(losses[1][:2], rel=1e-2)


def test_switches_of_ari_run_on_cuda():
    for settings in ({"fusion.over": "tensor"}, {"fusion.reset": False}, {"fusion.weights": "last"},
                     {"attack.epsilon": 0.0}, {"network.attention": "released"},
                     {"network.name": "residual", "fusion.over": "tensor"}):  # fmt: skip
        events = list(learn(preset("digits", "ari", device="cuda", **(TINY | {"train.epochs": 1}), **settings)))
        assert events[-1].__class__.__name__ == "Finished"
