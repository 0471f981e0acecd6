"""The methods that ARI is compared with: one model, trained batch by batch.

On new samples alone it is fine-tuning, the lower bound; on new samples and exemplars, experience replay (Chaudhry et
al. 2019); on class-balanced batches, balanced replay; on all samples of all tasks so far, joint training, the upper
bound. `learn` gives the batches of each. A method with further terms in its loss adds them to `objective`.
"""

import math

from torch import Tensor

from ..config import Config
from ..events import Fused
from ..stream import Samples
from ..world import World
from .objective import Trainee, classification_loss


class Descent:
    def __init__(self, config: Config, world: World, phi: Tensor) -> None:
        self.config, self.world = config, world
        self.phi = phi
        self.trainee = Trainee(config.train, world.model, phi)

    def begin(self, task: int, epoch: int) -> None:
        self.task = task
        if epoch == 0:
            self.trainee = Trainee(self.config.train, self.world.model, self.phi)

    def objective(self, batch: Samples) -> tuple[Tensor, Tensor]:
        """(the loss to descend on, buffers of the pass)."""
        logits, _, buffers = self.world.model.train(self.trainee.phi, batch.images)
        return self.loss(logits, batch.labels), buffers

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        units = self.world.stream.units
        return classification_loss(self.config.train.loss, logits, labels, self.task, units)

    def step(self, batch: Samples, learning_rate: float, recorded: bool) -> tuple[float, Fused | None]:
        loss = self.trainee.at(learning_rate).descend(*self.objective(batch))
        self.phi = self.trainee.phi.detach().clone()
        return loss.item() if self.phi.isfinite().all() else math.nan, None

    def state(self) -> dict[str, Tensor]:
        return {"phi": self.phi, **{f"optimiser.{name}": value for name, value in self.trainee.moments.items()}}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.phi = state["phi"].to(self.world.device)
        self.trainee = Trainee(self.config.train, self.world.model, self.phi)
        prefix = "optimiser."
        self.trainee.moments = {
            name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
        }
