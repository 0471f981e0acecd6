"""One process at a time trains a run."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from arli_core import records
from arli_core.config import preset
from arli_core.errors import Busy
from arli_core.live import runs
from arli_core.live.jobs import Jobs
from arli_core.records import locks

ELSEWHERE = """
import sys, time
from pathlib import Path
from arli_core.records.locks import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The name of a half-trained run, and another process that holds its lock."""
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(tmp_path))
    progress = runs.train(preset("digits", "finetune", **{"train.epochs": 2, "device": "cpu"}), "run")
    for _ in range(30):
        next(progress)
    progress.close()
    with subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield "run", process
        process.kill()


def content(name):
    return {file.name: file.read_bytes() for file in records.locate(name).iterdir()}


def test_a_run_in_training_elsewhere_is_left_alone(elsewhere):
    name, _ = elsewhere
    before = content(name)
    config = records.config_of(name)
    for attempt in (
        lambda: runs.resume(name),
        lambda: runs.train(config, name, overwrite=True),
        lambda: Jobs().held(name).__enter__(),
    ):
        with pytest.raises(Busy, match="run is being trained elsewhere; nothing was changed"):
            attempt()
    assert locks.held(records.locate(name)) and content(name) == before


def test_a_process_that_is_killed_holds_nothing(elsewhere):
    name, process = elsewhere
    process.kill()
    process.wait()
    assert not locks.held(records.locate(name))
    next(runs.resume(name))


def lock_file(run):
    """The lock file of a run."""
    before = set(Path(tempfile.gettempdir()).iterdir())
    with locks.hold(run):
        (file,) = set(Path(tempfile.gettempdir()).iterdir()) - before
    return file


def test_a_stale_lock_file_is_no_lock(tmp_path, monkeypatch):
    """The file stays when a process is killed, and when it ends."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert lock_file(tmp_path / "run").exists() and not locks.held(tmp_path / "run")


def test_another_users_stale_lock_file_is_no_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    file = lock_file(tmp_path / "run")
    if os.getuid() == 0:
        os.chown(file, 12345, 12345)
    file.chmod(0)
    user = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: user)
    assert not locks.held(tmp_path / "run")
    with locks.hold(tmp_path / "run"):
        assert locks.held(tmp_path / "run")


def test_a_lock_that_cannot_be_had_is_not_reported_as_training(tmp_path, monkeypatch):
    (tmp_path / "no folder").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no folder"))
    message = "it is not known whether run is being trained elsewhere: .* Name another temporary folder in TMPDIR"
    with pytest.raises(Busy, match=message):
        locks.refuse_held(tmp_path / "run")


def test_a_run_is_held_from_its_first_event_to_its_end(tmp_path):
    config = preset("digits", "finetune", **{"data.tasks": 2, "train.epochs": 1, "device": "cpu"})
    progress = runs.train(config, tmp_path / "run")
    assert not locks.held(tmp_path / "run")
    next(progress)
    assert locks.held(tmp_path / "run") and not locks.held(tmp_path / "other")
    for _ in progress:
        pass
    assert not locks.held(tmp_path / "run")
    progress = runs.train(config, tmp_path / "run", overwrite=True)
    next(progress)
    progress.close()
    assert not locks.held(tmp_path / "run")
