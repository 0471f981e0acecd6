"""One picture that a user uploads, made into an image for a network.

PNG, JPEG and WebP are read, known by their content, whatever the file is called. What is too large is refused before
any pixel is decoded, and what is larger than needed is reduced as early as its format allows. Colour profiles are not
applied: the data sets' are not either.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .datasets import pictures
from .errors import DataError

if TYPE_CHECKING:  # PIL is imported where it is used: pages need not wait for it
    from PIL.Image import Image

LIMIT_BYTES = 20 * 2**20
# So that decoding stays within 200 MB: a PNG takes 4 bytes a pixel, a WebP 16, a progressive JPEG 3.
LIMIT_PIXELS = {"PNG": 45_000_000, "JPEG": 50_000_000, "WebP": 12_000_000}
LIMIT_SIDE = 65_535  # pixels, as in JPEG: even the shortest row costs memory
SHOWN = 512  # pixels of the longer side of a picture that is only shown

# MPO is PIL's word for a JPEG with further pictures behind it, as many telephones make them
_FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "MPO": "JPEG", "WEBP": "WebP"}
_TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270",
          7: "TRANSVERSE", 8: "ROTATE_90"}  # fmt: skip
_STRIP = 2**21  # pixels converted at a time
_one_at_a_time = Lock()  # bounds the memory; and what is done to warnings is done for all threads


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

    Of an animation it is the first frame. Raises DataError for what is no whole PNG, JPEG or WebP picture within
    LIMIT_BYTES, LIMIT_PIXELS and LIMIT_SIDE.
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
        deep = kind == "PNG" and data[24] == 16  # bits a channel, in the header's fixed place
        if deep:
            _key_to_high_byte(source)
        factor = _spare(size, side)
        source.draft(None, (size[0] // factor, size[1] // factor))  # JPEG decodes to less by itself, by 2, 4 or 8
        picture, transparent = _opaque(source, _spare(source.size, side))
        orientation = _orientation(source)
        if orientation in _TURNS:
            picture = picture.transpose(Image.Transpose[_TURNS[orientation]])
            size = size if orientation < 5 else (size[1], size[0])
    planes = np.atleast_3d(np.asarray(picture if channels == 3 else picture.convert("L"))).transpose(2, 0, 1)
    image = pictures.resize(planes, side).copy()  # torch wants arrays that may be written
    picture.thumbnail((SHOWN, SHOWN), Image.Resampling.BILINEAR)
    original = np.array(picture)
    square = min(size)
    done = {
        f"first of {frames} frames": frames > 1,
        "16 bits a channel reduced to 8": deep,
        "transparent parts shown on white": transparent,
        "CMYK converted to RGB": mode == "CMYK",
        "turned upright as its EXIF orientation says": orientation in _TURNS,
        "colours turned to grey": channels == 1 and bool(np.ptp(original, axis=2).any()),
        "cut to its central square": size[0] != size[1],
        f"resized from {square}x{square} to {side}x{side}": square != side,
    }
    return Upload(name, kind, size, tuple(note for note, so in done.items() if so), original, image)


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """PIL at work on a file: its many kinds of errors become DataErrors, and its warnings, which are about metadata,
    are not heard."""
    from PIL import Image, UnidentifiedImageError

    with _one_at_a_time, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        try:
            yield
        except UnidentifiedImageError:
            raise DataError(f"{name} is no picture that is read here: valid are PNG, JPEG and WebP") from None
        except DataError:
            raise
        except Image.DecompressionBombError:
            most = max(LIMIT_PIXELS.values())
            raise DataError(f"{name} is too large: at most {most:,} pixels are read") from None
        except Exception:
            raise DataError(
                f"{name} is damaged or not complete: valid is a whole PNG, JPEG or WebP picture"
            ) from None


def _spare(size: tuple[int, int], side: int) -> int:
    """How many times smaller the picture may be and still shrink, by 3 to `side` for the quality of the filter."""
    return max(1, min(min(size) // (3 * side), max(size) // SHOWN))


def _opaque(source: "Image", factor: int) -> tuple["Image", bool]:
    """The picture in RGB, `factor` times smaller, on white, and whether any white shows through.

    It goes strip by strip, so that nothing but what was decoded has the full size.
    """
    from PIL import Image

    width, height = source.size
    rows = max(1, _STRIP // (width * factor)) * factor
    result, transparent = Image.new("RGB", (math.ceil(width / factor), math.ceil(height / factor))), False
    for top in range(0, height, rows):
        strip = source.crop((0, top, width, min(top + rows, height)))
        if strip.mode.startswith("I"):  # grey of 16 bits, which PIL would clip
            strip = Image.fromarray((np.asarray(strip) >> 8).astype(np.uint8))
            strip.info = source.info
        if strip.has_transparency_data:
            strip = strip.convert("RGBA")
            transparent |= strip.getchannel("A").getextrema() != (255, 255)
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip)
        result.paste(strip.convert("RGB").reduce(factor), (0, top // factor))
    return result, transparent


def _key_to_high_byte(source: "Image") -> None:
    """The one transparent colour of a picture of 16 bits a channel, of which the high byte is kept."""
    key = source.info.get("transparency")
    if key is not None:
        source.info["transparency"] = key >> 8 if isinstance(key, int) else tuple(value >> 8 for value in key)


def _orientation(source: "Image") -> int:
    """As EXIF counts, 1 where it says nothing. A damaged EXIF block spoils no picture."""
    try:
        return source.getexif().get(0x0112, 1)
    except Exception:
        return 1
