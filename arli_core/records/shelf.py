"""Named runs as a whole: a folder for a new one; renaming, deleting, importing."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..errors import Busy, RecordError
from ..files import of_a_file_manager
from ..files import write as _write
from . import checks, locks
from .store import content_of, locate, names, read_index, root, whole

# The names a run's folder may hold. Anything else was put there by someone else, and is never removed.
_FILE = re.compile(r"run\.json|(probes|task-\d+|weights-\d+|progress-\d+-\d+)\.safetensors")
_OWN = re.compile(rf"{_FILE.pattern}|\.writing-\w+")


def claim(run: str | Path, overwrite: bool = False) -> Path:
    """Makes the folder of a new run. RecordError where a run is there already, unless `overwrite`.

    A folder that holds anything but the files of a run is refused, even with `overwrite`; so is a name that Windows
    does not allow.
    """
    path = locate(run)
    _refuse_unportable(path.name)
    try:
        if path.is_dir() and any(path.iterdir()):
            if foreign := _foreign(path):
                raise RecordError(
                    f"{path} holds {foreign}, which is not part of a recorded run; choose another --out"
                )
            if (path / "run.json").exists():
                if not overwrite:
                    raise RecordError(f"{path} holds a recorded run already; choose another name, or --overwrite")
                if not _ours(path / "run.json"):
                    raise RecordError(f"{path} holds another program's run.json; choose another --out")
            elif any(file.name.startswith(("task-", "weights-", "progress-")) for file in path.iterdir()):
                raise RecordError(f"{path} holds parts of a run, but no run.json; choose another --out")
            _remove(path)
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path):
            pass
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror or error}; choose another --out") from None
    return path


def _foreign(path: Path) -> str | None:
    """The name of something in a run's folder that is not part of a run, if there is any."""
    names = (file.name for file in path.iterdir())
    return next((name for name in names if not (_OWN.fullmatch(name) or of_a_file_manager(name))), None)


def _ours(index: Path) -> bool:
    """Whether a run.json is this lab's: it has a schema, or is too damaged to be read."""
    start = content_of(index, checks.INDEX_BYTES)
    try:
        content = json.loads(start)
    except (ValueError, RecursionError):
        return True
    return isinstance(content, dict) and "schema" in content


def _remove(path: Path) -> None:
    """Moves the folder aside first, in one step, so that an interruption never leaves half a run behind."""
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    path.rename(aside / path.name)
    shutil.rmtree(aside)


# --- Renaming, deleting, importing ----------------------------------------------------------------------------------

# The named runs that come with the lab. Its pages need them, so they are neither renamed nor deleted.
SHIPPED = ("mnist-5k-ari", "mnist-5k-ari-constant", "mnist-5k-replay", "mnist-5k-finetune", "scenes-ari")
_NAME = re.compile(r"\w[\w.-]{0,59}")
# Windows reserves these for devices, with any ending and in any case: a run of that name could not be taken there.
_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[1-9¹²³])(\..*)?", re.IGNORECASE)


def vacant(name: str) -> Path:
    """The folder of a new named run, not made yet. RecordError where the name is not valid or is taken."""
    if not _NAME.fullmatch(name):
        raise RecordError(
            f"{name!r} cannot name a run: use at most 60 letters, digits, dots, dashes and underscores, "
            "and begin with a letter or digit"
        )
    _refuse_unportable(name)
    path = root() / name
    if os.path.lexists(path):
        raise RecordError(
            f"There is already a run or folder called {name}. Nothing was changed; choose another name."
        )
    return path


def _refuse_unportable(name: str) -> None:
    """RecordError for a folder's name that Windows does not allow."""
    if name.endswith((".", " ")):
        raise RecordError(
            f"{name!r} cannot name a run: Windows drops a dot or space at the end; end with another character"
        )
    if _DEVICE.fullmatch(name):
        raise RecordError(
            f"{name!r} cannot name a run: {name.partition('.')[0]} is a device on Windows; choose another name"
        )


def rename(name: str, new: str) -> None:
    """Gives a named run another name. RecordError where it ships, or where the new name is not valid or is taken;
    Busy where a process trains one of the two."""
    path, target = _own(name), vacant(new)
    try:
        with locks.hold(path), locks.hold(target):
            path.rename(target)
    except OSError as error:
        raise RecordError(f"{path} cannot be renamed: {error.strerror or error}") from None


def delete(name: str) -> None:
    """Removes a named run, even a damaged one. RecordError where it ships, or where its folder holds anything else;
    Busy where a process trains it."""
    path = _own(name)
    try:
        with locks.hold(path):
            if foreign := _foreign(path):
                raise RecordError(f"{path} holds {foreign}, which is not part of a recorded run; nothing was deleted")
            if not _ours(path / "run.json"):
                raise RecordError(f"{path} holds another program's run.json; nothing was deleted")
            _remove(path)
    except OSError as error:
        raise RecordError(f"{path} cannot be deleted: {error.strerror or error}") from None


def _own(name: str) -> Path:
    """The folder of a named run that may be renamed and deleted."""
    if name not in names():
        raise RecordError(
            f"no recorded run is called {name}; runs under {root()}: {', '.join(names()) or 'none yet'}"
        )
    if name in SHIPPED:
        raise RecordError(f"{name} comes with the lab: it cannot be renamed or deleted. Nothing was changed.")
    return root() / name


def files(run: str | Path) -> dict[str, bytes]:
    """All files of a recorded run by their name, run.json first; RecordError where one is missing or damaged."""
    path = locate(run)
    whole(path)
    names = checks.files(read_index(path))
    try:
        return {name: (path / name).read_bytes() for name in names}
    except OSError as error:
        raise RecordError(f"{path} changed while it was read: {error}; try again") from None


def add(name: str, files: Mapping[str, bytes]) -> None:
    """Imports a run under a new name, from what `files` returned. RecordError where the name is not valid or is
    taken, or a file is missing, damaged or not part of the run; nothing is kept of it then.
    """
    target = vacant(name)
    if "run.json" not in files:
        raise RecordError("it has no run.json, the index of a recorded run")
    for file in files:  # before anything is written: a name could lead out of the folder
        if not _FILE.fullmatch(file):
            raise RecordError(f"{file!r} is not part of a recorded run")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locks.hold(target):
            path = target.parent / f"{ADDING}{name}"
            shutil.rmtree(path, ignore_errors=True)
            _clear_dead_imports(target.parent)
            path.mkdir()
            try:
                _add(path, files)
                path.rename(target)
            finally:
                shutil.rmtree(path, ignore_errors=True)
    except OSError as error:
        raise RecordError(f"{target} cannot be written: {error.strerror or error}") from None


ADDING = ".adding-"  # followed by its new name: the folder of a run that is being imported


def _add(path: Path, files: Mapping[str, bytes]) -> None:
    for file, content in files.items():
        (path / file).write_bytes(content)
    try:
        whole(path)
        index = read_index(path)
        if surplus := files.keys() - checks.files(index):
            raise RecordError(f"{min(surplus)!r} is not part of this run: its run.json does not name it")
        index["imported"] = True
        _write(path / "run.json", checks.sealed(index) if index["schema"] > 1 else json.dumps(index).encode())
    except RecordError as error:
        raise RecordError(str(error).replace(f"{path}{os.sep}", "")) from None


def _clear_dead_imports(place: Path) -> None:
    """Removes what killed imports left behind; a live one holds the lock of the run that it makes."""
    for path in place.glob(f"{ADDING}*"):
        name = path.name.removeprefix(ADDING)
        try:
            with locks.hold(place / name):
                shutil.rmtree(path)
        except Busy:
            continue
