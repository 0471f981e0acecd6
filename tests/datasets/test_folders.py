"""Data sets that are image files: CUB-200-2011, ImageNet-100, a user's own folder."""

import json
import math
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from arli_core import datasets, records
from arli_core.cli import commands
from arli_core.config import Data, preset
from arli_core.datasets import Split, Streamed, folders, generated, listing, load, pictures
from arli_core.errors import DataError, LabError
from arli_core.learn import learn
from arli_core.live import runs
from arli_core.stream import Stream

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty data root."""
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setenv("ARLI_DATA", str(root))
    datasets._load.cache_clear()
    yield root
    datasets._load.cache_clear()


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """The generated sets. Read-only by agreement."""
    place = tmp_path_factory.mktemp("written")
    for name in ("cub-200", "imagenet-100", "folder:mine"):
        generated.write(name, place)
    return place


@pytest.fixture
def everything(written, root) -> Path:
    """A data root with the generated sets, to be changed at will."""
    shutil.copytree(written, root, dirs_exist_ok=True)
    return root


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def noise(height: int, width: int) -> np.ndarray:
    return RNG.integers(256, size=(height, width, 3), dtype=np.uint8)


def equal(a: Split, b: Split) -> bool:
    a, b = a.resident(), b.resident()
    masks = a.masks is b.masks is None or np.array_equal(a.masks, b.masks)
    return np.array_equal(a.images, b.images) and np.array_equal(a.labels, b.labels) and masks


# Pictures


def slowly(pixels: np.ndarray, size: int) -> np.ndarray:
    """The central square, resized by a triangle filter as wide as the step: from its definition, one axis at a
    time."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    result = pixels.astype(float)
    for axis, length in ((0, height), (1, width)):
        first, step = (length - side) / 2, side / size
        reach = max(step, 1)
        rows = []
        for i in range(size):
            centre = first + (i + 0.5) * step
            places = np.arange(max(0, math.floor(centre - reach)), min(length, math.ceil(centre + reach)))
            weights = np.maximum(0, 1 - abs(places + 0.5 - centre) / reach)
            rows.append(np.tensordot(weights / weights.sum(), result.take(places, axis=axis), axes=(0, axis)))
        result = np.stack(rows, axis=axis)
    return result


@pytest.mark.parametrize(("height", "width"), [(40, 40), (50, 40), (41, 64), (20, 90), (12, 13), (1, 5)])
@pytest.mark.parametrize("size", [8, 17, 40])
def test_pictures_become_their_central_square(height, width, size, tmp_path):
    pixels = noise(height, width)
    path = save(tmp_path / "x.png", pixels)
    image = pictures.read(path, size)
    assert image.shape == (3, size, size) and image.dtype == np.uint8
    assert abs(image - slowly(pixels, size).transpose(2, 0, 1)).max() < 2.1  # PIL rounds in between
    grey = pictures.resize(pixels[None, :, :, 0], size)
    assert abs(grey[0] - slowly(pixels[:, :, 0], size)).max() < 2.1
    np.testing.assert_array_equal(pictures.resize(pixels.transpose(2, 0, 1), size), image)


def test_pictures_of_the_right_size_are_not_changed(tmp_path):
    pixels = noise(24, 24)
    np.testing.assert_array_equal(pictures.read(save(tmp_path / "x.png", pixels), 24).transpose(1, 2, 0), pixels)
    wide = noise(24, 30)
    np.testing.assert_array_equal(pictures.read(save(tmp_path / "y.png", wide), 24).transpose(1, 2, 0), wide[:, 3:27])


@pytest.mark.parametrize(("height", "width", "size"), [(24, 24, 24), (24, 30, 24), (48, 60, 24), (30, 25, 50)])
def test_a_mask_is_true_where_the_object_covers_more_than_half(height, width, size):
    mask = np.zeros((height, width), bool)
    mask[height // 4 : height // 2, width // 3 : width // 2 + 3] = True
    share = slowly(mask.astype(float), size)
    resized = pictures.resize_mask(mask, size)
    assert resized.shape == (size, size) and resized.dtype == bool and resized.any()
    clear = abs(share - 0.5) > 0.01  # PIL counts in 255ths
    np.testing.assert_array_equal(resized[clear], (share > 0.5)[clear])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_where_asked(orientation, tmp_path):
    turned = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
              5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1),
              7: lambda a: a[::-1, ::-1].swapaxes(0, 1), 8: np.rot90}  # fmt: skip
    pixels, exif = noise(16, 16), Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "x.png", pixels, exif=exif)
    np.testing.assert_array_equal(pictures.read(path, 16).transpose(1, 2, 0), pixels)
    np.testing.assert_array_equal(
        pictures.read(path, 16, upright=True).transpose(1, 2, 0), turned[orientation](pixels)
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_kind_of_eight_bits_becomes_rgb(mode, tmp_path):
    pixels = np.full((9, 9, 3), 255, np.uint8)
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    Image.fromarray(pixels).convert(mode).save(path)
    assert pictures.read(path, 9).min() > 240


def test_a_palette_with_transparency_does_not_warn(tmp_path):
    Image.fromarray(noise(9, 9)).convert("P").save(tmp_path / "x.png", transparency=bytes(range(256)))
    assert pictures.read(tmp_path / "x.png", 9).shape == (3, 9, 9)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", "cut", "32 bits", "absent", "folder"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".gif", ".tif"])
def test_what_cannot_be_read_is_named(content, suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    if content == "cut":
        whole = save(path, noise(60, 60)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif content == "32 bits":
        path = save(path.with_suffix(".tif"), np.full((9, 9), 4000, np.int32 if suffix == ".png" else np.float32))
    elif content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    for read in (pictures.read, pictures.read_mask) if content != "32 bits" else (pictures.read,):
        with pytest.raises(DataError) as caught:
            read(path, 8)
        assert str(path) in str(caught.value) and "cannot be read as an image" in str(caught.value)
        assert caught.value.__suppress_context__


# Streamed and resident


@pytest.mark.parametrize("name", ["cub-200", "imagenet-100", "folder:mine"])
def test_streamed_equals_resident(name, written, monkeypatch):
    monkeypatch.setenv("ARLI_DATA", str(written))
    streamed, resident = load(name, 24, resident=0), load(name, 24)
    for split in (streamed.train, streamed.test):
        assert isinstance(split.images, Streamed) and (split.masks is None or isinstance(split.masks, Streamed))
    assert all(isinstance(split.images, np.ndarray) for split in (resident.train, resident.test))
    assert streamed.classes == resident.classes and streamed.shape == resident.shape == (3, 24, 24)
    assert equal(streamed.train, resident.train) and equal(streamed.test, resident.test)
    assert (streamed.mean, streamed.std) == (resident.mean, resident.std)
    a, b = streamed.holdout(), resident.holdout()
    assert isinstance(a.train.images, Streamed) and equal(a.train, b.train) and equal(a.test, b.test)
    index = np.array([3, 0, 3])
    assert equal(streamed.test[index], resident.test[index])
    with pytest.raises(ValueError, match="read-only"):
        resident.train.images[0] = 0


@pytest.mark.parametrize(
    ("name", "shape", "sizes", "classes"),
    [
        ("cub-200", (3, 224, 224), (400, 200), 200),
        ("imagenet-100", (3, 224, 224), (300, 100), 100),
        ("folder:mine", (3, 64, 64), (40, 12), 4),
    ],
)
def test_generated_sets_are_loaded(name, shape, sizes, classes, written, monkeypatch):
    monkeypatch.setenv("ARLI_DATA", str(written))
    data = load(name, resident=0)
    assert (data.name, data.shape, len(data.classes)) == (name, shape, classes)
    assert (len(data.train), len(data.test)) == sizes
    for split, number in ((data.train, sizes[0]), (data.test, sizes[1])):
        np.testing.assert_array_equal(np.bincount(split.labels), [number // classes] * classes)
        assert split.images[0].any() and split.labels.dtype == np.int64
    assert load(name, shape[1], resident=0) is data


# CUB-200-2011


@pytest.fixture
def birds(root) -> Path:
    """Three photographs by hand: a square one, a wide one, a tall one, with boxes and no segmentations."""
    place = root / "CUB_200_2011"
    for file, (height, width) in {"b/one": (20, 20), "a/two": (20, 30), "b/three": (40, 20)}.items():
        save(place / "images" / f"{file}.png", noise(height, width))
    tables = {
        "images": "1 b/one.png\n2 a/two.png\n3 b/three.png\n",
        "classes": "1 001.Black_footed_Albatross\n2 002.Auk\n",
        "image_class_labels": "1 2\n2 1\n3 2\n",
        "train_test_split": "1 1\n2 0\n3 1\n",
        "bounding_boxes": "1 2.0 3.0 10.0 5.0\n2 0.0 4.0 9.0 6.0\n3 5.0 10.0 10.0 25.0\n",
    }
    for name, text in tables.items():
        (place / f"{name}.txt").write_text(text)
    return place


def expected(height: int, width: int, rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[rows, columns] = True
    return mask


def test_tables_say_which_image_is_what(birds):
    data = load("cub-200", 20)
    assert data.classes == ("Black footed Albatross", "Auk")
    assert data.train.labels.tolist() == [1, 1] and data.test.labels.tolist() == [0]
    one, two, three = (np.asarray(Image.open(birds / "images" / f"{f}.png")) for f in ("b/one", "a/two", "b/three"))
    np.testing.assert_array_equal(data.train.images[0].transpose(1, 2, 0), one)
    np.testing.assert_array_equal(data.train.images[1].transpose(1, 2, 0), three[10:30])
    np.testing.assert_array_equal(data.test.images[0].transpose(1, 2, 0), two[:, 5:25])


def test_boxes_are_masks_and_go_the_way_of_the_image(birds):
    data = load("cub-200", 20)
    np.testing.assert_array_equal(data.train.masks[0], expected(20, 20, slice(3, 8), slice(2, 12)))
    np.testing.assert_array_equal(data.train.masks[1], expected(40, 20, slice(10, 35), slice(5, 15))[10:30])
    np.testing.assert_array_equal(data.test.masks[0], expected(20, 30, slice(4, 10), slice(0, 9))[:, 5:25])


@pytest.mark.parametrize("beside", [False, True])
def test_segmentations_come_before_boxes(birds, beside):
    """Grey values are the share of annotators: above the middle, the pixel belongs to the bird."""
    place = birds.parent / "segmentations" if beside else birds / "segmentations"
    values = np.array([0, 51, 102, 153, 204, 255], np.uint8)
    maps = {}
    for file, (height, width) in {"b/one": (20, 20), "a/two": (20, 30), "b/three": (40, 20)}.items():
        maps[file] = RNG.choice(values, size=(height, width))
        pixels = maps[file] if file != "a/two" else np.stack([maps[file], np.full_like(maps[file], 255)], axis=2)
        save(place / f"{file}.png", pixels)  # one of them grey with alpha, as some of the published ones are
    data = load("cub-200", 20)
    np.testing.assert_array_equal(data.train.masks[0], maps["b/one"] >= 153)
    np.testing.assert_array_equal(data.train.masks[1], maps["b/three"][10:30] >= 153)
    np.testing.assert_array_equal(data.test.masks[0], maps["a/two"][:, 5:25] >= 153)


def test_a_missing_segmentation_is_named(birds):
    save(birds / "segmentations" / "b" / "one.png", np.zeros((20, 20), np.uint8))
    with pytest.raises(DataError, match=r"segmentations/./(two|three)\.png"):
        load("cub-200", 20)


def test_generated_boxes_enclose_the_generated_segmentations(everything):
    by_shape = load("cub-200", 40)
    shutil.rmtree(everything / "CUB_200_2011" / "segmentations")
    datasets._load.cache_clear()
    by_box = load("cub-200", 40)
    for shape, box in zip(by_shape.test.masks, by_box.test.masks, strict=True):
        assert shape.any() and (shape & ~box).mean() < 0.01 and 0.5 < shape.sum() / box.sum() < 1
        rows, columns = np.flatnonzero(box.any(axis=1)), np.flatnonzero(box.any(axis=0))
        assert box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.98  # a corner may be half covered
    for image, shape in zip(by_shape.test.images.mean(axis=1), by_shape.test.masks, strict=True):
        assert image[shape].mean() > 1.5 * image[~shape].mean()


@pytest.mark.parametrize("name", ["images", "image_class_labels", "train_test_split", "classes", "bounding_boxes"])
def test_a_missing_table_is_named_with_what_to_do(birds, name):
    (birds / f"{name}.txt").unlink()
    with pytest.raises(
        DataError, match=rf"cub-200: found no {name}\.txt in .*Download .*https.*--data-root"
    ) as caught:
        load("cub-200")
    assert str(birds) in str(caught.value) and str(birds.parent) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("images", "", "damaged"),
        ("images", "1\n", "damaged"),
        ("image_class_labels", "1 2\n2 1\n", "do not match"),
        ("image_class_labels", "1 2\n2 1\n3 7\n", "do not match"),
        ("train_test_split", "1 1\n2 0\n3 x\n", "do not match"),
        ("train_test_split", "1 1\n2 1\n3 1\n", "no image in one of the splits"),
        ("bounding_boxes", "1 2 3 4 5\n2 1 2 3 4\n3 1 2 3\n", "do not match"),
        ("bounding_boxes", "1 2 3 4 5\n2 1 2 3 4\n3 1 2 3 wide\n", "do not match"),
    ],
)
def test_damaged_tables_are_named(birds, name, text, why):
    (birds / f"{name}.txt").write_text(text)
    with pytest.raises(DataError, match=why) as caught:
        load("cub-200")
    assert str(birds) in str(caught.value)


def test_tables_that_are_no_text_are_named(birds):
    (birds / "images.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"images\.txt cannot be read"):
        load("cub-200")


def test_a_missing_photograph_is_named_when_it_is_read(birds):
    (birds / "images" / "b" / "three.png").unlink()
    with pytest.raises(DataError, match=r"three\.png"):
        load("cub-200", 20)
    streamed = load("cub-200", 20, resident=0)
    assert streamed.train.images[0].shape == (3, 20, 20)
    with pytest.raises(DataError, match=r"three\.png"):
        streamed.train.images[np.array([0, 1])]


# ImageNet-100


def test_the_list_chooses_and_orders_and_names_the_classes(everything):
    place = everything / "imagenet-100"
    names = sorted(path.name for path in (place / "train").iterdir())
    (place / "imagenet100.txt").write_text(f"{names[7]}\n\n  {names[2]}  tench, Tinca tinca \n{names[50]}\n")
    data = load("imagenet-100", 16)
    assert data.classes == (names[7], "tench, Tinca tinca", names[50])
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] and data.test.labels.tolist() == [0, 1, 2]
    for split, side in ((data.train, "train"), (data.test, "val")):
        paths = [path for name in (7, 2, 50) for path in sorted((place / side / names[name]).iterdir())]
        np.testing.assert_array_equal(split.images, np.stack([pictures.read(path, 16) for path in paths]))
    (place / "imagenet100.txt").rename(place / "classes.txt")
    datasets._load.cache_clear()
    assert load("imagenet-100", 16).classes == data.classes


def test_val_may_be_called_test_and_comes_before_it(everything):
    """The `test` folder of ILSVRC 2012 has no classes."""
    place = everything / "imagenet-100"
    before = load("imagenet-100", 16)
    (place / "test").mkdir()
    datasets._load.cache_clear()
    assert equal(load("imagenet-100", 16).test, before.test)
    (place / "test").rmdir()
    (place / "val").rename(place / "test")
    datasets._load.cache_clear()
    assert equal(load("imagenet-100", 16).test, before.test)


def test_the_whole_of_imagenet_will_do_with_a_list(everything):
    before = load("imagenet-100", 16)
    (everything / "imagenet-100").rename(everything / "imagenet")
    (everything / "imagenet" / "train" / "n00000000").mkdir()
    datasets._load.cache_clear()
    assert equal(load("imagenet-100", 16).train, before.train)


def test_without_a_list_there_must_be_a_hundred_classes(everything):
    place = everything / "imagenet-100"
    before = load("imagenet-100", 16)
    (place / "imagenet100.txt").unlink()
    datasets._load.cache_clear()
    assert equal(load("imagenet-100", 16).train, before.train)
    shutil.rmtree(next((place / "train").iterdir()))
    datasets._load.cache_clear()
    with pytest.raises(DataError, match=r"99 classes, but no imagenet100\.txt or classes\.txt"):
        load("imagenet-100", 16)


def test_a_listed_class_without_images_is_named(everything):
    (everything / "imagenet-100" / "imagenet100.txt").write_text("n10000003\nn99999999\n")
    with pytest.raises(DataError, match=r"imagenet-100: found no images .*train/n99999999"):
        load("imagenet-100")
    (everything / "imagenet-100" / "imagenet100.txt").write_text("\n")
    with pytest.raises(DataError, match="no class"):
        load("imagenet-100")
    (everything / "imagenet-100" / "imagenet100.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"imagenet100\.txt cannot be read"):
        load("imagenet-100")


def test_without_imagenet_the_message_says_what_to_do(root):
    with pytest.raises(
        DataError, match=r"found no train/<wnid>/ and val/<wnid>/ in .*image-net.*--data-root"
    ) as caught:
        load("imagenet-100")
    assert str(root / "imagenet-100") in str(caught.value)


# A user's own folder


def test_train_and_test_folders_are_the_splits(everything):
    place = everything / "mine"
    data = load("folder:mine", 30)
    assert data.classes == generated.FOLDER_CLASSES and data.train.masks is None
    for split, side in ((data.train, "train"), (data.test, "test")):
        paths = [path for name in data.classes for path in sorted((place / side / name).iterdir())]
        np.testing.assert_array_equal(split.images, np.stack([pictures.read(path, 30) for path in paths]))
    absolute = load(f"folder:{place}", 30)
    assert absolute.name == f"folder:{place}" and equal(absolute.train, data.train)
    (place / "test").rename(place / "val")
    datasets._load.cache_clear()
    assert equal(load("folder:mine", 30).test, data.test)


def test_of_plain_class_folders_a_fifth_is_the_test_split(everything):
    place = everything / "plain"
    shutil.move(everything / "mine" / "train", place)
    for stray in (".hidden", "cats"):
        (place / stray).mkdir()
    shutil.rmtree(place / "cats")
    (place / "README.txt").write_text("not a class")
    (place / "dots" / "notes.txt").write_text("not an image")
    (place / "dots" / "._dots_train_0.png").write_bytes(b"not an image either")
    data = load("folder:plain", 16)
    assert data.classes == generated.FOLDER_CLASSES
    assert np.bincount(data.train.labels).tolist() == [8] * 4 and np.bincount(data.test.labels).tolist() == [2] * 4
    paths = {pictures.read(path, 16).tobytes(): path.parent.name for path in place.rglob("[!.]*.png")}
    pairs = [(image.tobytes(), data.classes[label]) for split in (data.train, data.test)
             for image, label in zip(split.images, split.labels, strict=True)]  # fmt: skip
    assert dict(pairs) == paths and len(pairs) == len(paths) == 40
    datasets._load.cache_clear()
    assert equal(load("folder:plain", 16).test, data.test)


def test_images_lie_at_any_depth_in_many_formats(root):
    for label, name in enumerate(("a", "b")):
        for i, suffix in enumerate((".png", ".JPG", ".jpeg", ".webp", ".bmp", ".gif", ".tiff", ".ppm")):
            save(root / "deep" / name / str(i) / f"x{suffix}", np.full((20, 20, 3), 100 + 100 * label, np.uint8))
    data = load("folder:deep", 8)
    assert len(data.train) == 12 and len(data.test) == 4
    for split in (data.train, data.test):
        assert (abs(split.images.mean(axis=(1, 2, 3)) - 100 - 100 * split.labels) < 8).all()


def test_a_class_may_be_called_train(root):
    for name in ("plane", "train"):
        for i in range(5):
            save(root / "vehicles" / name / f"{i}.png", noise(8, 8))
    assert load("folder:vehicles", 8).classes == ("plane", "train")


def test_folders_apply_the_exif_orientation_and_imagenet_does_not(everything):
    exif = Image.Exif()
    exif[0x0112] = 3
    pixels = noise(16, 16)
    own = sorted((everything / "mine" / "train" / "circles").iterdir())[0]
    save(own, pixels, exif=exif)
    np.testing.assert_array_equal(load("folder:mine", 16).train.images[0].transpose(1, 2, 0), pixels[::-1, ::-1])
    theirs = sorted((everything / "imagenet-100" / "train" / "n10000000").iterdir())[0]
    save(theirs, pixels, format="PNG", exif=exif)  # as a few of the published ones are, despite their names
    np.testing.assert_array_equal(load("imagenet-100", 16).train.images[0].transpose(1, 2, 0), pixels)


@pytest.mark.parametrize(
    ("arrange", "why"),
    [
        (lambda place: shutil.rmtree(place), "found no folder of class folders"),
        (lambda place: shutil.rmtree(place / "test"), "neither test/ nor val/"),
        (lambda place: shutil.rmtree(place / "test" / "dots"), "found no images .*test/dots"),
        (lambda place: (place / "test" / "cats").mkdir(), "classes that train/ lacks: cats"),
        (lambda place: (place / "train" / "cats").mkdir(), "found no images .*train/cats"),
        (lambda place: [shutil.rmtree(place / side) for side in ("train", "test")], "no class folders"),
        (lambda place: (place / "test" / "dots" / "x.png").write_bytes(b"?"), r"dots/x\.png cannot be read"),
    ],
)
def test_folders_that_will_not_do_are_named(everything, arrange, why):
    arrange(everything / "mine")
    with pytest.raises(DataError, match=why) as caught:
        load("folder:mine")
    assert str(everything / "mine") in str(caught.value)


def test_too_few_images_for_a_test_split_are_named(root):
    for i in range(2):
        save(root / "few" / "a" / f"{i}.png", noise(8, 8))
    with pytest.raises(DataError, match=r"too few images .*few/a has 2; each class needs at least 3"):
        load("folder:few")


def test_a_folder_that_may_not_be_read_is_an_answer(everything, monkeypatch):
    def refused(place):
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(DataError, match="folder:mine: found no folder"):
        load("folder:mine")


def test_generated_sets_can_be_learned(written, monkeypatch):
    """Their classes differ in more than noise: the nearest class mean finds more than chance."""
    monkeypatch.setenv("ARLI_DATA", str(written))
    for name, least in (("folder:mine", 0.5), ("imagenet-100", 0.05), ("cub-200", 0.025)):
        data = load(name, 16)
        train, test = (split.images.reshape(len(split), 3, -1).mean(axis=2) for split in (data.train, data.test))
        means = np.stack([train[data.train.labels == label].mean(axis=0) for label in range(len(data.classes))])
        nearest = ((test[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
        assert (nearest == data.test.labels).mean() >= least


def test_names_of_folders_are_taken_as_the_system_takes_them(everything, monkeypatch):
    monkeypatch.setenv("HOME", str(everything))
    assert load("folder:~/mine", 8).name == "folder:~/mine"
    assert equal(load("folder:mine/", 8).train, load("folder:mine", 8).train)


# What people's folders hold


def classes_of(place: Path, names: str = "ab", images: int = 5, size: int = 8, **more) -> Path:
    """Class folders of noise."""
    for name in names:
        for i in range(images):
            save(place / name / f"{i}.png", noise(size, size), **more)
    return place


def reasons(root: Path, name: str) -> dict[str, int]:
    return {reason: len(paths) for reason, paths in folders.listing(name, root).skipped.items() if paths}


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", ".thumbnails", "@eaDir", "__MACOSX", ".AppleDouble"])
def test_copies_that_other_programs_keep_are_no_images(hidden, root):
    place = classes_of(root / "mine")
    for name in "ab":
        shutil.copytree(place / name, place / name / hidden)
    data = load("folder:mine", 8)
    assert len(data.train) + len(data.test) == 10
    assert not {image.tobytes() for image in data.test.images} & {image.tobytes() for image in data.train.images}
    assert reasons(root, "folder:mine") == {listing.HIDDEN: 10}
    example = f"a/{hidden}/0.png, a/{hidden}/1.png, …"
    assert data.notes == ("folder:mine: 8 images to train on and 2 to test on.",
                          f"Files left out: 10 hidden or made by another program ({example}).")  # fmt: skip


def test_where_all_is_read_there_is_nothing_more_to_say(root):
    classes_of(root / "mine")
    assert load("folder:mine", 8).notes == ("folder:mine: 8 images to train on and 2 to test on.",)
    assert load("folder:mine", 8).holdout().notes == load("folder:mine", 8, resident=0).notes
    assert load("digits").notes == ()


def test_a_shape_in_the_alpha_channel_stands_on_white(root):
    shapes = {}
    for name in "ab":
        for i in range(3):
            alpha = RNG.integers(256, size=(8, 8), dtype=np.uint8)
            save(root / "mine" / name / f"{i}.png", np.dstack((np.zeros((8, 8, 3), np.uint8), alpha)))
            shapes[255 - alpha.astype(int)[0, 0]] = 255 - alpha.astype(int)
    data = load("folder:mine", 8)
    for split in (data.train, data.test):
        for image in split.images:
            np.testing.assert_array_equal(image, np.stack([shapes[int(image[0, 0, 0])]] * 3))


@pytest.mark.parametrize("train", ["train", "Train", "Training", "TRAIN", "training"])
@pytest.mark.parametrize("test", ["test", "Testing", "TEST", "val", "Valid", "validation"])
def test_splits_are_known_by_their_usual_names(train, test, root):
    classes_of(root / "mine" / train, images=4)
    classes_of(root / "mine" / test, images=2)
    data = load("folder:mine", 8)
    assert data.classes == ("a", "b") and (len(data.train), len(data.test)) == (8, 4)


def test_beside_test_a_validation_folder_is_left_out_and_said(root):
    for side in ("train", "test", "val"):
        classes_of(root / "mine" / side, images=2)
    data = load("folder:mine", 8)
    assert (len(data.train), len(data.test)) == (4, 4)
    assert data.notes[1] == "Files left out: 4 outside the class folders (val/a/0.png, val/a/1.png, …)."


@pytest.mark.parametrize(
    ("sides", "why"),
    [
        (("Train", "training", "test"), "has Train and training, but only one of them can be used"),
        (("train", "Testing", "test"), "has Testing and test, but only one of them can be used"),
        (("train", "val", "valid"), "has val and valid, but only one of them can be used"),
        (("test", "val"), "has test/, but no train/ beside it"),
        (("validation",), "has validation/, but no train/ beside it"),
        (("Training",), "has Training/, but neither test/ nor val/ beside it"),
    ],
)
def test_folders_that_could_be_meant_in_two_ways_are_refused(sides, why, root):
    for side in sides:
        classes_of(root / "mine" / side)
    with pytest.raises(DataError, match=why) as caught:
        load("folder:mine")
    assert str(root / "mine") in str(caught.value)


@pytest.mark.parametrize("names", ["a", "ab"])
def test_splits_within_a_class_are_not_mixed(names, root):
    """As in an archive unpacked into a folder of its own name, or in one with the classes above the splits."""
    for name in names:
        classes_of(root / "mine" / name / "Training")
        classes_of(root / "mine" / name / "Testing")
    with pytest.raises(DataError, match="mine/a is taken for a class, but has training and test folders in it"):
        load("folder:mine")


@pytest.mark.parametrize("sides", [("train",), ("train", "test"), ("train", "val", "a")])
def test_a_split_without_class_folders_is_no_class(sides, root):
    """As where a competition's test images lie beside its training images."""
    classes_of(root / "mine", sides)
    with pytest.raises(DataError, match=r"neither test/ nor val/|has no class folders"):
        load("folder:mine")


def test_every_suffix_of_a_jpeg_and_linked_folders_are_read(root):
    elsewhere = root / "elsewhere"
    for i, suffix in enumerate((".jfif", ".JFIF", ".jpe", ".jpg", ".jpeg", ".png", ".webp")):
        save(elsewhere / f"{i}{suffix}", noise(8, 8))
    for name in "ab":
        shutil.copytree(elsewhere, root / name)
        (root / "mine").mkdir(exist_ok=True)
    (root / "mine" / "a").symlink_to(root / "a")
    (root / "mine" / "b").mkdir()
    (root / "mine" / "b" / "sub").symlink_to(root / "b")
    assert load("folder:mine", 8).notes == ("folder:mine: 12 images to train on and 2 to test on.",)


def test_links_that_go_round_in_circles_end(root):
    place = classes_of(root / "mine")
    for name, target in (
        ("up", ".."),
        ("here", "."),
        ("root", root),
        ("across", "sub"),
        ("itself.png", "itself.png"),
    ):
        (place / "a" / name).symlink_to(target)
    save(place / "a" / "sub" / "x.png", noise(8, 8))
    (place / "a" / "sub" / "back").symlink_to(place / "a")
    assert len(load("folder:mine", 8).train) + len(load("folder:mine", 8).test) == 11
    assert reasons(root, "folder:mine") == {listing.AGAIN: 5, listing.NOWHERE: 1}


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_one_file_is_one_image(link, root):
    place = classes_of(root / "mine")
    link(place / "a" / "0.png", place / "a" / "again.png")
    assert len(load("folder:mine", 8).train) + len(load("folder:mine", 8).test) == 10
    assert reasons(root, "folder:mine") == {listing.AGAIN: 1}
    link(place / "a" / "1.png", place / "b" / "again.png")
    with pytest.raises(DataError, match=r"a/1\.png and .*b/again\.png are the same file, by a link"):
        load("folder:mine", 8)


def test_what_is_trained_on_does_not_test(root):
    classes_of(root / "mine" / "train")
    (root / "mine" / "test").symlink_to("train")
    with pytest.raises(DataError, match="a training image cannot test anything"):
        load("folder:mine", 8)


def test_files_that_share_a_number_in_a_poor_file_system_are_still_two(root, monkeypatch):
    classes_of(root / "mine")
    stat = Path.stat

    def poor(path, **options):
        status = list(stat(path, **options))
        return os.stat_result([status[0], 7, *status[2:]])

    monkeypatch.setattr(Path, "stat", poor)
    files = folders.listing("folder:mine", root)
    assert len(files.train) + len(files.test) == 10


@pytest.mark.parametrize("suffix", [".eps", ".tga"])
def test_what_would_start_a_program_or_be_taken_for_an_image_is_not_opened(suffix, tmp_path):
    """A file is recognised by its content: a kind that is not read is refused, whatever its name."""
    path = tmp_path / "x.png"
    Image.fromarray(noise(9, 9)).save(tmp_path / f"x{suffix}")
    (tmp_path / f"x{suffix}").rename(path)
    with pytest.raises(DataError, match=r"x\.png cannot be read as an image"):
        pictures.read(path, 8)


def test_a_folder_that_is_left_out_need_not_be_readable(root, monkeypatch):
    """As lost+found at the root of a disk."""
    place, scandir = classes_of(root / "mine"), os.scandir
    (place / "lost+found").mkdir()

    def refused(folder):
        if Path(folder).name == "lost+found":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refused)
    assert reasons(root, "folder:mine") == {listing.HIDDEN: 1}
    (place / "a" / "lost+found").mkdir()
    (place / "lost+found").rename(place / "b" / "within")
    (place / "b" / "within").rename(place / "b" / "sub")
    monkeypatch.setattr(os, "scandir", lambda folder: refused("lost+found") if folder == place / "b" / "sub"
                        else scandir(folder))  # fmt: skip
    with pytest.raises(DataError, match=r"folder:mine: .*b/sub cannot be read: Permission denied"):
        load("folder:mine")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_in_another_encoding_can_be_shown(root):
    for name in (b"caf\xe9", b"the"):
        for i in range(3):
            save(Path(os.fsdecode(os.fsencode(root / "mine") + b"/" + name)) / f"{i}.png", noise(8, 8))
    Path(os.fsdecode(os.fsencode(root / "mine") + b"/\xe4.txt")).touch()
    data = load("folder:mine", 8)
    assert data.classes == ("caf\ufffd", "the") and len(data.train) == 4
    assert data.notes[1] == "Files left out: 1 outside the class folders (\ufffd.txt)."
    " ".join((*data.classes, *data.notes)).encode()


def test_names_that_no_system_has_are_an_answer(root):
    with pytest.raises(DataError, match="found no folder of class folders"):
        load("folder:a\0b")
    with pytest.raises(LabError, match="no home directory is known"):
        load("folder:~nobody-of-this-name/x")


# Channels


@pytest.mark.parametrize("constant", [[0], [2], [0, 1]])
@pytest.mark.parametrize("value", [0, 7, 128, 255])
def test_a_constant_channel_is_zero_when_normalised(constant, value, root):
    """As in fluorescence images of one colour: the other channels are constant, and are not divided by zero."""
    for name in "ab":
        for i in range(5):
            pixels = noise(8, 8)
            pixels[..., constant] = value
            save(root / "mine" / name / f"{i}.png", pixels)
    data = load("folder:mine", 8)
    varied = [channel for channel in range(3) if channel not in constant]
    assert [data.std[channel] for channel in constant] == [1.0] * len(constant)
    for channel in varied:
        assert data.std[channel] == pytest.approx(data.train.images[:, channel].std() / 255)
    settings = Data(name="folder:mine", tasks=2, classes_per_task=1)
    samples = Stream(data, settings, torch.device("cpu")).train[torch.arange(8)]
    assert samples.images.isfinite().all() and (samples.images[:, constant] == 0).all()
    assert abs(samples.images[:, varied].std(correction=0) - 1) < 1e-3


@pytest.mark.parametrize("method", ["ari", "replay"])
def test_fluorescence_in_blue_alone_is_learned(method, root):
    for label, name in enumerate("ab"):
        for i in range(8):
            pixels = np.zeros((8, 8, 3), np.uint8)
            pixels[..., 2] = RNG.integers(40, 90, size=(8, 8)) + 120 * label
            save(root / "mine" / name / f"{i}.png", pixels)
    data = {"data.name": "folder:mine", "data.image_size": 8, "data.tasks": 1}
    *_, done, _ = learn(preset("digits", method, device="cpu", **data, **{"train.epochs": 8, "memory.budget": 4}))
    assert done.accuracy["per_sample"] == (1.0,)


def test_a_channel_of_less_than_a_grey_level_is_constant(root):
    """One pixel that differs would otherwise become a value of thousands."""
    for name in "ab":
        for i in range(5):
            pixels = noise(8, 8)
            pixels[..., 1] = 30
            pixels[0, 0, 1] += i == 0
            save(root / "mine" / name / f"{i}.png", pixels)
    assert load("folder:mine", 8).std[1] == 1


def test_images_of_one_colour_are_refused_before_training(root):
    for name in "ab":
        for i in range(5):
            save(root / "mine" / name / f"{i}.png", np.full((8, 8, 3), (1, 2, 3), np.uint8))
    with pytest.raises(DataError, match="folder:mine: all training images are of one and the same colour"):
        learn(preset("digits", **{"data.name": "folder:mine", "data.tasks": 1, "network.name": "conv"}))


# Splits that are too small


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("method", ["ari", "finetune"])
def test_too_few_images_to_validate_on_are_refused_before_training(images, method, root, tmp_path):
    classes_of(root / "mine" / "train", "ab", images)
    classes_of(root / "mine" / "test", "ab", 2)
    settings = {"data.name": "folder:mine", "data.image_size": 8, "data.tasks": 2, "data.classes_per_task": 1}
    config = preset("digits", method, device="cpu", **settings, **{"data.evaluate_on": "validation"})
    why = (
        rf"each class needs images to train on and images for validation, but a has {images} and 0, b has.*at least 3"
    )
    with pytest.raises(DataError, match=why):
        runs.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with_test = preset("digits", method, device="cpu", **settings, **{"train.epochs": 1})
    assert [record for record, _ in runs.train(with_test, tmp_path / "run")][-1].finished
    assert records.load(tmp_path / "run").accuracy_matrix("per_sample").shape == (2, 2)


def test_three_images_are_enough_to_validate_on(root, tmp_path):
    classes_of(root / "mine" / "train", "ab", 3)
    classes_of(root / "mine" / "test", "ab", 1)
    settings = {"data.name": "folder:mine", "data.image_size": 8, "data.tasks": 2, "data.classes_per_task": 1}
    config = preset("digits", device="cpu", **settings, **{"data.evaluate_on": "validation", "train.epochs": 1,
                                                           "memory.budget": 4})  # fmt: skip
    assert [record for record, _ in runs.train(config, tmp_path / "run")][-1].finished
    assert records.load(tmp_path / "run").finished


def test_classes_that_a_run_does_not_use_may_be_small(root):
    classes_of(root / "mine" / "train", "ab", 3)
    classes_of(root / "mine" / "train", "c", 1)
    classes_of(root / "mine" / "test", "abc", 1)
    holdout = load("folder:mine", 8).holdout()
    settings = {"name": "folder:mine", "classes_per_task": 1, "evaluate_on": "validation"}
    assert len(Stream(holdout, Data(tasks=2, **settings), torch.device("cpu")).test) == 2
    with pytest.raises(DataError, match="but c has 1 and 0"):
        Stream(holdout, Data(tasks=3, **settings), torch.device("cpu"))


# Within one process


CHANGES = {
    "added class": lambda place: classes_of(place, "c"),
    "removed class": lambda place: shutil.rmtree(place / "b"),
    "renamed class": lambda place: (place / "b").rename(place / "A"),
    "added image": lambda place: save(place / "a" / "new.png", noise(8, 8)),
    "removed image": lambda place: (place / "a" / "0.png").unlink(),
    "renamed image": lambda place: (place / "a" / "0.png").rename(place / "a" / "zz.png"),
    "changed image": lambda place: save(place / "a" / "0.png", noise(8, 8)),
    "image of another class": lambda place: (place / "b" / "0.png").replace(place / "a" / "0.png"),
}


@pytest.mark.parametrize("resident", [0, datasets.RESIDENT])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder_is_seen(change, resident, root):
    place = classes_of(root / "mine", "abd", 6)
    before = load("folder:mine", 8, resident=resident)
    assert load("folder:mine", 8, resident=resident) is before
    CHANGES[change](place)
    after = load("folder:mine", 8, resident=resident)
    datasets._load.cache_clear()
    fresh = load("folder:mine", 8, resident=resident)
    assert after is not before and after.classes == fresh.classes
    assert equal(after.train, fresh.train) and equal(after.test, fresh.test) and after.mean == fresh.mean


@pytest.mark.parametrize("name", ["cub-200", "imagenet-100"])
def test_changed_files_of_the_published_sets_are_seen(name, everything):
    before = load(name, 16)
    assert load(name, 16) is before
    files = sorted(everything.rglob("*.jp*g" if name == "cub-200" else "train/**/*.JPEG"))
    save(files[0], noise(40, 40), format="JPEG")
    after = load(name, 16)
    assert after is not before
    assert not (equal(after.train, before.train) and equal(after.test, before.test))


# Messages, and what stays


def test_the_command_line_says_what_is_left_out(root, tmp_path, monkeypatch):
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(tmp_path / "runs"))
    place = classes_of(root / "mine")
    (place / "a" / "notes.txt").write_text("not an image")
    settings = ["--set", "data.name=folder:mine", "--set", "data.image_size=8", "--set", "data.tasks=1"]
    settings += ["--set", "train.epochs=1", "--set", "memory.budget=4", "--device", "cpu", "--json"]
    notes = ("folder:mine: 8 images to train on and 2 to test on.",
             "Files left out: 1 of another file type (a/notes.txt).")  # fmt: skip
    result = CliRunner().invoke(commands.app, ["train", "--preset", "digits", "--out", "x", *settings])
    assert result.exit_code == 0, result.output
    assert all(result.stderr.count(note) == 1 for note in notes) and json.loads(result.stdout)
    assert records.load("x").started.notes == notes
    sweep = ["sweep", "--preset", "digits", "--methods", "ari,replay", "--seeds", "1", "--out", str(tmp_path / "s")]
    for count in (1, 0):  # no note where all runs exist already: the folder is not read
        result = CliRunner().invoke(commands.app, [*sweep, *settings])
        assert result.exit_code == 0, result.output
        assert all(result.stderr.count(note) == count for note in notes) and json.loads(result.stdout)


def test_an_image_that_is_damaged_while_a_run_trains_costs_nothing(root, tmp_path, monkeypatch):
    """Images that exceed the memory are read on demand: a test image only after all of training."""
    monkeypatch.setattr(datasets.load, "__defaults__", (None, 0.0, 0))
    classes_of(root / "mine" / "train", "ab", 4)
    classes_of(root / "mine" / "test", "ab", 2)
    settings = {"data.name": "folder:mine", "data.image_size": 8, "data.tasks": 2, "data.classes_per_task": 1,
                "train.epochs": 2, "memory.budget": 4, "recording.probes": 0}  # fmt: skip
    config = preset("digits", device="cpu", **settings)
    whole = [record for record, _ in runs.train(config, tmp_path / "whole")][-1]
    image = root / "mine" / "test" / "b" / "1.png"
    good = image.read_bytes()
    progress = runs.train(config, tmp_path / "run")
    next(progress)  # its data are recorded
    image.write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"test/b/1\.png cannot be read"):
        list(progress)
    record = records.load(tmp_path / "run")
    assert record.status == "unfinished" and len(record.tasks) == 1
    assert (record.saved.task, record.saved.epoch) == (2, 2)  # all that was trained is there
    image.write_bytes(good)
    resumed = [record for record, _ in runs.resume(tmp_path / "run")][-1]
    assert resumed.finished and resumed.accuracy == whole.accuracy
    for name, value in whole.weights[2].items():
        np.testing.assert_array_equal(resumed.weights[2][name], value)


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), MemoryError(), OSError(28, "No space left")])
def test_whatever_happens_to_an_evaluation_the_run_can_go_on(error, root, tmp_path, monkeypatch):
    config = preset("digits", "finetune", device="cpu", **{"data.tasks": 1, "train.epochs": 1})

    def failing(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("arli_core.evaluation.accuracies", failing)
        with pytest.raises(type(error)):
            list(runs.train(config, tmp_path / "run"))
    record = records.load(tmp_path / "run")
    assert record.status == "unfinished" and (record.saved.task, record.saved.epoch) == (1, 1)
    events = [event for _, event in runs.resume(tmp_path / "run")]
    assert [type(event).__name__ for event in events] == ["TaskDone", "Finished"]  # nothing is trained again
    assert records.load(tmp_path / "run").finished
