"""Setting up a run: preset and method first, then every other setting."""

from typing import Any, Literal, get_args, get_origin

import streamlit as st

from arli_core import config as settings
from arli_core import records
from arli_core.config import Config
from arli_core.errors import LabError
from arli_core.live.jobs import Jobs
from arli_core.records import locks

from ..shell.address import write
from ..shell.problem import problem
from ..shell.run_bar import jobs

PRESETS = {
    "digits": "8x8 digits, 1,438 training images; a run takes seconds",
    "mnist-5k": "28x28 MNIST digits, 4,000 training images; a run takes about half a minute",
    "fashion-mnist": "28x28 pictures of clothes, 60,000 training images, downloaded first; a run takes minutes",
    "scenes": "40x40 digits on photographs, 4,000 training images; a run takes minutes",
    "paper-mnist": "the published MNIST experiment; downloads MNIST; a run takes hours on a CPU",
    "paper-cifar100": "the published CIFAR-100 experiment; downloads CIFAR-100; best on a GPU",
    "paper-cub200": "CUB-200-2011, 200 kinds of birds; needs its files; best on a GPU",
    "paper-imagenet100": "100 classes of ImageNet; needs its files; best on a GPU",
}
FIRST = "mnist-5k"
PAUSED = "Pauses before the first iteration; you can then go one step at a time."
ADDRESS = "Opens the form with these settings."


def ask() -> None:
    """The form; Start makes a job and goes to its address."""
    live = jobs()
    under_way(live)
    again = _again() if "again" in st.query_params else _from_address()
    # Keyed and filled once, so that "Back to the preset" leaves both as they are.
    st.session_state.setdefault("preset-box", again.preset if again else FIRST)
    st.session_state.setdefault("method-box", again.method if again else settings.METHODS[0])
    left, right = st.columns(2)
    with left:
        preset = st.selectbox("Data", PRESETS, key="preset-box")
        st.caption(PRESETS[preset])
    with right:
        method = st.selectbox("Method", settings.METHODS, key="method-box")
        st.caption(settings.summary(method))
    config = _knobs(preset, method, again)
    if config is None:
        return

    names_in_use = {*records.names(), *(job.name for job in live.alive())}
    left, middle, right = st.columns([3, 1, 1], vertical_alignment="bottom")
    suggested = free(f"{preset}-{method}-{config.seed}", names_in_use)
    name = left.text_input("Name of the run", suggested, key=f"name-{suggested}", max_chars=60)
    start = middle.button("Start", type="primary", icon=":material/play_arrow:", width="stretch")
    paused = right.button("Start paused", icon=":material/pause:", width="stretch", help=PAUSED)
    if start or paused:
        _start(live, name, config, names_in_use, paused)
    _unfinished(live)


def under_way(live: Jobs) -> None:
    """The runs that train now, with a link to each."""
    for racers in live.under_way():
        names = [job.name for job in racers]
        states = " · ".join(f"{job.name} is {job.state.value}" for job in racers)
        left, right = st.columns([5, 1], vertical_alignment="center")
        left.info(f"{states}.", icon=":material/sensors:")
        if right.button("Watch it", key=f"watch-{'-'.join(names)}", width="stretch"):
            watch(*names)


def _again() -> Config | None:
    """The configuration of the run that the address asks to train again, where this form can express it."""
    name = st.query_params["again"]
    try:
        if name not in records.names():  # a path in an address is not followed
            st.warning(f"{name} is not recorded here.", icon=":material/swap_horiz:")
            return None
        config = records.config_of(name)
        if config.preset in PRESETS and config.data.name == settings.preset(config.preset).data.name:
            st.info(
                f"The settings of {name} are filled in; start with them, or change them.", icon=":material/replay:"
            )
            return config
        st.warning(
            f"This form does not offer the preset of {name}. To train it again, use its Python script from the Runs "
            "page."
        )
    except LabError as error:
        problem(error)
    return None


def _from_address() -> Config | None:
    """The configuration that the address itself asks for: `preset`, `method` and settings by their keys."""
    texts = {key: text for key, text in st.query_params.to_dict().items() if "." in key or key in ("seed", "device")}
    preset, method = st.query_params.get("preset"), st.query_params.get("method")
    if not (preset or method or texts):
        return None
    try:
        values = {key: settings.from_text(text) for key, text in texts.items()}
        config = settings.preset(preset or FIRST, method, **values)
        if config.data.name == settings.preset(config.preset or FIRST).data.name:
            return config
        st.warning(f"The address asks for the data {config.data.name}, but in this form the preset sets the data.")
    except LabError as error:
        st.error(f"The address has invalid settings: {error}", icon=":material/error:")
    return None


def _start(live: Jobs, name: str, config: Config, names_in_use: set[str], paused: bool) -> None:
    if name in names_in_use:
        st.error(f"There is already a run called {name}. Nothing was changed; choose another name.")
        return
    try:
        records.vacant(name)
        live.start(name, config, paused)
    except LabError as error:
        problem(error)
    else:
        watch(name)


def _unfinished(live: Jobs) -> None:
    """Runs on disk that were stopped or interrupted."""
    alive = {job.name for job in live.alive()}
    waiting = [name for name in records.names() if name not in alive and _status(name) == "unfinished"]
    if not waiting:
        return
    st.markdown("##### Stopped or interrupted")
    for name in waiting:
        left, right = st.columns([5, 1], vertical_alignment="center")
        try:
            locks.refuse_held(records.locate(name))
        except LabError as error:
            left.markdown(f"**{name}** cannot go on now: {error}.")
            continue
        left.markdown(f"**{name}** can go on from where it was last saved.")
        if right.button("Resume", key=f"resume-{name}", width="stretch"):
            try:
                live.resume(name)
            except LabError as error:
                problem(error)
            else:
                watch(name)


def _status(name: str) -> str | None:
    try:
        return records.status_of(name)
    except LabError:
        return None


def watch(name: str, other: str | None = None) -> None:
    """Goes to the live view of a run, or of a race."""
    write(run=name, other=other, view="race" if other else None)
    st.rerun()


def free(name: str, names_in_use: set[str]) -> str:
    candidates = (name if number == 1 else f"{name}-{number}" for number in range(1, len(names_in_use) + 2))
    return next(candidate for candidate in candidates if candidate not in names_in_use)


def _knobs(preset: str, method: str, again: Config | None) -> Config | None:
    """Every setting of the method, with the values of the preset, or of the run to train again, until changed."""
    default = settings.preset(preset, method)
    initial = again if again and (again.preset, again.method) == (preset, method) else default
    revision = st.session_state.setdefault("knobs-revision", 0)
    place = f"{preset}-{method}"
    changed: dict[str, Any] = {}
    with st.expander("Settings", icon=":material/tune:"):
        columns = st.columns(3)
        for number, (key, field) in enumerate(settings.keys(method).items()):
            before = settings.value_of(initial, key)
            if key == "data.name" or (key == "data.spurious" and default.data.name != "scenes"):
                continue  # set by the preset, or only for scenes
            with columns[number % 3]:
                if key == "data.tasks" and _follows(f"{place}-data.classes_per_task-{revision}", initial):
                    continue
                after = knob(key, field, before, f"{place}-{key}-{revision}")
            if after != settings.value_of(default, key):
                changed[key] = after
        if st.button("Back to the preset", disabled=not changed, icon=":material/undo:"):
            st.session_state["knobs-revision"] += 1
            write(**dict.fromkeys(key for key in st.query_params if key != "view"))
            st.rerun()
    try:
        config = settings.parse(default.model_dump(), **changed)
    except LabError as error:
        problem(error)
        return None
    texts = {key: settings.text_of(value) for key, value in settings.differences(config, default).items()}
    if texts:
        left, right = st.columns([4, 1])
        left.caption("Changed: " + ", ".join(f"{key} = {text}" for key, text in texts.items()))
        with right:
            query = {"preset": preset, "method": method, **texts}
            st.page_link(
                "pages/train.py",
                label="Link to these settings",
                icon=":material/link:",
                query_params=query,
                help=ADDRESS,
            )
    return config


def _follows(widget: str, initial: Config) -> bool:
    """Whether a list of classes per task gives the number of tasks, which is then shown and not asked for."""
    count = settings.tasks_listed(st.session_state.get(widget, initial.data.classes_per_task))
    if count:
        label, note = "data.tasks", "One task for each number in data.classes_per_task."
        st.number_input(label, value=count, disabled=True, help=note, key=f"{widget}-{count}")
    return bool(count)


def knob(key: str, field: Any, value: Any, widget: str) -> Any:
    """The widget that fits a field's type."""
    common = {"label": key, "help": field.description, "key": widget}
    kind = field.annotation
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        return st.selectbox(**common, options=choices, index=choices.index(value))
    if kind is bool:
        return st.toggle(**common, value=value)
    placeholder = "none" if type(None) in get_args(kind) else None
    if any(get_origin(one) is tuple for one in get_args(kind)):
        before = "" if value is None else settings.text_of(value)
        after = st.text_input(**common, value=before, placeholder=placeholder).strip()
        return value if after == before else after or None
    if kind is float or float in get_args(kind):
        number: Any = None if value is None else float(value)
        return st.number_input(**common, value=number, min_value=0.0, format="%g", step=None, placeholder=placeholder)
    return st.number_input(**common, value=value, min_value=0, step=1, placeholder=placeholder)
