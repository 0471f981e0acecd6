"""Two methods that race on the same batches, side by side, iteration by iteration."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from arli_core import records
from arli_core.config import WEIGHING
from arli_core.errors import LabError
from arli_core.live import race as races
from arli_core.live.jobs import Job
from arli_core.records import Record

from ..shell.address import write
from ..shell.drawing import save_table
from ..shell.problem import problem
from ..shell.run_bar import class_names, guarded, jobs, open_run
from .live import duration, matrix, step
from .race_setup import ask, colours, in_common, marks


@dataclass(frozen=True)
class Racer:
    name: str
    record: Record
    job: Job | None  # None if this server has not trained it

    @property
    def state(self) -> str:
        return self.job.state.value if self.job else self.record.status

    @property
    def error(self) -> str | None:
        return (self.job.error if self.job else None) or self.record.error

    @property
    def unfinished(self) -> bool:
        """Whether it can go on, or does."""
        return self.state not in ("finished", "failed")


def race() -> None:
    """The race of the address, or the form that starts one."""
    name, other = (st.query_params.get(key) for key in ("run", "other"))
    if name and other and name != other:
        names = (name, other)
        missing = [run for run in names if not jobs().get(run) and run not in records.names()]
        if not missing:
            live = any(job and job.alive for job in map(jobs().get, names))
            st.fragment(_view, run_every=1.0 if live else None)(names, [racer.state for racer in _racers(names)])
            return
        these = "These runs are" if len(missing) > 1 else "This run is"
        st.warning(f"{these} not recorded here: {' and '.join(missing)}.", icon=":material/swap_horiz:")
    ask()


def _racers(names: tuple[str, str]) -> list[Racer]:
    racers = []
    for name in names:
        job = jobs().get(name)
        racers.append(Racer(name, job.record if job else guarded(open_run, name), job))
    return racers


def _view(names: tuple[str, str], drawn: list[str]) -> None:
    racers = _racers(names)
    if [racer.state for racer in racers] != drawn:
        st.rerun()
    methods = [racer.record.config.method for racer in racers]
    labels = methods if methods[0] != methods[1] else list(names)
    _heads(racers)
    _controls(racers)
    begun = [racer.record.tasks_begun for racer in racers]
    if not any(begun):
        if any(racer.state == "paused" for racer in racers):
            st.info(
                "Paused before the first iteration. “One step” makes one iteration; “Go on” makes all of them.",
                icon=":material/pause:",
            )
        elif any(racer.state == "running" for racer in racers):
            st.info(
                "Loading the data and PyTorch; the first iteration starts in a few seconds.",
                icon=":material/hourglass_empty:",
            )
    else:
        left, middle, right = st.columns([4, 4, 3])
        with left:
            _curves(racers, labels)
        with middle:
            _standing(racers, labels)
        with right:
            _matrices(racers)
        _accuracies(racers, labels)
    in_common(labels, [racer.record.config for racer in racers])


def _heads(racers: list[Racer]) -> None:
    symbols = marks([racer.record.config.method for racer in racers])
    for column, mark, racer in zip(st.columns(2), symbols, racers, strict=True):
        record, last = racer.record, racer.record.last
        tasks = record.config.data.tasks
        progress = f"task {min(max(record.tasks_begun, 1), tasks)} of {tasks}"
        if last:
            progress += f" · iteration {last.iteration + 1} of {last.iterations}"
        with column:
            device = f" · {record.started.device}" if record.started else ""
            st.markdown(f"{mark} **{racer.name}** · {record.config.method} · {racer.state}{device}")
            st.progress(record.share_done, text=f"{progress} · {duration(record.seconds)}")
            if racer.error:
                other = next(rival for rival in racers if rival is not racer)
                alone = f" {other.name} goes on without it." if other.job and other.job.alive else ""
                problem(f"{racer.error.rstrip('.')}.{alone}")


def _controls(racers: list[Racer]) -> None:
    columns = st.columns(5, vertical_alignment="center")
    alive = [racer.job for racer in racers if racer.job and racer.job.alive]
    running = any(racer.state == "running" for racer in racers)
    stopping = any(racer.state == "stopping" for racer in racers)
    waiting = [racer for racer in racers if racer.unfinished]
    if running:
        columns[0].button("Pause", icon=":material/pause:", on_click=_all, args=(alive, Job.pause), width="stretch")
    elif (
        waiting
        and not stopping
        and columns[0].button("Go on", icon=":material/play_arrow:", type="primary", width="stretch")
    ):
        _go_on([racer.name for racer in waiting])
    if alive:
        if columns[1].button("One step", icon=":material/skip_next:", disabled=stopping, width="stretch"):
            step(alive[0])
        columns[2].button(
            "Stop", icon=":material/stop:", on_click=_all, args=(alive, Job.stop), disabled=stopping, width="stretch"
        )
    else:
        if waiting:
            both = "They go on together from where they were last saved."
            columns[1].caption(
                both if len(waiting) > 1 else f"{waiting[0].name} goes on alone from where it was last saved."
            )
        if columns[2 if waiting else 0].button("Another race", icon=":material/add:", width="stretch"):
            write(run=None, other=None)
            st.rerun()  # the whole page: a callback would redraw this part alone
    if running and all(racer.record.share_done for racer in racers):
        remaining = sum(
            racer.record.seconds * (1 - racer.record.share_done) / racer.record.share_done
            for racer in racers
            if racer.state == "running"
        )
        columns[3].caption(f"About {duration(remaining)} left for both together.")
    if all(racer.record.tasks for racer in racers):
        columns[4].page_link(
            "pages/forgetting.py",
            label="Both in Forgetting",
            icon=":material/history_toggle_off:",
            query_params={"run": racers[0].name, "other": racers[1].name},
        )


def _all(alive: list[Job], action: Any) -> None:
    for job in alive:
        action(job)


def _go_on(names: list[str]) -> None:
    try:
        jobs().resume(*names)
    except LabError as error:
        problem(error)
    else:
        st.rerun()


def _curves(racers: list[Racer], labels: list[str]) -> None:
    methods = [racer.record.config.method for racer in racers]
    palette = colours(methods)
    legend = "  ".join(f"{mark} {label}" for mark, label in zip(marks(methods), labels, strict=True))
    st.markdown(f"##### Average accuracy after each task\n\n{legend}")
    averages = {
        label: enumerate(races.average_accuracies(racer.record), 1)
        for racer, label in zip(racers, labels, strict=True)
    }
    points = [(label, task, value) for label, accuracies in averages.items() for task, value in accuracies]
    if points:
        tasks = max(racer.record.config.data.tasks for racer in racers)
        _chart(points, labels, palette, ("tasks learned", (1, tasks)), ("accuracy", (0, 1)))
    else:
        st.caption("Measured when the first task is done.")
    st.markdown(f"##### Loss in this task\n\n{legend}")
    losses = []
    for racer, label in zip(racers, labels, strict=True):
        if racer.record.tasks_begun:
            frames = racer.record.frames(racer.record.tasks_begun)
            losses += [(label, *point) for point in zip(frames.iteration.tolist(), frames.loss.tolist(), strict=True)]
    _chart(losses, labels, palette, ("iteration", None), ("loss", None), points=False)


def _chart(
    rows: list[tuple[str, int, float]],
    labels: list[str],
    colours: list[str],
    x: tuple[str, tuple[int, int] | None],
    y: tuple[str, tuple[int, int] | None],
    points: bool = True,
) -> None:
    """One line per racer, the second dashed. `points`: drawn too, so that a single first one can be seen."""

    import altair as alt  # takes half a second, and other views of the page need no chart

    def scale(domain: tuple[int, int] | None) -> alt.Scale:
        return alt.Scale(domain=domain, nice=False) if domain else alt.Scale()

    def by_run(values: list[Any]) -> dict[str, Any]:
        return {"shorthand": "run:N", "legend": None, "scale": alt.Scale(domain=labels, range=values)}

    line = alt.Chart(pd.DataFrame(rows, columns=["run", "x", "y"])).mark_line(
        point=alt.OverlayMarkDef(size=60, filled=True) if points else False
    )
    chart = line.encode(
        x=alt.X("x:Q", title=x[0], scale=scale(x[1]), axis=alt.Axis(format="d", tickMinStep=1)),
        y=alt.Y("y:Q", title=y[0], scale=scale(y[1]), axis=alt.Axis(tickCount=4)),
        color=alt.Color(**by_run(colours)),
        strokeDash=alt.StrokeDash(**by_run([[1, 0], [6, 4]])),  # both can be seen where the lines coincide
    )
    chart = chart.properties(height=210).configure_axis(labelFontSize=13, titleFontSize=14)
    st.altair_chart(chart, width="stretch")


def _standing(racers: list[Racer], labels: list[str]) -> None:
    st.markdown("##### Which run leads")
    lines = races.standing(*(racer.record for racer in racers))
    done = min(len(racer.record.tasks) for racer in racers)
    average = lines[0]
    if average.leader is not None:
        ahead, behind = (average.values[at] for at in (average.leader, 1 - average.leader))
        st.markdown(
            f"**{labels[average.leader]} leads** after task {done}: {ahead:.3f} against {behind:.3f} on average."
        )
    elif done:
        st.markdown(f"The two are level after task {done}.")
    elif failed := [racer.name for racer in racers if racer.state == "failed" and not racer.record.tasks]:
        st.caption(f"No accuracy to compare: {' and '.join(failed)} failed before the end of the first task.")
    else:
        st.caption("Accuracies are known when both have learned the first task.")
    index = pd.Index([line.what for line in lines], name="")
    leads = [labels[line.leader] if line.leader is not None else None for line in lines]
    cells = {label: [_figure_text(line, at) for line in lines] for at, label in enumerate(labels)}
    st.dataframe(pd.DataFrame(cells, index), width="stretch")
    left, right = st.columns([1, 3], vertical_alignment="center")
    with left:
        values = {label: [line.values[at] for line in lines] for at, label in enumerate(labels)}
        save_table(pd.DataFrame({**values, "leads": leads}, index), f"{racers[0].name}-{racers[1].name}", "standing")
    right.caption("★ marks the leader. Accuracies are per-sample.")


def _figure_text(line: races.Line, at: int) -> str:
    """A figure, with a star if it leads."""
    value = line.values[at]
    if value is None:
        return "–"
    digits = {"seconds": 1, "samples": 0, "samples a second": 0}.get(line.what, 3)
    return f"{value:,.{digits}f}{' ★' if line.leader == at else ''}"


def _matrices(racers: list[Racer]) -> None:
    fusing = []
    for racer in racers:
        frames = racer.record.frames(racer.record.tasks_begun) if racer.record.tasks_begun else None
        if frames is not None and frames.fuses:
            fusing.append((racer, frames))
    if not fusing:
        st.info(f"Neither method has a dif*: only {', '.join(WEIGHING)} weigh models by it.")
    for racer, frames in fusing:
        if len(fusing) > 1:
            st.caption(racer.name)
        matrix(f"race-{racer.name}", racer.record, frames)


def _accuracies(racers: list[Racer], labels: list[str]) -> None:
    done = [len(racer.record.tasks) for racer in racers]
    if not any(done):
        return
    st.markdown("##### Accuracy on each task so far, per-sample")
    rows: dict[str, dict[str, float | None]] = {}
    for task in range(1, max(done) + 1):
        name = class_names(racers[0].record, task)
        accuracies = [racer.record.accuracy["per_sample"] for racer in racers]
        rows[f"{task}: {name}" if name else str(task)] = {
            label: values[-1][task - 1] if len(values) >= task else None
            for label, values in zip(labels, accuracies, strict=True)
        }
    table = pd.DataFrame(rows).T.rename_axis("task")
    st.dataframe(
        table,
        column_config={
            label: st.column_config.ProgressColumn(min_value=0, max_value=1, format="percent") for label in labels
        },
        width="stretch",
    )
    save_table(table, f"{racers[0].name}-{racers[1].name}-accuracy", "accuracies")
