"""What a run needs, counted before it trains: memory, and the operations of one iteration.

The network passes over the largest batch run on torch's `meta` device, where tensors have a shape but no content:
what is alive at once is added up, and none of it is allocated. The rest was measured, and is rounded up.
"""

import os
from dataclasses import dataclass
from functools import lru_cache

import psutil
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from . import networks
from .config import Ari, AriReleased, Config, DarkExperienceReplay, Ewc, Itaml, Joint, Rehearsal, Remembering
from .errors import ConfigError, LabError
from .evaluation import ADAPTATION
from .methods.ewc import AT_ONCE
from .stream import Stream
from .world import World

GIGABYTE = 2**30
MEMORY, OPERATIONS = "ARLI_MAX_MEMORY", "ARLI_MAX_OPERATIONS"  # of a run, in GB; of an iteration
MOST_OPERATIONS = 1e15  # an iteration of this many takes minutes on the fastest of processors
WORKSPACE = 1.4  # times a pass's tensors: convolutions lay some of them out again


@dataclass(frozen=True)
class Demand:
    """Bytes of the images, of all copies of phi, and of a pass over the largest batch; operations of an iteration."""

    images: int
    models: int
    batch: int
    operations: float

    @property
    def memory(self) -> int:
        return self.images + self.models + self.batch


def refuse_too_large(config: Config, world: World) -> None:
    """ConfigError where a run would take more memory than the device has, or an iteration more operations than
    MOST_OPERATIONS; LabError where a limit that the environment sets instead is not a number above 0."""
    stream = world.stream
    demand = demand_of(config, stream)
    images = f"{largest_batch(config, stream)} images of {'x'.join(map(str, stream.shape))}"
    batches = f"batches of {images} in the network {config.network.name}"
    cure = "lower train.batch_size or data.image_size, or choose a smaller network.name"
    memory = _limit(MEMORY, memory_of(world.device) / GIGABYTE) * GIGABYTE
    if demand.memory > memory:
        raise ConfigError(
            f"train.batch_size: {batches} would take about {_size(demand.memory)} of memory ({_size(demand.models)} "
            f"for copies of the model, {_size(demand.images)} for the data set); a run may take {_size(memory)} "
            f"here; {cure}"
        )
    operations = _limit(OPERATIONS, MOST_OPERATIONS)
    if demand.operations > operations:
        raise ConfigError(
            f"train.batch_size: {batches} would take {demand.operations:.1e} operations an iteration; at most "
            f"{operations:.1e} are allowed here, because a run cannot be stopped within an iteration; {cure}"
            f"{', or lower fusion.inner_steps' if _rounds(config) > 1 else ''}"
        )


def demand_of(config: Config, stream: Stream) -> Demand:
    network, samples = config.network, largest_batch(config, stream)
    size, batch, operations = _of_a_pass(
        network.name, network.attention, stream.shape, len(stream.classes), samples, stream.test.chunk
    )
    resident = stream.dataset.nbytes if stream.train.resident else 0
    return Demand(
        images=2 * resident,  # the data set's own, and those on the device
        models=size * _copies(config),
        batch=batch,
        operations=float(operations * _passes(config)),
    )


@lru_cache(64)
def _of_a_pass(
    network: str, attention: str, shape: tuple[int, int, int], classes: int, samples: int, chunk: int
) -> tuple[int, int, int]:
    """Bytes of phi; of a pass that trains on so many samples or evaluates a chunk; operations of a forward pass.

    Counting takes as long as some iterations of a small network, and many runs ask for the same.
    """
    answered, trained, evaluated = _Counter(), _Counter(), _Counter()
    with torch.device("meta"):
        model = networks.build(network, shape, classes, attention)
        phi, images = torch.empty(sum(model.sizes)), torch.empty(samples, *shape)
        with torch.no_grad(), answered:
            model(phi, images)
        with trained:
            logits, mask, _ = model.train(phi.requires_grad_(), images.requires_grad_())
            torch.autograd.grad(logits.sum() + mask.sum(), [phi, images])
        with torch.no_grad(), evaluated:
            model(phi, torch.empty(chunk, *shape))
    return phi.nbytes, int(WORKSPACE * max(trained.peak, evaluated.peak)), answered.operations


def largest_batch(config: Config, stream: Stream) -> int:
    """The most samples that pass through the network together while the run trains."""
    counts = torch.bincount(stream.task_of(stream.train.labels))
    available = int(counts.sum() if isinstance(config, Joint) else counts.max())
    if isinstance(config, Remembering):
        available = min(available + config.memory.budget, int(counts.sum()))
    samples = min(config.train.batch_size, available)
    if isinstance(config, Rehearsal) and config.memory.batches == "every-task":
        samples += stream.tasks - 1  # one of each task that a batch lacks
    if isinstance(config, DarkExperienceReplay):
        samples *= 3  # new ones, and two draws
    if isinstance(config, Ewc):
        samples = max(samples, min(AT_ONCE, stream.train.chunk))
    if isinstance(config, Remembering) and config.adaptation.epochs:
        samples = max(samples, min(ADAPTATION.batch_size, config.memory.budget))
    return samples


def memory_of(device: torch.device) -> int:
    """The device's memory in all, in bytes."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return psutil.virtual_memory().total


def _copies(config: Config) -> int:
    """The most copies of phi in float32, counting gradients, moments, saved states and float64 matrices: measured."""
    match config:
        case Ari():
            return 8 * (config.data.tasks + 1) + 16
        case AriReleased() | Itaml():
            return 2 * config.data.tasks + 16
        case Ewc():
            return 64 if config.data.tasks > 1 else 24  # a gradient for each of 20 samples
    return 20


def _passes(config: Config) -> int:
    """The cost of an iteration in forward passes: a step takes three, and an attack at most three."""
    if isinstance(config, Ari | AriReleased):
        return 9 * _rounds(config)
    return 3 * _rounds(config) if isinstance(config, Itaml) else 4


def _rounds(config: Config) -> int:
    return config.fusion.inner_steps if isinstance(config, Ari | AriReleased | Itaml) else 1


def _limit(variable: str, usual: float) -> float:
    text = os.environ.get(variable)
    try:
        limit = float(text) if text else usual
    except ValueError:
        limit = 0.0
    if not limit > 0:
        raise LabError(f"{variable}: {text!r} is not a number above 0")
    return limit


def _size(count: float) -> str:
    return f"{count / GIGABYTE:.1f} GB" if count >= GIGABYTE else f"{count / 2**20:.0f} MB"


class _Counter(TorchDispatchMode):
    """`peak`: the most bytes that tensors made by operations within it took at one time. `operations`: how many the
    matrix products and convolutions take, by torch's formulas.

    torch's FlopCounterMode counts the same, but hooks the modules of all threads, and breaks a run that trains.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.operations = 0
        self.storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self.storages[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.storages = {key: entry for key, entry in self.storages.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.storages.values()))
        if formula := flop_registry.get(func._overloadpacket):
            self.operations += formula(*args, **(kwargs or {}), out_val=result)
        return result
