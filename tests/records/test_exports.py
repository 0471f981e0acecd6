"""Runs that leave the lab: an archive comes back as it was, and programs make the run again."""

import ast
import dataclasses
import io
import json
import runpy
import struct
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient

from arli_core import records
from arli_core.config import METHODS, keys, parse, preset, protocols
from arli_core.errors import RecordError
from arli_core.live import runs
from arli_core.records import Record, exports

ROOT = Path(__file__).parents[2]


def tiny(method="ari", **changes):
    base = {"data.tasks": 2, "train.epochs": 1, "train.batch_size": 150, "memory.budget": 20,
            "recording.frames": 3, "recording.probes": 2, "recording.probe_frames": 2, "device": "cpu"}  # fmt: skip
    return preset("digits", method, **({key: base[key] for key in base if key in keys(method)} | changes))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """{method: the record of a tiny run}, and the folder they are in."""
    root = tmp_path_factory.mktemp("exports")
    for method in ("ari", "finetune"):
        for _ in runs.train(tiny(method), root / method):
            pass
    return root


@pytest.fixture(autouse=True)
def checkpoints(recorded, monkeypatch):
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(recorded))
    return recorded


def zipped(*entries, **options):
    """A .zip of (name, content) pairs, in this order."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", **options) as packed:
        for name, data in entries:
            packed.writestr(name, data)
    return content.getvalue()


def same_figures(first: Record, second: Record):
    """Accuracies and frames bit for bit, on the CPU."""
    for protocol in protocols(first.config):
        np.testing.assert_array_equal(first.accuracy_matrix(protocol), second.accuracy_matrix(protocol))
    for task in range(1, len(first.tasks) + 1):
        np.testing.assert_array_equal(first.frames(task).dif_star, second.frames(task).dif_star)
        np.testing.assert_array_equal(first.frames(task).loss, second.frames(task).loss)


# The archive


def test_an_archive_comes_back_file_by_file():
    files = records.files("ari")
    data = exports.archive("ari", files)
    assert exports.unpacked(data) == ("ari", files)
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        assert packed.namelist()[0] == "ari/run.json" and packed.testzip() is None


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("../run.json", "{}")], "out of place"),
        ([("/run.json", "{}")], "out of place"),
        ([("a/../../run.json", "{}")], "out of place"),
        ([("a\\..\\run.json", "{}")], "out of place"),
        ([("run.json", "{}")], "out of place"),
        ([("a/run.json", "{}"), ("b/run.json", "")], "b/run.json' is out of place"),
        ([("a/run.json", "{}"), (".DS_Store/run.json", "")], "out of place"),
        ([("__MACOSX/a/._run.json", ""), ("a/.DS_Store", "")], "empty"),
        ([("a/b/run.json", "{}")], "out of place"),
        ([], "empty"),
        ([("a/", "")], "empty"),
    ],
)
def test_what_is_not_files_of_one_folder_is_refused(entries, message):
    with pytest.raises(RecordError, match=message):
        exports.unpacked(zipped(*entries))


def test_a_run_that_a_file_manager_packed_anew_comes_back_as_it_was():
    files = records.files("ari")
    added = ["__MACOSX/._ari", "__MACOSX/ari/._run.json", ".DS_Store", "ari/.DS_Store", "ari/._run.json",
             "ari/Thumbs.db", "ari/desktop.ini", "desktop.ini"]  # fmt: skip
    entries = [("ari/", b""), *((name, b"\0\5\26\7") for name in added)]
    entries += [(f"ari/{name}", content) for name, content in files.items()]
    assert exports.unpacked(zipped(*entries)) == ("ari", files)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_is_refused():
    with pytest.raises(RecordError, match="twice"):
        exports.unpacked(zipped(("a/run.json", "{}"), ("a/run.json", "[]")))


@pytest.mark.parametrize("data", [b"", b"no archive at all", b"PK\x03\x04" + bytes(40)])
def test_what_is_no_archive_is_refused(data):
    with pytest.raises(RecordError, match=r"not a \.zip archive"):
        exports.unpacked(data)


def test_a_truncated_archive_is_refused_wherever_it_ends():
    data = exports.archive("ari", records.files("ari"))
    for length in np.linspace(0, len(data) - 1, 40).astype(int):
        with pytest.raises(RecordError):
            exports.unpacked(data[:length])


def test_a_changed_byte_is_noticed():
    data = bytearray(exports.archive("ari", records.files("ari")))
    for place in np.linspace(40, len(data) * 0.9, 40).astype(int):
        changed = bytes(data[:place]) + bytes([data[place] ^ 255]) + bytes(data[place + 1 :])
        try:
            name, files = exports.unpacked(changed)
        except RecordError:
            continue
        assert files == records.files("ari") or name != "ari"  # the change hit a date or the like


def test_what_is_too_large_is_refused_before_it_is_unpacked(monkeypatch):
    data = zipped(("a/run.json", bytes(10_000)), compression=zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(exports, "LIMIT_BYTES", 9_999)
    with pytest.raises(RecordError, match="unpacked, the archive is too large"):
        exports.unpacked(data)
    monkeypatch.setattr(exports, "LIMIT_BYTES", len(data) - 1)
    with pytest.raises(RecordError, match="the archive is too large"):
        exports.unpacked(data)


def test_a_size_that_lies_does_not_unpack_more_than_it_says():
    data = bytearray(zipped(("a/run.json", bytes(10**6)), compression=zipfile.ZIP_DEFLATED))
    directory = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, directory + 24, 10)
    with pytest.raises(RecordError, match="damaged"):
        exports.unpacked(bytes(data))


def test_encrypted_and_unusual_archives_are_refused():
    data = bytearray(zipped(("a/run.json", "{}")))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(RecordError, match="encrypted"):
        exports.unpacked(bytes(data))
    with pytest.raises(RecordError, match="valid: deflate"):
        exports.unpacked(zipped(("a/run.json", "{}"), compression=zipfile.ZIP_LZMA))


# Configuration, script and notebook


@pytest.mark.parametrize("method", METHODS)
def test_the_configuration_is_parsed_into_an_equal_one(method):
    config = preset("digits", method, 3)
    assert parse(json.loads(exports.configuration(config))) == config


@pytest.mark.parametrize("method", ["ari", "finetune"])
def test_the_script_makes_the_run_again_and_its_figures(method, tmp_path, monkeypatch, capsys):
    record = records.load(method)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "again.py").write_text(exports.script(record), encoding="utf-8")
    with np.printoptions():  # the script sets its own
        again = runpy.run_path(str(tmp_path / "again.py"))["record"]
    assert again.config == record.config
    same_figures(again, record)
    printed = capsys.readouterr().out
    with np.printoptions(precision=4, suppress=True):
        for protocol in protocols(record.config):
            assert f"{protocol}:\n{record.accuracy_matrix(protocol)}\n" in printed
        if method == "ari":
            assert f"The last dif*:\n{record.frames(2).matrix('dif_star', 2)}" in printed
    drawn = [f"accuracy-{protocol}.png" for protocol in protocols(record.config)]
    drawn += ["dif-star.png"] if method == "ari" else []
    assert sorted(file.name for file in tmp_path.glob("*.png")) == sorted(drawn)


def test_programs_take_as_many_threads_as_the_run_had():
    """Sums in another order differ in the last digits, and a run amplifies the difference."""
    record = records.load("ari")
    assert record.environment["threads"] == str(torch.get_num_threads())
    for program in programs(dataclasses.replace(record, environment={**record.environment, "threads": "3"})):
        assert "torch.set_num_threads(3)\n" in program
    for program in programs(dataclasses.replace(record, environment={})):
        assert "set_num_threads" not in program


def test_the_notebook_makes_the_run_again_and_its_figures(tmp_path, monkeypatch):
    record = records.load("ari")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.reads(exports.notebook(record), as_version=4)
    nbformat.validate(notebook)
    place = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(notebook, timeout=600, startup_timeout=300, resources=place)
    outputs = [output for cell in client.execute().cells for output in cell.get("outputs", [])]
    printed = "".join(output["text"] for output in outputs if output.get("name") == "stdout")
    with np.printoptions(precision=4, suppress=True):
        for protocol in protocols(record.config):
            assert f"{protocol}:\n{record.accuracy_matrix(protocol)}\n" in printed
        assert f"The last dif*:\n{record.frames(2).matrix('dif_star', 2)}" in printed
    drawn = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(drawn) == len(protocols(record.config)) + 1
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert list(tmp_path.iterdir()) == []


def programs(record):
    cells = nbformat.reads(exports.notebook(record), as_version=4).cells
    return [exports.script(record), "\n".join(cell.source for cell in cells if cell.cell_type == "code")]


@pytest.mark.parametrize("method", METHODS)
def test_programs_use_public_names_alone(method):
    for program in programs(Record(preset("digits", method))):
        for node in ast.walk(ast.parse(program)):
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            else:
                names = [node.attr] if isinstance(node, ast.Attribute) else []
            assert not [name for name in names if any(part.startswith("_") for part in name.split("."))]


def test_texts_of_a_run_never_become_code():
    """A run may come from anyone."""
    evil = '"""\nimport os; os.abort()\n# \\"\'\'\'\u2028os.abort()'
    record = Record(
        tiny(**{"data.name": f"folder:{evil}"}).model_copy(update={"preset": evil}),
        environment={evil: evil, "threads": "1)\nos.abort("},
    )
    for program in programs(record):
        tree = ast.parse(program)
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "os"]
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "abort"]
        (values,) = [node.args[0] for node in ast.walk(tree)
                     if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "parse"]  # fmt: skip
        assert parse(ast.literal_eval(values)) == record.config
