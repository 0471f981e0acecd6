"""Runs that train while pages are open, each a job, in one process-wide registry.

A job is addressed by its run's name, so a reload, a page switch or a second tab finds it again. Only one trains
at a time: two would each take twice as long and slow the pages down. Two runs that race share one thread and take
turns, iteration by iteration. When the process ends, its jobs are stopped first, so that no thread is still inside
torch.
"""

import atexit
import threading
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence, Set
from contextlib import contextmanager
from enum import Enum
from types import ModuleType

from .. import records
from ..config import Config
from ..errors import Busy, LabError
from ..events import Event, Step
from ..records import Record, locks

Progress = Generator[tuple[Record, Event]]

PATIENCE = 30.0  # seconds to wait for the iteration under way when the process ends


class State(Enum):
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"  # asked to stop: it ends after its iteration
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"


class Job:
    """One training run. `record` is its newest state, replaced whole after every event and safe to read anytime.

    Pause and stop act on its thread: in a race, on both runs. Only `Jobs` lets it go on or make one step.
    """

    def __init__(self, name: str, record: Record, begin: Callable[[], Progress]) -> None:
        self.name, self.record = name, record
        self.error: str | None = None
        self._begin = begin
        self._progress: Progress | None = None
        self._end: State | None = None
        self._turns: _Turns

    @property
    def state(self) -> State:
        return self._end or self._turns.state

    @property
    def alive(self) -> bool:
        return self.state in (State.RUNNING, State.PAUSED, State.STOPPING)

    @property
    def training(self) -> bool:
        """Whether its thread is making iterations now."""
        return self._turns.training

    @property
    def racers(self) -> Sequence["Job"]:
        """The jobs that take turns, or did, in the order in which they were started, including this one."""
        return self._turns.jobs

    def pause(self) -> None:
        self._turns.set(State.PAUSED)

    def stop(self) -> None:
        """Asks the thread to end after its iteration, and does not wait for it; what was saved can be resumed."""
        self._turns.stop()

    def open(self) -> None:
        """Begins the run; the thread calls it before the first turn."""
        with self._failing():
            self._progress = self._begin()

    def turn(self) -> None:
        """One iteration. What follows a task's last one (evaluation, saving) is part of the next turn."""
        assert self._progress is not None
        with self._failing():
            for record, event in self._progress:
                self.record = record
                if isinstance(event, Step):
                    return
            self._end = State.FINISHED

    def close(self) -> None:
        if self._progress:
            self._progress.close()
        self._end = State.STOPPED

    @contextmanager
    def _failing(self) -> Generator[None]:
        try:
            yield
        except LabError as error:
            self.error, self._end = str(error), State.FAILED
        except BaseException as error:  # the thread's last frame: without this the page would wait forever
            self.error, self._end = f"{type(error).__name__}: {error}", State.FAILED
            traceback.print_exc()


class _Turns:
    """The thread that trains one run, or several in lockstep: those that are furthest behind take the next turn.

    So runs on equal batches are at the same iteration after every turn. A run with fewer iterations in a task waits
    at the task's end; when one fails or finishes, the others go on. `one_at_a_time` is held during a turn.
    """

    def __init__(self, jobs: Sequence[Job], paused: bool, one_at_a_time: threading.Lock) -> None:
        self.jobs = jobs
        self._one_at_a_time = one_at_a_time
        self.state = State.PAUSED if paused else State.RUNNING
        self._changed = threading.Condition()
        self._steps = 0  # turns asked for while paused
        for job in jobs:
            job._turns = self
        names = " and ".join(job.name for job in jobs)
        self._thread = threading.Thread(target=self._work, name=f"train {names}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def training(self) -> bool:
        """Whether it is making turns now: it runs, or has not begun all steps that were asked for."""
        return self.state is State.RUNNING or (self.state is State.PAUSED and self._steps > 0)

    def set(self, state: State) -> None:
        with self._changed:
            if self.state is not State.STOPPING:
                self.state = state
                self._steps = 0  # drops steps that are not made yet
                self._changed.notify()

    def step(self) -> None:
        with self._changed:
            if self.state is not State.STOPPING:
                self.state = State.PAUSED
                self._steps += 1
                self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self.state = State.STOPPING
            self._changed.notify()

    def join(self, seconds: float) -> None:
        """Waits for the thread to end, at most this long."""
        self._thread.join(seconds)

    def _may_go_on(self) -> bool:
        """Waits while paused; False when the runs are to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._steps or self.state is not State.PAUSED)
            if self.state is State.PAUSED:
                self._steps -= 1
            return self.state is not State.STOPPING

    def _work(self) -> None:
        for job in self.jobs:
            job.open()
        while (going := [job for job in self.jobs if job.alive]) and self._may_go_on():
            behind = min(next_iteration(job.record) for job in going)
            # Another thread may still be making its last turn, after it was paused or stopped.
            with self._one_at_a_time:
                for job in going:
                    if next_iteration(job.record) == behind:
                        job.turn()
        for job in going:
            job.close()


def next_iteration(record: Record) -> tuple[int, int]:
    """The task, from 1, and the iteration within it, from 0, that a run trains next; after the last task, the one
    that would follow.
    """
    if record.last:
        step = record.last
        return (step.task, step.iteration + 1) if step.iteration + 1 < step.iterations else (step.task + 1, 0)
    if record.saved is None:
        return 1, 0
    saved, epochs = record.saved, record.config.train.epochs
    if saved.epoch == epochs:
        return saved.task + 1, 0
    iterations = record.begun.iterations if record.begun else 0  # none in this task yet: it begins
    return saved.task, iterations * saved.epoch // epochs


class Jobs:
    """The jobs of this process by the name of their run.

    Pages read while others begin and end runs, and never wait: the dictionary is never changed, only replaced as a
    whole, under the lock.
    """

    def __init__(self) -> None:
        self._jobs: Mapping[str, Job] = {}
        self._moved: Set[str] = frozenset()  # names of runs whose files are being moved
        self._lock = threading.Lock()
        self._one_at_a_time = threading.Lock()
        atexit.register(self.end)

    def get(self, name: str) -> Job | None:
        return self._jobs.get(name)

    def running(self) -> Job | None:
        """The job that trains now, if any; a paused one counts only while it makes the steps asked for."""
        return next((job for job in self._jobs.values() if job.alive and job.training), None)

    def alive(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.alive]

    def under_way(self) -> list[Sequence[Job]]:
        """Groups of jobs that take turns: those with a job training or paused, and races that were stopped."""
        groups = {id(job.racers): job.racers for job in self._jobs.values()}
        return [
            jobs
            for jobs in groups.values()
            if any(job.alive or (job.state is State.STOPPED and len(jobs) > 1) for job in jobs)
        ]

    def start(self, name: str, config: Config, paused: bool = False) -> Job:
        """Trains a new run. Busy where another one trains; any other error ends the job as FAILED."""
        return self.race({name: config}, paused)[0]

    def race(self, configs: Mapping[str, Config], paused: bool = False) -> list[Job]:
        """Trains new runs, given by name, in lockstep; otherwise as `start`."""
        return self._launch([_new_job(name, config) for name, config in configs.items()], paused)

    def resume(self, *names: str) -> list[Job]:
        """Resumes stopped or interrupted runs, several in lockstep, or paused jobs. Of several, those that have ended
        stay as they are.
        """
        paused = [job for name in names if (job := self.get(name)) and job.alive]
        if paused:
            with self._lock:
                self._refuse_while_busy(paused)
                paused[0]._turns.set(State.RUNNING)
            return paused
        unfinished = names if len(names) == 1 else [name for name in names if records.status_of(name) == "unfinished"]
        return self._launch([_resumed_job(name) for name in unfinished], paused=False)

    def step(self, name: str) -> None:
        """One iteration of a running or paused job, then it pauses. Busy where another one trains."""
        job = self.get(name)
        if job and job.alive:
            with self._lock:
                self._refuse_while_busy([job])
                job._turns.step()

    def end(self) -> None:
        """Stops all jobs, and waits for their current iterations, but not for a long download."""
        with self._lock:
            jobs = self._jobs.values()
        for job in jobs:
            job.stop()
        for job in jobs:
            job._turns.join(PATIENCE)

    @contextmanager
    def held(self, *names: str) -> Generator[None]:
        """Protects these runs while their files are moved: none of them can begin to train, and afterwards their
        ended jobs are forgotten. Busy where one is running or paused, here or in another process.
        """
        with self._lock:
            for job in self.alive():
                if job.name in names:
                    raise Busy(
                        f"{job.name} is {job.state.value}; nothing was changed. Stop it on the Train page first."
                    )
            self._refuse_moved(names)
            for name in names:
                locks.refuse_held(records.locate(name))
            self._moved = self._moved | {*names}
        try:
            yield
            with self._lock:
                self._jobs = {name: job for name, job in self._jobs.items() if name not in names}
        finally:
            with self._lock:
                self._moved = self._moved - {*names}

    def _launch(self, jobs: list[Job], paused: bool) -> list[Job]:
        with self._lock:
            self._refuse_while_busy(jobs)
            self._refuse_moved([job.name for job in jobs])
            turns = _Turns(jobs, paused, self._one_at_a_time)
            self._jobs = {**self._jobs, **{job.name: job for job in jobs}}
            turns.start()
        return jobs

    def _refuse_while_busy(self, jobs: Sequence[Job]) -> None:
        """Busy where a job trains that is not one of these and takes no turns with them, or where one is stopping."""
        names = [job.name for job in jobs]
        other = self.running()
        if other and not any(other is racer for job in jobs if self.get(job.name) is job for racer in job.racers):
            waiting = " and ".join(names)
            raise Busy(f"{other.name} is training. Wait for it, pause it or stop it, then start {waiting}.")
        for before in map(self.get, names):
            if before and before.state is State.STOPPING:
                raise Busy(f"{before.name} is stopping. Wait until it has ended, then start it.")

    def _refuse_moved(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self._moved:
                raise Busy(f"The files of {name} are being moved. Wait until they are in place.")


def _new_job(name: str, config: Config) -> Job:
    return Job(name, Record(config), lambda: _runs().train(config, name))


def _resumed_job(name: str) -> Job:
    return Job(name, records.load(name), lambda: _runs().resume(name))


def _runs() -> ModuleType:
    """Imported by the worker: the page that starts a run need not wait for torch."""
    import torch

    from . import runs

    # For this thread and those that it starts. A second thread is a third faster on idle cores, and slows every page
    # on busy ones.
    torch.set_num_threads(1)
    return runs
