"""Runs that train while a page is looked at: one worker thread each, in one process-wide registry.

A job is addressed by its run's name, so a reload, a page switch or a second tab finds it again. One trains at a
time: two would each take twice as long, and the pages with them.
"""

import threading
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import Enum
from types import ModuleType

from . import records
from .config import Config
from .errors import Busy, LabError
from .events import Event, Step
from .records import Record

Progress = Generator[tuple[Record, Event]]


class State(Enum):
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"


class Job:
    """One training run. `record` is its newest state, replaced whole after every event and safe to read anytime."""

    def __init__(self, name: str, record: Record, begin: Callable[[], Progress], paused: bool) -> None:
        self.name, self.record = name, record
        self.error: str | None = None
        self.state = State.PAUSED if paused else State.RUNNING
        self._begin = begin
        self._wanted = threading.Condition()
        self._steps = 0  # iterations asked for while paused
        self._stop = False
        self.thread = threading.Thread(target=self._work, name=f"train {name}", daemon=True)

    @property
    def alive(self) -> bool:
        return self.state in (State.RUNNING, State.PAUSED)

    def pause(self) -> None:
        self._set(State.PAUSED)

    def go_on(self) -> None:
        self._set(State.RUNNING)

    def step(self) -> None:
        """One iteration, then pause again."""
        with self._wanted:
            if self.alive:
                self.state = State.PAUSED
                self._steps += 1
                self._wanted.notify()

    def stop(self) -> None:
        """Ends the thread; what was saved can be resumed."""
        with self._wanted:
            self._stop = True
            self._wanted.notify()
        self.thread.join()

    def _set(self, state: State) -> None:
        with self._wanted:
            if self.alive:
                self.state = state
                self._steps = 0  # steps not made yet are no longer wanted
                self._wanted.notify()

    def _may_go_on(self) -> bool:
        """Waits while paused; False when the run is to stop."""
        with self._wanted:
            self._wanted.wait_for(lambda: self._stop or self._steps or self.state is State.RUNNING)
            if not self._stop and self.state is State.PAUSED:
                self._steps -= 1
            return not self._stop

    def _work(self) -> None:
        try:
            progress = self._begin()
            while self._may_go_on():
                # One iteration a turn. What follows a task's last one (evaluation, saving) opens the next turn.
                for self.record, event in progress:
                    if isinstance(event, Step):
                        break
                else:
                    self._end(State.FINISHED)
                    return
            progress.close()
            self._end(State.STOPPED)
        except LabError as error:
            self._end(State.FAILED, str(error))
        except BaseException as error:  # the thread's last frame: without this the page would wait forever
            self._end(State.FAILED, f"{type(error).__name__}: {error}")
            traceback.print_exc()

    def _end(self, state: State, error: str | None = None) -> None:
        with self._wanted:
            self.state, self.error = state, error


class Jobs:
    """The jobs of this process by the name of their run."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Job | None:
        return self._jobs.get(name)

    def running(self) -> Job | None:
        """The job that trains now, if any; a paused one does not count."""
        return next((job for job in self._jobs.values() if job.state is State.RUNNING), None)

    def alive(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.alive]

    def start(self, name: str, config: Config, paused: bool = False) -> Job:
        """Trains a new run. Busy where another one trains; what else is wrong ends the job as FAILED."""
        return self._launch(name, Record(config), lambda: _runs().train(config, name), paused)

    def resume(self, name: str) -> Job:
        """Goes on with a stopped or interrupted run, or with a paused job."""
        job = self.get(name)
        if job and job.alive:
            with self._lock:
                self._refuse_while_busy(name)
                job.go_on()
            return job
        return self._launch(name, records.load(name), lambda: _runs().resume(name), paused=False)

    @contextmanager
    def held(self, *names: str) -> Generator[None]:
        """While the files of these runs are moved: none of them begins to train, and afterwards their ended jobs are
        forgotten. Busy where one is running or paused.
        """
        with self._lock:
            for job in self.alive():
                if job.name in names:
                    raise Busy(
                        f"{job.name} is {job.state.value}; nothing was changed. Stop it on the Train page first."
                    )
            yield
            for name in names:
                self._jobs.pop(name, None)

    def _launch(self, name: str, record: Record, begin: Callable[[], Progress], paused: bool) -> Job:
        with self._lock:
            self._refuse_while_busy(name)
            job = self._jobs[name] = Job(name, record, begin, paused)
            job.thread.start()
        return job

    def _refuse_while_busy(self, name: str) -> None:
        other = self.running()
        if other:
            raise Busy(f"{other.name} is training. Wait for it, pause it or stop it, then start {name}.")


def _runs() -> ModuleType:
    """Imported by the worker: the page that starts a run need not wait for torch."""
    import torch

    from . import runs

    # Of this thread and those after it. Pages want the other cores: a second thread gains a third while they idle,
    # and makes everyone wait while they do not.
    torch.set_num_threads(1)
    return runs
