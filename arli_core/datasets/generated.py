"""Small generated stand-ins for the data sets that are files, in their real formats: for tests and for trying things
out.

    write("cub-200", root)    and then, with `root` as data root, load("cub-200")

Every image is dim noise with one ellipse on it, whose colour and stripes tell the class: something can be learned
from few images, and where the format has masks and boxes, they are the ellipse's. They are not photographs: figures
measured on them say nothing about the data sets whose formats they have.
"""

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from . import cifar, cub, folders, mnist

# Default numbers of training and test images per class.
PER_CLASS = {
    "mnist": (20, 5),
    "fashion-mnist": (20, 5),
    "cifar-10": (20, 5),
    "cifar-100": (6, 2),
    "cub-200": (2, 1),
    "imagenet-100": (3, 1),
    "folder": (10, 3),
}
FOLDER_CLASSES = ("circles", "dots", "lines", "waves")


def write(name: str, root: Path | str, per_class: tuple[int, int] | None = None, seed: int = 0) -> None:
    """Writes the set `name` (also `folder:NAME`) under `root`; `per_class` is training and test images of each class.

    Raises ValueError for a set that is not made of files, DataError where the folder exists already: nothing is
    replaced.
    """
    kind = "folder" if name.startswith(folders.PREFIX) else name
    if kind not in PER_CLASS:
        raise ValueError(f"{name!r} does not consist of files; these do: {', '.join(PER_CLASS)}:NAME")
    place, writer = _writers(name)[kind]
    place = Path(root) / place
    if place.exists():
        raise DataError(f"{name}: {place} exists already, and generated images do not replace it")
    place.mkdir(parents=True)
    writer(place, per_class or PER_CLASS[kind], np.random.default_rng(seed))


def _writers(name: str) -> dict[str, tuple[str, Callable[[Path, tuple[int, int], np.random.Generator], None]]]:
    """The place of each set under the data root, and what writes it."""
    return {
        "mnist": ("MNIST/raw", _write_mnist),
        "fashion-mnist": ("FashionMNIST/raw", _write_mnist),
        "cifar-10": (cifar.CIFAR10.folder, lambda *rest: _write_cifar(cifar.CIFAR10, *rest)),
        "cifar-100": (cifar.CIFAR100.folder, lambda *rest: _write_cifar(cifar.CIFAR100, *rest)),
        "cub-200": (cub.FOLDER, _write_cub),
        "imagenet-100": ("imagenet-100", _write_imagenet),
        "folder": (name.removeprefix(folders.PREFIX), _write_folder),
    }


def draw(
    label: int, classes: int, height: int, width: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One image uint8 [H, W, 3] of a class and its object's mask, bool [H, W]."""
    y, x = np.mgrid[:height, :width] + 0.5
    short = min(height, width)
    ry, rx = rng.uniform(0.25, 0.4, size=2) * short  # the ellipse's half axes
    cy, cx = rng.uniform(ry, height - ry), rng.uniform(rx, width - rx)
    mask = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1

    turn = 2 * np.pi * label * 0.618  # neighbours among the classes differ in hue
    colour = 0.6 + 0.35 * np.cos(turn + np.array([0, 2, 4]) * np.pi / 3)
    angle, waves = np.pi * label / classes, 1.5 + label % 3
    along = (np.cos(angle) * (x - cx) + np.sin(angle) * (y - cy)) / short
    stripes = 0.65 + 0.35 * np.cos(2 * np.pi * waves * along)

    pixels = rng.uniform(0, 0.3, size=(height, width, 3))
    pixels[mask] = (stripes[..., None] * colour)[mask]
    return np.rint(pixels * 255).astype(np.uint8), mask


def _arrays(classes: int, per_class: int, side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, side, side, 3] and their labels, shuffled."""
    labels = rng.permutation(np.repeat(np.arange(classes), per_class))
    return np.stack([draw(label, classes, side, side, rng)[0] for label in labels]), labels


def _write_mnist(place: Path, per_class: tuple[int, int], rng: np.random.Generator) -> None:
    for number, (images_file, labels_file) in zip(per_class, (mnist.FILES[:2], mnist.FILES[2:]), strict=True):
        images, labels = _arrays(10, number, 28, rng)
        for file, array in ((images_file, images.mean(axis=3).astype(np.uint8)), (labels_file, labels)):
            header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes()
            data = gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)
            (place / f"{file}.gz").write_bytes(data)


def _write_cifar(layout: cifar.Layout, place: Path, per_class: tuple[int, int], rng: np.random.Generator) -> None:
    def save(file: str, images: np.ndarray, labels: np.ndarray) -> None:
        data = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        _pickle(place / file, {"data": data, layout.labels: labels.tolist()})

    images, labels = _arrays(layout.classes, per_class[0], 32, rng)
    shares = np.array_split(np.arange(len(labels)), len(layout.train))
    for file, share in zip(layout.train, shares, strict=True):
        save(file, images[share], labels[share])
    save(layout.test, *_arrays(layout.classes, per_class[1], 32, rng))
    _pickle(place / layout.meta, {layout.names: [f"generated {i}" for i in range(layout.classes)]})


def _pickle(path: Path, content: dict[str, Any]) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def _write_cub(place: Path, per_class: tuple[int, int], rng: np.random.Generator) -> None:
    tables: dict[str, list[str]] = {
        name: [] for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes", "classes")
    }
    number = 0
    for label in range(200):
        kind = f"{label + 1:03}.Generated_{label + 1}"
        tables["classes"].append(f"{label + 1} {kind}")
        for i in range(sum(per_class)):
            number += 1
            height, width = rng.integers(60, 100, size=2)
            pixels, mask = draw(label, 200, int(height), int(width), rng)
            file = f"{kind}/Generated_{label + 1}_{number:04}"
            _save(place / "images" / f"{file}.jpg", pixels)
            _save(place / "segmentations" / f"{file}.png", mask * np.uint8(255))
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            box = columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
            tables["images"].append(f"{number} {file}.jpg")
            tables["image_class_labels"].append(f"{number} {label + 1}")
            tables["train_test_split"].append(f"{number} {int(i < per_class[0])}")
            tables["bounding_boxes"].append(" ".join([str(number), *(f"{value:.1f}" for value in box)]))
    for name, lines in tables.items():
        (place / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_imagenet(place: Path, per_class: tuple[int, int], rng: np.random.Generator) -> None:
    wnids = [f"n{10_000_000 + i}" for i in range(100)]
    _write_class_folders(place, ("train", "val"), wnids, per_class, ".JPEG", rng)
    (place / folders.LISTS[0]).write_text("\n".join(wnids) + "\n", encoding="utf-8")


def _write_folder(place: Path, per_class: tuple[int, int], rng: np.random.Generator) -> None:
    _write_class_folders(place, ("train", "test"), FOLDER_CLASSES, per_class, ".png", rng)


def _write_class_folders(
    place: Path, splits: tuple[str, str], classes: list[str] | tuple[str, ...], per_class: tuple[int, int],
    suffix: str, rng: np.random.Generator,
) -> None:  # fmt: skip
    for split, number in zip(splits, per_class, strict=True):
        for label, name in enumerate(classes):
            for i in range(number):
                height, width = (int(length) for length in rng.integers(60, 100, size=2))
                pixels, _ = draw(label, len(classes), height, width, rng)
                _save(place / split / name / f"{name}_{split}_{i}{suffix}", pixels)


def _save(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
