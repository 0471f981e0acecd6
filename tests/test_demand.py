"""What a run needs is counted before it is trained, and too large a run is refused with the reason."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from arli_core import networks
from arli_core.analysis import retrace
from arli_core.config import METHODS, PRESETS, preset
from arli_core.datasets import Dataset, Split, Streamed
from arli_core.demand import (
    GIGABYTE,
    MEMORY,
    OPERATIONS,
    _Counter,
    _of_a_pass,
    demand_of,
    largest_batch,
    memory_of,
    refuse_too_large,
)
from arli_core.errors import ConfigError, LabError
from arli_core.events import Step
from arli_core.learn import learn
from arli_core.networks import Model
from arli_core.stream import Stream
from arli_core.world import World, open_world

CPU = torch.device("cpu")
TINY = {"data.tasks": 3, "train.epochs": 1, "recording.probes": 0, "recording.frames": 2, "device": "cpu"}
# What published experiments train on: (C, H, W), classes, training samples a class.
PUBLISHED = {
    "paper-mnist": ((1, 28, 28), 10, 6000),
    "paper-cifar100": ((3, 32, 32), 100, 500),
    "paper-cub200": ((3, 224, 224), 200, 30),
    "paper-imagenet100": ((3, 224, 224), 100, 1300),
}

NO_MODEL: Any = None  # the model that is counted is built separately
CARRIED = {"fashion-mnist": "mnist-5k"}  # images of the same size, which come with the packages


@cache
def stream_of(settings, shape, classes, samples):
    """A stream of that many images; large ones are made when they are needed."""
    labels = np.repeat(np.arange(classes), samples)
    if shape[1] < 100:
        images = np.zeros((len(labels), *shape), np.uint8)
        images[::2] = 255
    else:
        images = Streamed(
            lambda i: np.full(shape, 255 * (i % 2), np.uint8),
            np.arange(len(labels)),
            shape,
            identify=lambda i: bytes([i]),
        )
    split = Split(images, labels)
    return Stream(Dataset("x", tuple(map(str, range(classes))), split, split), settings, CPU)


def batches_of(method, monkeypatch, **settings):
    """(the largest batch that was counted, those that pass through the network from the first task to the end)."""
    sizes, train = [], Model.train
    config = preset("digits", method, **TINY, **settings, **{"network.name": "mlp"})
    most = largest_batch(config, open_world(config, CPU).stream)
    events = learn(config)
    with monkeypatch.context() as patch:
        patch.setattr(Model, "train", lambda self, phi, images: sizes.append(len(images)) or train(self, phi, images))
        assert [event for event in events if isinstance(event, Step)]
    return most, sizes


@pytest.mark.parametrize("method", METHODS)
def test_no_batch_is_larger_than_counted(method, monkeypatch):
    for size in (40, 65_536):
        most, sizes = batches_of(method, monkeypatch, **{"train.batch_size": size})
        assert max(sizes) <= most
        if size == 40 and method != "der++":
            assert most == 40


def test_additions_to_a_batch_are_counted(monkeypatch):
    """A sample of each task that it lacks, dark replay's two draws, the batches of adaptation."""
    most, sizes = batches_of("replay", monkeypatch, **{"train.batch_size": 2, "memory.batches": "every-task"})
    assert max(sizes) == most == 4
    most, sizes = batches_of("der++", monkeypatch, **{"train.batch_size": 41})
    assert 41 < max(sizes) <= most == 123
    most, sizes = batches_of("replay", monkeypatch, **{"train.batch_size": 8, "adaptation.epochs": 1})
    assert 8 < max(sizes) <= most == 64


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("method", ["ari", "ari-paper", "der++"])
def test_every_preset_is_admitted(name, method, monkeypatch):
    """On a laptop of 8 GB; the published experiments on a processor of 40 GB."""
    config = preset(name, method)
    if name in PUBLISHED:
        stream = stream_of(config.data, *PUBLISHED[name])
    else:
        stream = open_world(preset(name, method, **{"data.name": CARRIED.get(name, name)}), CPU).stream
    monkeypatch.setenv(MEMORY, "40" if name in PUBLISHED else "8")
    refuse_too_large(config, World(stream, NO_MODEL, CPU))


def test_memory_alive_at_once_is_counted_and_freed_memory_is_not():
    with _Counter() as alive:
        first = torch.empty(1000)
        second = first + 1  # both
        view = second[:10]
        del first
        third = second * 2  # second and third
        del second, third
    assert alive.peak == 8000 and len(view) == 10
    with torch.device("meta"), _Counter() as alive:
        large = torch.empty(2**40) + 1
    assert alive.peak == 2 * 4 * 2**40 and large.is_meta


@pytest.mark.parametrize("network", ["conv", "masked-conv", "residual"])
def test_memory_of_a_pass_grows_with_its_pixels(network, monkeypatch):
    monkeypatch.setattr("arli_core.stream.CHUNK_VALUES", 1)  # evaluated one by one, so that training takes more

    def batch(size, samples):
        config = preset("digits", "ari", **{"network.name": network, "train.batch_size": samples})
        return demand_of(config, stream_of(config.data, (3, size, size), 10, 50)).batch

    base = batch(64, 50)
    assert batch(64, 100) == pytest.approx(2 * base, rel=0.05)
    assert batch(128, 50) == pytest.approx(4 * base, rel=0.05)


def test_operations_are_those_of_the_passes():
    """mlp: products with 64x400, 400x400 and 400x10 entries for each sample, two operations an entry."""
    products = 2 * (64 * 400 + 400 * 400 + 400 * 10)
    for method, settings, passes in (
        ("replay", {}, 4),
        ("ari", {}, 9),
        ("ari", {"fusion.inner_steps": 5}, 45),
        ("itaml", {"fusion.inner_steps": 3}, 9),
    ):
        none = {"network.name": "mlp", "network.attention": "none", "train.batch_size": 30}
        config = preset("digits", method, **none | settings)
        stream = open_world(config, CPU).stream
        assert demand_of(config, stream).operations == 30 * products * passes


@pytest.mark.parametrize("network", networks.NAMES)
def test_operations_are_those_that_torch_counts(network):
    model = networks.build(network, (3, 32, 32), 10, "none" if network == "mlp" else "per-image")
    phi, images = model.initial(torch.Generator().manual_seed(0)), torch.zeros(2, 3, 32, 32)
    with torch.no_grad(), FlopCounterMode(display=False) as expected, _Counter() as counter:
        model(phi, images)
    assert counter.operations == expected.get_total_flops() > 0


def test_counting_leaves_a_run_that_trains_in_another_thread_alone():
    """A server trains in one thread and opens runs in others; hooks on modules would reach all of them."""
    config = preset("digits", "ari", **TINY)
    stream = open_world(config, CPU).stream
    counted = threading.Event()

    def train() -> int:
        rounds = 0
        while not counted.is_set():
            rounds += sum(isinstance(event, Step) for event in learn(config))
        return rounds

    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(train)
        try:
            for _ in range(20):
                _of_a_pass.cache_clear()
                demand_of(config, stream)
        finally:
            counted.set()
        assert training.result() > 0


def test_a_run_that_does_not_fit_is_refused_at_once(monkeypatch):
    config = preset("digits", **TINY, **{"data.image_size": 64, "train.batch_size": 200, "network.name": "residual"})
    monkeypatch.setenv(MEMORY, "1.5")
    with pytest.raises(
        ConfigError,
        match=r"^train\.batch_size: batches of 200 images of 1x64x64 in the network residual would take about "
        r"\d\.\d GB of memory \(.*models?, .* data set\); a run may take 1\.5 GB here; lower train\.batch_size or "
        r"data\.image_size",
    ):
        learn(config)
    monkeypatch.delenv(MEMORY)
    monkeypatch.setattr("arli_core.demand.memory_of", lambda device: 2**30)
    with pytest.raises(ConfigError, match=r"a run may take 1\.0 GB here"):
        learn(config)


def test_an_iteration_of_too_many_operations_is_refused_at_once(monkeypatch):
    config = preset("digits", **TINY, **{"fusion.inner_steps": 100, "train.batch_size": 50})
    next(learn(config))
    monkeypatch.setenv(OPERATIONS, "1e9")
    with pytest.raises(
        ConfigError,
        match=r"^train\.batch_size: .* would take \d\.\de\+\d\d operations an iteration; at most 1\.0e\+09 are "
        r"allowed here, because a run cannot be stopped within an iteration; "
        r".*network\.name, or lower fusion\.inner_steps$",
    ):
        learn(config)
    with pytest.raises(ConfigError, match=r"1\.0e\+09.*network\.name$"):
        learn(preset("digits", "joint", **TINY, **{"data.image_size": 64, "train.batch_size": 300}))


@pytest.mark.parametrize("variable", [MEMORY, OPERATIONS])
@pytest.mark.parametrize("text", ["much", "0", "-1", "nan"])
def test_an_invalid_limit_is_named(variable, text, monkeypatch):
    monkeypatch.setenv(variable, text)
    with pytest.raises(LabError, match=f"^{variable}: '{text}' is not a number above 0$"):
        learn(preset("digits", **TINY))


def test_parts_of_an_iteration_that_do_not_fit_are_refused_too(trained, monkeypatch):
    monkeypatch.setenv(OPERATIONS, "1000")
    with pytest.raises(ConfigError, match="operations an iteration"):
        retrace.first_of(trained, 2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from arli_core import records
    from arli_core.live import runs

    place = tmp_path_factory.mktemp("runs") / "x"
    for _ in runs.train(preset("digits", **TINY), place):
        pass
    return records.load(place)


def test_memory_is_that_of_the_system():
    assert GIGABYTE < memory_of(CPU) < 2**50
    if sys.platform == "linux":
        total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
        assert memory_of(CPU) == int(total.split()[1]) * 1024


COUNTED = """
import sys
from pathlib import Path
import torch
from arli_core.config import preset
from arli_core.demand import demand_of
from arli_core.learn import learn
from arli_core.world import open_world

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024

torch.set_num_threads(1)
tiny = {"train.epochs": 1, "train.batch_size": 300, "recording.probes": 0, "recording.frames": 2, "device": "cpu"}
list(learn(preset("digits", "ari", **tiny, **{"data.tasks": 1})))  # what libraries load when they are first used
before = peak()
config = preset("digits", sys.argv[1], **tiny, **{"data.tasks": 2, "network.name": sys.argv[2],
                "data.image_size": int(sys.argv[3])})
for event in learn(config):
    pass
taken = peak() - before
print(taken, demand_of(config, open_world(config, torch.device("cpu")).stream).memory)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system keeps the peak of a process elsewhere")
@pytest.mark.parametrize(
    ("method", "network", "size"),
    [("ari", "conv", 48), ("replay", "masked-conv", 40), ("finetune", "residual", 16), ("ari", "resnet18", 8)],
)  # fmt: skip
def test_a_run_takes_about_the_memory_that_was_counted(method, network, size):
    """Rounded up: never a quarter above it, and not less than a quarter of it. In a process of its own, whose peak
    is that of this run alone."""
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, method, network, str(size)],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    measured, counted = map(int, done.stdout.split())
    assert counted / 4 < measured < 1.25 * counted
