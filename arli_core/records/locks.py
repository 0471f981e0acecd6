"""One process at a time trains a run, and no other moves its files meanwhile.

A lock is a file in the system's temporary folder, held by a process: it is free again however the process ends, and
the file stays. Each user has files of their own, since nobody may open those of others. Processes of another user, or
on another machine, that share the runs' folder are not noticed.
"""

import getpass
import hashlib
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import Busy
from ..files import expanded


@contextmanager
def hold(run: Path) -> Generator[None]:
    """Holds the lock of a run's folder. Busy where it is held already, or where that cannot be determined."""
    name = hashlib.sha256(str(expanded(run).resolve()).encode()).hexdigest()[:24]
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    try:
        # Not bound to one thread: a generator that trains may be closed by another.
        lock = FileLock(Path(tempfile.gettempdir()) / f"arli-lab-{user}-{name}.lock", thread_local=False)
        lock.acquire(blocking=False)
    except Timeout:
        raise Busy(
            f"{run.name} is being trained elsewhere; nothing was changed. Wait for it, or stop it there"
        ) from None
    except OSError as error:
        raise Busy(
            f"it is not known whether {run.name} is being trained elsewhere: its lock in the temporary folder cannot "
            f"be opened ({error.strerror or error}); nothing was changed. Name another temporary folder in TMPDIR"
        ) from None
    try:
        yield
    finally:
        lock.release()


def refuse_held(run: Path) -> None:
    """Busy where any process, this one included, holds the lock, or where that cannot be determined."""
    with hold(run):
        pass


def held(run: Path) -> bool:
    try:
        refuse_held(run)
    except Busy:
        return True
    return False
