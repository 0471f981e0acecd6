"""Archives of runs, spoilt at every level: each is refused with a message and without a trace, or is a run that every
part of the lab can show."""

import io
import json
import math
import random
import struct
import warnings
import zipfile
from contextlib import closing, suppress
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from arli_core import config, figures, records
from arli_core.analysis import answers, masks
from arli_core.errors import LabError, RecordError
from arli_core.live import runs
from arli_core.records import Record, checks, exports
from arli_core.theory import consensus, fusion, metrics

from . import hostile
from .case import Case
from .world import RUNS, World

Files = dict[str, bytes]


def archives(rng: random.Random, world: World) -> Case:
    """A run's archive, spoilt in its index, its arrays, its files, or as a .zip."""
    run = rng.choice(RUNS)
    way = rng.choices([_index, _counts, _arrays, _measured, _header, _files, _zip], [6, 2, 4, 3, 2, 2, 4])[0]
    text, data = way(rng, world.files[run])
    return Case(f"archive of {run}: {text}", partial(_import, data), (RecordError,))


def imported(rng: random.Random, run: str, files: Files) -> tuple[str, bytes]:
    """An archive whose content is spoilt, but which is sound as a .zip."""
    return rng.choice([_index, _index, _counts, _arrays, _measured, _measured])(rng, files)


def _import(data: bytes, place: Path) -> None:
    """As the page Runs does it."""
    checkpoints = place / "checkpoints"
    try:
        name, files = exports.unpacked(data)
        records.add(name, files)
    except RecordError as error:
        if str(place) in str(error):
            raise AssertionError("a path of this machine in an error") from error
        if checkpoints.exists() and any(checkpoints.iterdir()):
            raise AssertionError("a refused import leaves something behind") from error
        raise
    assert [path.name for path in place.iterdir()] == ["checkpoints"], "it wrote outside of checkpoints/"
    assert [path.name for path in checkpoints.iterdir()] == [name], "it wrote outside of its folder"
    record = records.whole(name)
    check(record)
    if record.status == "unfinished":
        with suppress(LabError), closing(runs.resume(name)) as resumed:
            assert list(islice(resumed, 3))


def check(record: Record) -> None:
    """The record has the form that its docstrings say, and everything that pages and commands do with it works."""
    json.dumps(record.summary(), allow_nan=False)
    _check_form(record)
    for protocol in config.protocols(record.config):
        matrix = record.accuracy_matrix(protocol)
        assert matrix.shape == (record.config.data.tasks,) * 2
        if record.tasks:
            figures.accuracy_matrix(matrix, [str(task) for task in range(len(matrix))])
        for measure in (metrics.average_accuracy, metrics.forgetting, metrics.average_incremental_accuracy):
            record.figure(measure, protocol)
    for task in range(1, record.tasks_begun + 1):
        frames = record.frames(task)
        for frame in range(len(frames) if frames.fuses else 0):
            distance, dif_star, gram = (frames.matrix(name, frame) for name in ("distance", "dif_star", "gram"))
            assert np.isfinite(distance).all() and (distance >= 0).all()
            consensus.check_row_stochastic(dif_star)
            consensus.spectrum(dif_star)
            consensus.residual_eq13(dif_star, gram, float(frames.norm[frame]))
            consensus.principal_coordinates(gram)
            if isinstance(record.config, config.Ari) and record.config.fusion.eta > 0:
                for eta in (record.config.fusion.eta, 1e-3, 1e6):
                    fusion.dif_star(fusion.dif(distance, eta))
        assert np.isfinite(frames.loss).all() and len(frames.attention) == len(frames.attention_at)
    for write in (exports.script, exports.notebook, lambda record: exports.configuration(record.config)):
        assert write(record)
    if record.config.preset in config.PRESETS:
        config.changes(record.config)
    if record.tasks:
        with suppress(LabError):  # its data or its network may not be available
            masks.masks_of(record)
            answers.answers_of(record, len(record.tasks)).confusion("per_sample")


def _check_form(record: Record) -> None:
    """The types, shapes and counts of events.py and records.py, literally."""
    started, done = record.started, len(record.tasks)
    assert math.isfinite(record.seconds) and record.seconds >= 0 and type(record.samples) is int
    assert record.samples >= 0 and type(record.finished) is bool and isinstance(record.error, str | None)
    assert all(isinstance(text, str) for pair in record.environment.items() for text in pair)
    if started:
        assert all(isinstance(name, str) for name in started.classes) and isinstance(started.device, str)
        assert len(started.classes) >= record.config.data.tasks and type(started.parameters) is int
        assert all(isinstance(name, str) and type(size) is int for name, size in started.layers.items())
        count, channels, height, width = started.probes.shape
        assert started.probes.dtype == np.uint8 and channels in (1, 3) and height == width
        assert started.probe_units.shape == (count,) and count <= record.config.recording.probes
        assert set(started.probe_units.tolist()) <= set(range(len(started.classes)))
    else:
        assert not record.tasks_begun
    for rows in record.accuracy.values():
        assert [len(row) for row in rows] == list(range(1, done + 1))
        assert all(type(share) in (int, float) and 0 <= share <= 1 for row in rows for share in row)
    assert done == len(record.weights) <= record.config.data.tasks and (
        not record.finished or done == record.config.data.tasks
    )
    for task in record.weights:
        assert record.weights[task] and all(np.isfinite(values).all() for values in record.weights[task].values())
    for task in range(1, record.tasks_begun + 1):
        frames = record.frames(task)
        count, (n, m) = len(frames), (task, task + 1) if frames.fuses else (0, 0)
        matrices = count if frames.fuses else 0
        assert type(frames.iterations) is int and count <= min(frames.iterations, record.config.recording.frames)
        assert frames.iteration.dtype == np.int64 and (np.diff(frames.iteration) > 0).all()
        shapes = {
            "iteration": (count,), "loss": (count,), "learning_rate": (count,), "present": (matrices, n),
            "distance": (matrices, m, m), "dif_star": (matrices, m, m), "gram": (matrices, m, m), "norm": (matrices,),
            "alpha": (matrices,), "losses": (matrices, n), "attacked_losses": (matrices, n),
            "layers": (matrices, frames.layers.shape[1], m, m),
        }  # fmt: skip
        for name, shape in shapes.items():
            assert getattr(frames, name).shape == shape, f"{name} of task {task}"
        assert frames.present.dtype == bool and frames.attention.dtype == np.uint8
        if frames.attention.size:
            assert started and frames.attention.shape[1:] == (len(started.probes), *started.probes.shape[2:])


# --- Spoiling runs ------------------------------------------------------------------------------------------------


def _packed(rng: random.Random, files: Files) -> bytes:
    """An archive of the files as they are, with correct digests, or as from before there were any: whoever sends a
    spoilt run can compute digests, too."""
    try:
        index = json.loads(files["run.json"])
        digests = index["digests"]
    except (LookupError, ValueError, TypeError, RecursionError):  # it has none to correct
        return exports.archive("sent", files)
    way = rng.choice(["as it is", "sealed", "sealed", "sealed", "old", "old"])
    if way == "old":
        old = {key: value for key, value in index.items() if key not in ("digests", "digest", "data")}
        files = {**files, "run.json": json.dumps({**old, "schema": 1}).encode()}
    elif way == "sealed":
        if isinstance(digests, dict):
            digests |= {name: checks.digest(data) for name, data in files.items() if name in digests}
        files = {**files, "run.json": checks.sealed(index)}
    return exports.archive("sent", files)


def _indexed(rng: random.Random, files: Files, index: dict[str, Any]) -> bytes:
    return _packed(rng, {**files, "run.json": hostile.written(index)})


def _index(rng: random.Random, files: Files) -> tuple[str, bytes]:
    text, index = hostile.spoilt(rng, json.loads(files["run.json"]))
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        more, index = hostile.spoilt(rng, index)
        text += f"; {more}"
    return f"run.json, {text}", _indexed(rng, files, index)


def _counts(rng: random.Random, files: Files) -> tuple[str, bytes]:
    """Sizes that would cost memory or time; in some cases the rest of the index is made to match."""
    index = json.loads(files["run.json"])
    section, key = rng.choice(
        [("data", "tasks"), ("data", "tasks"), ("data", "classes_per_task"), ("recording", "frames"),
         ("recording", "probes"), ("train", "epochs"), ("train", "batch_size"), ("evaluation", "group"),
         ("data", "image_size"), ("recording", "probe_frames")]
    )  # fmt: skip
    number = rng.choice([0, 1, 3, 100, 1024, 5000, 20_000, 10**6, 2**31, 2**63, 10**30])
    index["config"].setdefault(section, {})[key] = number
    if (section, key) == ("data", "tasks") and rng.random() < 0.6:
        most = min(number, 300)
        index["accuracy"] = {name: [[0.5] * (row + 1) for row in range(most)] for name in index["accuracy"]}
    if rng.random() < 0.4:
        index["classes"] = [str(label) for label in range(min(number, 100_000))]
    return f"{section}.{key} = {hostile.short(number)}", _indexed(rng, files, index)


def _arrays(rng: random.Random, files: Files) -> tuple[str, bytes]:
    """One array of one file with another shape, type or content, under another name, or gone."""
    file = rng.choice([name for name in files if name.endswith(".safetensors")])
    arrays = dict(safetensors.numpy.load(files[file]))
    name = rng.choice(sorted(arrays))
    old = arrays.pop(name)
    action = rng.choice(
        ["gone", "renamed", "shape", "type", "content", "longer", "shorter", "empty", "scalar", "turned"]
    )
    new: Any = old
    match action:
        case "renamed":
            name = rng.choice(["", "\0", "iteration", "loss", "x" * 1000, "state.", "__metadata", name.upper()])
        case "shape":
            new = np.zeros([rng.choice([0, 1, 2, 3, 5, 40]) for _ in range(rng.randrange(5))], old.dtype)
        case "type":
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                new = old.astype(rng.choice(["f2", "f4", "f8", "i1", "i8", "u1", "u8", "?", "c8"]))
        case "content":
            new = _changed(rng, old)
        case "longer" if old.ndim:
            new = np.concatenate([old, old[:1] if len(old) else np.zeros((1, *old.shape[1:]), old.dtype)])
        case "shorter" if old.ndim:
            new = old[:-1]
        case "empty":
            new = np.zeros(0, old.dtype)
        case "scalar":
            new = np.array(3, old.dtype)
        case "turned":
            new = np.ascontiguousarray(old.T)
    if action != "gone":
        arrays[name] = new
    content = safetensors.numpy.save({key: np.asarray(array, order="C") for key, array in arrays.items()})
    text = f"{file}, {hostile.short(name)}: {action}, {old.dtype} {list(old.shape)} to {new.dtype} {list(new.shape)}"
    return text, _packed(rng, {**files, file: content})


def _measured(rng: random.Random, files: Files) -> tuple[str, bytes]:
    """Other numbers where something was measured, of the right type and shape."""
    file = rng.choice([name for name in files if name.endswith(".safetensors")])
    arrays = dict(safetensors.numpy.load(files[file]))
    name = rng.choice(sorted(name for name in arrays if arrays[name].size))
    new = _changed(rng, arrays[name])
    changed = np.flatnonzero(new != arrays[name])
    text = f"{file}, {name}: {len(changed)} of {new.size} numbers, the first now {new.flat[changed[:1]]}"
    return text, _packed(rng, {**files, file: safetensors.numpy.save({**arrays, name: new})})


def _changed(rng: random.Random, old: np.ndarray) -> np.ndarray:
    """Changes one number or all: to what cannot have been measured, or to what can but does not fit the others."""
    new = np.array(old, order="C")
    if not new.size:
        return new
    at = rng.randrange(new.size) if rng.random() < 0.6 else slice(None)
    worst = rng.choice([np.nan, np.inf, -np.inf, 0, -1, -1e-9, 1e-300, 1e20, 1e155, 1e300])
    if new.dtype.kind != "f":
        worst = rng.choice([0, 1, -1, 200, 2**40])
    with np.errstate(all="ignore"):
        new.reshape(-1)[at] = np.asarray(worst).astype(new.dtype)
    return new


def _header(rng: random.Random, files: Files) -> tuple[str, bytes]:
    """The header of a file of arrays, a tree in JSON itself."""
    file = rng.choice([name for name in files if name.endswith(".safetensors")])
    data = files[file]
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    if rng.random() < 0.5:
        name = rng.choice(sorted(header))
        part, new = rng.choice(
            [("dtype", rng.choice(["BF16", "F8_E4M3", "F64", "BOOL", "I8", "X", ""])),
             ("shape", rng.choice([[2**31, 2**31], [10**12], [-1], [0], [2**63], []])),
             ("data_offsets", rng.choice([[0, 2**40], [8, 0], [0, 0], [2**63, 2**63]]))]
        )  # fmt: skip
        header[name] = {**header[name], part: new}
        text = f"{hostile.short(name)}.{part} = {new}"
    else:
        text, header = hostile.spoilt(rng, header)
    content = hostile.written(header)
    claimed = rng.choice([len(content)] * 8 + [0, 2**40, 2**63])
    spoilt = struct.pack("<Q", claimed) + content + data[8 + length :]
    return f"{file}, header: {text}", _packed(rng, {**files, file: spoilt})


def _files(rng: random.Random, files: Files) -> tuple[str, bytes]:
    """Files gone, exchanged, renamed, added."""
    names = list(files)
    file, other = rng.choice(names), rng.choice(names)
    spoilt = dict(files)
    match rng.randrange(5):
        case 0:
            del spoilt[file]
            text = f"{file} gone"
        case 1:
            spoilt[file], spoilt[other] = files[other], files[file]
            text = f"{file} and {other} exchanged"
        case 2:
            new = rng.choice(["task-0.safetensors", "task-3.safetensors", "weights-99999999.safetensors",
                              "RUN.JSON", "progress-1-1.safetensors", "progress-9-9.safetensors",
                              "task-١.safetensors"])  # fmt: skip
            spoilt[new] = spoilt.pop(file)
            text = f"{file} called {new}"
        case 3:
            new = rng.choice(
                ["notes.txt", ".writing-x", "run.json ", "task-1.safetensors\0", "x" * 300, "weights-3.safetensors"]
            )
            spoilt[new] = rng.choice([b"", b"{}", files[file]])
            text = f"{hostile.short(new)} added"
        case _:
            spoilt[file] = rng.choice(
                [b"", b"{}", b"\xff" * 1000, b"[" * 200_000, b'{"schema": 1' + b" " * 10**6, files[file] * 2]
            )
            text = f"{file} holds {len(spoilt[file])} other bytes"
    return text, _packed(rng, spoilt)


def _zip(rng: random.Random, files: Files) -> tuple[str, bytes]:
    """The .zip itself: names that lead elsewhere, bombs, flags, false sizes, bytes changed or cut off."""
    way = rng.choice([_paths, _paths, _twice, _flags, _lies, _bomb, _nested, _links, _bytes, _bytes, _around])
    return way(rng, files)


def _zipped(entries: list[tuple[Any, bytes]], **options: Any) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(content, "w", **options) as packed:
        warnings.simplefilter("ignore")  # about names that occur twice
        for name, data in entries:
            packed.writestr(name, data)
    return content.getvalue()


def _paths(rng: random.Random, files: Files) -> tuple[str, bytes]:
    folder = rng.choice(["..", ".", "", "/tmp", "../..", "a/b", "a\\b", "C:", "~", "~root", "a\0b", "CON", "nul",
                         "dot.", "x" * 300, "\u202e", " ", "-rf", ".hidden", "é", "a\n"])  # fmt: skip
    some = rng.random() < 0.3
    entries = [
        (f"{folder if not some or rng.random() < 0.5 else 'sent'}/{name}", data) for name, data in files.items()
    ]
    return f"in the folder {hostile.short(folder)}", _zipped(entries)


def _twice(rng: random.Random, files: Files) -> tuple[str, bytes]:
    entries = [(f"sent/{name}", data) for name, data in files.items()]
    name, data = rng.choice(entries)
    again = rng.choice([name, name.upper(), f"sent//{name[5:]}", f"sent/./{name[5:]}", f"./{name}"])
    return f"{name} and {again}", _zipped([*entries, (again, rng.choice([data, b""]))])


def _flags(rng: random.Random, files: Files) -> tuple[str, bytes]:
    packing = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    data = bytearray(_zipped([(f"sent/{name}", content) for name, content in files.items()], compression=packing))
    bits = rng.choice([0, 1, 8, 0x20, 0x40, 0x800, 0xFFFF])
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = data.find(signature)
        struct.pack_into("<H", data, at + offset, bits)
    return f"compression {packing}, flags {bits:#x}", bytes(data)


def _lies(rng: random.Random, files: Files) -> tuple[str, bytes]:
    """A size, place or check sum in the directory that differs from the file's."""
    data = bytearray(_packed(rng, files))
    field, size = rng.choice(
        [(16, "<I"), (20, "<I"), (24, "<I"), (28, "<H"), (30, "<H"), (32, "<H"), (42, "<I"), (10, "<H")]
    )
    number = rng.choice([0, 1, 10, 2**16 - 1, 2**31, 2**32 - 1])
    struct.pack_into(size, data, data.index(b"PK\x01\x02") + field, number % (2 ** (16 if size == "<H" else 32)))
    return f"directory, byte {field} = {number}", bytes(data)


@lru_cache(1)
def _bombs() -> dict[str, bytes]:
    """Small archives that unpack to much: a file of 60 MB, 1,000 of 1 MB, or 100,000 empty ones."""
    deflated: dict[str, Any] = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 1}
    numbers = b'{"schema": 1, "config": [' + b"0," * (30 * 2**20) + b"0]}"
    texts = b'{"schema": 1, "' + b"x" * (60 * 2**20) + b'": 0}'
    lists = b'{"schema": 1, "config": [' + b"[],{}," * (10 * 2**20) + b"0]}"
    return {
        "60 MB of numbers as run.json": _zipped([("sent/run.json", numbers)], **deflated),
        "60 MB of one key as run.json": _zipped([("sent/run.json", texts)], **deflated),
        "60 MB of lists as run.json": _zipped([("sent/run.json", lists)], **deflated),
        "1,000 files of 1 MB": _zipped(
            [(f"sent/task-{n}.safetensors", bytes(2**20)) for n in range(1000)], **deflated
        ),
        "100,000 empty files": _zipped([(f"sent/task-{n}.safetensors", b"") for n in range(100_000)]),
    }


def _bomb(rng: random.Random, files: Files) -> tuple[str, bytes]:
    text = rng.choice(list(_bombs()))
    return text, _bombs()[text]


def _nested(rng: random.Random, files: Files) -> tuple[str, bytes]:
    data = _packed(rng, files)
    for _ in range(rng.randint(1, 5)):
        data = _zipped([(rng.choice(["sent/run.json", "sent/sent.zip", "sent.zip"]), data)])
    return "an archive in an archive", data


def _links(rng: random.Random, files: Files) -> tuple[str, bytes]:
    """An entry that is a symbolic link, as unpackers understand it."""
    entries: list[tuple[Any, bytes]] = [(f"sent/{name}", data) for name, data in files.items()]
    at = rng.randrange(len(entries))
    link = zipfile.ZipInfo(str(entries[at][0]))
    link.external_attr = 0o120777 << 16
    entries[at] = link, rng.choice([b"/etc/passwd", b"../../run.json", b""])
    return f"{link.filename} is a link", _zipped(entries)


def _bytes(rng: random.Random, files: Files) -> tuple[str, bytes]:
    data = bytearray(_packed(rng, files))
    text = []
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        data[at] ^= 1 << rng.randrange(8)
        text.append(f"a bit of byte {at} flipped")
    if rng.random() < 0.4:
        del data[rng.randrange(len(data)) :]
        text.append(f"cut after {len(data)}")
    return ", ".join(text), bytes(data)


def _around(rng: random.Random, files: Files) -> tuple[str, bytes]:
    """Bytes before and behind it, which many unpackers skip, and files that other programs add."""
    data = _packed(rng, files)
    before, behind = (rng.randbytes(rng.choice([0, 1, 100, 70_000])) for _ in range(2))
    if rng.random() < 0.5:
        return f"{len(before)} bytes before it, {len(behind)} behind", before + data + behind
    entries = [(f"sent/{name}", content) for name, content in files.items()]
    return "with what file managers add", _zipped(
        [*entries, ("__MACOSX/sent/._run.json", b"x"), ("sent/.DS_Store", b"")]
    )
