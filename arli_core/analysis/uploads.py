"""One picture that a user uploads, made into an image for a network.

PNG, JPEG and WebP are read, recognised by their content, whatever the file is called. A file that is too large is
refused before any pixel is decoded. All else follows the data sets' own rule (datasets/decoding.py): the same file in
a folder of pictures gives the same pixels.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ..datasets import pictures
from ..datasets.decoding import SHOWN, decode
from ..errors import DataError

LIMIT_BYTES = 20 * 2**20
# So that decoding stays within 200 MB: a PNG takes 4 bytes a pixel, a WebP 16, a progressive JPEG 3.
LIMIT_PIXELS = {"PNG": 45_000_000, "JPEG": 50_000_000, "WebP": 12_000_000}
LIMIT_SIDE = 65_535  # pixels, as in JPEG: even the shortest row costs memory

# MPO is PIL's name for a JPEG with further pictures behind it, as many telephones make them
_FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "MPO": "JPEG", "WEBP": "WebP"}
_one_at_a_time = Lock()  # bounds the memory; and warning filters apply to all threads


@dataclass(frozen=True, eq=False)
class Upload:
    """A picture as its user sent it and as a network gets it."""

    name: str
    format: str  # PNG, JPEG or WebP
    size: tuple[int, int]  # width, height in pixels as uploaded, upright
    notes: tuple[str, ...]  # what was done to it, in order
    original: NDArray[np.uint8]  # [H, W, 3] upright RGB, its longer side at most SHOWN: for showing only
    image: NDArray[np.uint8]  # [C, S, S]


def read_upload(data: bytes, name: str, shape: tuple[int, int, int]) -> Upload:
    """The picture in a file's bytes, for a network whose images have shape (C, S, S), C = 1 (grey) or 3 (RGB).

    Of an animation it is the first frame. Raises DataError for anything but a complete PNG, JPEG or WebP picture
    within LIMIT_BYTES, LIMIT_PIXELS and LIMIT_SIDE.
    """
    from PIL import Image

    channels, side, _ = shape
    if len(data) > LIMIT_BYTES:
        raise DataError(f"{name} is too large: at most {LIMIT_BYTES // 2**20} MB are read")
    with _decoding(name), Image.open(BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as source:
        kind, mode, size = _FORMATS[source.format or ""], source.mode, source.size
        if math.prod(size) > LIMIT_PIXELS[kind] or max(size) > LIMIT_SIDE:
            limits = (
                f"at most {LIMIT_PIXELS[kind]:,} pixels of a {kind} are read, and no side longer than {LIMIT_SIDE:,}"
            )
            raise DataError(f"{name} is too large: {limits}")
        frames = getattr(source, "n_frames", 1)
        decoded = decode(source, side, upright=True)
    picture, size = decoded.picture, decoded.size
    planes = np.atleast_3d(np.asarray(picture if channels == 3 else picture.convert("L"))).transpose(2, 0, 1)
    image = pictures.resize(planes, side).copy()  # torch wants arrays that may be written
    picture.thumbnail((SHOWN, SHOWN), Image.Resampling.BILINEAR)
    original = np.array(picture)
    square = min(size)
    steps = {
        f"first of {frames} frames": frames > 1,
        "16 bits a channel reduced to 8": decoded.deep,
        "transparent parts shown on white": decoded.transparent,
        "CMYK converted to RGB": mode == "CMYK",
        "turned upright as its EXIF orientation says": decoded.turned,
        "colours turned to grey": channels == 1 and bool(np.ptp(original, axis=2).any()),
        "cut to its central square": size[0] != size[1],
        f"resized from {square}x{square} to {side}x{side}": square != side,
    }
    return Upload(name, kind, size, tuple(note for note, applies in steps.items() if applies), original, image)


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """While PIL reads a file, its many kinds of errors become DataErrors, and its warnings, which are about metadata,
    are suppressed."""
    from PIL import Image, UnidentifiedImageError

    with _one_at_a_time, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        try:
            yield
        except UnidentifiedImageError:
            raise DataError(f"{name} is not a picture that can be read: valid are PNG, JPEG and WebP") from None
        except DataError:
            raise
        except Image.DecompressionBombError:
            most = max(LIMIT_PIXELS.values())
            raise DataError(f"{name} is too large: at most {most:,} pixels are read") from None
        except Exception:
            raise DataError(
                f"{name} is damaged or incomplete: a complete PNG, JPEG or WebP picture is needed"
            ) from None
