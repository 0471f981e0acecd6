"""One iteration, part by part: the batch, train φᵢ, attack, attacked step, measure, fuse."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from arli_core import figures, records
from arli_core.config import Ari, AriAdam
from arli_core.figures import Row, typeset
from arli_core.records import Record

from .address import from_widget, number, write
from .drawing import picture, save_table
from .run_bar import View, choose_view, class_names, guarded, next_base

if TYPE_CHECKING:  # torch is imported only where an iteration is made
    from arli_core.iteration import Iteration

MOST = 12  # images of one task, or columns of the attack, that are drawn
EXACT = 1e-4  # a departure from the recording that rounding explains
OPTIMISERS = {"sgd": "SGD", "adam": "Adam", "radam": "RAdam"}


@st.cache_resource(max_entries=16, show_spinner=False)
def _first(path: Path, task: int, stamp: bytes, data: str, _record: Record) -> "Iteration":
    from arli_core.iteration import first_of

    with st.spinner("Making the first iteration of this task again…"):
        return first_of(_record, task)


def _made(view: View) -> "Iteration":
    from arli_core.attention import data_stamp

    first = view.frames.distance[0].tobytes()  # of the same run and task while a live one goes on
    return _first(records.locate(view.name), view.task, first, data_stamp(view.record), view.record)


def part_by_part() -> None:
    view = choose_view(fusing=True, asked="The first iteration of task")
    found = guarded(_made, view)
    shown = _choose_part()
    _, draw = PARTS[shown]
    draw(view, found)
    departure = found.departure(view.frames)
    made = f"Iteration 0 of task {view.task}, made again on the CPU from the recorded weights. D, dif*, α and losses"
    if departure <= EXACT:
        st.caption(f"{made} equal those recorded while it trained, {_within(departure)}.")
    else:
        device = view.record.started.device if view.record.started else "another device"
        st.caption(
            f"{made} differ from those recorded by up to {departure:.2g} of a value: the run was trained on "
            f"{device}, where the attack draws other noise, or with other versions or data."
        )


def _choose_part() -> int:
    """The part in the address, Back, Next, and all parts by name."""
    part = number("part", 1, 1, len(PARTS))
    st.session_state["part-box"] = part
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button(
            "Back", icon=":material/chevron_left:", disabled=part == 1, on_click=_go, args=(part - 1,), shortcut="B"
        )
        st.button(
            "Next", icon=":material/chevron_right:", disabled=part == len(PARTS), on_click=_go, args=(part + 1,),
            shortcut="N", type="primary",
        )  # fmt: skip
        st.segmented_control(
            "Part", list(PARTS), format_func=lambda part: f"{part} {PARTS[part][0]}", key="part-box", required=True,
            on_change=from_widget, args=("part", "part-box"), label_visibility="collapsed",
        )  # fmt: skip
    return part


def _go(part: int) -> None:
    write(part=str(part))


def the_batch(view: View, found: "Iteration") -> None:
    config, task = _config(view), view.task
    counts = {model.task: len(model.images) for model in found.models}
    new, kept = counts.get(task, 0), sum(count for each, count in counts.items() if each < task)
    left, right = st.columns([2, 3])
    with left:
        exemplars = f"{new} new ones of task {task} and {kept} exemplars of earlier tasks" if task > 1 else "all new"
        st.markdown(
            f"**What happens.** The first batch of task {task}, {new + kept} samples: {exemplars}. "
            "Each task's samples go to a model of their own."
        )
        _equation(r"X = " + r" \cup ".join(f"X_{{{each}}}" for each in counts))
        _equation(", ".join(f"|X_{{{each}}}| = {count}" for each, count in counts.items()))
        drawn = {
            "balanced": "as many samples of each class",
            "every-task": "samples as they come, and at least one of each task seen",
            "mixed": "new samples and exemplars as they come",
        }
        absent = [str(each) for each in range(1, task + 1) if each not in counts]
        notice = "There are no earlier tasks, and so nothing to forget yet: one model and the base are fused."
        if task > 1:
            notice = (
                f"Batches here hold {drawn[config.memory.batches]}: {config.memory.budget} exemplars at most speak "
                "for all that was before."
            )
        if absent:
            notice += f" Task {', '.join(absent)} is not in this batch, and has no model in this iteration."
        st.markdown(f"**What to notice.** {notice}")
    with right:
        rows = [
            (_task_name(view, model.task, "new" if model.task == task else "exemplars"), model.images[:MOST],
             model.task == task)
            for model in found.models
        ]  # fmt: skip
        picture(partial(figures.strips, rows), _name(view, "batch"))
        more = " The first of each task's samples are drawn." if max(counts.values()) > MOST else ""
        st.caption(f"Framed in orange: new samples.{more}")


def train_clean(view: View, found: "Iteration") -> None:
    config = _config(view)
    furthest = max(found.models, key=lambda model: model.clean_distance)
    losses = _losses(found, r"\ell(X)", [(model.clean_loss, model.loss_after) for model in found.models])
    start = f"the base $φ_b${_after(view)}" if config.fusion.reset else "the model of the task before it"
    highest = max(found.models, key=lambda model: model.clean_loss)
    lost = _called(highest.task)
    why = "whose loss was the highest" if furthest is highest else f"though {lost} had the highest loss"
    rounds = config.fusion.inner_steps
    _step(
        view,
        found,
        f"**What happens.** Every φᵢ starts from {start} and takes one step on its own task's samples alone."
        + (f" This run makes {rounds} rounds of parts 2 to 4; the last one is shown." if rounds > 1 else ""),
        [
            _descent(config, found, "X_i"),
            losses,
            rf"d(\varphi_{{{furthest.task}}}, \varphi_b) = {_short(furthest.clean_distance)}",
        ],
        f"**What to notice.** {_called(furthest.task)} moves furthest from $φ_b$, {why}. The distance at which a "
        "model ends up will decide its weight.",
        {
            "before the step": np.array([model.clean_loss for model in found.models]),
            "after": np.array([model.loss_after for model in found.models]),
        },
        np.array([model.clean_distance for model in found.models]),
        "clean",
    )


def attack(view: View, found: "Iteration") -> None:
    epsilon = _config(view).attack.epsilon
    struck = [(model, model.struck) for model in found.models if model.struck is not None]
    if not struck:
        st.info("attack.epsilon is 0 in this run: no attack. A second clean step takes its place.")
        return
    left, right = st.columns(2)
    with left:
        st.markdown(
            "**What happens.** On each task's samples, φᵢ's own attention A is spared; on the background "
            "B = 1 − A∘A each pixel changes by up to ε, from a random start δ₀ in the direction that raises the loss."
        )
        _equation(
            rf"\delta = \mathrm{{clip}}(\delta_0 + \varepsilon\,\mathrm{{sign}}\nabla_{{\delta}}\ell),\quad "
            rf"\varepsilon = {epsilon:.3g}"
        )
        _equation(r"\tilde X = \mathrm{clip}(X + B \circ \delta)")
        pairs = [(model.loss_after, model.attacked_loss) for model, _ in struck]
        _equation(_losses(found, r"\ell(X) \to \ell(\tilde X)", pairs))
    with right:
        raised = sum(model.attacked_loss > model.loss_after for model, _ in struck)
        wrong = sum(np.not_equal(model.labels, model.answers).sum() for model, _ in struck)
        samples = sum(len(model.labels) for model, _ in struck)
        through = sum(abs(hit.applied).sum() for _, hit in struck) / sum(abs(hit.delta).sum() for _, hit in struck)
        st.markdown(
            f"**What to notice.** B lets {through:.0%} of |δ| through. The attack raises the loss of {raised} of "
            f"{len(struck)} tasks; φᵢ, one step old, then answers {wrong} of {samples} samples wrongly. "
            "Middle grey in δ and B∘δ is no change."
        )
        table = pd.DataFrame(
            {"clean": [model.loss_after for model, _ in struck], "attacked": [m.attacked_loss for m, _ in struck]},
            index=pd.Index([f"task {model.task}" for model, _ in struck], name="loss"),
        )
        st.dataframe(table.T.style.format("{:.3f}"))
        save_table(table.T, "losses")
    each = max(1, MOST // len(struck))
    shown = [(model, hit, slice(min(each, len(model.labels)))) for model, hit in struck]

    def row(name: str, kind, values: Sequence[np.ndarray]) -> Row:
        return Row(name, np.concatenate(values), kind)

    rows = [
        row("input", "image", [model.images[some] for model, _, some in shown]),
        row("A", "map", [hit.attention[some] for _, hit, some in shown]),
        row("B = 1 − A∘A", "map", [hit.background[some] for _, hit, some in shown]),
        row("δ", "change", [hit.delta[some] for _, hit, some in shown]),
        row("B∘δ", "change", [hit.applied[some] for _, hit, some in shown]),
        row("attacked", "image", [hit.images[some] for _, hit, some in shown]),
    ]
    answers = [pair for model, _, some in shown for pair in zip(model.labels[some], model.answers[some], strict=True)]
    picture(lambda ink="black": figures.grid(rows, answers, "A and B", ink), _name(view, "attack"))


def train_attacked(view: View, found: "Iteration") -> None:
    config = _config(view)
    rose = [_called(model.task) for model in found.models if model.attacked_loss_after > model.attacked_loss]
    back = [_called(model.task) for model in found.models if model.distance < model.clean_distance]
    images = r"\tilde X_i" if config.attack.epsilon else "X_i"
    of = r"\ell(\tilde X)" if config.attack.epsilon else r"\ell(X)"
    at = "the attacked images" if config.attack.epsilon else "the same samples once more"
    _step(
        view,
        found,
        f"**What happens.** Each φᵢ takes a second step, on {at}: it learns to answer whatever the background is. "
        "With that the inner loop ends.",
        [
            _descent(config, found, images, again=True),
            _losses(found, of, [(model.attacked_loss, model.attacked_loss_after) for model in found.models]),
        ],
        "**What to notice.** "
        + (f"For {', '.join(rose)} the step is too long: the loss rises. " if rose else "Every task's loss falls. ")
        + (f"{', '.join(back)} comes back nearer to" if back else "All are now further than before it from")
        + " $φ_b$.",
        {
            "before the step": np.array([model.attacked_loss for model in found.models]),
            "after": np.array([model.attacked_loss_after for model in found.models]),
        },
        np.array([model.distance for model in found.models]),
        "attacked",
    )


def measure(view: View, found: "Iteration") -> None:
    config = _config(view)
    fused, names = found.fused, _models(found)
    eta, star = config.fusion.eta, fused.dif_star
    most = int(star[-1].argmax())
    name = names[most].replace("φ", r"\varphi")
    share = 1 / len(names)
    st.markdown(
        f"**What happens.** How far all models, $φ_1$ to $φ_b$, lie apart ({_distance(config)}), squared and "
        "regularised by η, and each row over its sum: the more a model differs from the others, the more it counts."
    )
    panels = [
        ("D", rf"d({name}, \varphi_b) = {_short(fused.distance[most, -1])}",
         partial(figures.distances, fused.distance, names, "D")),
        ("dif", rf"{_short(fused.distance[most, -1])}^2 + {eta:g} = {_short(found.dif[most, -1])}",
         partial(figures.distances, found.dif, names, f"dif = D∘D + {eta:g}")),
        ("dif*", rf"\frac{{{_short(found.dif[-1, most])}}}{{{_short(found.dif[-1].sum())}}} = {star[-1, most]:.3f}",
         partial(figures.dif_star, star, names)),
    ]  # fmt: skip
    for column, (title, equation, draw) in zip(st.columns(3), panels, strict=True):
        with column:
            st.markdown(f"##### {title}")
            _equation(equation)
            file = _name(view, title.replace("*", "-star"))
            values = {"D": fused.distance, "dif": found.dif, "dif*": star}[title]
            picture(draw, file, table=pd.DataFrame(values, names, names).rename_axis("model"))
    st.markdown(
        f"**What to notice.** The equations follow {typeset(names[most])} into the outlined last row: its weight is "
        f"{star[-1, most]:.3f}, and the equal share 1/{len(names)} = {share:.3f}. The largest deviation from that in "
        f"dif\\* is {abs(star - share).max():.3f}; every row sums to 1, {_within(abs(star.sum(1) - 1).max())}."
    )


def fuse(view: View, found: "Iteration") -> None:
    config, alpha = _config(view), found.fused.alpha
    fusion, names, row = config.fusion, _models(found), found.row
    rate = config.fusion.base_rate if isinstance(config, AriAdam) else None
    left, middle, right = st.columns([4, 4, 4])
    with left:
        st.markdown(
            "**What happens.** "
            + (
                "The last row of dif\\* weighs"
                if fusion.weights == "adaptive"
                else f"Weights ({fusion.weights}) weigh"
            )
            + f" all models into $φ_f$; {next_base(config)}."
        )
        terms = [rf"{weight:.2f}\,{name}" for weight, name in zip(row, names, strict=True)]
        for at in range(0, len(terms), 3):
            joined = " + ".join(terms[at : at + 3]).replace("φ", r"\varphi")
            _equation((r"\varphi_f = " if not at else "+ ") + joined)
        tasks = config.data.tasks
        _equation(rf"\alpha = e^{{-{fusion.beta:g} \cdot {view.task - 1}/{tasks}}} = {alpha:.3f}")
        if rate is None:
            _equation(rf"\varphi_b \leftarrow {alpha:.3g}\,\varphi_f + {1 - alpha:.3g}\,\varphi_b")
        else:
            rate *= alpha * found.learning_rate / config.train.learning_rate
            gradient = rf"\frac{{\varphi_b - \varphi_f}}{{{found.learning_rate:.3g}}}"
            _equation(rf"\varphi_b \leftarrow \mathrm{{Adam}}_{{{rate:.3g}}}\left(\varphi_b;\ {gradient}\right)")
    with middle:
        what = "last row of dif*" if fusion.weights == "adaptive" else fusion.weights
        bars = partial(figures.fusion_weights, {what: row}, names)
        picture(bars, _name(view, "weights"), table=pd.DataFrame({"weight": row}, pd.Index(names, name="model")))
        if len(found.weights) > 1:
            st.caption("This run weighs parameter tensor by tensor; the bars are the mean over all parameters.")
    tasks = [f"task {model.task}" for model in found.models]
    with right:
        table = pd.DataFrame(found.losses, pd.Index(tasks, name="loss on the batch"))
        losses = {typeset(name): values for name, values in found.losses.items()}
        picture(partial(figures.bars, losses, tasks, "loss on the batch"), _name(view, "losses"), table=table)
    better = int((found.losses["next φ_b"] < found.losses["φ_b"]).sum())
    told = (
        f"**What to notice.** On this batch the next base is better than $φ_b$ for {better} of {len(tasks)} tasks; "
        f"its mean loss over tasks goes from {found.losses['φ_b'].mean():.3f} to "
        f"{found.losses['next φ_b'].mean():.3f}. "
    )
    if rate is not None:
        told += (
            f"$φ_f$ itself has {found.losses['φ_f'].mean():.3f}. The base takes its direction alone: Adam's first "
            f"step moves every parameter equally far, {_short(found.base_moved)} together, where $φ_f$ lies "
            f"{_short(found.fused_moved)} away."
        )
    st.markdown(told)


def _step(
    view: View,
    found: "Iteration",
    happens: str,
    equations: Sequence[str],
    notice: str,
    losses: dict[str, np.ndarray],
    moved: np.ndarray,
    what: str,
) -> None:
    """A step of every task's model: what is said on the left, losses and distances from the base on the right."""
    left, middle, right = st.columns([4, 4, 4])
    with left:
        st.markdown(happens)
        for equation in equations:
            _equation(equation)
        st.markdown(notice)
    tasks = [f"task {model.task}" for model in found.models]
    with middle:
        table = pd.DataFrame(losses, pd.Index(tasks, name="loss"))
        picture(partial(figures.bars, losses, tasks, "loss on its task"), _name(view, f"{what}-losses"), table=table)
    with right:
        names = _models(found)[:-1]
        table = pd.DataFrame({"distance from φ_b": moved}, pd.Index(names, name="model"))
        draw = partial(figures.bars, {"": moved}, [typeset(name) for name in names], "distance from $φ_b$")
        picture(draw, _name(view, f"{what}-distance"), table=table)


def _equation(text: str) -> None:
    st.markdown(f"${text}$")


def _descent(config: Ari, found: "Iteration", images: str, again: bool = False) -> str:
    start = r"\varphi_i" if again or not config.fusion.reset else r"\varphi_b"
    gradient = rf"\nabla \ell({start};\ {images})"
    if config.train.optimiser == "sgd":
        return rf"\varphi_i \leftarrow {start} - {found.learning_rate:.3g}\,{gradient}"
    name = OPTIMISERS[config.train.optimiser]
    return rf"\varphi_i \leftarrow \mathrm{{{name}}}_{{{found.learning_rate:.3g}}}\left({start};\ {gradient}\right)"


def _losses(found: "Iteration", of: str, pairs: Sequence[tuple[float, float]]) -> str:
    """The loss of the task that was hit hardest, before -> after."""
    worst = max(range(len(pairs)), key=lambda at: abs(pairs[at][1] - pairs[at][0]))
    before, after = pairs[worst]
    return rf"{of},\ \text{{task }} {found.models[worst].task}:\quad {before:.3f} \to {after:.3f}"


def _config(view: View) -> Ari:
    """Of a run that fuses, as `choose_view(fusing=True)` promises."""
    assert isinstance(view.record.config, Ari)
    return view.record.config


def _models(found: "Iteration") -> list[str]:
    return [*(f"φ_{model.task}" for model in found.models), "φ_b"]


def _called(task: int) -> str:
    return typeset(f"φ_{task}")


def _distance(config: Ari) -> str:
    return {
        "l1": "sum of absolute differences",
        "l2": "Euclidean",
        "relative": "absolute differences over the models' mean size",
    }[config.fusion.distance]


def _task_name(view: View, task: int, kind: str) -> str:
    names = class_names(view.record, task)
    return f"task {task}{f' ({names})' if names else ''}\n{kind}"


def _after(view: View) -> str:
    return f", as task {view.task - 1} left it," if view.task > 1 else ", as the seed made it,"


def _within(difference: float) -> str:
    return f"within {difference:.0e}" if difference else "to the last bit"


def _short(value: float) -> str:
    return f"{value:,.0f}".replace(",", r"\,") if value >= 1000 else f"{value:.3g}"


def _name(view: View, what: str) -> str:
    return f"iteration-{what}-{view.name}-{view.task}"


PARTS = {
    1: ("The batch", the_batch),
    2: ("Train φᵢ", train_clean),
    3: ("Attack", attack),
    4: ("Attacked step", train_attacked),
    5: ("Measure dif", measure),
    6: ("Fuse", fuse),
}
