"""Folders of class folders: ImageNet-100 with its list of classes, and any folder of the user's own.

imagenet-100   imagenet-100/ (or imagenet/) in the data root, with train/<wnid>/ and val/<wnid>/ (or test/), and
               a text file imagenet100.txt or classes.txt beside them: one wnid a line, after it, if wanted, a name.
               The list chooses and orders the classes; without it there must be 100, in the order of their wnids.
               They are classes of ILSVRC 2012 (O. Russakovsky et al., arXiv:1409.0575), but not the same ones in
               all papers: hence the list. Images as stored, without EXIF orientation, as is usual for ImageNet.
folder:NAME    NAME/ in the data root, or an absolute path: train/<class>/ and test/<class>/ (or val/), or just
               <class>/, of which a fixed fifth of every class becomes the test split. Classes in the order of their
               names. EXIF orientation is applied.

Images uint8 [N, 3, size, size], in the order of their files' names. No object masks.
"""

from pathlib import Path

import numpy as np

from ..errors import DataError
from ..files import expanded
from . import pictures
from .dataset import Dataset, Split, a_fifth
from .streamed import Streamed

PREFIX = "folder:"
LISTS = ("imagenet100.txt", "classes.txt")


def build_imagenet(root: Path, size: int) -> Dataset:
    """ImageNet-100, images still unread."""
    for place in (root / "imagenet-100", root / "imagenet"):
        held_out = _first(place, "val", "test")  # the test images of ILSVRC have no labels
        if held_out and (place / "train").is_dir():
            names = _class_list(place)
            train, test = (_split("imagenet-100", side, list(names), size) for side in (place / "train", held_out))
            return Dataset("imagenet-100", tuple(names.values()), train, test)
    raise DataError(
        f"imagenet-100: looked for train/<wnid>/ and val/<wnid>/ in {root / 'imagenet-100'} and {root / 'imagenet'}. "
        f"Get ILSVRC 2012 from https://image-net.org, sort the validation images into class folders and list the "
        f"classes in {LISTS[0]}, or name another data root with --data-root"
    )


def build_folder(root: Path, name: str, size: int) -> Dataset:
    """The set `folder:NAME`, images still unread."""
    place = root / expanded(name.removeprefix(PREFIX))
    classes, held_out = _subfolders(name, place), _first(place, "test", "val")
    if "train" in classes and (held_out or _subfolders(name, place / "train")):
        if held_out is None:
            raise DataError(f"{name}: {place} has train/, but neither test/ nor val/ beside it")
        classes = _subfolders(name, place / "train")
        strange = set(_subfolders(name, held_out)) - set(classes)
        if strange:
            raise DataError(f"{name}: {held_out} has classes that train/ lacks: {', '.join(sorted(strange))}")
        train, test = (_split(name, side, classes, size, upright=True) for side in (place / "train", held_out))
    else:
        everything = _split(name, place, classes, size, upright=True)
        chosen = a_fifth(everything.labels)
        train, test = everything[~chosen], everything[chosen]
        scarce = sorted(set(everything.labels) - set(test.labels))
        if scarce:
            raise DataError(f"{name}: {place / classes[scarce[0]]} has too few images for a test split: at least 3")
    return Dataset(name, tuple(classes), train, test)


def _class_list(place: Path) -> dict[str, str]:
    """The name of each wnid, in the order of the list."""
    for path in (place / name for name in LISTS):
        if path.is_file():
            try:
                lines = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines()]
            except (OSError, ValueError) as error:
                raise DataError(f"{path} cannot be read: {error}") from None
            return {line[0]: line[-1].strip() for line in lines if line}
    found = _subfolders("imagenet-100", place / "train")
    if len(found) != 100:
        raise DataError(
            f"imagenet-100: {place / 'train'} has {len(found)} classes, and neither {' nor '.join(LISTS)} in {place} "
            f"chooses among them: write one wnid a line"
        )
    return {each: each for each in found}


def _first(place: Path, *names: str) -> Path | None:
    return next((place / each for each in names if (place / each).is_dir()), None)


def _subfolders(name: str, place: Path) -> list[str]:
    """In the order of their names, without hidden ones."""
    try:
        return sorted(each.name for each in place.iterdir() if each.is_dir() and not each.name.startswith("."))
    except OSError:
        raise DataError(
            f"{name}: looked for a folder of class folders, or of train/ and test/ with class folders, at {place}; "
            f"put it there, or name another data root with --data-root"
        ) from None


def _split(name: str, place: Path, classes: list[str], size: int, upright: bool = False) -> Split:
    """The images in the folders of these classes. Raises DataError where one has none."""
    if not classes:
        raise DataError(f"{name}: {place} has no class folders")
    paths: list[Path] = []
    counts = []
    for each in classes:
        found = sorted(path for path in (place / each).rglob("*") if _is_image(path))
        if not found:
            raise DataError(f"{name}: looked for images ({', '.join(sorted(pictures.SUFFIXES))}) in {place / each}")
        paths += found
        counts.append(len(found))

    def image(i: int) -> np.ndarray:
        return pictures.read(paths[i], size, upright)

    labels = np.repeat(np.arange(len(classes)), counts)
    return Split(Streamed(image, np.arange(len(paths)), (3, size, size)), labels)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in pictures.SUFFIXES and not path.name.startswith(".")
