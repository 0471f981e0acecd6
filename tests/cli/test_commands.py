"""The command line: what it prints, and that every error is one clear message and changes nothing on disk."""

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from arli_core import __version__, config, records
from arli_core.cli import commands, server
from arli_core.cli.options import settings_of, terminable
from arli_core.config import PROTOCOLS
from arli_core.events import Saved
from arli_core.live import runs
from arli_core.records.checks import sealed

TINY = {
    "train.epochs": 2,
    "train.batch_size": 150,
    "data.tasks": 2,
    "memory.budget": 20,
    "recording.frames": 3,
    "recording.probes": 2,
    "recording.probe_frames": 2,
}
ROOT = Path(__file__).resolve().parents[2]


def settings(**changes):
    """--set options; keys with __ for the dot."""
    values = {**TINY, **{key.replace("__", "."): value for key, value in changes.items()}}
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def train(out, *more, preset="digits", **changes):
    return ["train", "--preset", preset, "--out", str(out), "--device", "cpu", *settings(**changes), *more]


def shell(*words, **options):
    """The real command: (exit code, stdout, stderr) of `python -m arli_core`."""
    done = subprocess.run(
        [sys.executable, "-m", "arli_core", *words], capture_output=True, text=True, cwd=ROOT, timeout=100, **options
    )
    return done.returncode, done.stdout, done.stderr


def lab(*words):
    """In this process: (exit code, stdout, stderr); an exception that would be a traceback is raised here."""
    result = CliRunner().invoke(commands.app, [str(word) for word in words], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def output(*words):
    code, out, _ = lab(*words)
    assert code == 0
    return out


def printed(*words):
    """The one JSON object on stdout."""
    value = json.loads(output(*words, "--json"), parse_constant=pytest.fail)
    assert isinstance(value, dict)
    return value


def refused(*words):
    """The message of a command that is refused: exit code 2, one line on stderr, nothing on stdout."""
    code, out, err = lab(*words)
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if line.strip()]
    assert line.startswith("Error: ")
    return line


def contents(folder):
    return {str(path.relative_to(folder)): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@contextlib.contextmanager
def untouched(folder):
    before = contents(folder)
    yield
    assert contents(folder) == before


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """(folder of runs, what training the run `tiny` there printed): made once, by the real command."""
    root = tmp_path_factory.mktemp("shipped")
    code, out, err = shell(*train("tiny", "--json"), env={**os.environ, "ARLI_CHECKPOINTS": str(root)})
    assert code == 0, err
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARLI_CHECKPOINTS", str(root))
        own_settings = {key: value for key, value in TINY.items() if key != "memory.budget"}
        for _ in runs.train(config.preset("digits", "finetune", device="cpu", **own_settings), "plain"):
            pass
        for _, event in runs.train(config.preset("digits", device="cpu", **TINY), "half"):
            if isinstance(event, Saved):
                break
    return root, out, err


@pytest.fixture(autouse=True)
def home(shipped, tmp_path, monkeypatch):
    """Every test has its own copy of the runs: tiny (ari), plain (finetune) and half (left after an epoch)."""
    shutil.copytree(shipped[0], tmp_path / "runs")
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(tmp_path / "runs"))
    return tmp_path / "runs"


# What it prints


def test_version():
    assert output("--version") == f"arli_core {__version__}\n"


def test_presets():
    (rows,) = printed("presets").values()
    assert [row["name"] for row in rows] == list(config.PRESETS)
    for row in rows:
        preset = config.preset(row["name"])
        data = preset.data
        assert (row["dataset"], row["tasks"]) == (data.name, data.tasks)
        assert row["classes_per_task"] == data.classes_per_task
        assert row["network"] == preset.network.name and row["method"] == preset.method
        assert row["methods"] == list(config.METHODS)
        assert row["name"] in output("presets") and row["dataset"] in output("presets")


def test_help_names_every_command():
    out = output("--help")
    for command in ("presets", "train", "resume", "show", "spectrum", "figure9", "masks", "export", "import", "app"):
        assert f"\n  {command} " in out
        assert "Usage:" in output(command, "--help")


def test_nothing_imports_torch_before_it_is_needed():
    code = "import sys, arli_core.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_train_prints_one_json_object_and_progress_elsewhere(shipped):
    _, out, err = shipped
    assert len(out.splitlines()) == 1 and json.loads(out) == printed("show", "tiny")
    for task in (1, 2):
        assert f"after task {task} of 2: task_aware " in err
    assert "task 2 of 2" in err and "samples/s" in err and "Traceback" not in err


def test_show(home):
    summary = printed("show", "tiny")
    assert summary["config"] == config.preset("digits", device="cpu", **TINY).model_dump()
    assert summary["device"] == "cpu" and summary["seconds"] > 0 and summary["samples_per_second"] > 0
    for protocol in PROTOCOLS:
        matrix = summary["accuracy"][protocol]
        assert [[value is None for value in row] for row in matrix] == [[False, True], [False, False]]
        assert summary["average"][protocol] == pytest.approx(sum(matrix[1]) / 2)
        assert summary["bwt"][protocol] == pytest.approx(matrix[1][0] - matrix[0][0])
        assert summary["forgetting"][protocol] == pytest.approx(matrix[0][0] - matrix[1][0])
    assert summary == printed("show", home / "tiny")  # a path, and a name


def test_show_prints_the_three_matrices():
    summary, out = printed("show", "tiny"), output("show", "tiny")
    for protocol in PROTOCOLS:
        _, _, after = out.partition(f"{protocol}: average {summary['average'][protocol]:.3f}")
        header, first, second = after.splitlines()[1:4]
        assert header.split()[-2:] == ["1", "2"]
        (a, _), (b, c) = summary["accuracy"][protocol]
        assert first.split() == ["task", "1", f"{a:.3f}"]
        assert second.split() == ["task", "2", f"{b:.3f}", f"{c:.3f}"]


def test_show_of_a_run_under_way():
    summary = printed("show", "half")
    assert summary["accuracy"]["vote"] == [[None, None], [None, None]]
    assert summary["average"] == dict.fromkeys(PROTOCOLS)
    assert "unfinished, 0 of 2 tasks" in output("show", "half")


def test_one_task_has_nothing_to_forget():
    summary = json.loads(output(*train("one", "--json", data__tasks=1)))
    assert summary["forgetting"] == summary["bwt"] == dict.fromkeys(PROTOCOLS)
    assert "forgetting –" in output("show", "one")


def test_spectrum(home):
    printed_values = printed("spectrum", "tiny")
    frames = records.load("tiny").frames(2)
    assert (printed_values["task"], printed_values["frame"], printed_values["frames"]) == (2, 2, 3)
    assert printed_values["present"] == [1, 2]
    distance = np.array(printed_values["distance"])
    np.testing.assert_array_equal(distance, frames.matrix("distance", 2))
    weights = distance**2 + config.preset("digits").fusion.eta  # Eq. 7 and 8, anew
    transition = weights / weights.sum(1, keepdims=True)
    np.testing.assert_allclose(printed_values["dif_star"], transition, rtol=1e-12)
    np.testing.assert_allclose(printed_values["row_sums"], 1, atol=1e-12)
    values = np.array(printed_values["eigenvalues"])
    assert values.shape == (3, 2) and values[0] == pytest.approx([1, 0])
    assert printed_values["lambda2"] == pytest.approx(np.sort(abs(np.linalg.eigvals(transition)))[-2])
    assert printed_values["lambda2"] <= printed_values["dobrushin"] <= 1
    np.testing.assert_allclose(printed_values["left_eigenvector"], weights.sum(0) / weights.sum(), rtol=1e-9)
    assert 0 <= printed_values["residual_eq12"] <= 1e-12
    assert printed_values["deviation_from_uniform"] == pytest.approx(abs(transition - 1 / 3).max())
    step = transition - np.eye(3)
    squared = np.trace(step @ frames.matrix("gram", 2) @ step.T)
    assert printed_values["residual_eq13"] == pytest.approx(squared**0.5 / frames.norm[2], rel=1e-6)
    assert printed_values["residual_eq13"] > 0


def test_spectrum_counts_tasks_from_1_and_frames_from_either_end():
    assert printed("spectrum", "tiny", "--task", 2, "--frame", 0) == printed("spectrum", "tiny", "--frame", -3)
    first = printed("spectrum", "tiny", "--task", 1)
    assert (first["task"], first["present"], len(first["dif_star"])) == (1, [1], 2)
    assert first != printed("spectrum", "tiny", "--task", 1, "--frame", 0)
    assert printed("spectrum", "half")["task"] == 1  # a task under way counts


def test_spectrum_prints_its_figures():
    out, printed_values = output("spectrum", "tiny"), printed("spectrum", "tiny")
    assert "task 2, frame 2 of 3; models: task 1, task 2, base" in out
    for key in ("lambda2", "dobrushin", "residual_eq12", "residual_eq13", "deviation_from_uniform"):
        assert f"{key:<23} {printed_values[key]:.6g}\n" in out


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_figure9(suffix, magic, tmp_path):
    file = tmp_path / f"figure.{suffix}"
    result = printed("figure9", "tiny", "--out", file, "--images", 2)
    assert 0 <= result["auroc_mean"] <= 1
    assert file.read_bytes().startswith(magic)


def test_figure9_measures_all_held_out_images(tmp_path):
    output(*train("scene", preset="scenes", data__tasks=1, train__epochs=1, recording__probes=0))
    few, more = (printed("figure9", "scene", "--out", tmp_path / "f.png", "--images", n) for n in (1, 5))
    assert few == more
    assert len(few["auroc_per_image"]) == 200 and all(0 <= value <= 1 for value in few["auroc_per_image"])
    assert few["auroc_mean"] == pytest.approx(np.mean(few["auroc_per_image"]))
    assert f"{few['auroc_mean']:.3f}, mean over all images" in output("figure9", "scene", "--out", tmp_path / "f.png")


def test_masks_are_measured(home):
    measures = printed("masks", "tiny", "--images", 6, "--captum")
    assert (measures["task"], measures["images"], measures["held_out"], measures["objects"]) == (2, 6, 144, True)
    assert list(measures["captum"]) == ["saliency", "integrated gradients", "Grad-CAM", "occlusion"]
    for merits in (measures["merits"], *measures["captum"].values()):
        assert list(merits) == ["coverage", "mean", "entropy", "saturation", "auroc", "pointing", "overlap"]
        assert all(0 <= value <= 1 for value in merits.values())
    assert measures["attack"]["epsilon"] == pytest.approx(0.3)  # the run's own
    assert len(measures["drift"]) == 2 and measures["drift"][1] == pytest.approx(measures["merits"]["auroc"])
    assert [value for _, value in measures["worst"]] == sorted(value for _, value in measures["worst"])

    out = output("masks", "tiny", "--images", 6, "--epsilon", 0, "--task", 1)
    assert "after task 1: 6 of 72 held-out images\n" in out
    assert "attack of eps 0: correct" in out and "B lets through – of it" in out
    assert "inverted" in out and "saliency" not in out
    assert "task 3: tasks 1 to 2 are done" in refused("masks", "tiny", "--task", 3)


def test_maps_of_captum_that_say_nothing_are_named(home, monkeypatch):
    from arli_core.analysis import attribution

    monkeypatch.setattr(attribution, "is_level", lambda maps: np.ones(len(maps), bool))
    notes = printed("masks", "tiny", "--images", 2, "--captum")["captum_notes"]
    assert [note.split(" singles out no place in 2 of 2 images (1, 2)")[0] for note in notes] == [
        *("saliency", "integrated gradients", "Grad-CAM of network.third", "occlusion")
    ]
    out = output("masks", "tiny", "--images", 2, "--captum")
    assert all(note in out for note in notes)


@pytest.mark.parametrize("run", ["tiny", "plain", "half"])
def test_a_run_is_exported_and_imported_under_another_name(run, home, tmp_path):
    file = tmp_path / "run.zip"
    assert printed("export", run, "--out", file) == {"file": str(file), "bytes": file.stat().st_size}
    assert printed("import", file, "--name", "taken-in") == {"run": "taken-in", "path": str(home / "taken-in")}
    exported = contents(home / run)
    shutil.rmtree(home / run)
    assert f"imported as {run}" in output("import", file)
    for name in (run, "taken-in"):  # its index says that it was imported; nothing else is changed
        imported = contents(home / name)
        index, before = json.loads(imported.pop("run.json")), json.loads(exported["run.json"])
        assert imported == {file: content for file, content in exported.items() if file != "run.json"}
        assert index.pop("imported") and not before.pop("imported")
        assert index.pop("digest") != before.pop("digest") and index == before


def test_a_run_is_exported_as_settings_and_programs(home, tmp_path):
    for suffix in ("json", "py", "ipynb"):
        output("export", home / "tiny", "--out", tmp_path / f"run.{suffix}")
    assert json.loads((tmp_path / "run.json").read_text()) == printed("show", "tiny")["config"]
    compile((tmp_path / "run.py").read_text(encoding="utf-8"), "run.py", "exec")
    assert json.loads((tmp_path / "run.ipynb").read_text(encoding="utf-8"))["nbformat"] == 4


@pytest.mark.parametrize("out", ["run.zip", "run.json", "run.py", "run.ipynb", "run.png"])
def test_an_export_onto_a_full_disk_leaves_the_old_file(out, home, tmp_path, monkeypatch):
    def full(file: Path, content: bytes) -> int:
        with file.open("wb") as half:
            half.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / out).write_bytes(b"what was there")
    monkeypatch.setattr(Path, "write_bytes", full)
    command = "figure9" if out.endswith("png") else "export"
    message = refused(command, "tiny", "--out", tmp_path / out)
    assert f"{tmp_path / out} cannot be written: No space left on device; choose another --out" in message
    assert (tmp_path / out).read_bytes() == b"what was there" and sorted(os.listdir(tmp_path)) == [out, "runs"]


def test_paths_on_the_command_line_may_begin_with_the_home_directory(home, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    output("export", "tiny", "--out", "~/run.zip")
    output("figure9", "tiny", "--out", "~/fig.png", "--images", 1)
    assert (tmp_path / "run.zip").is_file() and (tmp_path / "fig.png").is_file()
    output("import", "~/run.zip", "--name", "brought")
    output("train", "--preset", "digits", "--method", "finetune", "--out", "~/other/run", "--device", "cpu",
         "--set", "data.tasks=2", "--set", "train.epochs=1", "--set", "train.batch_size=500")  # fmt: skip
    assert records.load(tmp_path / "other" / "run").finished
    assert not list(Path.cwd().glob("~*"))


def test_what_cannot_be_exported_or_imported_is_reported(home, tmp_path):
    file = tmp_path / "run.zip"
    output("export", "tiny", "--out", file)
    with untouched(home):
        assert "valid endings: .zip, .json, .py, .ipynb" in refused("export", "tiny", "--out", tmp_path / "run.tar")
        assert "cannot be written" in refused("export", "tiny", "--out", tmp_path / "no" / "run.zip")
        assert "no recorded run" in refused("export", "nobody", "--out", tmp_path / "nobody.zip")
        assert "There is already a run or folder called tiny." in refused("import", file)
        assert "cannot name a run" in refused("import", file, "--name", "../away")
        assert "cannot be read" in refused("import", tmp_path / "nothing.zip")
        file.write_bytes(file.read_bytes()[:-50])
        assert "was not imported: it is not a .zip archive" in refused("import", file, "--name", "new")
    assert not (tmp_path / "nobody.zip").exists()


def test_settings_are_json_where_they_parse():
    parsed = settings_of(["data.class_order=null", "data.name=mnist-5k", 'network.name="mlp"', "fusion.eta=1e-1"])
    assert parsed == {"data.class_order": None, "data.name": "mnist-5k", "network.name": "mlp", "fusion.eta": 0.1}
    assert settings_of(["train.loss=a=b"]) == {"train.loss": "a=b"}


def test_options_reach_the_configuration():
    summary = json.loads(output(*train("other", "--method", "replay", "--seed", "7", "--json", network__name="mlp")))
    assert (
        summary["config"]
        == config.preset("digits", "replay", 7, device="cpu", **{**TINY, "network.name": "mlp"}).model_dump()
    )


def test_a_run_is_replaced_only_when_asked(home):
    with untouched(home):
        message = refused(*train("tiny", data__tasks=1))
    assert "holds a recorded run already" in message and "--overwrite" in message
    output(*train("tiny", "--overwrite", data__tasks=1))
    assert printed("show", "tiny")["config"]["data"]["tasks"] == 1
    assert not (home / "tiny" / "task-2.safetensors").exists()


# Bad settings


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--preset", "imagenet"], ["unknown preset 'imagenet'", *config.PRESETS]),
        (["--method", "magic"], ["unknown method 'magic'", *config.METHODS]),
        (["--set", "train.epoch=3"], ["train.epoch", "no such setting", "train.epochs"]),
        (["--set", "name=x"], ["name", "no such setting", "train.epochs"]),
        (["--set", "values=x"], ["values", "no such setting"]),
        (["--set", "epochs"], ["key=value", "'epochs'", "train.epochs=3"]),
        (["--set", "=3"], ["key=value", "'=3'"]),
        (["--set", "method=replay"], ["use --method replay"]),
        (["--set", "preset=scenes"], ["use --preset scenes"]),
        (["--set", "seed=3"], ["use --seed 3"]),
        (["--set", "device=cuda"], ["use --device cuda"]),
        (["--set", "train.epochs=many"], ["train.epochs", "integer", "'many'"]),
        (["--set", "train.epochs=0"], ["train.epochs", "greater than or equal to 1", "got 0"]),
        (["--set", "train.learning_rate=NaN"], ["train.learning_rate"]),
        (["--set", "train.learning_rate=Infinity"], ["train.learning_rate", "finite"]),
        (["--set", "fusion.distance=l3"], ["fusion.distance", "'l1', 'l2' or 'relative'", "'l3'"]),
        (["--set", "train=3"], ["train", "dictionary"]),
        (["--set", 'train={"epochs": 3}'], ["train", "one by one", "train.epochs=3"]),
        (["--set", "memory.budget=0"], ["memory.budget", "greater than or equal to 1", "got 0"]),
        (["--method", "replay", "--set", "memory.budget=0"], ["memory.budget", "greater than or equal to 1"]),
        (["--set", "memory.budget=1"], ["memory.budget", "at least 2"]),
        (["--set", "data.tasks=6"], ["data.tasks", "12 classes", "has 10", "at most 5 tasks"]),
        (["--seed", "-1"], ["seed", "greater than or equal to 0"]),
        (["--device", "tpu"], ["device", "'auto', 'cpu', 'cuda' or 'mps'", "'tpu'"]),
    ],
)
def test_bad_settings_are_reported_with_what_is_valid(words, parts, home):
    with untouched(home):
        message = refused(*train("new", *words))
    for part in parts:
        assert part in message


def test_settings_of_another_method_are_reported(home):
    with untouched(home):
        message = refused(
            "train", "--preset", "digits", "--method", "finetune", "--out", "x", "--set", "fusion.eta=1"
        )
    assert "fusion: finetune has no such setting" in message and "train.epochs" in message


def test_what_cannot_run_replaces_nothing(home):
    with untouched(home):
        assert "memory.budget" in refused(*train("tiny", "--overwrite", memory__budget=1))
        assert "data.tasks" in refused(*train("tiny", "--overwrite", data__tasks=6))


def test_a_device_that_is_not_there(home, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with untouched(home):
        message = refused(*train("new", "--device", "cuda"))
    assert "cuda is not available here; available: " in message and "cpu" in message


@pytest.mark.parametrize("words", [["train", "--preset", "digits"], ["train", "--out", "x"], ["show"], ["nothing"]])
def test_wrong_usage_is_answered(words):
    code, out, err = lab(*words)
    assert (code, out) == (2, "") and "Error" in err and "Traceback" not in err


def test_errors_of_the_real_command():
    code, out, err = shell("train", "--preset", "nope", "--out", "x")
    assert (code, out) == (2, "")
    assert err == f"Error: unknown preset 'nope'; valid presets: {', '.join(config.PRESETS)}\n"


@pytest.mark.parametrize("method", ["ari", "replay"])
def test_diverging_training_says_so_and_keeps_what_was_recorded(method, home):
    with untouched(home / "tiny"):
        code, out, err = lab(*train("wild", "--method", method, "--json", train__learning_rate=1e20))
    assert (code, out) == (2, "")
    (message,) = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert "diverged in task 1" in message and "lower train.learning_rate (now 1e+20)" in message
    assert "Traceback" not in err
    assert message.removeprefix("Error: ") == printed("show", "wild")["error"]
    with untouched(home):
        assert "diverged" in refused("resume", "wild")


# Places


def test_a_run_that_is_not_there(home):
    for words in (["show"], ["spectrum"], ["resume"], ["figure9", "--out", "f.png"], ["masks"]):
        message = refused(*words, "nowhere")
        assert f"no recorded run at {home / 'nowhere'}" in message and "half, plain, tiny" in message


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_place_that_cannot_be_written(place, home):
    (home / "file").write_text("mine")
    with untouched(home):
        message = refused(*train(home / place))
    assert f"{home / place} cannot be written: " in message and "choose another --out" in message


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize("names", [["thesis.txt"], ["run.json", "thesis.txt"]])
def test_files_of_others_are_never_touched(names, overwrite, home):
    (home / "work").mkdir()
    for name in names:
        (home / "work" / name).write_text('{"mine": 1}')
    with untouched(home):
        assert str(home / "work") in refused(*train("work", *overwrite))


def test_a_file_that_was_added_to_a_run_is_never_lost(home):
    (home / "tiny" / "notes.txt").write_text("mine")
    with untouched(home):
        assert "notes.txt" in refused(*train("tiny", "--overwrite"))


def test_a_figure_that_cannot_be_written(home, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file" / "f.png", tmp_path / "missing" / "f.pdf"):
        with untouched(tmp_path):
            assert f"{out} cannot be written: " in refused("figure9", "tiny", "--out", out)
    for out in ("f.gif", "f", "png"):
        assert ".png, .pdf, .svg" in refused("figure9", "tiny", "--out", tmp_path / out)
    for count in ("0", "-3", "many"):
        code, _, err = lab("figure9", "tiny", "--out", tmp_path / "f.png", "--images", count)
        assert code == 2 and "--images" in err
    assert not list(tmp_path.glob("*.*"))


def test_tasks_and_frames_that_are_not_recorded():
    for frame in (3, -4):
        message = refused("spectrum", "tiny", "--frame", frame)
        assert f"frame {frame} is not recorded; task 2 has frames 0 to 2, or -3 to -1" in message
    for task in (0, 3, -1):
        assert f"task {task} is not recorded; this run has tasks 1 to 2" in refused(
            "spectrum", "tiny", "--task", task
        )


def test_methods_that_do_not_fuse_have_no_spectrum():
    assert "finetune fuses no models" in refused("spectrum", "plain")


def test_figure9_needs_a_task_that_is_done(tmp_path):
    assert "no task is done" in refused("figure9", "half", "--out", tmp_path / "f.png")
    assert not (tmp_path / "f.png").exists()


def test_a_finished_run_is_not_resumed(home):
    with untouched(home):
        assert "is finished" in refused("resume", "tiny")


# Damaged and foreign checkpoints


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def garble(file):
    file.write_bytes(bytes(255 - byte for byte in file.read_bytes()))


@pytest.mark.parametrize("damage", [cut, garble, Path.unlink])
@pytest.mark.parametrize(
    ("run", "name", "words"),
    [
        ("tiny", "run.json", ["show"]),
        ("tiny", "probes.safetensors", ["show"]),
        ("tiny", "task-1.safetensors", ["show"]),
        ("tiny", "task-2.safetensors", ["spectrum"]),
        ("tiny", "weights-2.safetensors", ["figure9", "--out", "f.png"]),
        ("half", "run.json", ["resume"]),
        ("half", "probes.safetensors", ["resume"]),
        ("half", "progress-1-1.safetensors", ["resume"]),
    ],
)
def test_a_damaged_file_is_named(run, name, words, damage, home):
    damage(home / run / name)
    with untouched(home):
        message = refused(*words, run)
    assert (str(home / run) if name == "run.json" and damage is Path.unlink else name) in message


def edited(**changes):
    """Edits run.json: other values under dotted keys, written with __; `...` removes a key."""

    def edit(text):
        index = json.loads(text)
        for key, value in changes.items():
            *path, last = key.split("__")
            place = index
            for part in path:
                place = place[part]
            place[last] = value
            if value is ...:
                del place[last]
        return sealed(index).decode()

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        lambda _: "{}",
        lambda _: "[1, 2]",
        lambda _: '{"name": "another program"}',
        lambda _: '{"schema": 1}',
        edited(schema=99),
        edited(config=...),
        edited(config__method="magic"),
        edited(config__data="digits"),
        edited(accuracy={}),
        edited(accuracy__vote=...),
        edited(accuracy__per_sample=[["x"], ["y"]]),
        edited(accuracy__per_sample=[[0.5], [0.5, 7.0]]),
        edited(config__data__tasks=1),
        edited(classes=3),
        edited(seconds="long"),
        edited(seconds=float("nan")),
        edited(progress="task-1.safetensors"),
        edited(progress=5),
    ],
)
def test_a_foreign_or_damaged_index_is_named(edit, home):
    file = home / "tiny" / "run.json"
    file.write_text(edit(file.read_text()))
    with untouched(home):
        assert str(file) in refused("show", "tiny")


def test_weights_of_another_network_are_reported(home, tmp_path, rewrite):
    file = home / "tiny" / "weights-2.safetensors"
    save_file({f"another.{name}": values for name, values in load_file(file).items()}, file)
    rewrite(home / "tiny")
    assert "do not fit" in refused("figure9", "tiny", "--out", tmp_path / "f.png")


# Ctrl-C


def started(home, *words):
    """A real training process, returned once its second task is under way."""
    process = subprocess.Popen(
        [sys.executable, "-m", "arli_core", *words],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # sums in the order of the runs that this process trains
        # A shell that runs tests in the background would have its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    index = home / "long" / "run.json"
    deadline = time.monotonic() + 60
    while not (index.exists() and '"progress": "progress-2-' in index.read_text()):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    return process


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_an_interrupted_run_resumes_to_the_same_end(home):
    changes = {"train__epochs": 10, "train__batch_size": 16, "data__tasks": 2}
    with started(home, *train("long", **changes)) as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "Interrupted. What was saved stays; go on with: python -m arli_core resume long\n" in err
    assert "Traceback" not in err

    half = printed("show", "long")
    assert (half["status"], half["tasks_done"]) == ("unfinished", 1)
    resumed = json.loads(output("resume", "long", "--json"))
    whole = json.loads(output(*train("whole", "--json", **changes)))
    for key in ("config", "accuracy", "average", "forgetting", "bwt"):
        assert resumed[key] == whole[key]
    arrays = sorted(path.name for path in (home / "whole").glob("*.safetensors"))
    assert arrays == sorted(path.name for path in (home / "long").glob("*.safetensors"))
    for name in arrays:
        assert (home / "long" / name).read_bytes() == (home / "whole" / name).read_bytes()


def test_what_was_never_begun_cannot_be_resumed(home, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "train", interrupted)
    with untouched(home):
        code, out, err = lab(*train("tiny", "--overwrite"))
    assert (code, out) == (130, "")
    assert "nothing is recorded" in err and "resume" not in err


def test_sigterm_is_ctrl_c_and_only_while_training():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminable():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_name_with_blanks_is_quoted(home, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(runs, "resume", interrupted)
    code, _, err = lab("resume", "my run")
    assert code == 130 and "python -m arli_core resume 'my run'" in err


# The app


@pytest.fixture
def occupied():
    """A socket that listens, on a port that others follow."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_an_occupied_port_is_passed_over(occupied):
    port = server.free_port(occupied)
    assert occupied < port < occupied + 20
    with socket.socket() as free:
        free.bind(("127.0.0.1", port))
        free.listen()
        assert server.free_port(port) > port
    assert server.free_port(port) == port


def test_when_all_ports_are_occupied_it_says_so(occupied):
    with pytest.raises(
        server.LabError, match=rf"ports {occupied} to {occupied} are all occupied; choose another --port"
    ):
        server.free_port(occupied, tries=1)


@pytest.mark.parametrize("port", ["0", "70000", "x"])
def test_ports_that_do_not_exist(port):
    code, _, err = lab("app", "--port", port)
    assert code == 2 and "--port" in err


def test_without_the_app_beside_it_the_command_says_where_it_looked(monkeypatch, tmp_path):
    monkeypatch.setattr(server, "APP", tmp_path / "app.py")
    assert f"there is no app at {tmp_path / 'app.py'}" in refused("app")


def test_the_server_is_started_on_the_next_port_and_ends_quietly(occupied, home, monkeypatch):
    """With a stand-in for the server, which Ctrl-C ends."""
    monkeypatch.chdir(home.parent)
    monkeypatch.setenv("ARLI_CHECKPOINTS", home.name)
    begun = []

    class Server(contextlib.AbstractContextManager):
        def __init__(self, command, cwd, env):
            begun.append(command)
            assert (
                cwd == ROOT and env["ARLI_CHECKPOINTS"] == str(home.resolve()) and env["PATH"] == os.environ["PATH"]
            )

        def __exit__(self, *_):
            return None

        def wait(self):
            raise KeyboardInterrupt

        def terminate(self):
            begun.append("terminated")

    monkeypatch.setattr(subprocess, "Popen", Server)
    code, out, err = lab("app", "--port", occupied, "--no-browser")
    command, end = begun
    port = next(word.partition("=")[2] for word in command if word.startswith("--server.port="))
    assert code == 0 and int(port) > occupied and end == "terminated"
    assert f"Port {occupied} is occupied; taking {port}." in err
    assert f"http://localhost:{port} " in out
    assert command[:4] == [sys.executable, "-m", "streamlit", "run"] and command[4] == str(ROOT / "app.py")
    assert "--server.headless=true" in command and Path(command[4]).is_file()
