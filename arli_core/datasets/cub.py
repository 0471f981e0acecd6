"""CUB-200-2011: 11,788 photographs of 200 species of birds, with the bird's mask.

Source: C. Wah, S. Branson, P. Welinder, P. Perona, S. Belongie, "The Caltech-UCSD Birds-200-2011 Dataset" (2011):
5,994 training and 5,794 test images, the split as published. The data root has CUB_200_2011 as the archive unpacks,

    images.txt  image_class_labels.txt  train_test_split.txt  classes.txt  bounding_boxes.txt  images/...

Each line of a table is `<number> <value>`. Where there is a folder segmentations/, inside CUB_200_2011 or beside it,
the masks come from it: a pixel belongs to the bird where its grey value, the share of annotators who say so, is above
the middle. Otherwise the masks are the bounding boxes.
"""

from pathlib import Path

import numpy as np

from ..errors import DataError
from . import pictures
from .dataset import Dataset, Split
from .streamed import Streamed, identity_of

FOLDER, SEGMENTATIONS_FOLDER = "CUB_200_2011", "segmentations"
IMAGES = "https://data.caltech.edu/records/65de6-vp158"
SEGMENTATIONS = "https://data.caltech.edu/records/w9d68-gec53"


def build(root: Path, size: int) -> Dataset:
    """The set, its images and masks not read yet."""
    place = root / FOLDER
    files, classes = _table(place, "images.txt"), _table(place, "classes.txt")
    label_of, split_of = _table(place, "image_class_labels.txt"), _table(place, "train_test_split.txt")
    boxes = _table(place, "bounding_boxes.txt")
    try:
        unit = {number: i for i, number in enumerate(classes)}
        labels = np.array([unit[label_of[number]] for number in files], dtype=np.int64)
        train = np.array([int(split_of[number]) == 1 for number in files])
        corners = [_box(boxes[number]) for number in files]
    except (KeyError, ValueError) as error:
        raise DataError(f"cub-200: the tables in {place} do not match: {error}") from None
    if not train.any() or train.all():
        raise DataError(f"cub-200: {place / 'train_test_split.txt'} has no image in one of the splits")

    paths = [place / "images" / file for file in files.values()]
    segmentations = next(
        (folder for folder in (place / SEGMENTATIONS_FOLDER, root / SEGMENTATIONS_FOLDER) if folder.is_dir()), None
    )

    def image(i: int) -> np.ndarray:
        return pictures.read(paths[i], size)

    def segmentation(i: int) -> Path:
        assert segmentations is not None
        return segmentations / paths[i].relative_to(place / "images").with_suffix(".png")

    def mask(i: int) -> np.ndarray:
        if segmentations is None:
            return pictures.box_mask(paths[i], corners[i], size)
        return pictures.read_mask(segmentation(i), size)

    def identify_mask(i: int) -> bytes:
        return repr(corners[i]).encode() if segmentations is None else identity_of(segmentation(i))

    indices = np.arange(len(paths))
    images = Streamed(image, indices, (3, size, size), identify=lambda i: identity_of(paths[i]))
    masks = Streamed(mask, indices, (size, size), bool, identify_mask)
    everything = Split(images, labels, masks)
    names = tuple(name.partition(".")[2].replace("_", " ") or name for name in classes.values())
    return Dataset("cub-200", names, train=everything[train], test=everything[~train])


def _box(text: str) -> tuple[float, float, float, float]:
    left, top, width, height = map(float, text.split())
    return left, top, width, height


def _table(place: Path, name: str) -> dict[str, str]:
    """The value of each number in a table, in the table's order."""
    try:
        lines = (place / name).read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"cub-200: found no {name} in {place}. Download CUB_200_2011.tgz from {IMAGES} (and, for exact "
            f"masks, segmentations.tgz from {SEGMENTATIONS}), unpack it into {place.parent}, or name another data "
            f"root with --data-root"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{place / name} cannot be read: {error}") from None
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    if not pairs or any(len(pair) < 2 for pair in pairs):
        raise DataError(f"{place / name} is damaged: not every line has a number and a value")
    return {number: value.strip() for number, value in pairs}
