"""How an image file becomes pixels: one rule, for data sets and for uploads.

    the first frame; 8 bits a channel; transparent parts on white; RGB; turned as EXIF says, where wanted

Of 16 bits a channel the high byte is kept. CMYK and similar modes become RGB by PIL's plain formulas; colour
profiles are not applied. A picture much larger than needed is reduced as early as its format allows, and converted
strip by strip, so that only what its format decodes has the full size.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # PIL is imported where it is used: pages need not wait for it
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

SHOWN = 512  # pixels of the longer side of a picture that is only displayed; none is reduced below this
STRIP = 2**21  # pixels converted at a time

_ORIENTATION = 0x0112  # EXIF's number for it
_TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270",
          7: "TRANSVERSE", 8: "ROTATE_90"}  # fmt: skip
# Formats whose 16-bit grey PIL returns as 32 bits; in all others, 32 bits really are 32.
_WIDENED = ("PNG", "PPM")


@dataclass(frozen=True, eq=False)
class Decoded:
    """picture: RGB, perhaps reduced. size: width and height in the file, turned as the picture is. deep: whether a
    PNG had 16 bits a channel. transparent: whether white shows through. turned: whether EXIF asked for it."""

    picture: "Image"
    size: tuple[int, int]
    deep: bool
    transparent: bool
    turned: bool


def decode(source: "ImageFile", side: int, upright: bool) -> Decoded:
    """The pixels of an opened file, of which the central square is to be `side` pixels wide.

    Raises ValueError for more than 16 bits a channel, and PIL's own errors for a damaged file.
    """
    from PIL.Image import Transpose

    size, deep = source.size, _deep(source)
    if source.mode == "F" or (source.mode == "I" and source.format not in _WIDENED):
        raise ValueError("its pixels have 32 bits a channel; only 8 or 16 can be read")
    if deep:
        _key_to_high_byte(source)
    factor = _spare(size, side)
    source.draft(None, (size[0] // factor, size[1] // factor))  # JPEG can decode at 1/2, 1/4 or 1/8
    picture, transparent = _opaque(source, _spare(source.size, side))
    orientation = _orientation(source) if upright else 1
    if orientation in _TURNS:
        picture = picture.transpose(Transpose[_TURNS[orientation]])
        size = size if orientation < 5 else (size[1], size[0])
    return Decoded(picture, size, deep, transparent, orientation in _TURNS)


def _spare(size: tuple[int, int], side: int) -> int:
    """The factor by which a picture may be reduced first: it must still shrink by 3 to `side`, as the filter
    needs."""
    return max(1, min(min(size) // (3 * side), max(size) // SHOWN))


def _opaque(source: "Image", factor: int) -> tuple["Image", bool]:
    """The picture in RGB, `factor` times smaller, on white, and whether any white shows through."""
    from PIL import Image

    width, height = source.size
    rows = max(1, STRIP // (width * factor)) * factor
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


def _deep(source: "ImageFile") -> bool:
    """Whether it is a PNG of 16 bits a channel: its header says so at a fixed position."""
    if source.format != "PNG" or source.fp is None:
        return False
    place = source.fp.tell()
    source.fp.seek(24)
    depth = source.fp.read(1)
    source.fp.seek(place)
    return depth == b"\x10"


def _key_to_high_byte(source: "Image") -> None:
    """Reduces the one transparent colour of a picture of 16 bits a channel to its high byte, as its pixels are."""
    key = source.info.get("transparency")
    if key is not None:
        source.info["transparency"] = key >> 8 if isinstance(key, int) else tuple(value >> 8 for value in key)


def _orientation(source: "Image") -> int:
    """The orientation in EXIF's numbers, 1 where it says nothing. A damaged EXIF block is ignored."""
    try:
        return source.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
