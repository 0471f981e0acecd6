"""What commands share: options, how settings are written, how results are printed, how Ctrl-C is handled."""

import json
import os
import signal
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import from_text
from ..errors import ConfigError, LabError
from ..files import expanded, write

OWN_OPTIONS = ("preset", "method", "seed", "device")  # settings that --set leaves to the option of their name
DATA_ROOT = "ARLI_DATA"  # as in datasets/root.py, which would import all that loads data


@contextmanager
def data_root_at(place: Path) -> Generator[None]:
    """Data sets that are files are read from and put into this folder, also by worker processes begun meanwhile."""
    before = os.environ.get(DATA_ROOT)
    os.environ[DATA_ROOT] = str(place)
    try:
        yield
    finally:
        if before is None:
            del os.environ[DATA_ROOT]
        else:
            os.environ[DATA_ROOT] = before


def _use_data_root(context: typer.Context, place: Path | None) -> Path | None:
    if place is not None:
        context.with_resource(data_root_at(place))  # until the command ends
    return place


Run = Annotated[str, typer.Argument(metavar="RUN", help="A path, or a name under checkpoints/.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, as in train.epochs=3; may be repeated."),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps; auto takes the best there is.")]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        file_okay=False,
        callback=_use_data_root,
        help="Folder of data sets that are files, and of downloads; by default $ARLI_DATA.",
    ),
]


def settings_of(pairs: Iterable[str], own: Iterable[str] = OWN_OPTIONS) -> dict[str, Any]:
    """`key=value` texts as dotted settings; ConfigError for a key that has an option of its own."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, text = halves(pair, "--set", "train.epochs=3")
        if key in own:
            raise ConfigError(f"--set {key}: use --{key} {text}".rstrip())
        settings[key] = from_text(text)
        if isinstance(settings[key], dict):  # it would replace the preset's other values in that section
            raise ConfigError(f"--set {key}: set its values one by one, as in --set train.epochs=3; got {text}")
    return settings


def halves(pair: str, option: str, example: str) -> tuple[str, str]:
    key, equals, text = pair.partition("=")
    if not key or not equals:
        raise ConfigError(f"{option} needs key=value, as in {option} {example}; got {pair!r}")
    return key, text


def write_out(out: Path, content: bytes) -> None:
    """Writes the file that --out names, whole or not at all: where it cannot be written, an old file stays."""
    try:
        write(expanded(out), content)
    except OSError as error:
        raise LabError(f"{out} cannot be written: {error.strerror or error}; choose another --out") from None


@contextmanager
def terminable() -> Generator[None]:
    """SIGTERM ends training as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, allow_nan=False))


def rounded(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
