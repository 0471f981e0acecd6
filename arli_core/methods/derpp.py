"""Dark experience replay ++ (Buzzega et al., NeurIPS 2020): exemplars are stored with their logits of that time.

Eq. 6 there: L(new batch) + alpha ||z' - h(x')||^2 + beta L(h(x''), y''), x' and x'' two draws from the memory, the
square averaged over logits and samples. The memory is ours: as for all methods here, it is filled at the end of a
task, with the logits of that time, in place of a reservoir filled while training.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import DarkExperienceReplay
from ..schedule import exemplars
from ..stream import AUGMENT, REPLAY, Samples, generator_for
from ..world import World
from .baselines import Descent


class DarkExperienceReplayPlusPlus(Descent):
    def __init__(self, config: DarkExperienceReplay, world: World, phi: Tensor) -> None:
        super().__init__(config, world, phi)
        self.weights, self.budget = config.replay, config.memory.budget
        units = world.stream.seen(world.stream.tasks)
        self.memory = torch.zeros(0, dtype=torch.long, device=world.device)  # [M], into the training samples
        self.logits = phi.new_zeros(0, units)  # [M, units]

    def begin(self, task: int, epoch: int) -> None:
        super().begin(task, epoch)
        self.draws = generator_for(self.config.seed, REPLAY, task, epoch)
        self.augmentation = generator_for(self.config.seed, AUGMENT, REPLAY, task, epoch)
        if epoch == 0 and task > 1:
            self.remember(task - 1)

    def remember(self, task: int) -> None:
        """Fills the memory after a task. Exemplars already stored keep their stored logits."""
        stream = self.world.stream
        memory = exemplars(stream, task, self.budget, self.config.seed)
        with torch.no_grad():
            parts = [
                self.world.model(self.phi, stream.train[part].images)[0]
                for part in memory.split(min(100, stream.train.chunk))
            ]
        logits = torch.cat(parts)
        matches = memory[:, None] == self.memory  # [M new, M old]
        row, column = matches.nonzero(as_tuple=True)
        logits[row] = self.logits[column]
        self.memory, self.logits = memory, logits

    def objective(self, batch: Samples) -> tuple[Tensor, Tensor]:
        if not len(self.memory):
            return super().objective(batch)
        size, stream = len(batch), self.world.stream
        picks = torch.randint(len(self.memory), (2 * size,), generator=self.draws).to(self.memory.device)
        replayed = stream.augmented(stream.train[self.memory[picks]], self.augmentation)
        images = torch.cat([batch.images, replayed.images])
        logits, _, buffers = self.world.model.train(self.trainee.phi, images)
        new, logits_draw, labels_draw = logits.split(size)
        loss = self.loss(new, batch.labels)
        loss = loss + self.weights.alpha * F.mse_loss(logits_draw, self.logits[picks[:size]])
        return loss + self.weights.beta * self.loss(labels_draw, replayed.labels[size:]), buffers

    def state(self) -> dict[str, Tensor]:
        return {**super().state(), "memory": self.memory, "logits": self.logits}

    def restore(self, state: dict[str, Tensor]) -> None:
        super().restore(state)
        self.memory = state["memory"].to(self.world.device)
        self.logits = state["logits"].to(self.world.device)
