"""The events of a run: frozen and detached, of plain arrays, in the order in which they happen.

    Started, then per task: Step ... (Attention in between, Saved after each epoch), TaskDone; last Finished

No event holds a time, so equal configurations on the CPU give equal events.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .fingerprint import Fingerprint

Array = NDArray[np.float64]
Arrays = Mapping[str, NDArray]


@dataclass(frozen=True)
class Started:
    """classes: names in the order of the head's units. probes: held-out images, uint8 [K, C, H, W], whose
    attention is recorded, and their units [K]. parameters: P; layers: how many of them each has, in their order.
    notes: what was read of a folder, and what was left out; none for data that come with the lab.
    data: the fingerprint of what it trains on; None in older records, which have none."""

    device: str
    classes: tuple[str, ...]
    parameters: int
    layers: Mapping[str, int]
    probes: NDArray[np.uint8]
    probe_units: NDArray[np.int64]
    notes: tuple[str, ...] = ()
    data: Fingerprint | None = None


@dataclass(frozen=True)
class Fused:
    """One fusion. m models: those of the tasks in `present` (counted from 1), then phi_b.

    distance, dif_star, gram [m, m] float64, gram of Phi - phi_b; norm = ||Phi||_F; alpha the share of phi_f in the
    next phi_b; losses and attacked_losses [m-1], of each task's last clean and attacked step; layers [L, m, m], each
    layer's part of the distance.
    """

    present: tuple[int, ...]
    distance: Array
    dif_star: Array
    gram: Array
    norm: float
    alpha: float
    losses: Array
    attacked_losses: Array
    layers: Array


@dataclass(frozen=True)
class Step:
    """One iteration (counted from 0 within its task). loss: mean over the batch, before its update.

    recorded: whether this iteration is one of the frames to keep; `fused` is set only then, by methods that fuse.
    """

    task: int
    iteration: int
    iterations: int
    loss: float
    learning_rate: float
    samples: int
    recorded: bool
    fused: Fused | None


@dataclass(frozen=True)
class Attention:
    """A of the probe images after an iteration: uint8 [K, H, W], A in 0..255."""

    task: int
    iteration: int
    attention: NDArray[np.uint8]


@dataclass(frozen=True)
class Saved:
    """A point to resume from: the next epoch of a task, counted from 0 (the number of epochs where the evaluation is
    next), and the method's state."""

    task: int
    epoch: int
    state: Arrays


@dataclass(frozen=True)
class TaskDone:
    """After a task: accuracies on tasks 1..task per protocol, the named weights of phi_b, and on how many held-out
    images of each task the accuracies were measured; () where that is not known."""

    task: int
    accuracy: Mapping[str, tuple[float, ...]]
    weights: Arrays
    test_samples: tuple[int, ...] = ()


@dataclass(frozen=True)
class Finished:
    pass


Event = Started | Step | Attention | Saved | TaskDone | Finished
