"""Setting a run up: preset and method first, every other setting behind them."""

import re
from typing import Any, Literal, get_args, get_origin

import streamlit as st

from arli_core import config as settings
from arli_core import records
from arli_core.config import Config
from arli_core.errors import LabError
from arli_core.jobs import Jobs

from .run_bar import jobs

PRESETS = {
    "digits": "8x8 digits, 1,438 to learn from: seconds",
    "mnist-5k": "28x28 MNIST digits, 4,000 to learn from: about half a minute",
    "fashion-mnist": "28x28 pictures of clothes, 60,000 to learn from; downloads them: minutes",
    "scenes": "40x40 digits on photographs, 4,000 to learn from: minutes",
    "paper-mnist": "the published MNIST experiment; downloads MNIST; hours on a CPU",
    "paper-cifar100": "the published CIFAR-100 experiment; downloads CIFAR-100; wants a GPU",
    "paper-cub200": "CUB-200-2011, 200 kinds of birds; wants its files and a GPU",
    "paper-imagenet100": "100 classes of ImageNet; wants its files and a GPU",
}


def ask() -> None:
    """The form, and on Start a job and its address."""
    live = jobs()
    for job in live.alive():
        left, right = st.columns([5, 1], vertical_alignment="center")
        left.info(f"{job.name} is {job.state.value}.", icon=":material/sensors:")
        if right.button("Watch it", key=f"watch-{job.name}", width="stretch"):
            _watch(job.name)

    left, right = st.columns(2)
    with left:
        preset = st.selectbox("Data", PRESETS, index=1)
        st.caption(PRESETS[preset])
    with right:
        method = st.selectbox("Method", settings.METHODS)
        st.caption(settings.summary(method))
    config = _knobs(preset, method)
    if config is None:
        return

    taken = {*records.names(), *(job.name for job in live.alive())}
    left, middle, right = st.columns([3, 1, 1], vertical_alignment="bottom")
    suggested = _free(f"{preset}-{method}-{config.seed}", taken)
    name = left.text_input("Name of the run", suggested, key=f"name-{suggested}", max_chars=60)
    start = middle.button("Start", type="primary", icon=":material/play_arrow:", width="stretch")
    paused = right.button(
        "Start paused", icon=":material/pause:", width="stretch", help="Then go one step at a time."
    )
    if start or paused:
        _start(live, name, config, taken, paused)
    _unfinished(live)


def _start(live: Jobs, name: str, config: Config, taken: set[str], paused: bool) -> None:
    if not re.fullmatch(r"\w[\w.-]*", name):
        st.error(f"{name!r} cannot name a run: use letters, digits, dots, dashes and underscores.")
    elif name in taken:
        st.error(f"A run is called {name} already; nothing was changed. Choose another name.")
    else:
        try:
            live.start(name, config, paused)
        except LabError as error:
            st.error(str(error), icon=":material/error:")
        else:
            _watch(name)


def _unfinished(live: Jobs) -> None:
    """Runs on disk that were stopped or interrupted."""
    alive = {job.name for job in live.alive()}
    waiting = [name for name in records.names() if name not in alive and _status(name) == "unfinished"]
    if not waiting:
        return
    st.markdown("##### Stopped or interrupted")
    for name in waiting:
        left, right = st.columns([5, 1], vertical_alignment="center")
        left.markdown(f"**{name}** can go on from where it was last saved.")
        if right.button("Resume", key=f"resume-{name}", width="stretch"):
            try:
                live.resume(name)
            except LabError as error:
                st.error(str(error), icon=":material/error:")
            else:
                _watch(name)


def _status(name: str) -> str | None:
    try:
        return records.status_of(name)
    except LabError:
        return None


def _watch(name: str) -> None:
    st.query_params["run"] = name
    st.rerun()


def _free(name: str, taken: set[str]) -> str:
    tries = (name if number == 1 else f"{name}-{number}" for number in range(1, len(taken) + 2))
    return next(each for each in tries if each not in taken)


def _knobs(preset: str, method: str) -> Config | None:
    """Every setting of the method, at the preset's values until changed."""
    default = settings.preset(preset, method)
    revision = st.session_state.setdefault("knobs-revision", 0)
    changed: dict[str, Any] = {}
    with st.expander("Settings", icon=":material/tune:"):
        columns = st.columns(3)
        for number, (key, field) in enumerate(settings.keys(method).items()):
            before = _value(default, key)
            if key == "data.name" or (key == "data.spurious" and default.data.name != "scenes"):
                continue  # the preset's, and what scenes alone has
            with columns[number % 3]:
                after = _knob(key, field, before, f"{preset}-{method}-{key}-{revision}")
            if after != before:
                changed[key] = after
        if st.button("Back to the preset", disabled=not changed, icon=":material/undo:"):
            st.session_state["knobs-revision"] += 1
            st.rerun()
    if changed:
        st.caption("Changed: " + ", ".join(f"{key} = {value}" for key, value in changed.items()))
    try:
        return settings.parse(default.model_dump(), **changed)
    except LabError as error:
        st.error(str(error), icon=":material/error:")
        return None


def _knob(key: str, field: Any, value: Any, widget: str) -> Any:
    """The widget that fits a field's type."""
    common = {"label": key, "help": field.description, "key": widget}
    kind = field.annotation
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        return st.selectbox(**common, options=choices, index=choices.index(value))
    if kind is bool:
        return st.toggle(**common, value=value)
    placeholder = "none" if type(None) in get_args(kind) else None
    if kind is float or float in get_args(kind):
        number: Any = None if value is None else float(value)
        return st.number_input(**common, value=number, min_value=0.0, format="%g", step=None, placeholder=placeholder)
    return st.number_input(**common, value=value, min_value=0, step=1, placeholder=placeholder)


def _value(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value
