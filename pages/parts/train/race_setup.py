"""What a race is of: the data, two methods, their settings, and what these have in common."""

from typing import Any

import streamlit as st

from arli_core import config as settings
from arli_core import records
from arli_core.config import Config
from arli_core.errors import LabError
from arli_core.figures import looks
from arli_core.live import race as races

from ..shell.problem import problem
from ..shell.run_bar import jobs
from .setup import PAUSED, PRESETS, free, knob, under_way, watch

SHARED = ("data.tasks", "train.epochs", "train.batch_size", "memory.budget", "memory.batches")
RECORDED = ("mnist-5k-ari", "mnist-5k-finetune")  # two shipped runs, to look at before the first race


def ask() -> None:
    live = jobs()
    under_way(live)
    if set(RECORDED) <= set(records.names()):
        st.page_link(
            "pages/train.py",
            label="See a recorded pair: ARI and fine-tuning on mnist-5k",
            icon=":material/flag:",
            query_params={"view": "race", "run": RECORDED[0], "other": RECORDED[1]},
        )
    columns = st.columns([3, 3, 3, 2])
    with columns[0]:
        preset = st.selectbox("Data", PRESETS, index=list(PRESETS).index("mnist-5k"), key="race-preset")
        st.caption(PRESETS[preset])
    methods = []
    for column, label, default in zip(
        columns[1:], ("One method", "The other"), ("ari", "replay-balanced"), strict=False
    ):
        with column:
            methods.append(
                st.selectbox(label, settings.METHODS, index=settings.METHODS.index(default), key=f"race-{label}")
            )
            st.caption(settings.summary(methods[-1]))
    seed = columns[3].number_input("Seed of both", 0, 2**31 - 1, key="race-seed")
    try:
        configs = _configured(preset, methods, seed)
    except LabError as error:
        problem(error)
        return
    in_common(methods, configs)
    _start(preset, methods, configs)


def _configured(preset: str, methods: list[str], seed: int) -> list[Config]:
    """Both configurations: shared settings are chosen once, the learning rate for each."""
    defaults = [settings.preset(preset, method, seed) for method in methods]
    revision = st.session_state.setdefault("race-revision", 0)
    place = f"race-{preset}-{'-'.join(methods)}-{revision}"
    shared: dict[str, Any] = {}
    rates = []
    with st.expander("Settings", icon=":material/tune:"):
        columns = st.columns(3)
        # From the first that has the setting: where both rehearse, the second's batches follow the first's.
        holders = {
            key: config for config in reversed(defaults) for key in SHARED if key in settings.keys(config.method)
        }
        shared_keys = [key for key in SHARED if key in holders]
        for at, key in enumerate(shared_keys):
            field = settings.keys(holders[key].method)[key]
            with columns[at % 3]:
                shared[key] = knob(key, field, settings.value_of(holders[key], key), f"{place}-{key}")
        for column, mark, config in zip(st.columns(2), marks(methods), defaults, strict=True):
            field = settings.keys(config.method)["train.learning_rate"]
            with column:
                st.markdown(f"{mark} {config.method} only")
                key = f"{place}-rate-{mark}"
                rates.append(knob("train.learning_rate", field, config.train.learning_rate, key))
        if st.button("Back to the preset", icon=":material/undo:", key="race-back"):
            st.session_state["race-revision"] += 1
            st.rerun()
    first, second = (
        settings.parse(
            config.model_dump(),
            **{key: value for key, value in shared.items() if key in settings.keys(config.method)},
            **{"train.learning_rate": rate},
        )
        for config, rate in zip(defaults, rates, strict=True)
    )
    return [first, races.matched(first, second)]


def _start(preset: str, methods: list[str], configs: list[Config]) -> None:
    live = jobs()
    names_in_use = {*records.names(), *(job.name for job in live.alive())}
    names: list[str] = []
    columns = st.columns([5, 5, 3, 3], vertical_alignment="bottom")
    for column, config, mark in zip(columns, configs, marks(methods), strict=False):
        suggested = free(f"{preset}-{config.method}-{config.seed}", {*names_in_use, *names})
        names.append(
            column.text_input(f"{mark} Name of the run", suggested, key=f"race-{mark}-{suggested}", max_chars=60)
        )
    start = columns[2].button("Start", type="primary", icon=":material/play_arrow:", width="stretch")
    paused = columns[3].button("Start paused", icon=":material/pause:", width="stretch", help=PAUSED)
    if not (start or paused):
        return
    try:
        if names[0] == names[1]:
            raise LabError("Both runs have the same name; nothing was started. Choose another name for one of them.")
        for name in names:
            if name in names_in_use:
                raise LabError(f"There is already a run called {name}. Nothing was changed; choose another name.")
            records.vacant(name)
        live.race(dict(zip(names, configs, strict=True)), paused)
    except LabError as error:
        problem(error)
    else:
        watch(*names)


def in_common(labels: list[str], configs: list[Config]) -> None:
    """What is the same for both, and what is not."""
    first, second = configs
    batches = races.same_batches(first, second)
    size = f"{first.train.batch_size} samples a batch, {first.train.epochs} epochs a task"
    same = {
        "all": f"data, seed, and **every batch**: the same samples in the same order ({size})",
        "first task": f"data, seed, and the batches of task 1 ({size})",
        "none": "the data" if first.data == second.data else "neither the data nor the batches",
    }[batches]
    if races.same_start(first, second):
        same += "; also the weights at the start"
    differ = [
        f"{key}: {_short(values[0])} / {_short(values[1])}"
        for key, values in races.own_settings(first, second).items()
        if key not in ("recording.frames", "recording.probes", "recording.probe_frames")
    ]
    lines = [f"**The same for both:** {same}."]
    contents = [races.holds(config) for config in configs]
    if contents[0] != contents[1]:
        waits = "" if batches == "all" else " The shorter run waits at the end of each task."
        lines.append(
            f"**Different from task 2 on:** {labels[0]} sees {contents[0]}; {labels[1]} sees {contents[1]}.{waits}"
        )
    elif batches == "all":
        lines[0] += f" From task 2 on, the batches hold {contents[0]}."
    if differ:
        lines.append("**Different settings:** " + "; ".join(differ) + ".")
    changed = [
        f"{label}: {key} = {_short(value)}"
        for label, config in zip(labels, configs, strict=True)
        if config.preset in settings.PRESETS
        for key, value in settings.changes(config).items()
    ]
    if changed:
        lines.append("**Changed from the preset:** " + "; ".join(changed) + ".")
    with st.expander("What is the same and what is not", icon=":material/balance:", expanded=True):
        st.markdown("\n\n".join(lines))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else settings.text_of(value)


def colours(methods: list[str]) -> list[str]:
    return [look.colour for look in looks(dict(zip(("one", "other"), methods, strict=True))).values()]


def marks(methods: list[str]) -> list[str]:
    return [f':color[●]{{foreground="{colour}"}}' for colour in colours(methods)]
