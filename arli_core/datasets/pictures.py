"""Image files and arrays as squares of one size: the central square of an image, resized.

That is the shorter side resized and the centre cut out, in one step. Resizing is PIL's bilinear filter, which
averages where it shrinks. A mask is resized in the same way and is True where the object covers more than half of the
pixel.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from .decoding import decode

if TYPE_CHECKING:  # PIL is imported where it is used: pages need not wait for it
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

# Formats that PIL reads by itself and recognises by their first bytes, and the suffixes of such files. Not EPS, for
# which it starts another program, nor TGA, which has no signature, so that damaged files would pass for it.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI", "TIFF", "WEBP")
SUFFIXES = frozenset((
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm",
    ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tif", ".tiff", ".webp",
))  # fmt: skip


def read(path: Path, size: int, upright: bool = False) -> np.ndarray:
    """The image of a file: uint8 [3, size, size], decoded as decoding.py says; `upright`: turned as EXIF asks.

    Raises DataError where the file is not an image with 8 or 16 bits a channel.
    """
    with _opened(path) as image:
        return np.asarray(square(decode(image, size, upright).picture, size)).transpose(2, 0, 1)


def read_mask(path: Path, size: int) -> np.ndarray:
    """The mask of a file, True where it is lighter than middle grey: bool [size, size]. Raises DataError."""
    with _opened(path) as image:
        return resize_mask(np.asarray(image.convert("L")) > 127, size)


def box_mask(path: Path, box: tuple[float, float, float, float], size: int) -> np.ndarray:
    """The mask of a box (left, top, width, height) in pixels of the file's image: bool [size, size]."""
    with _opened(path) as image:
        width, height = image.size
    left, top, right, bottom = (max(0, round(v)) for v in (box[0], box[1], box[0] + box[2], box[1] + box[3]))
    mask = np.zeros((height, width), dtype=bool)
    mask[top:bottom, left:right] = True
    return resize_mask(mask, size)


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """uint8 [C, H, W], C = 1 or 3, to uint8 [C, size, size]."""
    from PIL import Image

    if len(pixels) == 1:
        return np.asarray(square(Image.fromarray(pixels[0]), size))[None]
    return np.asarray(square(Image.fromarray(pixels.transpose(1, 2, 0)), size)).transpose(2, 0, 1)


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """bool [H, W] to bool [size, size]."""
    return resize(mask[None] * np.uint8(255), size)[0] > 127


def square(image: "Image", size: int) -> "Image":
    """The central square of the image, resized; an image of that size already is not changed."""
    from PIL.Image import Resampling

    side = min(image.size)
    left, top = ((length - side) / 2 for length in image.size)
    return image.resize((size, size), Resampling.BILINEAR, box=(left, top, left + side, top + side))


@contextmanager
def _opened(path: Path) -> Iterator["ImageFile"]:
    """The file's image; any of PIL's many kinds of error becomes a DataError."""
    from PIL import Image

    Image.init()
    try:
        with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as image:
            yield image
    except Exception as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from None
