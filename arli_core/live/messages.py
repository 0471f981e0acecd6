"""Messages as a page may show them: without the places of files on the server."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .. import records
from ..datasets.root import data_root
from ..errors import LabError

# An absolute path: not within a word, a web address, or a name such as folder:/x, which a user typed.
_NAME = r"[^\s/\\'\",;:()]+"
_PATH = re.compile(rf"(?<![\w.:/~\\])(?:/|[A-Za-z]:\\)(?:{_NAME}[/\\])*(?={_NAME})")


def without_places(text: str) -> str:
    """The text with paths below the runs, the data and other known folders shortened to what follows these, and all
    other paths to their last name. The command line shows them in full."""
    for folder in sorted(
        {path for place in _known_folders() for path in (place.absolute(), place.resolve())}, key=_length
    ):
        if len(folder.parts) > 1:
            text = re.sub(rf"{re.escape(str(folder))}[/\\]", "", text)
            text = re.sub(rf"{re.escape(str(folder))}(?!\w)", folder.name, text)
    return _PATH.sub("…/", text)


def _known_folders() -> Iterator[Path]:
    for place in (records.root, data_root, Path.cwd, Path.home, lambda: Path(tempfile.gettempdir())):
        with suppress(LabError, RuntimeError, OSError):  # a folder that is not available is in no message
            yield place()


def _length(path: Path) -> int:
    """Deeper folders come first, so that paths are shortened as far as possible."""
    return -len(path.parts)
