"""Runs that train while a page is looked at, each a job, in one process-wide registry.

A job is addressed by its run's name, so a reload, a page switch or a second tab finds it again. One trains at a
time: two would each take twice as long, and the pages with them. Two runs that race share one thread and take turns,
iteration by iteration. When the process ends, its jobs are stopped first, so that no thread is in torch's midst.
"""

import atexit
import threading
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence, Set
from contextlib import contextmanager
from enum import Enum
from types import ModuleType

from . import locks, records
from .config import Config
from .errors import Busy, LabError
from .events import Event, Step
from .records import Record

Progress = Generator[tuple[Record, Event]]

PATIENCE = 30.0  # seconds for the iteration under way when the process ends


class State(Enum):
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"  # asked to stop, and at the end of an iteration
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"


class Job:
    """One training run. `record` is its newest state, replaced whole after every event and safe to read anytime.

    Pause and stop are its thread's: in a race they are of both runs. To go on, or to make one step, is for `Jobs` to
    allow.
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
        """Whether its thread makes iterations now."""
        return self._turns.training

    @property
    def racers(self) -> Sequence["Job"]:
        """The jobs that take turns, or did, in the order in which they were started; this one is among them."""
        return self._turns.jobs

    def pause(self) -> None:
        self._turns.set(State.PAUSED)

    def stop(self) -> None:
        """Asks the thread to end after its iteration, and does not wait for it; what was saved can be resumed."""
        self._turns.stop()

    def open(self) -> None:
        """Before the first turn, by the thread."""
        with self._failing():
            self._progress = self._begin()

    def turn(self) -> None:
        """One iteration. What follows a task's last one (evaluation, saving) opens the next turn."""
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

    Runs on equal batches are so at the same iteration after every turn. One with fewer iterations in a task waits at
    the task's end; one that fails, or is finished, leaves the others to go on. `one_at_a_time` is held while a turn
    is made.
    """

    def __init__(self, jobs: Sequence[Job], paused: bool, one_at_a_time: threading.Lock) -> None:
        self.jobs = jobs
        self._one_at_a_time = one_at_a_time
        self.state = State.PAUSED if paused else State.RUNNING
        self._wanted = threading.Condition()
        self._steps = 0  # turns asked for while paused
        for job in jobs:
            job._turns = self
        names = " and ".join(job.name for job in jobs)
        self._thread = threading.Thread(target=self._work, name=f"train {names}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def training(self) -> bool:
        """Whether it makes turns now: it runs, or was asked for steps that it has not begun."""
        return self.state is State.RUNNING or (self.state is State.PAUSED and self._steps > 0)

    def set(self, state: State) -> None:
        with self._wanted:
            if self.state is not State.STOPPING:
                self.state = state
                self._steps = 0  # steps not made yet are no longer wanted
                self._wanted.notify()

    def step(self) -> None:
        with self._wanted:
            if self.state is not State.STOPPING:
                self.state = State.PAUSED
                self._steps += 1
                self._wanted.notify()

    def stop(self) -> None:
        with self._wanted:
            self.state = State.STOPPING
            self._wanted.notify()

    def join(self, seconds: float) -> None:
        """Waits for the thread's end, so long at most."""
        self._thread.join(seconds)

    def _may_go_on(self) -> bool:
        """Waits while paused; False when the runs are to stop."""
        with self._wanted:
            self._wanted.wait_for(lambda: self._steps or self.state is not State.PAUSED)
            if self.state is State.PAUSED:
                self._steps -= 1
            return self.state is not State.STOPPING

    def _work(self) -> None:
        for job in self.jobs:
            job.open()
        while (going := [job for job in self.jobs if job.alive]) and self._may_go_on():
            behind = min(next_iteration(job.record) for job in going)
            # Another thread may be at its last turn still, after it was paused or stopped.
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
        here = record.last
        return (here.task, here.iteration + 1) if here.iteration + 1 < here.iterations else (here.task + 1, 0)
    if record.saved is None:
        return 1, 0
    saved, epochs = record.saved, record.config.train.epochs
    if saved.epoch == epochs:
        return saved.task + 1, 0
    iterations = record.begun.iterations if record.begun else 0  # none of this task yet: it begins
    return saved.task, iterations * saved.epoch // epochs


class Jobs:
    """The jobs of this process by the name of their run.

    Pages read while others begin and end runs, and never wait: the dictionary is replaced whole, by who holds the
    lock, and never changed.
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
        """The job that trains now, if any; a paused one does not count, unless it makes the steps asked for."""
        return next((job for job in self._jobs.values() if job.alive and job.training), None)

    def alive(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.alive]

    def under_way(self) -> list[Sequence[Job]]:
        """Those that train or are paused, and races that were stopped: each with the jobs it takes turns with."""
        found = {id(job.racers): job.racers for job in self._jobs.values()}
        return [
            jobs
            for jobs in found.values()
            if any(job.alive or (job.state is State.STOPPED and len(jobs) > 1) for job in jobs)
        ]

    def start(self, name: str, config: Config, paused: bool = False) -> Job:
        """Trains a new run. Busy where another one trains; what else is wrong ends the job as FAILED."""
        return self.race({name: config}, paused)[0]

    def race(self, configs: Mapping[str, Config], paused: bool = False) -> list[Job]:
        """Trains new runs in lockstep, by their names; as `start`, each of them."""
        return self._launch([_anew(name, config) for name, config in configs.items()], paused)

    def resume(self, *names: str) -> list[Job]:
        """Goes on with stopped or interrupted runs, in lockstep where they are several, or with paused jobs. Of
        several, those that have ended stay as they are.
        """
        paused = [job for name in names if (job := self.get(name)) and job.alive]
        if paused:
            with self._lock:
                self._refuse_while_busy(paused)
                paused[0]._turns.set(State.RUNNING)
            return paused
        left = names if len(names) == 1 else [name for name in names if records.status_of(name) == "unfinished"]
        return self._launch([_further(name) for name in left], paused=False)

    def step(self, name: str) -> None:
        """One iteration of a running or paused job, then it pauses. Busy where another one trains."""
        job = self.get(name)
        if job and job.alive:
            with self._lock:
                self._refuse_while_busy([job])
                job._turns.step()

    def end(self) -> None:
        """Stops all jobs, and waits for the iterations that they are at; a longer download is left to itself."""
        with self._lock:
            jobs = self._jobs.values()
        for job in jobs:
            job.stop()
        for job in jobs:
            job._turns.join(PATIENCE)

    @contextmanager
    def held(self, *names: str) -> Generator[None]:
        """While the files of these runs are moved: none of them begins to train, and afterwards their ended jobs are
        forgotten. Busy where one is running or paused, here or in another process.
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
        """Busy where a job trains that is none of these and takes no turns with them, or where these are stopping."""
        names = [job.name for job in jobs]
        other = self.running()
        if other and not any(other is racer for job in jobs if self.get(job.name) is job for racer in job.racers):
            wanted = " and ".join(names)
            raise Busy(f"{other.name} is training. Wait for it, pause it or stop it, then start {wanted}.")
        for before in map(self.get, names):
            if before and before.state is State.STOPPING:
                raise Busy(f"{before.name} is stopping. Wait until it has ended, then start it.")

    def _refuse_moved(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self._moved:
                raise Busy(f"The files of {name} are being moved. Wait until they are in place.")


def _anew(name: str, config: Config) -> Job:
    return Job(name, Record(config), lambda: _runs().train(config, name))


def _further(name: str) -> Job:
    return Job(name, records.load(name), lambda: _runs().resume(name))


def _runs() -> ModuleType:
    """Imported by the worker: the page that starts a run need not wait for torch."""
    import torch

    from . import runs

    # For this thread and those it starts. A second thread is a third faster on idle cores, and slows every page on
    # busy ones.
    torch.set_num_threads(1)
    return runs
