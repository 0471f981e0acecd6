"""The methods: each is a `step`; the loop over tasks, batches and evaluation is `learn`'s alone."""

from typing import Protocol, assert_never

from torch import Tensor

from ..config import (
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
    Replay,
)
from ..events import Fused
from ..stream import Samples
from ..world import World


class Method(Protocol):
    phi: Tensor  # [P] the base model now; never changed in place, so a reference to it is a snapshot

    def begin(self, task: int, epoch: int) -> None:
        """Before each epoch; at epoch 0 a task begins."""

    def step(self, batch: Samples, learning_rate: float, recorded: bool) -> tuple[float, Fused | None]:
        """One iteration on a batch. Returns its mean loss before the update and, if `recorded`, the fusion.

        The loss is NaN where the update gave numbers that are not finite.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """All that `restore` needs to go on from the start of an epoch."""
        ...

    def restore(self, state: dict[str, Tensor]) -> None: ...


def create(config: Config, world: World, phi: Tensor) -> Method:
    from .ari import AntiRetroactiveInterference
    from .ari_adam import AdamLedAri
    from .baselines import Descent
    from .derpp import DarkExperienceReplayPlusPlus
    from .ewc import ElasticWeightConsolidation
    from .itaml import IncrementalTaskAgnosticMetaLearning
    from .lwf import LearningWithoutForgetting
    from .released import ReleasedAri

    match config:
        case AriAdam():
            return AdamLedAri(config, world, phi)
        case Ari():
            return AntiRetroactiveInterference(config, world, phi)
        case AriReleased():
            return ReleasedAri(config, world, phi)
        case Itaml():
            return IncrementalTaskAgnosticMetaLearning(config, world, phi)
        case DarkExperienceReplay():
            return DarkExperienceReplayPlusPlus(config, world, phi)
        case Ewc():
            return ElasticWeightConsolidation(config, world, phi)
        case Lwf():
            return LearningWithoutForgetting(config, world, phi)
        case Finetune() | Joint() | Replay():  # replay-balanced too; they differ in their batches
            return Descent(config, world, phi)
    assert_never(config)
