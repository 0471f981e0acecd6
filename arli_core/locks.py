"""One process at a time trains a run, and none moves its files meanwhile.

A lock is a file in the system's temporary folder, held by a process: it is free again however the process ends.
Processes on other machines that share the runs' folder are not seen.
"""

import hashlib
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import Busy


@contextmanager
def hold(run: Path) -> Generator[None]:
    """Holds the lock of a run's folder. Busy where somebody else does."""
    name = hashlib.sha256(str(run.expanduser().resolve()).encode()).hexdigest()[:24]
    # Not of one thread: a generator that trains may be closed by another.
    lock = FileLock(Path(tempfile.gettempdir()) / f"arli-lab-{name}.lock", thread_local=False)
    try:
        lock.acquire(blocking=False)
    except (Timeout, OSError):  # OSError: the file is another user's
        raise Busy(
            f"{run.name} is being trained elsewhere; nothing was changed. Wait for it, or stop it there"
        ) from None
    try:
        yield
    finally:
        lock.release()


def refuse_held(run: Path) -> None:
    """Busy where somebody, this process included, holds the lock."""
    with hold(run):
        pass


def held(run: Path) -> bool:
    try:
        refuse_held(run)
    except Busy:
        return True
    return False
