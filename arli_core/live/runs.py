"""Training with a record: learn, fold, save. Used by the command line and the app."""

import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from .. import records
from ..config import Config
from ..errors import ConfigError, Diverged, RecordError
from ..events import Event, Finished, Saved, Started
from ..learn import learn
from ..records import Record, locks

Progress = Generator[tuple[Record, Event]]


def train(config: Config, run: str | Path, overwrite: bool = False) -> Progress:
    """Trains and records a new run; yields the record after each event.

    A run that cannot start or be written raises a LabError before anything on disk is touched; Busy where another
    process trains there.
    """
    events = learn(config)
    locks.refuse_held(records.locate(run))
    path = records.claim(run, overwrite)
    return _recorded(events, Record(config), path)


def resume(run: str | Path) -> Progress:
    """Resumes a run from where it was last saved; it ends as if it had not been interrupted.

    Busy as `train`; DataError, with what differs, where the data are no longer those that it began with.
    """
    path = records.locate(run)
    locks.refuse_held(path)
    record = records.load(path)
    if record.finished:
        raise RecordError(f"{path} is finished; there is nothing to resume")
    if record.error:
        raise RecordError(f"{path} failed and would fail again: {record.error}; train a new run with other settings")
    events = learn(record.config, record.saved, record.trained_on)
    records.tidy(path, len(record.tasks))
    if record.saved is None:
        record = Record(record.config, imported=record.imported)  # nothing saved yet: from the start
    return _recorded(events, record, path)


def _recorded(events: Iterator[Event], record: Record, path: Path) -> Progress:
    with locks.hold(path):
        yield from _saved(events, record, path)


def _saved(events: Iterator[Event], record: Record, path: Path) -> Progress:
    # Another number of threads sums in another order, and so ends with different last digits.
    threads = {"threads": str(torch.get_num_threads())}
    saved = record = replace(record, environment={**record.environment, **threads})
    while True:
        began = time.perf_counter()
        try:
            event = next(events, None)
        except (ConfigError, Diverged) as error:  # it would fail again; after any other error, the run can be resumed
            records.save(replace(saved, error=str(error)), path)
            raise
        if event is None:
            return
        record = record.after(event, time.perf_counter() - began)
        if isinstance(event, Started | Saved | Finished):
            records.save(record, path)
            saved = record
        yield record, event
