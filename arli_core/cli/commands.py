"""The command line: `python -m arli_core COMMAND`, one command for each thing one does with a run.

Results go to stdout, with --json as exactly one JSON object; progress and messages go to stderr. A LabError ends a
command with exit code 2, Ctrl-C ends training with 130. What needs torch is imported inside the commands, so that
`--help`, `presets`, `show` and `spectrum` answer at once.
"""

import shlex
import tempfile
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import typer
from typer.core import TyperGroup

from .. import __version__, records
from ..config import METHODS, PRESETS, Config, keys, parse, preset, protocols
from ..errors import ConfigError, DataError, LabError
from ..events import Event, Step, TaskDone
from ..records import Record
from ..units import TaskUnits
from .masks import figure9, masks
from .options import (
    AsJson,
    DataRoot,
    Device,
    Run,
    Settings,
    data_root_at,
    print_json,
    rounded,
    settings_of,
    terminable,
)
from .runs import export, take_in
from .server import open_app
from .spectrum import spectrum
from .sweeps import ablate, sweep

Progress = Generator[tuple[Record, Event]]


class _Commands(TyperGroup):
    """A LabError is a message for the user: no traceback, exit code 2 as for wrong options."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LabError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(2) from None


# Plain help and errors: rich would fold a message into a box and cut the lists of valid choices.
app = typer.Typer(
    cls=_Commands,
    help="A lab for lifelong learning with anti-retroactive interference (ARI).",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    app()


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"arli_core {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def presets(as_json: AsJson = False) -> None:
    """List the presets: data set, tasks, network and default method."""
    rows = []
    for name in PRESETS:
        config = preset(name)
        rows.append(
            {
                "name": name,
                "dataset": config.data.name,
                "tasks": config.data.tasks,
                "classes_per_task": config.data.classes_per_task,
                "network": config.network.name,
                "method": config.method,
                "methods": list(METHODS),
            }
        )
    if as_json:
        print_json({"presets": rows})
        return
    for row in rows:
        tasks = str(preset(row["name"]).data.units)
        typer.echo(f"{row['name']:<18} {row['dataset']:<13} {tasks:<23} {row['network']:<9} {row['method']}")
    typer.echo(f"\nThe last column is the default method; every preset works with all methods: {', '.join(METHODS)}")


# --- Training ------------------------------------------------------------------------------------------------------


@app.command()
def train(
    preset_name: Annotated[str, typer.Option("--preset", help=f"One of {', '.join(PRESETS)}.")],
    out: Annotated[
        str | None, typer.Option(metavar="RUN", help="Where to record: a path, or a name under checkpoints/.")
    ] = None,
    method: Annotated[str | None, typer.Option(help=f"One of {', '.join(METHODS)}; by default the preset's.")] = None,
    seed: Annotated[int, typer.Option(help="Decides initialisation, batches and exemplars, never the split.")] = 0,
    settings: Settings = None,
    device: Device = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run recorded there.")] = False,
    data_root: DataRoot = None,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke",
            help="A very short run, on generated images if the data set consists of files; --out may be left out.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a preset and record the run."""
    overrides = settings_of(settings or []) | ({"device": device} if device is not None else {})
    if smoke:
        if data_root is not None:
            raise ConfigError("--data-root: --smoke generates its data; leave out one of the two")
        _smoke(preset(preset_name, method, seed, **overrides), overrides, out, overwrite, as_json)
        return
    if out is None:
        raise ConfigError("--out is missing: say where to record, as in --out my-run; only --smoke can do without")
    config = preset(preset_name, method, seed, **overrides)
    _follow(lambda: _runs().train(config, out, overwrite), out, as_json, saved_before=False)


def _smoke(full: Config, overrides: dict[str, Any], out: str | None, overwrite: bool, as_json: bool) -> None:
    """Run a configuration end to end in as little time as possible. Smoke run: the accuracies mean nothing."""
    tasks_are_given = isinstance(full.data.classes_per_task, tuple) or isinstance(full.data.class_order, tuple)
    tasks = full.data.units
    if not tasks_are_given:
        count = tasks.tasks if "data.tasks" in overrides else min(tasks.tasks, 2)
        size = tasks.sizes[0] if "data.classes_per_task" in overrides else min(tasks.sizes[0], 5)
        tasks = TaskUnits((size,) * count)
    short = {
        "data.tasks": tasks.tasks,
        "data.classes_per_task": tasks.sizes,
        "train.epochs": 1,
        "train.batch_size": 16,
        "memory.budget": tasks.total,
        "recording.probes": 2,
    }
    own = {key: value for key, value in short.items() if key in keys(full.method)}
    with tempfile.TemporaryDirectory(prefix="arli-smoke-") as place, data_root_at(Path(place, "data")):
        name = _generated(full.data.name, Path(place, "data"))
        overrides = {**overrides, "data.name": name}
        if isinstance(full.data.class_order, tuple) and not _has_classes(name, full.data.class_order):
            typer.echo(f"{name}: the generated classes have other names, so data.class_order is left out", err=True)
            overrides["data.class_order"] = None
        config = parse(full.model_dump(), **(own | overrides))
        run = out or str(Path(place, "run"))
        _follow(lambda: _runs().train(config, run, overwrite), out, as_json, saved_before=False)


def _generated(name: str, root: Path) -> str:
    """Writes a small set in place of one that is files; returns its name, which is new only for a user's folder."""
    from ..datasets import generated

    # A user's own folder may be an absolute path: nothing generated goes there.
    name = "folder:generated" if name.startswith("folder:") else name
    if name.partition(":")[0] in generated.PER_CLASS:
        generated.write(name, root)
        typer.echo(f"{name}: generated images, which say nothing about the real ones", err=True)
    return name


def _has_classes(name: str, classes: Iterable[str]) -> bool:
    """Whether a data set has these classes; one that comes with the lab reports missing ones itself."""
    from .. import datasets
    from ..datasets import generated

    return name.partition(":")[0] not in generated.PER_CLASS or {*classes} <= {*datasets.load(name).classes}


@app.command()
def resume(run: Run, data_root: DataRoot = None, as_json: AsJson = False) -> None:
    """Go on with an interrupted run. It ends as if it had not been interrupted."""
    _follow(lambda: _runs().resume(run), run, as_json, saved_before=True)


app.command()(sweep)
app.command()(ablate)
app.command()(figure9)
app.command()(masks)
app.command()(export)
app.command("import")(take_in)


def _runs() -> ModuleType:
    """Imported when training begins, while Ctrl-C is handled: it imports torch."""
    from ..live import runs

    return runs


def _follow(begin: Callable[[], Progress], run: str | None, as_json: bool, saved_before: bool) -> None:
    """Trains to the end with a progress bar on stderr, then prints what `show` prints; run None: not to be kept."""
    record, noted = None, False
    try:
        with terminable(), closing(begin()) as progress, _bar() as update:
            for record, event in progress:
                if record.started and not noted:
                    noted = True
                    for note in record.started.notes:
                        typer.echo(note, err=True)
                update(record, event)
    except KeyboardInterrupt:
        if run is None or (record is None and not saved_before):
            typer.echo("\nInterrupted: nothing is recorded.", err=True)
        else:
            command = f"python -m arli_core resume {shlex.quote(run)}"
            typer.echo(f"\nInterrupted. What was saved stays; go on with: {command}", err=True)
        raise typer.Exit(130) from None
    except DataError:  # from images that are read while it trains
        if run is not None and record is not None and record.saved:
            command = f"python -m arli_core resume {shlex.quote(run)}"
            typer.echo(f"\nWhat was saved stays; once this is fixed, go on with: {command}", err=True)
        raise
    assert record is not None
    _print_run(record, as_json)


@contextmanager
def _bar() -> Generator[Callable[[Record, Event], None]]:
    """A bar over iterations, and a line with the accuracies after each task; yields what updates it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("task {task.fields[number]} of {task.fields[tasks]}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f}  {task.fields[rate]:.0f} samples/s  left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def update(record: Record, event: Event) -> None:
            units = record.config.data.units
            if isinstance(event, Step):
                before = sum(frames.iterations for frames in record.tasks)
                # Later tasks are taken to be as long as this one, per class; exemplars make them longer.
                remaining = (units.total - units.seen(event.task - 1)) / units.sizes[event.task - 1]
                state: dict[str, Any] = {
                    "completed": before + event.iteration + 1,
                    "total": before + event.iterations * remaining,
                    "number": event.task,
                    "tasks": units.tasks,
                    "loss": event.loss,
                    "rate": record.samples / record.seconds,
                }
                if progress.tasks:
                    progress.update(progress.task_ids[0], **state)
                else:
                    progress.add_task("", **state)
            elif isinstance(event, TaskDone):
                means = (f"{name} {np.mean(event.accuracy[name]):.3f}" for name in event.accuracy)
                progress.console.print(
                    f"after task {event.task} of {units.tasks}: {', '.join(means)}", highlight=False
                )

        yield update


# --- Reading a run -------------------------------------------------------------------------------------------------


@app.command()
def show(run: Run, as_json: AsJson = False) -> None:
    """Print a run's accuracies, forgetting and backward transfer."""
    _print_run(records.load(run), as_json)


def _print_run(record: Record, as_json: bool) -> None:
    summary = record.summary()
    if as_json:
        print_json(summary)
        return
    config, done, units = record.config, len(record.tasks), record.config.data.units
    title = f"{config.method} on {config.data.name}, seed {config.seed}"
    typer.echo(f"{title}: {record.status}, {done} of {units.tasks} tasks of {units.classes}")
    if record.error:
        typer.echo(record.error)
    if record.note:
        typer.echo(record.note)
    if record.started and record.seconds:
        speed = f"{record.seconds:.1f} s, {record.samples / record.seconds:.0f} samples/s"
        typer.echo(f"{speed} on {record.started.device}, {record.started.parameters} parameters")
    for protocol in protocols(config):
        figures = [f"{key} {rounded(summary[key][protocol])}" for key in ("average", "forgetting", "bwt")]
        over = summary["average_over_samples"][protocol]
        figures.insert(1, f"average over samples {'not recorded' if done and over is None else rounded(over)}")
        typer.echo(f"\n{protocol}: {', '.join(figures)}")
        typer.echo("after \\ on " + "".join(f"{task:>7}" for task in range(1, units.tasks + 1)))
        for task, row in enumerate(summary["accuracy"][protocol][:done], 1):
            typer.echo(f"task {task:<6}" + "".join(f"{rounded(value):>7}" for value in row[:task]))


app.command()(spectrum)
app.command("app")(open_app)
