"""Downloads through torchvision, which knows addresses and checksums: files arrive whole, or not at all."""

import os
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ..errors import DataError

# What opening, downloading and unpacking raise: ValueError for a strange address, EOFError for an archive cut short.
FAILURES = (OSError, RuntimeError, ValueError, EOFError, HTTPException, tarfile.TarError, zlib.error)


def fetch(name: str, published: Any, files: Sequence[str], root: Path, archive: str | None = None) -> None:
    """Puts the missing ones of `files` in their places in the data root, from a copy of the archive there or from
    the network, with progress on standard error.

    published  the class of torchvision.datasets whose `download()` fetches and checks them
    files      relative to the data root, as torchvision lays them out
    archive    the name of the published archive; where it lies in the data root, it is unpacked instead

    Everything happens in a temporary folder; files move to their places once all are there. Raises DataError.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix="partial-") as aside:
            if archive is not None and (root / archive).is_file():
                _unpack(root / archive, files, Path(aside))
            else:
                bare = object.__new__(published)  # its constructor would read all data as well
                bare.root = aside
                bare.download()
            for file in files:
                if not (root / file).exists():  # what the user has put there is not replaced
                    (root / file).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(Path(aside, file), root / file)
    except FAILURES as error:
        mirrors = getattr(published, "mirrors", None)
        source = published.url if mirrors is None else f"the files from {mirrors[0]}"
        place = root if archive is not None else (root / files[0]).parent
        raise DataError(
            f"{name}: did not find all of {', '.join(Path(file).name for file in files)} in "
            f"{(root / files[0]).parent}; they could not be fetched: {' '.join(str(error).split())}. Put {source} "
            f"into {place}, or name another data root with --data-root"
        ) from None


def _unpack(archive: Path, files: Sequence[str], aside: Path) -> None:
    """Unpacks these files of a tar archive and nothing else, whatever else it names."""
    with tarfile.open(archive) as content:
        for file in files:
            try:
                source = content.extractfile(file)
            except KeyError:
                source = None
            if source is None:
                raise ValueError(f"{file} is not in {archive}")
            target = aside / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read())
