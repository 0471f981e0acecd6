"""How the file of a picture becomes pixels: one rule, for data sets and for what a user uploads.

    the first frame; 8 bits a channel; transparent parts on white; RGB; turned as EXIF says, where wanted

Of 16 bits a channel the high byte is kept. CMYK and the like become RGB by PIL's plain formulas; colour profiles are
not applied. What is much larger than needed is reduced as early as its format allows, and goes strip by strip, so
that nothing but what its format decodes has the full size.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # PIL is imported where it is used: pages need not wait for it
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

SHOWN = 512  # pixels of the longer side of a picture that is only shown; no picture is reduced to less
STRIP = 2**21  # pixels converted at a time

_ORIENTATION = 0x0112  # EXIF's number for it
_TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270",
          7: "TRANSVERSE", 8: "ROTATE_90"}  # fmt: skip
# Those whose 16 bits of grey PIL gives as 32 bits; in others, 32 bits are 32.
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

    Raises ValueError for pixels of more than 16 bits a channel, and what PIL raises for a damaged file.
    """
    from PIL.Image import Transpose

    size, deep = source.size, _deep(source)
    if source.mode == "F" or (source.mode == "I" and source.format not in _WIDENED):
        raise ValueError("its pixels have 32 bits a channel; what can be read has 8 or 16")
    if deep:
        _key_to_high_byte(source)
    factor = _spare(size, side)
    source.draft(None, (size[0] // factor, size[1] // factor))  # JPEG decodes to less by itself, by 2, 4 or 8
    picture, transparent = _opaque(source, _spare(source.size, side))
    orientation = _orientation(source) if upright else 1
    if orientation in _TURNS:
        picture = picture.transpose(Transpose[_TURNS[orientation]])
        size = size if orientation < 5 else (size[1], size[0])
    return Decoded(picture, size, deep, transparent, orientation in _TURNS)


def _spare(size: tuple[int, int], side: int) -> int:
    """How many times smaller the picture may be and still shrink, by 3 to `side` for the quality of the filter."""
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
    """Whether it is a PNG of 16 bits a channel, which its header says in a fixed place."""
    if source.format != "PNG" or source.fp is None:
        return False
    place = source.fp.tell()
    source.fp.seek(24)
    depth = source.fp.read(1)
    source.fp.seek(place)
    return depth == b"\x10"


def _key_to_high_byte(source: "Image") -> None:
    """The one transparent colour of a picture of 16 bits a channel, of which the high byte is kept."""
    key = source.info.get("transparency")
    if key is not None:
        source.info["transparency"] = key >> 8 if isinstance(key, int) else tuple(value >> 8 for value in key)


def _orientation(source: "Image") -> int:
    """As EXIF counts, 1 where it says nothing. A damaged EXIF block spoils no picture."""
    try:
        return source.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
