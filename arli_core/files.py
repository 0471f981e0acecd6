"""Files as people name them, and files that are written whole or not at all."""

import os
import shutil
import tempfile
from pathlib import Path

from .errors import LabError


def expanded(path: str | Path) -> Path:
    """The path with `~` and `~name` at its beginning replaced by that home directory, as a shell does.

    LabError where no such home directory is known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise LabError(f"{path}: no home directory is known for it; write the path in full") from None


def user_cache() -> Path:
    """`$XDG_CACHE_HOME`, else ~/.cache. LabError where no home directory is known."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return expanded(base)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        raise LabError("no home directory is known; set HOME or XDG_CACHE_HOME") from None


def of_a_file_manager(name: str) -> bool:
    """Whether file managers leave files of this name in folders that they show or pack: they are nobody's data."""
    return name.startswith("._") or name.lower() in (".ds_store", "thumbs.db", "desktop.ini")


def write(path: Path, content: bytes) -> None:
    """Writes a file beside its place and then moves it there: a reader always finds the old content or the new.

    A link is followed, and a file that is replaced keeps its permissions. Raises OSError and leaves the old file.
    """
    target = Path(os.path.realpath(path))
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=target.parent) as place:
        new = Path(place) / target.name
        new.write_bytes(content)
        if target.exists():
            shutil.copymode(target, new)
        os.replace(new, target)
