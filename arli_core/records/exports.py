"""A run in forms that can leave the lab: an archive, its configuration, and programs that train it again.

Pure: values in, text or bytes out; records/ knows the files. A run may come from anyone, so in a program its texts
stand only as literals, never as code or prose.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pprint import pformat
from textwrap import indent
from typing import Any

from ..config import Ari, Config
from ..errors import RecordError
from ..files import of_a_file_manager
from . import Record

DIRECTORY_BYTES = 2**18  # of an archive's list of files: that of a run of 200 tasks takes an eighth
LIMIT_BYTES = 512 * 2**20  # of an archive, packed and unpacked: ten tasks of a ResNet-18 fit


def archive(name: str, files: Mapping[str, bytes]) -> bytes:
    """A .zip of a run's files, as from `records.files`, in a folder `name`: unpacked in checkpoints/, the run is
    there."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        for file, data in files.items():
            packed.writestr(f"{name}/{file}", data)
    return content.getvalue()


def unpacked(data: bytes) -> tuple[str, dict[str, bytes]]:
    """The (name, files) of an `archive`, each file by its bare name; `records.add` says whether they are a run.

    What file managers add of their own, as `__MACOSX/` and `.DS_Store`, is left out. Nothing is written. Raises
    RecordError where it is not a whole .zip, holds anything but files of one folder, or more than LIMIT_BYTES.
    """
    if len(data) > LIMIT_BYTES:
        raise RecordError(f"the archive is too large: at most {LIMIT_BYTES // 2**20} MB are read")
    if _directory_bytes(data) > DIRECTORY_BYTES:
        raise RecordError("the archive lists far more files than a run has")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            return _read(packed)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise RecordError(f"it is not a .zip archive, or a damaged one: {error}") from None


def _directory_bytes(data: bytes) -> int:
    """The length that a .zip gives for its list of files, before any of the list is read: in memory, each entry takes
    a hundred times its length."""
    end, mark = len(data) - 22, b"PK\x05\x06"
    if data[end : end + 4] != mark or data[-2:] != b"\0\0":  # there is a comment behind it, or no such mark
        end = data.rfind(mark, max(0, end - 2**16))
    return int.from_bytes(data[end + 12 : end + 16], "little") if end >= 0 else 0


def _read(packed: zipfile.ZipFile) -> tuple[str, dict[str, bytes]]:
    entries = [entry for entry in packed.infolist() if not (entry.is_dir() or _added(entry.filename))]
    if sum(entry.file_size for entry in entries) > LIMIT_BYTES:
        raise RecordError(f"unpacked, the archive is too large: at most {LIMIT_BYTES // 2**20} MB are read")
    files: dict[str, bytes] = {}
    folders = set()
    for entry in entries:
        folder, slash, file = entry.filename.partition("/")
        folders.add(folder)
        if not slash or "/" in file or "\\" in entry.filename or folder in ("", ".", "..") or len(folders) > 1:
            raise RecordError(f"{entry.filename!r} is out of place: an archive holds one folder with a run's files")
        if file in files:
            raise RecordError(f"{entry.filename!r} is in the archive twice")
        if entry.flag_bits & 1:
            raise RecordError(f"{entry.filename!r} is encrypted; archives of runs are not")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise RecordError(f"{entry.filename!r} is compressed in a way that is not read here; valid: deflate")
        with packed.open(entry) as source:
            files[file] = source.read(entry.file_size)  # not read(): what exceeds a false size stays packed
        if len(files[file]) != entry.file_size:
            raise RecordError(f"{entry.filename!r} is not complete")
    if not files:
        raise RecordError("the archive is empty")
    return folders.pop(), files


def _added(path: str) -> bool:
    """Whether a file manager put it into the archive when it packed the folder anew."""
    return path.startswith("__MACOSX/") or of_a_file_manager(path.rpartition("/")[2])


def configuration(config: Config) -> str:
    """JSON of every setting; `config.parse(json.loads(text))` gives an equal configuration."""
    return config.model_dump_json(indent=2) + "\n"


def script(record: Record) -> str:
    """A Python program that trains the run's configuration again, prints its figures and draws them as PNG files."""
    drawn = "the accuracy matrix under each protocol" + (", then the last dif*" if _fuses(record) else "")
    title = (
        f'"""Trains a run of {record.config.method} again.\n\nPrints and draws, as PNG files in this folder: {drawn}.'
        ' It needs the lab: its own\ninterpreter, .venv/bin/python after `make app`, or arli_core on the path.\n"""\n'
    )
    save_line = 'Path(f"{name}.png").write_bytes(figures.export(figure, "png"))'
    parts = [title, _head("from pathlib import Path", save_line), _configured(record), _TRAIN, _ACCURACY]
    return "\n".join([*parts, _DIF_STAR] if _fuses(record) else parts)


def notebook(record: Record) -> str:
    """The same program as a Jupyter notebook, its figures in place and the equations beside them."""
    display_line = 'display(Image(figures.export(figure, "png"), width=110 * figure.get_figwidth(), alt=name))'
    cells = [
        _prose(
            f"# A run of {record.config.method}, trained again\n\n"
            "The configuration below is the recorded run's. `learn` trains it and reports what happens as events; a "
            "`Record` collects them."
        ),
        _code(_head("from IPython.display import Image, display", display_line)),
        _code(_configured(record)),
        _code(_TRAIN),
        _prose(
            "## Accuracy matrix under each protocol\n\n"
            "$R_{ij}$ is the accuracy on task $j$ after learning task $i$. Each row holds the accuracy on every task "
            "learned so far. A column whose values fall from top to bottom is a task being **forgotten**: later "
            "learning overwrites it."
        ),
        _code(_ACCURACY),
    ]
    if _fuses(record):
        cells += [
            _prose(
                "## The last dif*\n\n"
                r"$$\mathrm{dif} = D\circ D + \eta, \qquad "
                r"\mathrm{dif}^*_{ij} = \mathrm{dif}_{ij} \Big/ \sum_k \mathrm{dif}_{ik}$$" + "\n\n"
                r"White is the equal share $1/(n+1)$, red is more, blue is less. The outlined last row holds the "
                r"models' weights in $\varphi_f$."
            ),
            _code(_DIF_STAR),
        ]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number:02}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


def _fuses(record: Record) -> bool:
    return isinstance(record.config, Ari)


def _head(first: str, body: str) -> str:
    return f"""\
{first}

import numpy as np
import torch

from arli_core import figures
from arli_core.config import parse, protocols
from arli_core.learn import learn
from arli_core.records import Record

np.set_printoptions(precision=4, suppress=True)


def show(figure, name):
    {body}

"""


def _configured(record: Record) -> str:
    versions = {key: value for key, value in record.environment.items() if key != "platform"}
    device = record.started.device if record.started else None
    threads = str(versions.pop("threads", ""))
    settings = indent(pformat(record.config.model_dump(), sort_dicts=False, width=100), "    ")
    return f"""\
# Recorded on {device!r} with {versions!r}.
# On the CPU, the same versions and number of threads give the same figures.
{f"torch.set_num_threads({int(threads)})" if threads.isdecimal() else "# The number of threads is not recorded."}
config = parse(
{settings}
)
"""


_TRAIN = """\
record = Record(config)
for event in learn(config):
    record = record.after(event)
"""

_ACCURACY = """\
tasks = [str(task) for task in range(1, config.data.tasks + 1)]
for protocol in protocols(config):
    accuracy = record.accuracy_matrix(protocol)
    print(f"Accuracy after each task (rows) on each task (columns), {protocol}:\\n{accuracy}\\n")
    show(figures.accuracy_matrix(accuracy, tasks), f"accuracy-{protocol}")
"""

_DIF_STAR = """\
last = record.tasks[-1]
dif_star = last.matrix("dif_star", len(last) - 1)
models = [*(f"φ_{task}" for task in np.flatnonzero(last.present[-1]) + 1), "φ_b"]
print(f"The last dif*:\\n{dif_star}")
show(figures.dif_star(dif_star, models), "dif-star")
"""


def _prose(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}


def _code(text: str) -> dict[str, Any]:
    source = text.rstrip("\n").splitlines(keepends=True)
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}
