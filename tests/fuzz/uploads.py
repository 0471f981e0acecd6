"""Bytes that should be pictures: a picture of the right shape, or a DataError; alone and in folders of classes."""

import io
import random
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from arli_core import datasets
from arli_core.analysis.uploads import read_upload
from arli_core.errors import DataError

from . import hostile
from .case import Case
from .world import World

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM")
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "I;16", "CMYK", "I", "F")
SIGNS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"GIF89a", b"II*\0", b"MM\0*", b"Exif\0\0",
         b"\xff\xff\xff\xff", b"\0\0\0\0", b"IHDR", b"IDAT", b"iCCP", b"tEXt", b"PLTE", b"tRNS",
         b"\xff\xe1", b"\xff\xc2")  # fmt: skip


def uploads(rng: random.Random, world: World) -> Case:
    """One file, as on the page Masks."""
    kind, data = _spoilt(rng)
    channels, side = rng.choice([1, 3]), rng.choice([1, 8, 24, 64])
    name = rng.choice(["mine.png", "x", "a.jpg", hostile.text(rng)[:200]])
    text = f"{kind}, {len(data)} bytes, called {hostile.short(name)}, for {channels}x{side}x{side}"
    return Case(text, partial(_read, data, name, (channels, side, side)), (DataError,))


def folders(rng: random.Random, world: World) -> Case:
    """A data set of class folders, some of whose files are spoilt, read completely, as in training."""
    classes = rng.sample(["a", "b", "ç", "two words", "train", "test", "10", "2"], rng.randint(2, 4))
    files = {f"{name}/{n}.png": _picture("PNG", "RGB", 9, 12) for name in classes for n in range(4)}
    changes = []
    for _ in range(rng.randint(1, 3)):
        kind, data = _spoilt(rng)
        inside = rng.choice(["5", "0", ".hidden", "é", "x" * 90, "deep/er/5", ".ipynb_checkpoints/5", "thumbs/5"])
        path = rng.choice([f"{rng.choice(classes)}/{inside}"] * 4 + ["loose", "new/1"])
        suffix = rng.choice([".png", ".PNG", ".jpg", ".jfif", ".tiff", ".gif", ".webp", ".txt", ""])
        files[path + suffix] = data
        changes.append(f"{path}{suffix}: {kind}")
    return Case(f"folder of {', '.join(classes)} with {'; '.join(changes)}", partial(_loaded, files), (DataError,))


def _read(data: bytes, name: str, shape: tuple[int, int, int], place: Path) -> None:
    upload = read_upload(data, name, shape)
    assert upload.image.shape == shape and upload.image.dtype == np.uint8
    assert upload.original.ndim == 3 and upload.original.shape[2] == 3 and upload.original.dtype == np.uint8


def _loaded(files: dict[str, bytes], place: Path) -> None:
    for path, data in files.items():
        (place / "set" / path).parent.mkdir(parents=True, exist_ok=True)
        (place / "set" / path).write_bytes(data)
    dataset = datasets.load(f"folder:{place / 'set'}", 16)
    for split in (dataset.train, dataset.test):
        images = np.asarray(split.images[np.arange(len(split.labels))])
        assert images.shape == (len(split.labels), 3, 16, 16) and images.dtype == np.uint8
        assert set(np.unique(split.labels)) <= set(range(len(dataset.classes)))


def _spoilt(rng: random.Random) -> tuple[str, bytes]:
    """A picture of any kind with some of its bytes changed, removed or inserted, or cut; or unchanged."""
    form, mode = rng.choice(FORMATS), rng.choice(MODES)
    width, height = rng.choice([1, 2, 9, 12, 64, 300]), rng.choice([1, 2, 9, 12, 64])
    data = bytearray(_picture(form, mode, width, height))
    text = f"{form} {mode} {width}x{height}"
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        at = rng.randrange(len(data) if rng.random() < 0.5 else min(len(data), 64))
        match rng.randrange(5):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                sign = rng.choice(SIGNS)
                data[at : at + len(sign)] = sign
            case 2:
                del data[at : at + rng.randrange(9)]
            case 3:
                data[at:at] = rng.randbytes(rng.randrange(20))
            case _:
                data[at : at + 4] = rng.choice([2**31 - 1, 2**32 - 1, 65_535, 50_000, 0]).to_bytes(
                    4, rng.choice(["big", "little"])
                )
        text += f", changed at {at}"
        data = data or bytearray(1)
    if rng.random() < 0.3:
        del data[rng.randrange(len(data)) :]
        text += f", cut after {len(data)}"
    return text, bytes(data)


@lru_cache(512)
def _picture(form: str, mode: str, width: int, height: int) -> bytes:
    """Noise in a format; in RGB or grey where it cannot hold the mode."""
    pixels = np.random.default_rng(width * 1000 + height).integers(256, size=(height, width, 3), dtype=np.uint8)
    image: Any = Image.fromarray(pixels)
    for target in (mode, "RGB", "L"):
        content = io.BytesIO()
        try:
            (image.convert("L").convert("I").convert(target) if target == "I;16" else image.convert(target)).save(
                content, form
            )
        except (OSError, ValueError, KeyError):
            continue
        return content.getvalue()
    raise ValueError(f"{form} holds none of these")
