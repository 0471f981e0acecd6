"""Folders of class folders: ImageNet-100 with its list of classes, and any folder of the user's own.

imagenet-100   imagenet-100/ (or imagenet/) in the data root, with train/<wnid>/ and val/<wnid>/ (or test/), and
               a text file imagenet100.txt or classes.txt beside them: one wnid a line, optionally followed by a name.
               The list chooses and orders the classes; without it there must be 100, in the order of their wnids.
               They are classes of ILSVRC 2012 (O. Russakovsky et al., arXiv:1409.0575), but not the same ones in
               all papers: hence the list. Images as stored, without EXIF orientation, as is usual for ImageNet.
folder:NAME    NAME/ in the data root, or an absolute path: train/<class>/ and test/<class>/ (or training, testing;
               where there is no test, val, valid or validation; in capitals or not), or just <class>/, of which a
               fixed fifth of every class becomes the test split. Classes in the order of their names. EXIF
               orientation is applied. What is ambiguous is refused.

Images uint8 [N, 3, size, size], in the order of their files' paths; listing.py says which files these are, and
decoding.py how they are read. No object masks.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..files import expanded
from . import pictures
from .dataset import Dataset, Split, a_fifth
from .listing import File, Listing, Walk, subfolders
from .streamed import Streamed, identity_of

PREFIX = "folder:"
LISTS = ("imagenet100.txt", "classes.txt")

# The names of the folders of each split, in lower case.
TRAIN, TEST, VALIDATION = ("train", "training"), ("test", "testing"), ("val", "valid", "validation")


def listing(name: str, root: Path) -> Listing:
    """The files of `imagenet-100` or `folder:NAME` as they are on disk now. Raises DataError."""
    return _folder(root, name) if name.startswith(PREFIX) else _imagenet(root)


def build(files: Listing, size: int) -> Dataset:
    """The set of these files, its images not read yet."""
    upright = files.name.startswith(PREFIX)
    train, test = (_split(side, size, upright) for side in (files.train, files.test))
    return Dataset(files.name, files.classes, train, test, files.notes)


def _split(files: tuple[File, ...], size: int, upright: bool) -> Split:
    def image(i: int) -> np.ndarray:
        return pictures.read(files[i].path, size, upright)

    labels = np.array([file.label for file in files], dtype=np.int64)
    images = Streamed(image, np.arange(len(files)), (3, size, size), identify=lambda i: identity_of(files[i].path))
    return Split(images, labels)


def _imagenet(root: Path) -> Listing:
    name = "imagenet-100"
    for place in (root / "imagenet-100", root / "imagenet"):
        if not place.is_dir():
            continue
        top = subfolders(name, place)
        train = _subfolder(name, place, top, TRAIN)
        # ILSVRC's test images have no labels.
        held_out = _subfolder(name, place, top, VALIDATION) or _subfolder(name, place, top, TEST)
        if train and held_out:
            names = _class_list(place, place / train)
            walk = Walk(name)  # within the listed classes: the rest of ImageNet is not part of it
            splits = [_images(walk, place / side, list(names)) for side in (train, held_out)]
            return walk.listing(place, list(names.values()), *splits)
    raise DataError(
        f"imagenet-100: found no train/<wnid>/ and val/<wnid>/ in {root / 'imagenet-100'} or {root / 'imagenet'}. "
        f"Get ILSVRC 2012 from https://image-net.org, sort the validation images into class folders and list the "
        f"classes in {LISTS[0]}, or name another data root with --data-root"
    )


def _folder(root: Path, name: str) -> Listing:
    place = root / expanded(name.removeprefix(PREFIX))
    try:
        top = subfolders(name, place)
    except DataError:
        raise DataError(
            f"{name}: found no folder of class folders, or of train/ and test/ with class folders, at {place}; "
            f"put it there, or name another data root with --data-root"
        ) from None
    sides, walk = _sides(name, place, top), Walk(name)
    if sides is None:
        everything = _images(walk, place, top)
        walk.outside(place, top)
        in_test = a_fifth(np.array([file.label for file in everything]))
        train, test = (
            [file for file, out in zip(everything, in_test, strict=True) if out == side] for side in (0, 1)
        )
        _refuse_scarce(name, place, top, everything, test)
        return walk.listing(place, top, train, test)
    train_side, held_out = (place / side for side in sides)
    classes, tested = subfolders(name, train_side), subfolders(name, held_out)
    strange = set(tested) - set(classes)
    if strange:
        raise DataError(f"{name}: {held_out} has classes that {train_side.name}/ lacks: {', '.join(sorted(strange))}")
    splits = [_images(walk, side, classes) for side in (train_side, held_out)]
    for folder, read in ((place, sides), (train_side, classes), (held_out, classes)):
        walk.outside(folder, read)
    return walk.listing(place, classes, *splits)


def _sides(name: str, place: Path, top: list[str]) -> tuple[str, str] | None:
    """The names of the folders of both splits; None where the folders are classes."""
    train = _subfolder(name, place, top, TRAIN)
    held_out = _subfolder(name, place, top, TEST) or _subfolder(name, place, top, VALIDATION)
    if train and held_out:
        return train, held_out
    if held_out:
        raise DataError(
            f"{name}: {place} has {held_out}/, but no train/ beside it; if {held_out} is a class, rename the folder"
        )
    if train and (len(top) == 1 or subfolders(name, place / train)):
        raise DataError(f"{name}: {place} has {train}/, but neither test/ nor val/ beside it")
    return None


def _subfolder(name: str, place: Path, top: list[str], names: Collection[str]) -> str | None:
    """The folder with one of these names, None where there is none. Raises DataError where there are several."""
    called = [folder for folder in top if folder.casefold() in names]
    if len(called) > 1:
        raise DataError(f"{name}: {place} has {' and '.join(called)}, but only one of them can be used: keep one")
    return called[0] if called else None


def _images(walk: Walk, place: Path, classes: list[str]) -> list[File]:
    if not classes:
        raise DataError(f"{walk.name}: {place} has no class folders")
    for folder in (place / name for name in classes if (place / name).is_dir()):
        within = {inner.casefold() for inner in subfolders(walk.name, folder)}
        if within & {*TRAIN} and within & {*TEST, *VALIDATION}:
            raise DataError(
                f"{walk.name}: {folder} is taken for a class, but has training and test folders in it. They "
                f"belong above the classes; if {folder.name} is not a class, name that folder instead"
            )
    return [file for label, name in enumerate(classes) for file in walk.images(place / name, label)]


def _refuse_scarce(name: str, place: Path, classes: list[str], everything: list[File], test: list[File]) -> None:
    """A fifth of one or two images rounds to none."""
    counts = np.bincount([file.label for file in everything], minlength=len(classes))
    scarce = sorted({file.label for file in everything} - {file.label for file in test})
    if scarce:
        listed = ", ".join(f"{place / classes[label]} has {counts[label]}" for label in scarce)
        raise DataError(f"{name}: too few images for a test split: {listed}; each class needs at least 3")


def _class_list(place: Path, train: Path) -> dict[str, str]:
    """The name of each wnid, in the order of the list."""
    for path in (place / name for name in LISTS):
        if path.is_file():
            try:
                lines = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines()]
            except (OSError, ValueError) as error:
                raise DataError(f"{path} cannot be read: {error}") from None
            return {line[0]: line[-1].strip() for line in lines if line}
    wnids = subfolders("imagenet-100", train)
    if len(wnids) != 100:
        raise DataError(
            f"imagenet-100: {train} has {len(wnids)} classes, but no {' or '.join(LISTS)} in {place} "
            f"chooses among them: write one wnid a line"
        )
    return {wnid: wnid for wnid in wnids}
