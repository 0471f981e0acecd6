"""The parts of one iteration of ARI, in the order in which they happen.

    per present task, K times: CleanStep, Attack, AttackedStep; then Fusion, and last Measured

Nothing is copied: tensors are the ones that training works with, and phi_i goes on changing in place. To keep one
past the next part, clone it.
"""

from dataclasses import dataclass

from torch import Tensor

from ..events import Fused
from ..stream import Samples
from ..theory.attack import Attacked


@dataclass(frozen=True, eq=False)
class CleanStep:
    """phi_i [P + Q] after one step on its task's samples; loss: before the step."""

    task: int
    samples: Samples
    phi: Tensor
    loss: Tensor


@dataclass(frozen=True, eq=False)
class Attack:
    """The background attack on phi_i; `struck` is None where epsilon is 0, and X stands in for X~."""

    task: int
    struck: Attacked | None


@dataclass(frozen=True, eq=False)
class AttackedStep:
    """phi_i [P + Q] after one step on X~; loss: before the step."""

    task: int
    phi: Tensor
    loss: Tensor


@dataclass(frozen=True, eq=False)
class Fusion:
    """Phi [m, P + Q], the base last; phi_f and the base after this iteration, both [P + Q]; alpha, phi_f's share."""

    models: Tensor
    phi_f: Tensor
    alpha: float
    following: Tensor


@dataclass(frozen=True, eq=False)
class Measured:
    """The batch's mean loss before the iteration, NaN where the update gave numbers that are not finite, and, where
    the iteration is recorded, its matrices."""

    loss: float
    fused: Fused | None


Part = CleanStep | Attack | AttackedStep | Fusion | Measured
