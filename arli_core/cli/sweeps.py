"""The commands that make many runs: `sweep` compares methods and settings over seeds, `ablate` parts of ARI."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import sweeps
from ..config import METHODS, PRESETS, from_text, text_of
from ..errors import ConfigError
from ..files import expanded
from ..sweeps import Advanced, Arm, Done, News, comparisons
from ..sweeps.comparisons import Effect
from .options import AsJson, DataRoot, Device, Settings, halves, print_json, rounded, settings_of, terminable

Preset = Annotated[str, typer.Option("--preset", help=f"One of {', '.join(PRESETS)}.")]
Out = Annotated[
    Path, typer.Option(metavar="FOLDER", file_okay=False, help="Folder in which results are kept, and found again.")
]
Seeds = Annotated[int, typer.Option(min=1, metavar="N", help="How many seeds: 0 to N-1.")]
Jobs = Annotated[int, typer.Option(min=1, help="How many runs at a time, each a process with one thread.")]
KeepRuns = Annotated[bool, typer.Option("--keep-runs", help="Keep the recorded runs, in FOLDER/runs.")]


def sweep(
    preset_name: Preset,
    methods: Annotated[str, typer.Option(help=f"One or several of {', '.join(METHODS)}, separated by commas.")],
    out: Out,
    seeds: Seeds = 5,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=A,B,...",
            help="Values of a setting to compare, as in fusion.eta=0,0.1,0.85 or data.classes_per_task=[4,2,2,2],2; "
            "may be repeated: all combinations are then made.",
        ),
    ] = None,
    settings: Settings = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="Method to compare the others with; by default the first listed."),
    ] = None,
    jobs: Jobs = 1,
    device: Device = None,
    data_root: DataRoot = None,
    keep_runs: KeepRuns = False,
    as_json: AsJson = False,
) -> None:
    """Compare methods and settings over seeds. After an interruption, the same command goes on."""
    varied = _varied(vary or [])
    fixed = _settings(settings)
    arms = sweeps.plan(
        preset_name, [name.strip() for name in methods.split(",")], seeds, varied, fixed, device or "auto"
    )
    comparisons.tables(arms, {}, against)  # a wrong --against is reported before hours of training
    outcomes = _made(arms, out, jobs, keep_runs)
    tables = comparisons.tables(arms, outcomes, against)
    if as_json:
        print_json({"rows": sweeps.rows(arms, outcomes), "tables": tables})
        return
    _print_tables(tables, arms, against, out)


def ablate(
    preset_name: Preset,
    out: Out,
    seeds: Seeds = 5,
    settings: Settings = None,
    jobs: Jobs = 1,
    device: Device = None,
    data_root: DataRoot = None,
    keep_runs: KeepRuns = False,
    as_json: AsJson = False,
) -> None:
    """Switch parts of ARI on and off, in all combinations. The parts are attack, adaptive weights and reset."""
    arms = sweeps.ablation(preset_name, seeds, _settings(settings), device or "auto")
    outcomes = _made(arms, out, jobs, keep_runs)
    tables, effects = comparisons.tables(arms, outcomes), comparisons.effects(arms, outcomes)
    if as_json:
        plain = {
            protocol: [_plain(effect) for effect in protocol_effects]
            for protocol, protocol_effects in effects.items()
        }
        print_json({"rows": sweeps.rows(arms, outcomes), "tables": tables, "effects": plain})
        return
    _print_tables(tables, arms, None, out)
    for protocol, protocol_effects in effects.items():
        typer.echo(
            f"\n{protocol}: main effects on the average accuracy, averaged over all settings of the other switches"
        )
        for effect in protocol_effects:
            switch, interval = f"{effect.switch}, {effect.difference}", _signed(asdict(effect.interval))
            typer.echo(f"{switch:<28} n {effect.interval.n:<4} {interval:<26} {effect.verdict}")


def _settings(pairs: Sequence[str] | None) -> dict[str, Any]:
    values = settings_of(pairs or [], own=("preset", "device"))
    _refuse_own(values, "--set")
    return values


def _varied(pairs: Sequence[str]) -> dict[str, list[Any]]:
    """`key=a,b` texts as the values of each key."""
    varied: dict[str, list[Any]] = {}
    for pair in pairs:
        key, text = halves(pair, "--vary", "fusion.eta=0,0.1,0.85")
        if key in varied:
            raise ConfigError(f"--vary {key} is given twice; put all its values behind one")
        values = from_text(f"[{text}]")  # a value may be a list itself, as in [4,2,2,2],2
        if not isinstance(values, list) or not values:
            texts = [value_text.strip() for value_text in text.split(",")]
            if not all(texts):
                raise ConfigError(f"--vary {key}: a value is missing in {text!r}; write them as in 0,0.1,0.85")
            values = [from_text(value_text) for value_text in texts]
        varied[key] = values
    _refuse_own(varied, "--vary")
    return varied


def _refuse_own(settings: Mapping[str, Any], option: str) -> None:
    others = {"method": "sweep --methods", "seed": "--seeds", "preset": "--preset", "device": "--device"}
    for key in settings:
        if key in others:
            raise ConfigError(f"{option} {key}: use {others[key]} for it")


def _made(arms: Sequence[Arm], out: Path, jobs: int, keep: bool) -> Mapping[str, sweeps.Outcome]:
    """Makes the runs of the arms, with progress on stderr; returns all finished runs of the folder."""
    total = sum(len(arm.runs) for arm in arms)
    done, noted = 0, False
    try:
        with terminable(), closing(sweeps.make(arms, out, jobs, keep)) as progress, _bars(total) as report:
            for news in progress:
                if isinstance(news, Advanced) and not noted:  # what is finished already needs no data
                    noted = True
                    for note in sweeps.notes(arms):
                        typer.echo(note, err=True)
                report(news)
                done += isinstance(news, Done)
    except KeyboardInterrupt:
        typer.echo(
            f"\nInterrupted: {done} of {total} runs are finished in {out}. The same command goes on from here.",
            err=True,
        )
        raise typer.Exit(130) from None
    outcomes = sweeps.outcomes(expanded(out))
    names = [sweeps.name_of(config) for arm in arms for config in arm.runs]
    if note := sweeps.unknown_data({name: outcomes[name] for name in names}):
        typer.echo(note, err=True)
    return outcomes


@contextmanager
def _bars(total: int) -> Generator[Callable[[News], None]]:
    """A bar over all runs, and one for each that is under way; yields what updates them."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
    from rich.text import Text

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[far]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        under_way: dict[str, TaskID] = {}
        done = 0

        def report(news: News) -> None:
            nonlocal done
            if not progress.tasks:  # not before: where nothing can run, there is a message and no bar
                progress.add_task("runs", total=total, far=f"0 of {total}")
            name = f"{news.arm.label}, seed {news.seed}"
            if isinstance(news, Advanced):
                if name not in under_way:
                    under_way[name] = progress.add_task(name, total=1, far="")
                progress.update(under_way[name], completed=news.share, far=f"{news.share:.0%}")
                return
            if name in under_way:
                progress.remove_task(under_way.pop(name))
            done += 1
            progress.update(progress.task_ids[0], completed=done, far=f"{done} of {total}")
            if news.error:
                progress.console.print(Text(f"{name} failed: {news.error}"))

        yield report


# --- Printing ------------------------------------------------------------------------------------------------------


def _print_tables(tables: Mapping[str, Any], arms: Sequence[Arm], against: str | None, out: Path) -> None:
    reference = next(arm for arm in arms if against in (None, arm.method))
    keys = list(dict.fromkeys(key for arm in arms for key in arm.varied))
    typer.echo(
        f"{out / 'results.csv'}: mean [95% t interval] over seeds; differences are paired by seed, each row minus"
    )
    typer.echo(reference.label)
    for protocol, lines in tables.items():
        typer.echo(f"\n{protocol}")
        header = ["method", *keys, "n", "average accuracy", "average over samples", "incremental", "forgetting"]
        header.append("difference of averages")
        cells = [header, *(_cells(line, keys) for line in lines)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
        for row in cells:
            padded = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
            typer.echo("  ".join(padded).rstrip())


def _cells(line: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    settings = [text_of(line["settings"][key]) if key in line["settings"] else "" for key in keys]
    failed = f" ({line['failed']} failed)" if line["failed"] else ""
    return [
        line["method"],
        *settings,
        f"{line['n']}{failed}",
        _interval(line, rounded),
        rounded(line["average_over_samples"]["mean"]),
        rounded(line["average_incremental"]["mean"]),
        rounded(line["forgetting"]["mean"]),
        "" if line["difference"] is None else _signed(line["difference"]),
    ]


def _interval(interval: Mapping[str, Any], write: Callable[[float | None], str]) -> str:
    if interval["low"] is None:
        return write(interval["mean"])
    return f"{write(interval['mean'])} [{write(interval['low'])}, {write(interval['high'])}]"


def _signed(interval: Mapping[str, Any]) -> str:
    return _interval(interval, lambda value: "–" if value is None else f"{value:+.3f}")


def _plain(effect: Effect) -> dict[str, Any]:
    return {
        "switch": effect.switch,
        "of": effect.difference,
        **asdict(effect.interval),
        "verdict": effect.verdict,
    }
