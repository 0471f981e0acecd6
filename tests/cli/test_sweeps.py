"""sweep, ablate, --smoke and --data-root on the command line: what they print, and Ctrl-C in the middle."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arli_core import config, sweeps
from arli_core.cli import commands
from arli_core.config import PROTOCOLS
from arli_core.datasets import data_root
from arli_core.live import runs

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--preset", "digits", "--device", "cpu", "--set", "data.tasks=2", "--set", "train.batch_size=150"]
SWEEP = ["sweep", *QUICK, "--methods", "replay,finetune", "--vary", "memory.budget=20,60", "--seeds", "2"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(tmp_path / "runs"))
    monkeypatch.setenv("ARLI_DATA", str(tmp_path / "no-data"))


def lab(*words):
    """In this process: (exit code, stdout, stderr); an exception that would be a traceback is raised here."""
    result = CliRunner().invoke(commands.app, [str(word) for word in words], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def output(*words):
    code, out, err = lab(*words)
    assert code == 0, err
    return out


def printed(*words):
    """The one JSON object on stdout, which is one line."""
    out = output(*words, "--json")
    assert out.count("\n") == 1
    return json.loads(out, parse_constant=pytest.fail)


def refused(*words):
    """The message of a command that is refused: exit code 2, one line on stderr, nothing on stdout."""
    code, out, err = lab(*words)
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if line.strip()]
    assert line.startswith("Error: ")
    return line


def rows_of(folder):
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """(folder, what --json printed) of a sweep in one go."""
    folder = tmp_path_factory.mktemp("swept")
    return folder, printed(*SWEEP, "--set", "train.epochs=6", "--out", folder)


# sweep


def test_json_is_rows_and_a_table_for_each_protocol(swept):
    folder, result = swept
    assert set(result) == {"rows", "tables"} and list(result["tables"]) == list(PROTOCOLS)
    assert len(result["rows"]) == len(rows_of(folder)) == 3 * 2 * len(PROTOCOLS)
    for protocol, lines in result["tables"].items():
        assert [(line["method"], line["settings"]) for line in lines] == [
            ("replay", {"memory.budget": 20}),
            ("replay", {"memory.budget": 60}),
            ("finetune", {}),
        ]
        for line in lines:
            values = [
                row["average"]
                for row in result["rows"]
                if (row["protocol"], row["method"]) == (protocol, line["method"])
                and row["memory.budget"] == line["settings"].get("memory.budget")
            ]
            assert line["n"] == len(values) == 2 and line["mean"] == pytest.approx(sum(values) / 2)
            half = 12.7062 * abs(values[0] - values[1]) / 2  # t with one degree of freedom
            assert (line["low"], line["high"]) == pytest.approx((line["mean"] - half, line["mean"] + half), abs=1e-6)
        assert lines[0]["difference"] is None
        assert lines[2]["difference"]["mean"] == pytest.approx(lines[2]["mean"] - lines[0]["mean"])


def test_the_same_as_text(swept, monkeypatch):
    monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("a finished run was made again"))
    folder, result = swept
    out = output(*SWEEP, "--set", "train.epochs=6", "--out", folder, "--against", "finetune")
    assert out.startswith(f"{folder / 'results.csv'}: mean [95% t interval]") and out.splitlines()[1] == "finetune"
    for protocol in PROTOCOLS:
        table = out.partition(f"\n{protocol}\n")[2].splitlines()
        assert table[0].split() == ["method", "memory.budget", "n", "average", "accuracy", "average", "over",
                                    "samples", "incremental", "forgetting", "difference", "of",
                                    "averages"]  # fmt: skip
        for text, line in zip(table[1:4], result["tables"][protocol], strict=True):
            assert text.split()[0] == line["method"] and f"{line['mean']:.3f} [{line['low']:.3f}, " in text
        assert table[1].count("[") == 2 and table[3].count("[") == 1  # finetune is the reference: no difference


def ended(group, within=20):
    """Whether all processes of a group end within so many seconds."""
    for _ in range(within * 100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_in_the_middle_and_the_same_command_goes_on(swept, tmp_path):
    """Ctrl-C reaches all processes of a terminal, two of which are training; the rest then ends as with one
    process."""
    words = [*SWEEP, "--set", "train.epochs=6", "--out", str(tmp_path / "cut")]
    process = subprocess.Popen(
        [sys.executable, "-m", "arli_core", *words, "--jobs", "2"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell that runs tests in the background would have its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 100
    finished, saved = ((tmp_path / "cut" / name).glob for name in ("finished", "runs"))
    while not (any(finished("*.json")) and any(saved("*/progress-*"))):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "") and "Traceback" not in err
    assert "of 6 runs are finished in " in err and "The same command goes on from here." in err
    assert ended(process.pid)  # no worker is left
    assert 0 < len(rows_of(tmp_path / "cut")) < 6 * len(PROTOCOLS) and any(saved("*/run.json"))
    output(*words)
    assert rows_of(tmp_path / "cut") == rows_of(swept[0])
    assert not any(saved("*"))


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--methods", "ari,magic"], ["unknown method 'magic'", *config.METHODS]),
        (["--methods", "ari,,replay"], ["unknown method ''"]),
        (["--preset", "nope"], ["unknown preset 'nope'"]),
        (["--vary", "fusion.eta"], ["--vary needs key=value", "fusion.eta=0,0.1,0.85"]),
        (["--vary", "fusion.eta=0,,1"], ["--vary fusion.eta: a value is missing in '0,,1'"]),
        (["--vary", "fusion.eta="], ["--vary fusion.eta: a value is missing"]),
        (["--vary", "fusion.eta=0", "--vary", "fusion.eta=1"], ["--vary fusion.eta is given twice"]),
        (["--vary", "fusion.eta=1,1"], ["fusion.eta: 1 is listed twice"]),
        (["--vary", "fusion.eta=1", "--set", "fusion.eta=2"], ["fusion.eta is both set and varied"]),
        (["--vary", "fusion.etta=1"], ["fusion.etta: ari and replay have no such setting", "fusion.eta,"]),
        (["--vary", "fusion.eta=1,many"], ["fusion.eta", "number", "'many'"]),
        (["--vary", "seed=1,2"], ["--vary seed", "--seeds"]),
        (["--set", "method=ari"], ["--set method", "--methods"]),
        (["--set", "device=cpu"], ["--set device", "--device"]),
        (["--set", "data.tasks=9"], ["data.tasks", "at most 5 tasks"]),
        (["--against", "itaml"], ["against: itaml is not in this comparison; valid: ari, replay"]),
    ],
)
def test_bad_sweeps_are_told_before_anything_runs(words, parts, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("something ran"))
    message = refused(
        "sweep", "--preset", "digits", "--methods", "ari,replay", "--seeds", 1, "--out", tmp_path / "s", *words
    )
    for part in parts:
        assert part in message
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("words", [["--seeds", "0"], ["--jobs", "0"], ["--seeds", "x"]])
def test_numbers_that_cannot_be(words, tmp_path):
    code, out, err = lab(*SWEEP, "--out", tmp_path / "s", *words)
    assert (code, out) == (2, "") and words[0] in err


def test_a_run_that_diverges_is_told_and_the_sweep_goes_on(tmp_path):
    words = ["--methods", "finetune", "--vary", "train.learning_rate=1e20,0.01", "--seeds", 1, "--out", tmp_path]
    code, out, err = lab("sweep", *QUICK, "--set", "train.epochs=1", *words)
    assert code == 0 and "finetune train.learning_rate=1e+20, seed 0 failed: training diverged in task 1" in " ".join(
        err.split()
    )
    assert "0 (1 failed)" in out


# ablate


def test_an_ablation_prints_12_lines_and_4_effects(tmp_path):
    words = ["ablate", *QUICK, "--set", "train.epochs=1", "--set", "memory.budget=20", "--seeds", 2]
    result = printed(*words, "--out", tmp_path)
    assert len(result["rows"]) == 12 * 2 * len(PROTOCOLS)
    assert len({row["samples"] for row in result["rows"] if row["seed"] == 0}) == 1  # equally many in all arms
    out = output(*words, "--out", tmp_path)
    for protocol in PROTOCOLS:
        assert len(result["tables"][protocol]) == 12
        effects = result["effects"][protocol]
        assert [(effect["switch"], effect["of"], effect["n"]) for effect in effects] == [
            ("attack", "on - off", 2),
            ("weights", "adaptive - uniform", 2),
            ("weights", "adaptive - last", 2),
            ("reset", "on - off", 2),
        ]
        lines = out.partition(f"\n{protocol}: main effects")[2].splitlines()[1:5]
        for effect, line in zip(effects, lines, strict=True):
            assert (effect["verdict"] == "within chance") == (effect["low"] <= 0 <= effect["high"])
            assert line.startswith(f"{effect['switch']}, {effect['of']}") and line.endswith(effect["verdict"])
            assert f"{effect['mean']:+.3f} [{effect['low']:+.3f}, {effect['high']:+.3f}]" in line
    assert "an ablation varies fusion.weights itself" in refused(
        *words, "--out", tmp_path, "--set", "fusion.weights=last"
    )


# --smoke and --data-root


@pytest.mark.parametrize(
    ("preset", "more"),
    [
        ("digits", []),
        ("digits", ["--method", "finetune"]),
        ("paper-mnist", []),
        ("paper-cub200", ["--set", "data.image_size=16", "--method", "replay", "--set", "network.name=conv"]),
        ("digits", ["--set", "data.name=folder:/mine", "--set", "data.image_size=16"]),
    ],
)
def test_a_smoke_run_needs_no_place_and_no_data(preset, more, tmp_path):
    before = dict(os.environ)
    summary = printed("train", "--preset", preset, "--smoke", "--device", "cpu", *more)
    assert (summary["status"], summary["tasks_done"]) == ("finished", 2)
    assert summary["config"]["train"]["epochs"] == 1 and summary["config"]["train"]["batch_size"] == 16
    assert summary["config"].get("memory", {"budget": 2 * summary["config"]["data"]["classes_per_task"]})[
        "budget"
    ] == (2 * summary["config"]["data"]["classes_per_task"])
    assert list(tmp_path.iterdir()) == [] and dict(os.environ) == before


def test_a_smoke_run_is_kept_where_told(tmp_path):
    output("train", "--preset", "digits", "--smoke", "--out", tmp_path / "kept", "--set", "train.batch_size=150")
    summary = printed("show", tmp_path / "kept")
    assert summary["status"] == "finished" and summary["config"]["train"]["batch_size"] == 150
    assert "leave out one" in refused("train", "--preset", "digits", "--smoke", "--data-root", tmp_path)


def test_without_a_smoke_run_a_place_is_needed(tmp_path):
    assert "--out is missing" in refused("train", "--preset", "digits")


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--out", "x"],
        ["sweep", "--methods", "finetune", "--out", "s"],
        ["ablate", "--out", "s"],
    ],
)
def test_data_are_looked_for_under_the_data_root(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refused(*words, "--preset", "paper-imagenet100", "--data-root", tmp_path / "photographs")
    assert str(tmp_path / "photographs" / "imagenet-100") in message
    assert data_root() == tmp_path / "no-data"  # for this command only
    (tmp_path / "file").write_text("mine")
    code, _, err = lab(*words, "--preset", "digits", "--data-root", tmp_path / "file")
    assert code == 2 and "--data-root" in err


def test_resume_and_figure9_look_there_too(tmp_path):
    from arli_core.datasets import generated

    generated.write("mnist", tmp_path / "here")
    settings = config.preset(
        "paper-mnist", "finetune", **{"train.epochs": 2, "data.tasks": 1, "recording.probes": 1, "data.image_size": 8}
    )
    with commands.data_root_at(tmp_path / "here"):
        for record, _ in runs.train(settings, tmp_path / "run"):
            if record.saved:
                break
    at = ["--data-root", tmp_path / "here"]
    assert printed("resume", tmp_path / "run", *at)["status"] == "finished"
    assert printed("figure9", tmp_path / "run", "--out", tmp_path / "f.png", *at)["auroc_mean"] is None


def test_rows_are_those_of_the_question(swept):
    folder, result = swept
    arms = sweeps.plan("digits", ["finetune"], 1, {}, {"data.tasks": 2, "train.batch_size": 150, "train.epochs": 6})
    (row, *_) = sweeps.rows(arms, sweeps.outcomes(folder))
    expected = next(row for row in result["rows"] if row["method"] == "finetune")
    assert row == {key: value for key, value in expected.items() if key != "memory.budget"}
