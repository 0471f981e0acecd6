"""Live runs: one worker thread each, controlled from outside."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from arli_core import records
from arli_core.config import preset
from arli_core.errors import Busy
from arli_core.live.jobs import Job, Jobs, State

ROOT = Path(__file__).resolve().parents[2]

QUICK = {"data.tasks": 2, "train.epochs": 2, "train.batch_size": 256, "recording.probes": 1}


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(tmp_path))
    jobs = Jobs()
    yield jobs
    jobs.end()


def wait(job: Job, condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition(job):
        assert time.monotonic() < deadline, f"{job.state} {job.error}"
        time.sleep(0.01)


def config(method: str = "ari", **settings):
    return preset("digits", method, **{**QUICK, **settings})


def test_a_run_trains_to_its_end_and_is_recorded(jobs):
    job = jobs.start("one", config())
    wait(job, lambda job: job.state is State.FINISHED)
    assert records.load("one").finished
    assert job.record.summary()["accuracy"] == records.load("one").summary()["accuracy"]


def test_a_paused_run_makes_the_steps_asked_for_and_no_more(jobs):
    job = jobs.start("one", config(), paused=True)
    for expected in range(3):
        jobs.step("one")
        wait(job, lambda job, expected=expected: job.record.last and job.record.last.iteration == expected)
    time.sleep(0.2)
    assert job.record.last.iteration == 2
    assert job.state is State.PAUSED


def test_pausing_stops_progress_and_going_on_resumes_it(jobs):
    job = jobs.start("one", config(**{"train.epochs": 50}))
    wait(job, lambda job: job.record.last)
    job.pause()
    time.sleep(0.3)
    step = job.record.last
    time.sleep(0.3)
    assert job.record.last == step
    jobs.resume("one")
    wait(job, lambda job: job.record.last != step)


def test_a_stopped_run_resumes_and_equals_an_uninterrupted_one(jobs):
    whole = jobs.start("whole", config())
    wait(whole, lambda job: job.state is State.FINISHED)
    job = jobs.start("halves", config(), paused=True)
    for _ in range(4):
        jobs.step("halves")
    wait(job, lambda job: job.record.last and job.record.last.iteration == 3)
    job.stop()
    wait(job, lambda job: job.state is State.STOPPED)
    (job,) = jobs.resume("halves")
    wait(job, lambda job: job.state is State.FINISHED)
    assert job.record.summary()["accuracy"] == whole.record.summary()["accuracy"]


def test_one_run_trains_at_a_time_and_a_paused_one_lets_others_go_first(jobs):
    first = jobs.start("first", config(**{"train.epochs": 50}))
    with pytest.raises(Busy, match=r"first is training.*start second"):
        jobs.start("second", config())
    assert records.names() in ([], ["first"])
    wait(first, lambda job: job.record.last)
    first.pause()
    second = jobs.start("second", config("finetune", **{"train.epochs": 50}))
    with pytest.raises(Busy, match="second is training"):
        jobs.resume("first")
    second.stop()
    jobs.resume("first")
    assert first.state is State.RUNNING


def test_files_of_a_run_are_moved_only_while_it_does_not_train(jobs):
    job = jobs.start("one", config(), paused=True)
    with pytest.raises(Busy, match="one is paused; nothing was changed"), jobs.held("other", "one"):
        pytest.fail("it is paused")
    job.stop()
    wait(job, lambda job: not job.alive)
    with jobs.held("one"):
        assert jobs.get("one") is job
    assert jobs.get("one") is None  # the name now belongs to another run


def test_what_goes_wrong_ends_the_job_with_its_message(jobs):
    job = jobs.start("one", config(**{"train.learning_rate": 1e30}))
    wait(job, lambda job: not job.alive)
    assert job.state is State.FAILED
    assert "training diverged" in job.error
    assert records.load("one").status == "failed"
    second = jobs.start("one", config())
    wait(second, lambda job: not job.alive)
    assert "recorded run already" in second.error


def test_an_unexpected_error_ends_the_job_too(jobs, monkeypatch):
    def broken(*_):
        raise MemoryError("no memory left")

    monkeypatch.setattr("arli_core.live.runs.train", broken)
    job = jobs.start("one", config())
    wait(job, lambda job: not job.alive)
    assert (job.state, job.error) == (State.FAILED, "MemoryError: no memory left")


# Several threads


def test_the_registry_may_change_while_it_is_read(jobs, monkeypatch):
    """A loop over the runs goes over those that existed when it began."""
    jobs.start("one", config("finetune"), paused=True)
    for read in (jobs.running, jobs.alive, jobs.under_way):
        ahead = [f"{read.__name__}-new"]

        def alive(job: Job, ahead=ahead) -> bool:
            if ahead:
                jobs.start(ahead.pop(), config("finetune"), paused=True)
            return job.state is State.PAUSED

        with monkeypatch.context() as patch:
            patch.setattr(Job, "alive", property(alive))
            read()
        assert not ahead and jobs.get(f"{read.__name__}-new")


def test_a_step_is_made_only_where_no_other_run_trains(jobs):
    paused = jobs.start("paused", config("finetune"), paused=True)
    running = jobs.start("running", config("finetune", **{"train.epochs": 50}))
    with pytest.raises(Busy, match=r"running is training\. .*then start paused"):
        jobs.step("paused")
    running.pause()
    jobs.step("paused")
    wait(paused, lambda job: job.record.last and job.record.last.iteration == 0)
    jobs.step("running")  # of a running or paused run itself: one more, and it pauses
    assert running.state is State.PAUSED


def test_a_run_is_not_started_beside_steps_that_are_still_to_be_made(jobs, monkeypatch):
    paused = jobs.start("paused", config("finetune"), paused=True)
    with jobs._one_at_a_time:  # as if another turn took long
        jobs.step("paused")
        jobs.step("paused")
        wait(paused, lambda job: job.training)
        with pytest.raises(Busy, match="paused is training"):
            jobs.start("other", config("finetune"))
    wait(paused, lambda job: job.record.last and job.record.last.iteration == 1)
    jobs.start("other", config("finetune"))


def test_no_two_turns_are_made_at_once(jobs, monkeypatch):
    """A run paused in the middle of an iteration finishes it before another run begins its own."""
    begun, may_end, at_once, most = threading.Event(), threading.Event(), [], []
    turn = Job.turn

    def slow(job: Job) -> None:
        at_once.append(job.name)
        most.append(len(at_once))
        if job.name == "first":
            begun.set()
            assert may_end.wait(60)
        turn(job)
        at_once.remove(job.name)

    monkeypatch.setattr(Job, "turn", slow)
    first = jobs.start("first", config("finetune"))
    assert begun.wait(60)
    first.pause()
    second = jobs.start("second", config("finetune"))
    wait(second, lambda job: job._progress is not None)  # its data are there
    assert second.record.last is None
    may_end.set()
    wait(second, lambda job: job.state is State.FINISHED)
    assert max(most) == 1


def test_stopping_waits_for_nobody(jobs, monkeypatch):
    begun, may_end = threading.Event(), threading.Event()
    turn = Job.turn

    def slow(job: Job) -> None:
        begun.set()
        assert may_end.wait(60)
        turn(job)

    monkeypatch.setattr(Job, "turn", slow)
    job = jobs.start("one", config("finetune"))
    assert begun.wait(60)
    job.stop()  # returns while the iteration is made
    assert job.state is State.STOPPING and job.alive and jobs.under_way() == [[job]]
    job.pause()
    assert job.state is State.STOPPING  # a stop cannot be undone
    for attempt in (
        lambda: jobs.step("one"),
        lambda: jobs.resume("one"),
        lambda: jobs.start("one", config("finetune")),
    ):
        with pytest.raises(Busy, match="one is stopping"):
            attempt()
    with pytest.raises(Busy, match="one is stopping; nothing was changed"), jobs.held("one"):
        pytest.fail("its files are written to")
    may_end.set()
    wait(job, lambda job: job.state is State.STOPPED)
    (again,) = jobs.resume("one")
    wait(again, lambda job: job.state is State.FINISHED)


def test_others_begin_while_files_of_a_run_are_moved(jobs):
    with jobs.held("moved"):
        with pytest.raises(Busy, match="files of moved are being moved"):
            jobs.start("moved", config("finetune"))
        other = jobs.start("other", config("finetune"))
    wait(other, lambda job: job.state is State.FINISHED)
    jobs.start("moved", config("finetune"))


# The end of the process

TERMINATED = """
import signal, sys, time
from arli_core.config import preset
from arli_core.live.jobs import Jobs

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as servers do: the interpreter ends in its own way
jobs = Jobs()
settings = {"data.tasks": 2, "train.epochs": 2000, "train.batch_size": 100}
job = jobs.start("one", preset("digits", "ari", **settings))
while not (job.record.saved and job.record.last) and job.alive:
    time.sleep(0.01)
print(job.state.value, flush=True)
while True:
    time.sleep(0.01)
"""


def test_a_process_that_is_terminated_while_it_trains_ends_in_order(jobs):
    command = [sys.executable, "-c", TERMINATED]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
    record = records.load("one")
    assert record.status == "unfinished" and record.saved
    (job,) = jobs.resume("one")
    wait(job, lambda job: job.record.last)
