"""Makes the runs of a sweep in its folder, in this process or in several; finished ones are not made again."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any

from .. import files, records
from ..config import Config
from ..errors import ConfigError, DataError, Diverged, LabError
from ..events import Step
from ..records import checks
from .folder import MEASURE_OF, Outcome, claim, data_key, mixed, outcomes, write, write_csv
from .planning import Arm, name_of


@dataclass(frozen=True)
class Advanced:
    """A run of an arm is under way: the share done, in 0..1."""

    arm: Arm
    seed: int
    share: float


@dataclass(frozen=True)
class Done:
    """A run of an arm is finished, now or already before. error: that of a failed run."""

    arm: Arm
    seed: int
    error: str | None


News = Advanced | Done


def make(arms: Sequence[Arm], folder: Path, jobs: int = 1, keep: bool = False) -> Generator[News]:
    """Makes all runs that are not finished in the folder, in `jobs` processes; closing the generator ends them.

    A run that diverges is finished, with its error. keep: leave the recorded runs in FOLDER/runs. Raises
    ConfigError or DataError, before anything runs, where a configuration cannot run here or the data differ from
    those of runs in the folder, and RecordError where the folder cannot be written or holds a results.csv that no
    sweep made.
    """
    folder = files.expanded(folder).absolute()
    planned = {name_of(config): (arm, config) for arm in arms for config in arm.runs}
    finished = outcomes(folder)
    waiting = [(name, config) for name, (_, config) in planned.items() if name not in finished]
    _check(waiting)
    _refuse_mixed(folder, {**finished, **_expected_outcomes(waiting)})
    claim(folder)
    try:
        for name, (arm, config) in planned.items():
            if name in finished:
                if not finished[name].get("kept"):  # Ctrl-C may have come before it was removed
                    shutil.rmtree(folder / "runs" / name, ignore_errors=True)
                yield Done(arm, config.seed, finished[name]["error"])
        with closing(
            _in_this_process(waiting, folder) if jobs == 1 else _in_workers(waiting, folder, jobs)
        ) as progress:
            for name, news in progress:
                arm, config = planned[name]
                if not isinstance(news, Mapping):
                    yield Advanced(arm, config.seed, news)
                    continue
                outcome = {**news, "settings": dict(arm.settings), "kept": keep}
                finished[name] = outcome
                _refuse_mixed(folder, finished)  # the data may have changed since it was begun
                write(folder / "finished" / f"{name}.json", checks.sealed({"schema": checks.SCHEMA, **outcome}))
                if not keep:
                    shutil.rmtree(folder / "runs" / name)
                write_csv(folder, arms)
                yield Done(arm, config.seed, outcome["error"])
    finally:
        write_csv(folder, arms)


_Progress = Generator[tuple[str, float | Outcome]]  # name of a run; its share done, at the end its outcome


def _check(waiting: Sequence[tuple[str, Config]]) -> None:
    """Raises what no configuration shows by itself: too few classes or exemplars, a missing data set or device."""
    if not waiting:
        return
    from ..learn import learn

    for config in {config.model_copy(update={"seed": 0}): None for _, config in waiting}:
        learn(config)


def notes(arms: Sequence[Arm]) -> list[str]:
    """What was read from the folders that the runs train on, and what was left out."""
    from .. import datasets

    sources = dict.fromkeys(
        (data.name, data.image_size, data.spurious) for data in (arm.runs[0].data for arm in arms)
    )
    return list(dict.fromkeys(note for arguments in sources for note in datasets.load(*arguments).notes))


def _expected_outcomes(waiting: Sequence[tuple[str, Config]]) -> dict[str, Outcome]:
    """For runs that are still to be made, what `mixed` needs of an outcome: the data as they are now."""
    if not waiting:
        return {}
    from ..world import data_of

    expected: dict[str, Outcome] = {}
    prints: dict[str, Any] = {}
    for name, config in waiting:
        plain = config.model_dump()
        key = data_key(plain)
        if key not in prints:
            prints[key] = data_of(config).fingerprint.plain()
        expected[name] = {"config": plain, "data": prints[key]}
    return expected


def _refuse_mixed(folder: Path, outcomes: Mapping[str, Outcome]) -> None:
    if problem := mixed(outcomes):
        raise DataError(f"{folder}: {problem}. Restore the data as they were, or choose another --out")


def _in_this_process(waiting: Sequence[tuple[str, Config]], folder: Path) -> _Progress:
    if not waiting:
        return
    with _one_thread():
        for name, config in waiting:
            yield from ((name, news) for news in _train(config, folder / "runs" / name))


def _train(config: Config, place: Path) -> Iterator[float | Outcome]:
    """Trains a run from where it stopped."""
    from ..live import runs

    state = records.status_of(place) if (place / "run.json").exists() else None
    if state != "finished":
        # A failed one was interrupted before its failure was noted: it fails again, or the cause of it is gone.
        progress = runs.resume(place) if state == "unfinished" else runs.train(config, place, overwrite=True)
        try:
            with closing(progress):
                for record, event in progress:
                    if isinstance(event, Step):
                        yield record.share_done
        except (ConfigError, Diverged):  # the record has it; any other error would hit the other runs as well
            pass
    record = records.load(place)
    figures = {name: {key: measure(record, name) for key, measure in MEASURE_OF.items()} for name in record.accuracy}
    yield {
        **record.summary(),
        "figures": figures if record.finished else {},  # over fewer tasks they would be figures of something else
        "samples": record.samples,
        "data": record.started.data.plain() if record.started and record.started.data else None,
    }


@contextmanager
def _one_thread() -> Generator[None]:
    """Sums in one order, so that a result depends neither on `jobs` nor on the number of cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_workers(waiting: Sequence[tuple[str, Config]], folder: Path, jobs: int) -> _Progress:
    context, todo = get_context("spawn"), list(reversed(waiting))
    workers: dict[Any, Any] = {}  # the process at the other end of each connection
    try:
        for _ in range(min(jobs, len(todo))):
            parent_end, worker_end = context.Pipe()
            process = context.Process(target=_work, args=(worker_end, folder), daemon=True)
            with _ctrl_c_ignored():
                process.start()
                workers[parent_end] = process
            worker_end.close()
            parent_end.send(todo.pop())
        while workers:
            ready: list[Any] = connection.wait(list(workers))
            for end in ready:
                try:
                    news = end.recv()
                except (EOFError, OSError):
                    workers[end].join()
                    raise LabError(
                        f"a worker process ended with exit code {workers[end].exitcode}; if memory was short, use "
                        f"fewer --jobs"
                    ) from None
                if isinstance(news, LabError):
                    raise news
                yield news
                if not isinstance(news[1], Mapping):
                    continue
                if todo:
                    end.send(todo.pop())
                else:
                    end.close()
                    workers.pop(end).join()
    finally:
        for process in workers.values():
            process.terminate()  # a recorded run survives it at any moment
            process.join()


def _work(to_parent: Any, folder: Path) -> None:
    """The work of a worker process: it makes the runs that it is sent, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        with _one_thread():
            while True:
                name, config = to_parent.recv()
                reported = 0.0
                for news in _train(config, folder / "runs" / name):
                    if isinstance(news, Mapping) or time.monotonic() - reported > 0.1:
                        to_parent.send((name, news))
                        reported = time.monotonic()
    except EOFError:
        return
    except LabError as error:
        to_parent.send(error)


def _end_with_the_parent() -> None:
    """Even a parent that was killed leaves no process behind that goes on writing."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _ctrl_c_ignored() -> Generator[None]:
    """Processes started meanwhile ignore Ctrl-C from their first moment on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
