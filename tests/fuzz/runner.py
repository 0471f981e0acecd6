"""Tries cases in a process of its own: a case that hangs, takes too much memory or ends the process is named, and
the next one gets a new process."""

import logging
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from .case import Draw
from .world import World

SECONDS = 5.0  # of processor time per case: time by the clock depends on the load of the machine
MEGABYTES = 1024.0  # above what the process used before
SHARED = {"ARLI_MAX_MEMORY": "0.8", "ARLI_MAX_OPERATIONS": "2e10"}  # what a run may use on a shared server
LONGEST = 3000  # characters of a message: a screenful
_AT_ALL = 120.0  # seconds by the clock, for a case that only waits
_NO_MORE = 6 * 2**30  # bytes of data a process may ask for, so that no case takes the machine down


@dataclass(frozen=True)
class Outcome:
    """The outcome of a case."""

    kind: str
    number: int
    text: str
    error: str | None  # the documented error it ended in
    failure: str | None  # the promise of the lab that was broken
    seconds: float  # of processor time
    megabytes: float  # at the peak, above what was used before


@dataclass(frozen=True)
class Limits:
    seconds: float = SECONDS
    megabytes: float = MEGABYTES


class Worker:
    """The process that tries cases, restarted when a case ended it."""

    def __init__(self, root: Path, seed: int, limits: Limits = Limits()) -> None:
        self.root, self.seed, self.limits = root, seed, limits
        self.process: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def attempt(self, kind: str, draw: Draw, number: int) -> Outcome:
        if self.process is None:
            self._start()
        self.worker_end.send((kind, draw, number))
        text = ""
        try:
            text = self.worker_end.recv()
            if self.worker_end.poll(_AT_ALL):
                return self.worker_end.recv()
            failure = f"it waits: no answer in {_AT_ALL:g} s"
        except EOFError:
            self.process.join()
            over = self.process.exitcode == -signal.SIGPROF
            hung = f"it hangs: more than {self.limits.seconds:g} s of processor time"
            failure = hung if over else f"it ended the process, exit code {self.process.exitcode}"
        self._end()
        return Outcome(kind, number, text, None, failure, self.limits.seconds, 0.0)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.worker_end, far = context.Pipe()
        self.process = context.Process(target=_work, args=(far, self.root, self.seed, self.limits), daemon=True)
        self.process.start()
        far.close()

    def _end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.worker_end.close()
            self.process = None


def fuzz(worker: Worker, draws: Mapping[str, Draw], counts: Mapping[str, int], first: int = 0) -> Iterator[Outcome]:
    """Tries so many cases of each kind, one after another."""
    for kind, count in counts.items():
        for number in range(first, first + count):
            yield worker.attempt(kind, draws[kind], number)


def _work(parent: Connection, root: Path, seed: int, limits: Limits) -> None:
    """The work of the process: it tries cases as they are sent, until there are no more."""
    import torch

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # a page that is tried without a server says so each time
    torch.set_num_threads(1)
    if hasattr(resource, "RLIMIT_DATA"):
        resource.setrlimit(resource.RLIMIT_DATA, (_NO_MORE, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    world = World(root)
    world.make()
    os.environ |= SHARED
    while True:
        try:
            kind, draw, number = parent.recv()
        except EOFError:
            return
        case = draw(random.Random(f"{seed} {kind} {number}"), world)
        parent.send(case.text)
        place = Path(tempfile.mkdtemp(prefix="case-", dir=root))
        os.environ["ARLI_CHECKPOINTS"] = str(place / "checkpoints")
        error = failure = None
        before, began = _memory_begins(), time.process_time()
        signal.setitimer(signal.ITIMER_PROF, limits.seconds)  # its signal ends the process, whatever it is doing
        try:
            case.attempt(place)
        except KeyboardInterrupt:
            raise
        except case.documented as raised:
            error = type(raised).__name__
            failure = _unreadable(str(raised))
        except BaseException:  # a panic of a Rust library is no Exception
            failure = "".join(traceback.format_exc(limit=-6))
        signal.setitimer(signal.ITIMER_PROF, 0)
        seconds, megabytes = time.process_time() - began, _peak() - before
        if megabytes > limits.megabytes:
            failure = f"it took {megabytes:,.0f} MB\n{failure or ''}"
        shutil.rmtree(place)
        parent.send(Outcome(kind, number, case.text, error, failure, seconds, max(megabytes, 0.0)))


def _unreadable(message: str) -> str | None:
    """Why the message of an error is unreadable, or None."""
    if not message.strip():
        return "an error without a message"
    if len(message) > LONGEST:
        return f"an error with a message of {len(message):,} characters: {message[:300]}…"
    try:
        message.encode()
    except UnicodeEncodeError as error:
        return f"an error whose message can be neither printed nor sent: {error}"
    return None


def _memory_begins() -> float:
    """The memory of the process now, in MB; `_peak` counts from here on, where the system can."""
    if sys.platform != "linux":
        return _peak()
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    """The peak of memory since then, in MB."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
