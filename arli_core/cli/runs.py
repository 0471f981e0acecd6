"""The commands that carry runs from one lab to another: `export` and `import`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from .. import records
from ..errors import LabError, RecordError
from ..files import expanded
from ..records import exports
from .options import AsJson, Run, print_json, write_out

_FORMS: dict[str, Callable[[str], bytes]] = {
    ".zip": lambda run: exports.archive(records.locate(run).resolve().name, records.files(run)),
    ".json": lambda run: exports.configuration(records.config_of(run)).encode(),
    ".py": lambda run: exports.script(records.load(run)).encode(),
    ".ipynb": lambda run: exports.notebook(records.load(run)).encode(),
}


def export(
    run: Run,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The file to write: .zip for the whole run, .json for its configuration, .py or .ipynb to train it "
            "again.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Write a run as an archive, configuration, script or notebook."""
    form = _FORMS.get(out.suffix.lower())
    if form is None:
        raise LabError(f"{out} has an unknown ending; valid endings: {', '.join(_FORMS)}")
    content = form(run)
    write_out(out, content)
    if as_json:
        print_json({"file": str(out), "bytes": len(content)})
        return
    typer.echo(f"{out}: {len(content):,} bytes")


def take_in(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .zip that `export` wrote.")],
    name: Annotated[str | None, typer.Option(help="New name of the run; by default the one it had.")] = None,
    as_json: AsJson = False,
) -> None:
    """Import a run that was exported as a .zip."""
    try:
        source = expanded(file)
        if source.stat().st_size > exports.LIMIT_BYTES:  # before it is in memory
            raise RecordError(f"the archive is too large: at most {exports.LIMIT_BYTES // 2**20} MB are read")
        packed, files = exports.unpacked(source.read_bytes())
        new_name = packed if name is None else name
        records.add(new_name, files)
    except OSError as error:
        raise LabError(f"{file} cannot be read: {error.strerror or error}") from None
    except RecordError as error:
        raise LabError(f"{file} was not imported: {error}") from None
    if as_json:
        print_json({"run": new_name, "path": str(records.locate(new_name))})
        return
    typer.echo(f"{file}: imported as {new_name}, {records.locate(new_name)}")
