"""ARI whose base follows phi_f by the steps of its own Adam; a variant of ours, from no source.

Eq. 11 makes the base phi_f. Here (phi_b - phi_f) / learning rate is a gradient, as in FedAdam (Reddi et al., ICLR
2021): Adam keeps its direction and sets the length of the step, so one model that moved far cannot pull the base far.
"""

from torch import Tensor

from ..config import AriAdam, Train
from ..world import World
from .ari import AntiRetroactiveInterference
from .objective import Trainee


class AdamLedAri(AntiRetroactiveInterference):
    config: AriAdam

    def __init__(self, config: AriAdam, world: World, phi: Tensor) -> None:
        super().__init__(config, world, phi)
        self.base = self.trainee_of_base()

    def begin(self, task: int, epoch: int) -> None:
        super().begin(task, epoch)
        if epoch == 0:
            self.base = self.trainee_of_base()

    def trainee_of_base(self) -> Trainee:
        return Trainee(Train(optimiser="adam"), self.world.model, self.phi)

    def next_base(self, phi_b: Tensor, phi_f: Tensor, alpha: float, learning_rate: float) -> Tensor:
        """alpha times Adam's step, at `fusion.base_rate` on the schedule of the inner learning rate; buffers, which
        have no gradient, as in Eq. 11."""
        self.base.at(alpha * self.config.fusion.base_rate * learning_rate / self.config.train.learning_rate)
        buffers = super().next_base(phi_b, phi_f, alpha, learning_rate)[self.world.model.learnable :]
        self.base.follow((phi_b - phi_f) / learning_rate, buffers)
        return self.base.phi.detach().clone()

    def state(self) -> dict[str, Tensor]:
        return {**super().state(), **{f"base.{name}": value for name, value in self.base.moments.items()}}

    def restore(self, state: dict[str, Tensor]) -> None:
        super().restore(state)
        self.base = self.trainee_of_base()
        self.base.moments = {name.removeprefix("base."): value for name, value in state.items() if name != "phi"}
