"""Folders of class folders against an independent reading: 30 trees with all that folders of real users hold.

The independent reading (`labelled`, `pixels`, `fifth`) walks the folders and calls PIL itself; the files of a tree
are counted as it is made.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from arli_core import datasets
from arli_core.datasets import folders, load

TREES = range(30)
SIZE = 24


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty data root."""
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setenv("ARLI_DATA", str(root))
    datasets._load.cache_clear()
    yield root
    datasets._load.cache_clear()


# Trees

CLASSES = ("ant", "Zebra", "Käse", "猫", "a b", "Ω 2", "cafe\u0301", "x.png", "10", "9")
SUBFOLDERS = ("", "", "2024", "sub/deeper", "été/夏", "photos.jpg", "CAPS", "with space")
MODES = ("1", "L", "LA", "P", "P with a key", "P with alpha", "RGB", "RGBA", "CMYK", "16 bits", "L with a key",
         "turned", "turned RGBA", "several frames")  # fmt: skip
FORMS = {  # what each kind is written as
    "1": (".png", ".tif", ".bmp", ".pbm"),
    "L": (".png", ".jpg", ".jfif", ".jpe", ".tiff", ".bmp", ".pgm", ".gif"),
    "LA": (".png", ".tif"),
    "P": (".png", ".gif", ".bmp"),
    "P with a key": (".png", ".gif"),
    "P with alpha": (".png",),
    "RGB": (
        ".png",
        ".PNG",
        ".jpg",
        ".JPG",
        ".jpeg",
        ".jfif",
        ".JFIF",
        ".jpe",
        ".webp",
        ".bmp",
        ".tif",
        ".ppm",
        ".dib",
    ),
    "RGBA": (".png", ".webp", ".tiff"),
    "CMYK": (".jpg", ".jfif", ".tif"),
    "16 bits": (".png", ".tif"),
    "L with a key": (".png",),
    "turned": (".jpg", ".png", ".webp", ".tif"),
    "turned RGBA": (".png", ".webp"),
    "several frames": (".gif", ".webp", ".tif"),
}


class Tree:
    """Writes files, and counts them."""

    def __init__(self, seed: int) -> None:
        self.rng, self.count, self.written = np.random.default_rng([12, seed]), 0, 0

    def one_of(self, things):
        return things[int(self.rng.integers(len(things)))]

    def image(self, folder: Path) -> Path:
        mode = self.one_of(MODES)
        self.written += 1
        path = folder / f"{self.one_of(('a', 'b', 'ö', 'Z'))}{self.written}{self.one_of(FORMS[mode])}"
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = (int(side) for side in self.rng.integers(1, 70, size=2))
        picture, options = self.picture(mode, height, width)
        picture.save(path, **options)
        self.count += 1
        return path

    def picture(self, mode: str, height: int, width: int) -> tuple[Image.Image, dict]:
        def noise(channels: int) -> np.ndarray:
            return self.rng.integers(256, size=(height, width, channels), dtype=np.uint8)

        colour, options = Image.fromarray(noise(3)), {}
        if mode.startswith("turned"):
            options["exif"] = Image.Exif()
            options["exif"][0x0112] = int(self.rng.integers(1, 9))
            return (Image.fromarray(noise(4)) if mode.endswith("RGBA") else colour), options
        if mode == "16 bits":
            return Image.fromarray(self.rng.integers(65536, size=(height, width), dtype=np.uint16)), {}
        if mode == "several frames":
            return colour, {"save_all": True, "append_images": [Image.fromarray(noise(3)) for _ in range(2)]}
        if mode in ("LA", "RGBA"):
            return Image.fromarray(noise(4)).convert(mode), {}
        picture = colour.convert(mode[:4] if mode == "CMYK" else mode.split()[0])
        if mode.endswith("a key"):
            options["transparency"] = int(np.asarray(picture).flat[0])
        if mode.endswith("alpha"):
            options["transparency"] = bytes(range(256))
        return picture, options

    def other(self, path: Path, content: bytes = b"nothing") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.count += 1

    def link(self, path: Path, target: Path | str, files: int = 1) -> None:
        """A link; `files`: how many files it adds."""
        path.symlink_to(target)
        self.count += files

    def class_folder(self, folder: Path, least: int, elsewhere: Path) -> None:
        folder.mkdir(parents=True)
        images = [self.image(folder / self.one_of(SUBFOLDERS)) for _ in range(least + int(self.rng.integers(6)))]
        clutter = {
            "checkpoints": lambda: [self.image(folder / ".ipynb_checkpoints") for _ in range(3)],
            "thumbnails": lambda: [self.image(folder / name) for name in ("@eaDir", ".thumbnails")],
            "macOS": lambda: [self.other(folder / "__MACOSX" / "._a.png"), self.other(folder / "._b.jpg"),
                              self.other(folder / ".DS_Store")],
            "Windows": lambda: [self.other(folder / "Thumbs.db"), self.other(images[0].parent / "desktop.ini")],
            "hidden image": lambda: self.image(folder / ".hidden" / "within"),
            "no images": lambda: [self.other(folder / "notes.txt"), self.other(folder / "jpg"),
                                  self.other(folder / "a.heic"), self.other(images[0].parent / "x.png~")],
            "empty": lambda: [(folder / "nothing" / "at all").mkdir(parents=True), (folder / ".empty").mkdir()],
            "linked file": lambda: self.link(folder / "linked.png", self.elsewhere_image(elsewhere)),
            "link to its own": lambda: self.link(folder / "zz again.png", images[0]),
            "hard link": lambda: (os.link(images[0], folder / "zz hard.png"), self.add()),
            "linked folder": lambda: self.linked_folder(folder, elsewhere, "linked"),
            "linked twice": lambda: (self.linked_folder(folder, elsewhere, "m twice"),
                                     self.link(folder / "n twice", folder / "m twice")),
            "linked back": lambda: self.link(folder / "back", folder),
            "linked up": lambda: self.link(folder / "up", ".."),
            "linked to itself": lambda: self.link(folder / "itself.png", "itself.png"),
            "dangling": lambda: self.link(folder / "gone.png", folder / "never there.png"),
            "hidden link": lambda: self.link(folder / ".link", elsewhere),
            "pipe": lambda: (os.mkfifo(folder / "pipe.png"), self.add()),
        }  # fmt: skip
        for put in self.rng.permutation(list(clutter))[: int(self.rng.integers(len(clutter)))]:
            clutter[put]()

    def add(self) -> None:
        self.count += 1

    def elsewhere_image(self, elsewhere: Path) -> Path:
        path = self.image(elsewhere / f"file {self.written}")
        self.count -= 1  # the link is counted
        return path

    def linked_folder(self, folder: Path, elsewhere: Path, name: str) -> None:
        target = elsewhere / f"folder {self.written}"
        before = self.count
        for below in ("", "below", ".hidden"):
            self.image(target / below)
        self.link(folder / name, target, files=0)
        assert self.count == before + 3


def grown(seed: int, place: Path, elsewhere: Path) -> Tree:
    """A tree of class folders, or of two splits of them."""
    tree = Tree(seed)
    classes = [CLASSES[i] for i in tree.rng.permutation(len(CLASSES))[: 2 + int(tree.rng.integers(3))]]
    if tree.rng.random() < 0.5:
        for name in classes:
            tree.class_folder(place / name, 3, elsewhere)
        tree.other(place / "README.md")
        tree.image(place)
        tree.image(place / ".git" / "deep")
    else:
        train = tree.one_of(("train", "Train", "TRAINING", "training"))
        test = tree.one_of(("test", "Testing", "TEST", "val", "Valid", "validation"))
        for name in classes:
            tree.class_folder(place / train / name, 1, elsewhere)
            tree.class_folder(place / test / name, 1, elsewhere)
        for folder in (place, place / train, place / test / ".cache", place / "annotations" / ".deep"):
            tree.image(folder)
        if test.lower().startswith("test"):
            tree.image(place / "validation" / classes[0])
    return tree


# An independent reading


ENDS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".dib", ".pbm", ".pgm",
        ".ppm")  # fmt: skip


def another_programs(name: str) -> bool:
    return name[0] == "." or name in ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini")


def below(folder: Path) -> list[str]:
    """The images of a class folder, in order."""
    names, doors, entered = [], [], {os.path.realpath(folder)}

    def enter(inner: str) -> None:
        for name in os.listdir(inner):
            path = os.path.join(inner, name)
            if another_programs(name) or not os.path.exists(path):
                continue
            if os.path.islink(path) and os.path.isdir(path):
                doors.append(path)
            elif os.path.isdir(path):
                entered.add(os.path.realpath(path))
                enter(path)
            elif os.path.isfile(path) and name.lower().endswith(ENDS):
                names.append(path)

    enter(str(folder))
    for door in sorted(doors):
        real = os.path.realpath(door)
        if real not in entered and not os.path.realpath(folder).startswith(real + os.sep):
            entered.add(real)
            enter(door)
    names.sort(key=lambda path: path.split(os.sep))
    once: dict[tuple[int, int], str] = {}
    for path in names:
        status = os.stat(path)
        once.setdefault((status.st_dev, status.st_ino), path)
    return list(once.values())


def labelled(place: Path) -> tuple[list[str], list[tuple[str, int]]]:
    classes = sorted(name for name in os.listdir(place) if (place / name).is_dir() and not another_programs(name))
    return classes, [(path, label) for label, name in enumerate(classes) for path in below(place / name)]


def fifth(labels: list[int]) -> np.ndarray:
    """A fifth of each class, the classes in turn, drawn by NumPy's generator 0."""
    rng, chosen_fifth = np.random.default_rng(0), np.zeros(len(labels), bool)
    for label in sorted(set(labels)):
        members = [i for i, other in enumerate(labels) if other == label]
        chosen_fifth[rng.choice(members, round(len(members) / 5), replace=False)] = True
    return chosen_fifth


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.array(image) // 256).astype(np.uint8))
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            image = Image.alpha_composite(white, image)
        image = image.convert("RGB")
        short = min(image.size)
        left, top = (image.width - short) / 2, (image.height - short) / 2
        box = (left, top, left + short, top + short)
        return np.array(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)).transpose(2, 0, 1)


@pytest.mark.parametrize("seed", TREES)
def test_a_tree_is_read_as_an_independent_reading_reads_it(seed, root, tmp_path):
    place = root / "mine"
    tree = grown(seed, place, tmp_path / "elsewhere")
    data = load("folder:mine", SIZE)
    sides = {name.lower(): place / name for name in os.listdir(place)}
    train = next((sides[name] for name in ("train", "training") if name in sides), None)
    if train:
        test = next(sides[name] for name in ("test", "testing", "val", "valid", "validation") if name in sides)
        (classes, trained), (_, tested) = labelled(train), labelled(test)
    else:
        classes, everything = labelled(place)
        in_test = fifth([label for _, label in everything])
        trained = [image for image, out in zip(everything, in_test, strict=True) if not out]
        tested = [image for image, out in zip(everything, in_test, strict=True) if out]
    assert data.classes == tuple(classes)
    for split, expected in ((data.train, trained), (data.test, tested)):
        assert split.labels.tolist() == [label for _, label in expected]
        np.testing.assert_array_equal(split.images, np.stack([pixels(path) for path, _ in expected]))

    listing = folders.listing("folder:mine", root)
    skipped = sum(map(len, listing.skipped.values()))
    assert len(data.train) + len(data.test) + skipped == tree.count
    places = [path for paths in listing.skipped.values() for path in paths]
    places += [file.path for file in (*listing.train, *listing.test)]
    assert len(places) == len(set(places))
    assert data.notes == listing.notes and f"{len(data.train)} images to train on" in data.notes[0]
    for reason, paths in listing.skipped.items():
        assert (f"{len(paths)} {reason} (" in data.notes[1]) == bool(paths)


def test_the_trees_hold_what_they_are_for(root, tmp_path):
    """Every reason to leave a file out occurs, in both layouts, and every kind of picture is read."""
    reasons, suffixes, layouts = set(), set(), set()
    for seed in TREES:
        grown(seed, root / str(seed), tmp_path / f"elsewhere {seed}")
        listing = folders.listing(f"folder:{seed}", root)
        reasons |= {reason for reason, paths in listing.skipped.items() if paths}
        suffixes |= {file.path.suffix.lower() for file in listing.train}
        layouts.add(len(listing.train[0].path.relative_to(root).parts) > 3)
    assert len(reasons) == 6 and len(suffixes) >= 14 and len(layouts) == 2
