"""The world of a run, in training and afterwards: its stream of tasks, its network, and the device of both."""

from dataclasses import dataclass

import torch

from . import datasets, networks
from .config import Config
from .datasets import Dataset
from .errors import ConfigError
from .fingerprint import Fingerprint, refuse_other
from .networks import Model
from .stream import Stream


@dataclass(frozen=True)
class World:
    stream: Stream
    model: Model
    device: torch.device


def open_world(config: Config, device: torch.device, trained_on: Fingerprint | None = None) -> World:
    """The world of a run. With `trained_on`, the fingerprint of a recorded run's data: DataError, which says what
    differs, where the data have changed."""
    dataset = data_of(config)
    if trained_on is not None:
        refuse_other(config.data.name, trained_on, dataset.fingerprint)
    stream = Stream(dataset, config.data, device, config.augmentation)
    network = config.network
    model = networks.build(network.name, stream.shape, len(stream.classes), network.attention)
    return World(stream, model, device)


def data_of(config: Config) -> Dataset:
    """The data a run trains and is evaluated on, the classes not yet in the order in which they are met."""
    dataset = datasets.load(config.data.name, config.data.image_size, config.data.spurious)
    return dataset.holdout() if config.data.evaluate_on == "validation" else dataset


def choose_device(name: str) -> torch.device:
    """`auto`: CUDA, then MPS, then the CPU. ConfigError where the device is not available."""
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if name == "auto":
        name = available[0]
    if name not in available:
        raise ConfigError(f"device: {name} is not available here; available: {', '.join(available)}")
    return torch.device(name)


def device_name(device: torch.device) -> str:
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type
