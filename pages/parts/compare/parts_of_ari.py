"""An ablation: ARI with its parts on and off in all combinations, and what each switch brings."""

from functools import partial

import pandas as pd
import streamlit as st

from arli_core import figures
from arli_core.sweeps import Arm, comparisons
from arli_core.sweeps.comparisons import Effect, Sweep

from ..shell.address import choose_one
from ..shell.drawing import PROTOCOL_NAMES, picture, save_table
from .methods import in_order, show
from .sweep_bar import choose_protocol, choose_sweep, tell_common, written

SCALES = {"0.05": "± 0.05", "0.1": "± 0.1", "all": "All"}
ON = {True: "on", False: "off"}
SWITCHES = {
    "attack": "Every second step is taken on images whose background is attacked. With the attack off, this is a "
    "second clean step.",
    "weights": "How much each model counts in the next base: as the last row of dif\\* says (adaptive), all equally "
    "(uniform), or only the newest task's model (last).",
    "reset": "Every task model starts from the base. With the reset off, each starts from the previous task's model, "
    "in a chain.",
}


def parts_of_ari() -> None:
    left, right, last = st.columns([3, 3, 5], vertical_alignment="bottom")
    command = "ablate --preset mnist-5k"
    sweep = choose_sweep(left, comparisons.parts, "all 12 combinations of ARI's switches", command)
    arms = comparisons.parts(sweep)
    with right:
        protocol = choose_protocol(arms)
    with last:
        within = choose_one("scale", SCALES, "Range around the full ARI")
    tell_common(sweep)
    whole = _name(arms[0])
    lines = comparisons.lines(arms, sweep.outcomes, protocol, arms[0])
    effects = comparisons.effects(arms, sweep.outcomes)[protocol]
    plot, words = st.columns([6, 5])
    with plot:
        rows = {
            _name(line.arm): (line.measures["average"], list(line.values.values()))
            for line in in_order(lines, "average")
        }
        title = f"average accuracy, {PROTOCOL_NAMES[protocol]}"
        scale = None if within == "all" else float(within)
        picture(partial(figures.intervals, rows, title, whole, scale), f"parts-{sweep.preset}-{protocol}")
    with words:
        _say(effects)
        _reset_by_weights(sweep, arms, protocol)
    table = _table(effects)
    st.markdown(
        "##### Main effects: one position of a switch minus the other, averaged over all settings of the other "
        "switches"
    )
    st.dataframe(table, hide_index=True, height="content")
    save_table(table, f"effects-{sweep.preset}-{protocol}", "effects-")
    st.markdown("##### All 12 combinations")
    show(lines, whole, "average", f"parts-{sweep.preset}-{protocol}", _name)


def _name(arm: Arm) -> str:
    attack, weights, reset = arm.varied.values()
    return f"{weights}, attack {ON[attack > 0]}, reset {ON[reset]}"


def _say(effects: list[Effect]) -> None:
    for switch, what in SWITCHES.items():
        differences = "; ".join(
            f"{effect.difference.replace(' - ', ' minus ')}: {written(effect.interval, '+')} ({effect.verdict})"
            for effect in effects
            if effect.switch == switch
        )
        st.markdown(f"**{switch.capitalize()}.** {what} {differences.capitalize()}.")


def _reset_by_weights(sweep: Sweep, arms: list[Arm], protocol: str) -> None:
    """The main effect of reset hides that it depends on the weights."""
    differences = []
    for weights in dict.fromkeys(arm.varied["fusion.weights"] for arm in arms):
        some = [arm for arm in arms if arm.varied["fusion.weights"] == weights]
        interval = comparisons.contrast(some, sweep.outcomes, protocol, "fusion.reset", True, False)
        differences.append(f"{written(interval, '+')} with weights *{weights}*")
    st.markdown(
        f"**One switch depends on another.** The effect of reset, on minus off, is {', '.join(differences)}. With "
        "weights *last*, the newest task's model alone becomes the base. Started from the base, it holds nothing of "
        "the other tasks' models; at the end of a chain, it builds on all of them. A main effect is a mean over such "
        "cases: read it together with the single rows."
    )


def _table(effects: list[Effect]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "switch": effect.switch,
                "difference": effect.difference.replace(" - ", " minus "),
                "average accuracy": written(effect.interval, "+"),
                "verdict": effect.verdict,
                "seeds": effect.interval.n,
            }
            for effect in effects
        ]
    )
