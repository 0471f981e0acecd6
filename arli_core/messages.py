"""Messages as a page may show them: whoever opens a page need not know where things lie on the server."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from . import records
from .datasets.root import data_root
from .errors import LabError

# A path from the top: not within a word, an address of the web, or a name such as folder:/x, which somebody gave.
_NAME = r"[^\s/\\'\",;:()]+"
_PATH = re.compile(rf"(?<![\w.:/~\\])(?:/|[A-Za-z]:\\)(?:{_NAME}[/\\])*(?={_NAME})")


def without_places(text: str) -> str:
    """The text with paths below the runs, the data and other known folders told from there on, and of all other
    paths the last name alone. The command line says them in full."""
    for folder in sorted({path for place in _known() for path in (place.absolute(), place.resolve())}, key=_length):
        if len(folder.parts) > 1:
            text = re.sub(rf"{re.escape(str(folder))}[/\\]", "", text)
            text = re.sub(rf"{re.escape(str(folder))}(?!\w)", folder.name, text)
    return _PATH.sub("…/", text)


def _known() -> Iterator[Path]:
    for place in (records.root, data_root, Path.cwd, Path.home, lambda: Path(tempfile.gettempdir())):
        with suppress(LabError, RuntimeError, OSError):  # where one is not to be had, no message can name it
            yield place()


def _length(path: Path) -> int:
    """Deeper folders come first, so that what lies in them is told from there."""
    return -len(path.parts)
