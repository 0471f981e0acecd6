"""Which files in a folder of class folders are its images, which are left out, and why.

A file is an image by its suffix (pictures.SUFFIXES), at any depth below its class; links to files and to folders are
followed. Every other file is counted under the reason why it is left out. A file that is met twice is one image: in
two classes, or in both splits, it would make every figure wrong, so it is refused.
"""

import os
import stat
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError
from . import pictures

HIDDEN = "hidden or made by another program"
NO_IMAGE = "of another file type"
AGAIN = "links to what is read already"
NOWHERE = "broken links"
SPECIAL = "neither files nor folders"
OUTSIDE = "outside the class folders"

# What systems and programs leave in folders under names that do not begin with a dot.
_OWN = frozenset((
    "__macosx", "@eadir", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "system volume information",
    "lost+found", "__pycache__", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r",
))  # fmt: skip


Stamps = tuple[tuple[str, int, int, int], ...]


class File(NamedTuple):
    """An image file on disk; equal as long as it is not changed."""

    path: Path
    label: int
    stamp: tuple[int, int, int]  # bytes, and the times at which content and entry last changed, in ns


@dataclass(frozen=True)
class Listing:
    """The images of both splits in their order, and what was left out. Equal as long as none of it changes.

    name     of the data set
    place    the folder that was looked through
    skipped  by reason; with the images, these are all files of the folder
    """

    name: str
    place: Path
    classes: tuple[str, ...]
    train: tuple[File, ...]
    test: tuple[File, ...]
    skipped: Mapping[str, tuple[Path, ...]] = field(hash=False)

    @property
    def notes(self) -> tuple[str, ...]:
        """How many images there are and, where anything was left out, how much and why."""
        read = f"{self.name}: {len(self.train)} images to train on and {len(self.test)} to test on"
        reasons = [f"{len(paths)} {reason} ({self._some(paths)})" for reason, paths in self.skipped.items() if paths]
        return (f"{read}.", *([f"Files left out: {'; '.join(reasons)}."] if reasons else []))

    def _some(self, paths: Sequence[Path]) -> str:
        examples = ", ".join(_in_unicode(path.relative_to(self.place).as_posix()) for path in paths[:2])
        return f"{examples}, …" if len(paths) > 2 else examples


class Walk:
    """Lists class folders one by one, and collects what is left out."""

    def __init__(self, name: str) -> None:
        self.name = name  # of the data set, for messages
        reasons = (HIDDEN, NO_IMAGE, AGAIN, NOWHERE, SPECIAL, OUTSIDE)
        self.skipped: dict[str, list[Path]] = {reason: [] for reason in reasons}
        self._met: dict[tuple[int, int], tuple[Path, Path]] = {}  # class folder and path of each file, by its inode

    def images(self, place: Path, label: int) -> list[File]:
        """The image files of a class folder, in the order of their paths. DataError where there is none."""
        images = []
        for path, reason in _files(self.name, place) if place.is_dir() else []:
            if reason is None and path.suffix.lower() not in pictures.SUFFIXES:
                reason = NO_IMAGE
            if reason is None:
                status = path.stat()
                if self._again(place, path, status):
                    reason = AGAIN
                else:
                    images.append(File(path, label, _stamp(status)))
            if reason is not None:
                self.skipped[reason].append(path)
        if not images:
            suffixes = ", ".join(sorted(pictures.SUFFIXES))
            raise DataError(f"{self.name}: found no images ({suffixes}) in {place}")
        return images

    def _again(self, place: Path, path: Path, status: os.stat_result) -> bool:
        """Whether the class has the file already. Raises DataError where another class, or the other split, has
        it."""
        number = status.st_dev, status.st_ino
        other_place, other = self._met.setdefault(number, (place, path))
        # Some file systems give several files one number.
        if other == path or not (status.st_nlink > 1 or os.path.realpath(other) == os.path.realpath(path)):
            return False
        if other_place != place:
            raise DataError(
                f"{self.name}: {other} and {path} are the same file, by a link. An image has one class, and a "
                f"training image cannot test anything: remove one of them"
            )
        return True

    def outside(self, place: Path, read: Collection[str]) -> None:
        """Counts what a folder holds besides the folders that are read."""
        for entry in entries(self.name, place):
            if entry.name not in read:
                self.skipped[HIDDEN if hidden(entry) else OUTSIDE] += _all(self.name, place, entry)

    def listing(self, place: Path, classes: Sequence[str], train: Sequence[File], test: Sequence[File]) -> Listing:
        skipped = {reason: tuple(paths) for reason, paths in self.skipped.items()}
        return Listing(self.name, place, tuple(map(_in_unicode, classes)), tuple(train), tuple(test), skipped)


def _in_unicode(name: str) -> str:
    """A name as text: one that an older system wrote in another encoding would stop a page."""
    return os.fsencode(name).decode(errors="replace")


def hidden(entry: os.DirEntry[str]) -> bool:
    """Whether a file or folder is hidden, or one of those that systems and programs make for themselves."""
    if entry.name.startswith(".") or entry.name.casefold() in _OWN:
        return True
    return sys.platform == "win32" and bool(entry.stat().st_file_attributes & stat.FILE_ATTRIBUTE_HIDDEN)


def entries(name: str, place: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder, in the order of their names. Raises DataError where it cannot be read."""
    try:
        with os.scandir(place) as scan:
            return sorted(scan, key=lambda entry: entry.name)
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: {place} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def subfolders(name: str, place: Path) -> list[str]:
    """The names of the folders in a folder, linked ones too, in order, without hidden ones."""
    return [entry.name for entry in entries(name, place) if _leads_to_folder(entry) and not hidden(entry)]


def stamps(*places: Path) -> Stamps:
    """Name, bytes and times of every file under these places: unequal once any of them has changed."""
    file_stamps = []
    for place in places:
        for folder, _, files in os.walk(place):
            file_stamps += [(path, *_stamp(os.stat(path))) for path in (os.path.join(folder, file) for file in files)
                      if os.path.isfile(path)]  # fmt: skip
    return tuple(sorted(file_stamps))


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _files(name: str, place: Path) -> list[tuple[Path, str | None]]:
    """Every file under a folder, in the order of the paths, with the reason to leave it out, if there is one.

    A folder is entered once: a link back, or to another folder that is entered, counts as one file. Links are
    followed last, so that a file under the folder itself keeps its own path.
    """
    real = Path(os.path.realpath(place))
    files: list[tuple[Path, str | None]] = []
    entered = {real, *real.parents}
    linked: list[Path] = []

    def enter(folder: Path) -> None:
        real_folder = Path(os.path.realpath(folder))
        if real_folder in entered:
            files.append((folder, AGAIN))
        else:
            entered.add(real_folder)
            look_through(folder)

    def look_through(folder: Path) -> None:
        for entry in entries(name, folder):
            path = folder / entry.name
            if hidden(entry):
                files.extend((file, HIDDEN) for file in _all(name, folder, entry))
            elif _leads_to_folder(entry):
                linked.append(path) if entry.is_symlink() else enter(path)
            elif _leads_to_file(entry):
                files.append((path, None))
            else:
                files.append((path, SPECIAL if os.path.exists(path) else NOWHERE))

    look_through(place)
    while linked:
        enter(linked.pop(0))
    return sorted(files, key=lambda pair: pair[0].parts)


# os.path takes a link to itself for a broken link; the methods of a directory entry raise an error.


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    return os.path.isdir(entry) if entry.is_symlink() else entry.is_dir()


def _leads_to_file(entry: os.DirEntry[str]) -> bool:
    return os.path.isfile(entry) if entry.is_symlink() else entry.is_file()


def _all(name: str, place: Path, entry: os.DirEntry[str]) -> list[Path]:
    """An entry of a folder that is left out: itself, or every file in it. Links count as files, and so does a folder
    that cannot be read."""
    path = place / entry.name
    try:
        inside = entries(name, path) if entry.is_dir(follow_symlinks=False) else None
    except DataError:
        inside = None
    return [path] if inside is None else [file for inner in inside for file in _all(name, path, inner)]
