"""Live runs: one worker thread each, driven from outside."""

import time

import pytest

from arli_core import records
from arli_core.config import preset
from arli_core.errors import Busy
from arli_core.jobs import Job, Jobs, State

QUICK = {"data.tasks": 2, "train.epochs": 2, "train.batch_size": 256, "recording.probes": 1}


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(tmp_path))
    jobs = Jobs()
    yield jobs
    for job in jobs.alive():
        job.stop()


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
        job.step()
        wait(job, lambda job, expected=expected: job.record.last and job.record.last.iteration == expected)
    time.sleep(0.2)
    assert job.record.last.iteration == 2
    assert job.state is State.PAUSED


def test_pausing_stops_progress_and_going_on_resumes_it(jobs):
    job = jobs.start("one", config(**{"train.epochs": 50}))
    wait(job, lambda job: job.record.last)
    job.pause()
    time.sleep(0.3)
    here = job.record.last
    time.sleep(0.3)
    assert job.record.last == here
    jobs.resume("one")
    wait(job, lambda job: job.record.last != here)


def test_a_stopped_run_resumes_and_equals_an_uninterrupted_one(jobs):
    whole = jobs.start("whole", config())
    wait(whole, lambda job: job.state is State.FINISHED)
    job = jobs.start("halves", config(), paused=True)
    for _ in range(4):
        job.step()
    wait(job, lambda job: job.record.last and job.record.last.iteration == 3)
    job.stop()
    assert job.state is State.STOPPED
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
    with jobs.held("one"):
        assert jobs.get("one") is job
    assert jobs.get("one") is None  # what is at that name now is another run


def test_what_goes_wrong_ends_the_job_with_its_message(jobs):
    job = jobs.start("one", config(**{"train.learning_rate": 1e30}))
    wait(job, lambda job: not job.alive)
    assert job.state is State.FAILED
    assert "training diverged" in job.error
    assert records.load("one").status == "failed"
    taken = jobs.start("one", config())
    wait(taken, lambda job: not job.alive)
    assert "recorded run already" in taken.error


def test_an_unexpected_error_ends_the_job_too(jobs, monkeypatch):
    def broken(*_):
        raise MemoryError("no memory left")

    monkeypatch.setattr("arli_core.runs.train", broken)
    job = jobs.start("one", config())
    wait(job, lambda job: not job.alive)
    assert (job.state, job.error) == (State.FAILED, "MemoryError: no memory left")
