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

from ..shell.address import from_widget, number, write
from ..shell.drawing import picture, save_table
from ..shell.run_bar import View, choose_view, guarded, next_base
from .wording import agreement, descent, distance_name, loss_change, model_names, origin, short, symbol, task_name

if TYPE_CHECKING:  # torch is imported only when an iteration is made
    from arli_core.analysis.retrace import Iteration

MOST = 12  # how many images of one task, or columns of the attack, are drawn
EXACT = 1e-4  # the largest departure from the recording that rounding explains


@st.cache_resource(max_entries=16, show_spinner=False)
def _first(path: Path, task: int, stamp: bytes, data: str, _record: Record) -> "Iteration":
    from arli_core.analysis.retrace import first_of

    with st.spinner("Repeating the first iteration of this task…"):
        return first_of(_record, task)


def _iteration(view: View) -> "Iteration":
    from arli_core.analysis.masks import data_stamp

    first = view.frames.distance[0].tobytes()  # the same for one run and task, even while the run goes on
    return _first(records.locate(view.name), view.task, first, data_stamp(view.record), view.record)


def part_by_part() -> None:
    view = choose_view(fusing=True, label="The first iteration of task")
    iteration = guarded(_iteration, view)
    part = _choose_part()
    _, draw = PARTS[part]
    draw(view, iteration)
    departure = iteration.departure(view.frames)
    made = (
        f"The first iteration of task {view.task} (iteration 0), repeated on the CPU from the recorded weights. "
        "D, dif*, α and the losses"
    )
    if departure <= EXACT:
        st.caption(f"{made} agree with those recorded during training, {agreement(departure)}.")
    else:
        device = view.record.started.device if view.record.started else "another device"
        by = f" by up to {departure:.2g} of the recorded value" if np.isfinite(departure) else ""
        st.caption(
            f"{made} differ from those recorded{by}. The run was trained on {device}, where the attack draws "
            "different noise, or with other software versions or other data."
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


def the_batch(view: View, iteration: "Iteration") -> None:
    config, task = _config(view), view.task
    counts = {model.task: len(model.images) for model in iteration.models}
    new, old = counts.get(task, 0), sum(count for index, count in counts.items() if index < task)
    left, right = st.columns([2, 3])
    with left:
        origin = f"{new} new ones of task {task} and {old} exemplars of earlier tasks" if task > 1 else "all new"
        st.markdown(
            f"**What happens.** The first batch of task {task} has {new + old} samples: {origin}. "
            "Each task's samples go to a model of their own."
        )
        _equation(r"X = " + r" \cup ".join(f"X_{{{index}}}" for index in counts))
        _equation(", ".join(f"|X_{{{index}}}| = {count}" for index, count in counts.items()))
        drawn = {
            "balanced": "equally many samples of each class",
            "every-task": "samples as they come, at least one of each task seen",
            "mixed": "new samples and exemplars as they come",
        }
        absent = [str(index) for index in range(1, task + 1) if index not in counts]
        notice = "There are no earlier tasks, so nothing can be forgotten yet: one task model and the base are fused."
        if task > 1:
            notice = (
                f"Batches in this run hold {drawn[config.memory.batches]}. At most {config.memory.budget} exemplars "
                "stand for all earlier tasks."
            )
        if absent:
            of = f"task{'s' * (len(absent) > 1)} {', '.join(absent)}"
            notice += f" No samples in this batch, and so no model in this iteration, for {of}."
        st.markdown(f"**What to notice.** {notice}")
    with right:
        rows = [
            (task_name(view, model.task, "new" if model.task == task else "exemplars"), model.images[:MOST],
             model.task == task)
            for model in iteration.models
        ]  # fmt: skip
        picture(partial(figures.strips, rows), _name(view, "batch"))
        more = " Only the first samples of each task are drawn." if max(counts.values()) > MOST else ""
        st.caption(f"Orange frames: new samples.{more}")


def train_clean(view: View, iteration: "Iteration") -> None:
    config = _config(view)
    furthest = max(iteration.models, key=lambda model: model.clean_distance)
    losses = loss_change(iteration, r"\ell(X)", [(model.clean_loss, model.loss_after) for model in iteration.models])
    start = f"the base $φ_b${origin(view)}" if config.fusion.reset else "the model of the previous task"
    highest = max(iteration.models, key=lambda model: model.clean_loss)
    notice = f"{symbol(furthest.task)} moves furthest from $φ_b$"
    if furthest is highest:
        notice += "; its loss was the highest"
    else:
        notice += f", although {symbol(highest.task)} had the highest loss"
    rounds = config.fusion.inner_steps
    _step(
        view,
        iteration,
        f"**What happens.** Every φᵢ starts from {start} and takes one step on the samples of its own task alone."
        + (f" This run makes {rounds} rounds of parts 2 to 4; the last one is shown." if rounds > 1 else ""),
        [
            descent(config, iteration, "X_i"),
            losses,
            rf"d(\varphi_{{{furthest.task}}}, \varphi_b) = {short(furthest.clean_distance)}",
        ],
        f"**What to notice.** {notice}. How far a model ends up from the base will decide its weight.",
        {
            "before the step": np.array([model.clean_loss for model in iteration.models]),
            "after": np.array([model.loss_after for model in iteration.models]),
        },
        np.array([model.clean_distance for model in iteration.models]),
        "clean",
    )


def attack(view: View, iteration: "Iteration") -> None:
    epsilon = _config(view).attack.epsilon
    struck = [(model, model.struck) for model in iteration.models if model.struck is not None]
    if not struck:
        st.info("attack.epsilon is 0 in this run, so there is no attack. A second clean step takes its place.")
        return
    left, right = st.columns(2)
    with left:
        st.markdown(
            "**What happens.** The attack spares what φᵢ attends to (A) and changes the background B = 1 − A∘A of "
            "each task's samples. From a random start δ₀, each pixel moves by up to ε in the direction that raises "
            "the loss."
        )
        _equation(
            rf"\delta = \mathrm{{clip}}(\delta_0 + \varepsilon\,\mathrm{{sign}}\nabla_{{\delta}}\ell),\quad "
            rf"\varepsilon = {epsilon:.3g}"
        )
        _equation(r"\tilde X = \mathrm{clip}(X + B \circ \delta)")
        pairs = [(model.loss_after, model.attacked_loss) for model, _ in struck]
        _equation(loss_change(iteration, r"\ell(X) \to \ell(\tilde X)", pairs))
    with right:
        raised = sum(model.attacked_loss > model.loss_after for model, _ in struck)
        wrong = sum(np.not_equal(model.labels, model.answers).sum() for model, _ in struck)
        samples = sum(len(model.labels) for model, _ in struck)
        through = sum(abs(hit.applied).sum() for _, hit in struck) / sum(abs(hit.delta).sum() for _, hit in struck)
        st.markdown(
            f"**What to notice.** B lets {through:.0%} of |δ| through. The attack raises the loss of {raised} of "
            f"{len(struck)} tasks. The φᵢ have taken one step by now; they answer {wrong} of {samples} attacked "
            "samples wrongly. In δ and B∘δ, middle grey means no change."
        )
        table = pd.DataFrame(
            {"clean": [model.loss_after for model, _ in struck], "attacked": [m.attacked_loss for m, _ in struck]},
            index=pd.Index([f"task {model.task}" for model, _ in struck], name="loss"),
        )
        st.dataframe(table.T.style.format("{:.3f}"))
        save_table(table.T, "losses")
    per_task = max(1, MOST // len(struck))
    drawn = [(model, hit, slice(min(per_task, len(model.labels)))) for model, hit in struck]

    def row(name: str, kind, values: Sequence[np.ndarray]) -> Row:
        return Row(name, np.concatenate(values), kind)

    rows = [
        row("input", "image", [model.images[some] for model, _, some in drawn]),
        row("A", "map", [hit.attention[some] for _, hit, some in drawn]),
        row("B = 1 − A∘A", "map", [hit.background[some] for _, hit, some in drawn]),
        row("δ", "change", [hit.delta[some] for _, hit, some in drawn]),
        row("B∘δ", "change", [hit.applied[some] for _, hit, some in drawn]),
        row("attacked", "image", [hit.images[some] for _, hit, some in drawn]),
    ]
    answers = [pair for model, _, some in drawn for pair in zip(model.labels[some], model.answers[some], strict=True)]
    picture(lambda ink="black": figures.grid(rows, answers, "A and B", ink), _name(view, "attack"))


def train_attacked(view: View, iteration: "Iteration") -> None:
    config = _config(view)
    rose = [symbol(model.task) for model in iteration.models if model.attacked_loss_after > model.attacked_loss]
    back = [symbol(model.task) for model in iteration.models if model.distance < model.clean_distance]
    images = r"\tilde X_i" if config.attack.epsilon else "X_i"
    of = r"\ell(\tilde X)" if config.attack.epsilon else r"\ell(X)"
    at = "the same samples once more"
    if config.attack.epsilon:
        at = "the attacked images, to learn to answer correctly on any background"
    _step(
        view,
        iteration,
        f"**What happens.** Each φᵢ takes a second step, on {at}. This ends the inner loop.",
        [
            descent(config, iteration, images, again=True),
            loss_change(
                iteration, of, [(model.attacked_loss, model.attacked_loss_after) for model in iteration.models]
            ),
        ],
        "**What to notice.** "
        + (f"For {', '.join(rose)} the step is too long: the loss rises. " if rose else "Every task's loss falls. ")
        + (f"Nearer to $φ_b$ than before: {', '.join(back)}." if back else "All models are now further from $φ_b$."),
        {
            "before the step": np.array([model.attacked_loss for model in iteration.models]),
            "after": np.array([model.attacked_loss_after for model in iteration.models]),
        },
        np.array([model.distance for model in iteration.models]),
        "attacked",
    )


def measure(view: View, iteration: "Iteration") -> None:
    config = _config(view)
    fused, names = iteration.fused, model_names(iteration)
    eta, star = config.fusion.eta, fused.dif_star
    most = int(star[-1].argmax())
    name = names[most].replace("φ", r"\varphi")
    share = 1 / len(names)
    st.markdown(
        f"**What happens.** D holds the distances between all models, the base $φ_b$ included "
        f"({distance_name(config)}). Each distance squared, plus η, gives dif. Each row of dif divided by its sum "
        "gives dif\\*. The more a model differs from the others, the more it counts."
    )
    entries = iteration.dif[-1]
    panels = [
        ("D", rf"d({name}, \varphi_b) = {short(fused.distance[most, -1])}",
         partial(figures.distances, fused.distance, names, "D")),
        ("dif", rf"{short(fused.distance[most, -1])}^2 + {eta:g} = {short(iteration.dif[most, -1])}",
         partial(figures.distances, iteration.dif, names, f"dif = D∘D + {eta:g}")),
        ("dif*", rf"\frac{{{short(entries[most])}}}{{{short(entries.sum())}}} = {star[-1, most]:.3f}",
         partial(figures.dif_star, star, names)),
    ]  # fmt: skip
    for column, (title, equation, draw) in zip(st.columns(3), panels, strict=True):
        with column:
            st.markdown(f"##### {title}")
            _equation(equation)
            file = _name(view, title.replace("*", "-star"))
            values = {"D": fused.distance, "dif": iteration.dif, "dif*": star}[title]
            picture(draw, file, table=pd.DataFrame(values, names, names).rename_axis("model"))
    st.markdown(
        f"**What to notice.** The equations above follow {typeset(names[most])} into the last row, which is "
        f"outlined. The weight of this model is {star[-1, most]:.3f}; an equal share would be 1/{len(names)} = "
        f"{share:.3f}. The largest deviation from the equal share in dif\\* is {abs(star - share).max():.3f}. Every "
        f"row sums to 1, {agreement(abs(star.sum(1) - 1).max())}."
    )


def fuse(view: View, iteration: "Iteration") -> None:
    config, alpha = _config(view), iteration.fused.alpha
    fusion, names, row = config.fusion, model_names(iteration), iteration.row
    rate = config.fusion.base_rate if isinstance(config, AriAdam) else None
    left, middle, right = st.columns([4, 4, 4])
    with left:
        st.markdown(
            "**What happens.** "
            + (
                "The last row of dif\\* holds the weights"
                if fusion.weights == "adaptive"
                else f"These are the weights ({fusion.weights})"
            )
            + f" with which all models are fused into $φ_f$; {next_base(config)}."
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
            rate *= alpha * iteration.learning_rate / config.train.learning_rate
            gradient = rf"\frac{{\varphi_b - \varphi_f}}{{{iteration.learning_rate:.3g}}}"
            _equation(rf"\varphi_b \leftarrow \mathrm{{Adam}}_{{{rate:.3g}}}\left(\varphi_b;\ {gradient}\right)")
    with middle:
        what = "last row of dif*" if fusion.weights == "adaptive" else fusion.weights
        bars = partial(figures.fusion_weights, {what: row}, names)
        picture(bars, _name(view, "weights"), table=pd.DataFrame({"weight": row}, pd.Index(names, name="model")))
        if len(iteration.weights) > 1:
            st.caption(
                "This run has separate weights for every parameter tensor; the bars are the mean over all parameters."
            )
    tasks = [f"task {model.task}" for model in iteration.models]
    with right:
        table = pd.DataFrame(iteration.losses, pd.Index(tasks, name="loss on the batch"))
        losses = {typeset(name): values for name, values in iteration.losses.items()}
        picture(partial(figures.bars, losses, tasks, "loss on the batch"), _name(view, "losses"), table=table)
    better = int((iteration.losses["next φ_b"] < iteration.losses["φ_b"]).sum())
    notice = (
        f"**What to notice.** On this batch the next base has a lower loss than $φ_b$ on {better} of {len(tasks)} "
        f"tasks. The mean loss over tasks goes from {iteration.losses['φ_b'].mean():.3f} to "
        f"{iteration.losses['next φ_b'].mean():.3f}. "
    )
    if rate is not None:
        notice += (
            f"The mean loss of $φ_f$ itself is {iteration.losses['φ_f'].mean():.3f}. The base takes only its "
            f"direction from $φ_f$: Adam's first step moves every parameter equally far, "
            f"{short(iteration.base_moved)} in all, while $φ_f$ lies {short(iteration.fused_moved)} away."
        )
    st.markdown(notice)


def _step(
    view: View,
    iteration: "Iteration",
    happens: str,
    equations: Sequence[str],
    notice: str,
    losses: dict[str, np.ndarray],
    moved: np.ndarray,
    what: str,
) -> None:
    """One step of every task's model: text on the left, losses and distances from the base on the right."""
    left, middle, right = st.columns([4, 4, 4])
    with left:
        st.markdown(happens)
        for equation in equations:
            _equation(equation)
        st.markdown(notice)
    tasks = [f"task {model.task}" for model in iteration.models]
    with middle:
        table = pd.DataFrame(losses, pd.Index(tasks, name="loss"))
        picture(partial(figures.bars, losses, tasks, "loss on its task"), _name(view, f"{what}-losses"), table=table)
    with right:
        names = model_names(iteration)[:-1]
        table = pd.DataFrame({"distance from φ_b": moved}, pd.Index(names, name="model"))
        draw = partial(figures.bars, {"": moved}, [typeset(name) for name in names], "distance from $φ_b$")
        picture(draw, _name(view, f"{what}-distance"), table=table)


def _equation(text: str) -> None:
    st.markdown(f"${text}$")


def _config(view: View) -> Ari:
    """The configuration of a run that fuses, as `choose_view(fusing=True)` guarantees."""
    assert isinstance(view.record.config, Ari)
    return view.record.config


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
