"""How the parts of an iteration are put into words and formulas."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from arli_core.config import Ari
from arli_core.figures import typeset

from ..shell.run_bar import View, class_names

if TYPE_CHECKING:  # torch is imported only when an iteration is made
    from arli_core.analysis.retrace import Iteration

OPTIMISERS = {"sgd": "SGD", "adam": "Adam", "radam": "RAdam"}


def descent(config: Ari, iteration: "Iteration", images: str, again: bool = False) -> str:
    start = r"\varphi_i" if again or not config.fusion.reset else r"\varphi_b"
    gradient = rf"\nabla \ell({start};\ {images})"
    if config.train.optimiser == "sgd":
        return rf"\varphi_i \leftarrow {start} - {iteration.learning_rate:.3g}\,{gradient}"
    name = OPTIMISERS[config.train.optimiser]
    return (
        rf"\varphi_i \leftarrow \mathrm{{{name}}}_{{{iteration.learning_rate:.3g}}}\left({start};\ {gradient}\right)"
    )


def loss_change(iteration: "Iteration", of: str, pairs: Sequence[tuple[float, float]]) -> str:
    """The loss of the task whose loss changed most, before -> after; it says so if there are several tasks."""
    worst = max(range(len(pairs)), key=lambda at: abs(pairs[at][1] - pairs[at][0]))
    before, after = pairs[worst]
    most = r"\text{ (changed most)}" if len(pairs) > 1 else ""
    return rf"{of},\ \text{{task }} {iteration.models[worst].task}{most}:\quad {{{before:.3f} \to {after:.3f}}}"


def model_names(iteration: "Iteration") -> list[str]:
    return [*(f"φ_{model.task}" for model in iteration.models), "φ_b"]


def symbol(task: int) -> str:
    return typeset(f"φ_{task}")


def distance_name(config: Ari) -> str:
    return {
        "l1": "sum of absolute differences",
        "l2": "Euclidean",
        "relative": "sum of absolute differences, divided by the mean size of the models",
    }[config.fusion.distance]


def task_name(view: View, task: int, kind: str) -> str:
    names = class_names(view.record, task)
    return f"task {task}{f' ({names})' if names else ''}\n{kind}"


def origin(view: View) -> str:
    return f", as task {view.task - 1} left it," if view.task > 1 else ", initialised from the seed,"


def agreement(difference: float) -> str:
    return f"within {difference:.0e}" if difference else "to the last bit"


def short(value: float) -> str:
    return f"{value:,.0f}".replace(",", r"\,") if value >= 1000 else f"{value:.3g}"
