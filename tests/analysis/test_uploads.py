"""Pictures that users upload: read correctly, or refused with the reason; and 200 strange ones."""

import contextlib
import io
import resource
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from arli_core.analysis.uploads import LIMIT_BYTES, LIMIT_SIDE, SHOWN, Upload, read_upload
from arli_core.datasets import decoding, pictures
from arli_core.errors import DataError

COLOUR, GREY = (3, 24, 24), (1, 24, 24)
LOSSLESS = {"PNG": {"format": "PNG"}, "WebP": {"format": "WEBP", "lossless": True, "exact": True}}
KINDS = {
    **LOSSLESS,
    "JPEG": {"format": "JPEG", "quality": 95, "subsampling": 0},
    "progressive JPEG": {"format": "JPEG", "quality": 95, "subsampling": 0, "progressive": True},
    "lossy WebP": {"format": "WEBP", "quality": 95},
}


def encoded(image: Image.Image | np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, **options)
    return file.getvalue()


def smooth(height: int, width: int) -> np.ndarray:
    """Colours that JPEG keeps: uint8 [height, width, 3]."""
    down, right = np.mgrid[0 : max(height, 2), 0 : max(width, 2)]
    down, right = (axis[:height, :width] / axis.max() for axis in (down, right))
    return np.stack((200 * right + 30, 200 * down + 20, 120 - 60 * down + 60 * right), axis=2).astype(np.uint8)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(height, width, channels), dtype=np.uint8)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, pixels: bytes, before: bytes = b"") -> bytes:
    """A PNG written by hand; `pixels` without filter bytes, row by row, `before` the chunks before them."""
    step = len(pixels) // height if pixels else 0
    rows = b"".join(b"\0" + pixels[i : i + step] for i in range(0, len(pixels), max(step, 1)))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def read(data: bytes, shape: tuple[int, int, int] = COLOUR, name: str = "mine.png") -> Upload:
    """An upload, with checks of all that every upload must be; no warning is issued."""
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        upload = read_upload(data, name, shape)
    assert issued == []
    assert upload.name == name and upload.format in ("PNG", "JPEG", "WebP")
    assert upload.image.shape == shape and upload.image.dtype == np.uint8
    assert upload.image.flags.c_contiguous and upload.image.flags.writeable
    height, width, channels = upload.original.shape
    assert upload.original.dtype == np.uint8 and channels == 3 and upload.original.flags.writeable
    assert max(height, width) == min(SHOWN, max(upload.size)) or max(upload.size) < 2 * SHOWN
    assert min(height, width) >= 1 and max(height, width) <= SHOWN
    assert all(isinstance(note, str) for note in upload.notes)
    return upload


def refusal(data: bytes, name: str = "mine.png") -> str:
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        with pytest.raises(DataError) as caught:
            read_upload(data, name, COLOUR)
    assert issued == [] and name in str(caught.value) and "<" not in str(caught.value)
    return str(caught.value)


def in_full(path: Path, side: int) -> np.ndarray:
    """The central square of an opaque picture, resized from all its pixels in one step: uint8 [3, side, side]."""
    with Image.open(path) as image:
        short = min(image.size)
        left, top = (image.width - short) / 2, (image.height - short) / 2
        box = (left, top, left + short, top + short)
        resized = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized).transpose(2, 0, 1)


# What is read


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width"), [(24, 24), (24, 30), (61, 44), (7, 9), (300, 200)])
def test_a_picture_that_is_not_large_is_resized_in_one_step(kind, height, width, tmp_path):
    data = encoded(smooth(height, width), **KINDS[kind])
    path = tmp_path / "x"
    path.write_bytes(data)
    upload = read(data)
    np.testing.assert_array_equal(upload.image, in_full(path, 24))
    np.testing.assert_array_equal(upload.original, np.asarray(Image.open(path).convert("RGB")))
    assert abs(upload.original - smooth(height, width).astype(int)).max() <= (20 if kind == "lossy WebP" else 8)
    assert upload.size == (width, height) and upload.format == kind.split()[-1]


def test_a_square_of_the_right_size_is_not_changed():
    pixels = noise(24, 24)
    for options in LOSSLESS.values():
        upload = read(encoded(pixels, **options))
        np.testing.assert_array_equal(upload.image.transpose(1, 2, 0), pixels)
        assert upload.notes == ()


EVERY_KIND = {
    "large": lambda: encoded(smooth(1500, 2000), format="JPEG"),
    "large and noisy": lambda: encoded(noise(700, 3000), format="PNG", compress_level=1),
    "alpha": lambda: encoded(noise(40, 60, 4), format="PNG"),
    "alpha in WebP": lambda: encoded(noise(40, 60, 4), **LOSSLESS["WebP"]),
    "black with its shape in alpha": lambda: encoded(
        noise(40, 60, 4) * np.array([0, 0, 0, 1], np.uint8), format="PNG"
    ),
    "palette with alpha": lambda: encoded(
        Image.fromarray(noise(40, 60)).convert("P"), format="PNG", transparency=bytes(range(256))
    ),
    "16 bits": lambda: encoded(noise(40, 60, 2).view(np.uint16)[..., 0], format="PNG"),
    "16 bits with a key": lambda: png(
        24, 24, 16, 0, noise(24, 24, 2).tobytes(), before=chunk(b"tRNS", noise(24, 24, 2)[0, 0].tobytes())
    ),
    "CMYK": lambda: encoded(Image.fromarray(noise(40, 60, 4), "CMYK"), format="JPEG"),
    "frames": lambda: encoded(noise(40, 60), format="PNG", save_all=True, append_images=[Image.new("RGB", (60, 40))]),
    **{
        f"orientation {turn}": lambda turn=turn: with_exif(TIFF + ORIENTED + bytes([turn, 0, 0, 0, 0, 0, 0]))["PNG"]
        for turn in range(1, 9)
    },
}


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("side", [8, 24, 100])
def test_uploads_and_folders_have_one_rule(kind, side, tmp_path):
    """The same file gives the same pixels, whichever way it comes in."""
    data = EVERY_KIND[kind]()
    path = tmp_path / "x.png"
    path.write_bytes(data)
    np.testing.assert_array_equal(read(data, (3, side, side)).image, pictures.read(path, side, upright=True))


def test_notes_list_the_changes_in_order():
    assert read(encoded(smooth(48, 64), format="PNG")).notes == (
        "cut to its central square", "resized from 48x48 to 24x24")  # fmt: skip
    assert read(encoded(smooth(48, 64), format="PNG"), GREY).notes == (
        "colours turned to grey", "cut to its central square", "resized from 48x48 to 24x24")  # fmt: skip
    assert read(encoded(smooth(24, 24)[..., 0], format="PNG"), GREY).notes == ()
    assert read(encoded(smooth(24, 24)[..., 0], format="PNG")).notes == ()


def test_grey_networks_get_luminance():
    pixels = noise(24, 24)
    luminance = read(encoded(pixels, format="PNG"), GREY).image[0]
    assert abs(luminance - pixels @ np.array([0.299, 0.587, 0.114])).max() < 0.6
    grey = pixels[..., 0]
    np.testing.assert_array_equal(read(encoded(grey, format="PNG"), GREY).image[0], grey)
    np.testing.assert_array_equal(read(encoded(grey, format="PNG")).image, np.stack([grey] * 3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width"), [(1500, 2000), (3001, 1201)])
def test_large_pictures_are_reduced_early_and_look_the_same(kind, height, width, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(encoded(smooth(height, width), **KINDS[kind]))
    upload = read(path.read_bytes())
    assert abs(upload.image - in_full(path, 24).astype(int)).max() <= 3
    assert upload.size == (width, height) and max(upload.original.shape) == SHOWN
    rows, columns = upload.original.shape[:2]
    assert abs(rows / columns - height / width) < 0.01 * height / width
    assert abs(upload.original - smooth(rows, columns).astype(int)).max() <= 8


def test_reducing_early_leaves_the_filter_its_work(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(encoded(noise(150, 3000), format="PNG"))
    assert abs(read(path.read_bytes()).image - in_full(path, 24).astype(int)).mean() < 1.5  # of 256


def test_a_large_jpeg_is_never_decoded_in_full(monkeypatch):
    prepare, decoded = ImageFile.ImageFile.load_prepare, []
    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", lambda it: decoded.append(it.size) or prepare(it))
    for kind in ("JPEG", "progressive JPEG"):
        assert read(encoded(smooth(1600, 2400), **KINDS[kind])).size == (2400, 1600)
    assert decoded == [(600, 400)] * 2


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "I;16"])
def test_strips_leave_no_seams(mode, monkeypatch):
    pixels = noise(1100, 1300, 4)
    pixels[500:, :, 3] = 255
    image = (
        Image.fromarray(pixels.view(np.uint16)[..., 0]) if mode == "I;16" else Image.fromarray(pixels).convert(mode)
    )
    data = encoded(image, format="PNG", compress_level=1)
    whole = read(data)
    monkeypatch.setattr(decoding, "STRIP", 30_000)
    strips = read(data)
    np.testing.assert_array_equal(strips.image, whole.image)
    np.testing.assert_array_equal(strips.original, whole.original)
    assert strips.notes == whole.notes


def test_content_counts_and_not_the_name():
    data = encoded(smooth(24, 24), format="JPEG")
    for name in ("x.jpg", "x.png", "x.gif", "x", "", "Ärger 猫.txt", "../../etc/passwd"):
        upload = read(data, name=name)
        assert upload.format == "JPEG" and upload.name == name


# Where row 0 and column 0 of the stored pixels belong in the upright picture: EXIF's own table
PLACES = {1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
          5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom")}  # fmt: skip
OTHER = {"top": "bottom", "bottom": "top", "left": "right", "right": "left"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", PLACES)
def test_exif_orientation_is_followed(kind, orientation):
    corners = np.array([[[230, 40, 40], [40, 200, 40]], [[40, 40, 220], [200, 200, 200]]], np.uint8)
    stored = corners.repeat(32, axis=0).repeat(48, axis=1)  # 64 high, 96 wide
    exif = Image.Exif()
    exif[0x0112] = orientation
    upload = read(encoded(stored, exif=exif, **KINDS[kind]))
    row, column = PLACES[orientation]
    assert upload.size == ((96, 64) if row in ("top", "bottom") else (64, 96))
    assert upload.original.shape[1::-1] == upload.size
    assert ("turned upright as its EXIF orientation says" in upload.notes) == (orientation != 1)
    for i, vertical in enumerate((row, OTHER[row])):
        for j, horizontal in enumerate((column, OTHER[column])):
            sides = {vertical, horizontal}
            y, x = (0 if "top" in sides else -1), (0 if "left" in sides else -1)
            assert abs(upload.original[y, x] - corners[i, j].astype(int)).max() < 12
            assert abs(upload.image[:, y, x] - corners[i, j].astype(int)).max() < 12


def test_a_large_turned_photograph_has_its_upright_size():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    upload = read(encoded(smooth(1200, 1600), format="JPEG", exif=exif))
    assert upload.size == (1200, 1600) and upload.original.shape == (512, 384, 3)
    assert upload.notes == ("turned upright as its EXIF orientation says", "cut to its central square",
                           "resized from 1200x1200 to 24x24")  # fmt: skip


def test_sixteen_bits_of_grey_are_scaled_and_not_clipped():
    values = np.linspace(0, 65535, 24 * 24).astype(np.uint16).reshape(24, 24)
    upload = read(encoded(values, format="PNG"), GREY)
    assert abs(upload.image[0] - values / 257).max() <= 1 and upload.image.max() == 255
    assert upload.notes == ("16 bits a channel reduced to 8",)
    np.testing.assert_array_equal(read(encoded(values, format="PNG")).image[2], upload.image[0])


def test_sixteen_bits_of_colour_and_of_alpha():
    values = np.random.default_rng(1).integers(65536, size=(24, 24, 4)).astype(">u2")
    for colour, channels in ((2, 3), (4, 2), (6, 4)):  # RGB, grey with alpha, RGB with alpha
        data = png(24, 24, 16, colour, values[..., :channels].tobytes())
        expected = values[..., :channels] / 65535
        if channels != 3:
            expected = 1 + (expected[..., :-1] - 1) * expected[..., -1:]
        upload = read(data)
        assert abs(upload.image.transpose(1, 2, 0) - 255 * expected).max() < 2
        assert "16 bits a channel reduced to 8" in upload.notes
        assert ("transparent parts shown on white" in upload.notes) == (channels != 3)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3)])
def test_sixteen_bits_with_one_transparent_colour(colour, channels):
    values = np.full((24, 24, channels), 0x1234, ">u2")
    values[:5] = 0x5678
    key = chunk(b"tRNS", values[0, 0].tobytes())
    upload = read(png(24, 24, 16, colour, values.tobytes(), before=key))
    assert (upload.image[:, :5] == 255).all() and (upload.image[:, 5:] == 0x12).all()
    assert upload.notes == ("16 bits a channel reduced to 8", "transparent parts shown on white")


@pytest.mark.parametrize("size", [24, 2048])
def test_cmyk(size):
    inks = {(0, 0, 0, 0): (255, 255, 255), (0, 255, 255, 0): (255, 0, 0), (255, 0, 255, 0): (0, 255, 0),
            (255, 255, 0, 0): (0, 0, 255), (0, 0, 0, 255): (0, 0, 0), (0, 0, 0, 128): (127, 127, 127)}  # fmt: skip
    for ink, colour in inks.items():
        upload = read(encoded(Image.new("CMYK", (size, size), ink), format="JPEG", quality=95))
        assert abs(upload.image.transpose(1, 2, 0) - np.array(colour)).max() < 6
        assert upload.notes[0] == "CMYK converted to RGB"


TRANSPARENT = {
    "RGBA": lambda a: Image.fromarray(np.dstack((noise(24, 24), a))),
    "LA": lambda a: Image.merge("LA", (Image.fromarray(noise(24, 24)[..., 0]), Image.fromarray(a))),
}


@pytest.mark.parametrize("mode", TRANSPARENT)
@pytest.mark.parametrize("kind", LOSSLESS)
def test_transparent_parts_are_mixed_with_white(mode, kind):
    alpha = np.linspace(0, 255, 24 * 24).astype(np.uint8).reshape(24, 24)
    colours = noise(24, 24) if mode == "RGBA" else noise(24, 24)[..., :1]
    upload = read(encoded(TRANSPARENT[mode](alpha), **LOSSLESS[kind]))
    share = alpha[..., None] / 255
    assert abs(upload.image.transpose(1, 2, 0) - (colours * share + 255 * (1 - share))).max() < 1.5
    assert upload.notes == ("transparent parts shown on white",)
    opaque = read(encoded(TRANSPARENT[mode](np.full_like(alpha, 255)), **LOSSLESS[kind]))
    assert opaque.notes == () and (opaque.image.transpose(1, 2, 0) == colours).all()


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 128, 255])])
def test_palettes_with_transparency(transparency):
    image = Image.fromarray((np.arange(24 * 24) % 4).astype(np.uint8).reshape(24, 24), "P")
    image.putpalette([10, 20, 30, 0, 0, 0, 0, 100, 0, 200, 0, 0])
    plain = [[10, 20, 30], [0, 0, 0], [0, 100, 0], [200, 0, 0]]
    assert read(encoded(image, format="PNG")).image[:, 0, :4].T.tolist() == plain
    upload = read(encoded(image, format="PNG", transparency=transparency))
    half = [0, 100, 0] if transparency == 1 else [127, 177, 127]
    assert upload.image[:, 0, :4].T.tolist() == [[10, 20, 30], [255, 255, 255], half, [200, 0, 0]]
    assert upload.notes == ("transparent parts shown on white",)


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (7, 7, 7)), ("1", 0)])
def test_one_transparent_colour(mode, key):
    image = Image.new(mode, (24, 24), 1 if mode == "1" else 90 if mode == "L" else (90, 90, 90))
    image.paste(key, (0, 0, 24, 6))
    upload = read(encoded(image, format="PNG", transparency=key))
    assert (upload.image[:, :6] == 255).all() and (upload.image[:, 6:] == (255 if mode == "1" else 90)).all()
    assert upload.notes == ("transparent parts shown on white",)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_of_grey(depth):
    values = np.arange(24 * 24).reshape(24, 24) % 2**depth
    bits = (values[..., None] >> np.arange(depth)[::-1]) & 1
    data = png(24, 24, depth, 0, np.packbits(bits.reshape(24, -1), axis=1).tobytes())
    np.testing.assert_array_equal(read(data, GREY).image[0], values * 255 // (2**depth - 1))


@pytest.mark.parametrize("kind", LOSSLESS)
def test_of_an_animation_the_first_frame(kind):
    first, *others = (Image.fromarray(np.roll(noise(24, 24), i, axis=0)) for i in range(12))
    upload = read(encoded(first, save_all=True, append_images=others, **LOSSLESS[kind]))
    np.testing.assert_array_equal(upload.image.transpose(1, 2, 0), noise(24, 24))
    assert upload.notes == ("first of 12 frames",)


def test_a_jpeg_with_a_second_picture_behind_it():
    file = encoded(smooth(24, 24), format="MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    upload = read(file)
    assert upload.format == "JPEG" and upload.notes == ("first of 2 frames",)
    assert abs(upload.image.transpose(1, 2, 0) - smooth(24, 24).astype(int)).max() < 20


def test_filters_of_warnings_are_as_they_were_and_threads_do_not_disturb_each_other():
    data = [encoded(noise(40, 30 + i), format="PNG") for i in range(4)]
    before, expected = list(warnings.filters), [read(file).image for file in data]
    with ThreadPoolExecutor(8) as pool:
        images = pool.map(lambda i: read_upload(data[i % 4], "x", COLOUR).image, range(40))
        assert all((image == expected[i % 4]).all() for i, image in enumerate(images))
    assert warnings.filters == before


# What is strange


def with_size(jpeg: bytes, width: int, height: int) -> bytes:
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def with_exif(block: bytes) -> dict[str, bytes]:
    """Pictures of each format with those bytes where EXIF should be."""
    plain = encoded(smooth(24, 24), format="JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block
    bare = plain[:2] + plain[plain.index(b"\xff\xdb") :]  # without JFIF, whose resolution spares PIL the EXIF block
    return {"JPEG": plain[:2] + segment + plain[2:], "bare JPEG": bare[:2] + segment + bare[2:],
            "PNG": png(24, 24, 8, 2, smooth(24, 24).tobytes(), before=chunk(b"eXIf", block)),
            "WebP": encoded(smooth(24, 24), format="WEBP", exif=b"Exif\0\0" + block)}  # fmt: skip


TIFF = b"MM\0*\0\0\0\x08"
ORIENTED = b"\0\x01\x01\x12\0\x03\0\0\0\x01\0"
DAMAGED_EXIF = {
    "empty": b"",
    "text": b"not at all EXIF",
    "cut": TIFF + b"\0\x05\x01",
    "far": b"MM\0*\xff\xff\xff\xff",
    "orientation 9": TIFF + ORIENTED + b"\x09\0\0\0\0\0\0",
    "orientation of text": TIFF + b"\0\x01\x01\x12\0\x02\0\0\0\x04six\0\0\0\0\0",
    "circle": TIFF + b"\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08\0\0\0\x08",
}


def strange() -> dict[str, tuple[bytes, bool | None]]:
    """Files, each with whether it must be read, must be refused, or may be either, as long as it is one of them."""
    rng = np.random.default_rng(3)
    whole = {kind: encoded(noise(40, 50), **options) for kind, options in KINDS.items()}
    frames = [Image.fromarray(noise(40, 50)[::step]) for step in (1, -1, 1)]
    for kind, options in LOSSLESS.items():
        whole[f"animated {kind}"] = encoded(frames[0], save_all=True, append_images=frames[1:], **options)
    files: dict[str, tuple[bytes, bool | None]] = {}

    for kind, data in whole.items():
        for eighths in range(8):
            cut = data[: len(data) * eighths // 8 + 11]
            files[f"{kind} cut to {len(cut)} bytes"] = cut, None if "animated" in kind else False
        for i in range(10):
            flipped = bytearray(data)
            for place in rng.integers(3, min(len(data), 400 if i % 2 else len(data)), size=1 + i):
                flipped[place] ^= int(rng.integers(1, 256))
            files[f"{kind} with flipped bytes {i}"] = bytes(flipped), None
        files[f"{kind} with bytes behind it"] = data + rng.bytes(99), None if "WebP" in kind else True
        files[f"{kind} twice"] = data + data, None if "WebP" in kind else True
        files[f"{kind} behind a byte"] = b"\0" + data, False
        files[f"{kind} with a hole"] = data[: len(data) // 3] + data[len(data) // 2 :], None

    magics = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "JFIF": whole["JPEG"][:20],
              "PNG header": whole["PNG"][:33], "WebP": b"RIFF\xff\0\0\0WEBPVP8 ",
              "WebP lossless": b"RIFF\xff\0\0\0WEBPVP8L", "WebP extended": b"RIFF\xff\0\0\0WEBPVP8X"}  # fmt: skip
    for kind, magic in magics.items():
        files[f"nothing behind the first bytes of {kind}"] = magic, False
        for length in (10, 100, 3000):
            files[f"{length} random bytes behind those of {kind}"] = magic + rng.bytes(length), False

    for kind in ("GIF", "BMP", "TIFF", "PPM", "ICO", "PDF", "JPEG2000", "TGA"):
        files[f"a {kind}"] = encoded(smooth(24, 24), format=kind), False
    others = {"nothing": b"", "one byte": b"\x89", "text": b"hello\n" * 99, "zip": b"PK\x03\x04" + bytes(60),
              "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect/></svg>',
              "html": b"<!doctype html><p>404", "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
              "json": b'{"a": 1}', "zeros": bytes(5000), "xml": b"<?xml version='1.0'?><a/>"}  # fmt: skip
    files |= {name: (data, False) for name, data in others.items()}
    files |= {f"random bytes {i}": (rng.bytes(4**i), False) for i in range(7)}

    for width, height in ((60_000, 60_000), (10_000, 10_000), (7_072, 7_072), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1)):
        files[f"bomb: PNG {width}x{height}"] = png(width, height, 8, 2, b"\0" * 99), False
    for width, height in ((LIMIT_SIDE + 1, 1), (1, LIMIT_SIDE + 1)):
        files[f"bomb: whole PNG {width}x{height}"] = png(width, height, 8, 0, bytes(width * height)), False
    for width, height in ((65_535, 65_535), (10_000, 10_000), (65_000, 1_000)):
        files[f"bomb: JPEG {width}x{height}"] = with_size(whole["JPEG"], width, height), False
    for side in (16_384, 10_000):
        canvas = struct.pack("<I", side - 1)[:3] * 2
        files[f"bomb: WebP {side}x{side}"] = whole["animated WebP"][:24] + canvas + whole["animated WebP"][30:], False
    files["promised: PNG 7000x7000"] = png(7_000, 7_000, 8, 0, b"\0" * 99), False
    files["promised: JPEG 7000x7000"] = with_size(whole["JPEG"], 7_000, 7_000), None  # the decoder fills up

    for kind, options in KINDS.items():
        for width, height in ((1, 1), (1, 700), (700, 1), (2, 3), (1, 16_000), (16_000, 1)):
            files[f"{kind} {width}x{height}"] = encoded(smooth(height, width), **options), True
    files["PNG 1x65535"] = png(1, LIMIT_SIDE, 8, 0, bytes(LIMIT_SIDE)), True
    files["JPEG 65000x1"] = encoded(smooth(1, 65_000), format="JPEG"), True

    for size in ((0, 0), (0, 5), (5, 0)):
        files[f"PNG {size}"] = png(*size, 8, 2, b""), False
    rows = bytes(24 * 24)
    files["PNG of 3 bits"] = png(24, 24, 3, 0, rows), False
    files["PNG without palette"] = png(24, 24, 8, 3, rows), None
    files["PNG with a short palette"] = png(24, 24, 8, 3, b"\xff" * 576, before=chunk(b"PLTE", b"abc")), None
    files["PNG with a crooked palette"] = png(24, 24, 8, 3, rows, before=chunk(b"PLTE", b"abcd")), None
    files["PNG with short transparency"] = png(24, 24, 8, 2, rows * 3, before=chunk(b"tRNS", b"a")), None
    files["PNG without end"] = png(24, 24, 8, 0, rows)[:-12], True
    files["PNG without pixels"] = png(24, 24, 8, 0, b""), False
    files["PNG with a wrong checksum"] = png(24, 24, 8, 0, rows)[:29] + bytes(4) + png(24, 24, 8, 0, rows)[33:], False
    bomb = b"a\0\0" + zlib.compress(bytes(10**7))
    files["PNG with a bomb of text"] = png(24, 24, 8, 0, rows, before=chunk(b"zTXt", bomb)), None
    files["PNG with a bomb of a profile"] = png(24, 24, 8, 0, rows, before=chunk(b"iCCP", bomb)), None
    files["PNG of 0 frames"] = png(24, 24, 8, 0, rows, before=chunk(b"acTL", bytes(8))), True
    many = chunk(b"acTL", struct.pack(">II", 2**31, 0))
    files["PNG of 2147483648 frames"] = png(24, 24, 8, 0, rows, before=many), None
    mpf = b"\xff\xe2\0\x0cMPF\0MM\0*\0\0"
    files["JPEG that points to pictures it has not"] = whole["JPEG"][:2] + mpf + whole["JPEG"][2:], None

    for what, block in DAMAGED_EXIF.items():
        files |= {f"{kind} with EXIF: {what}": (data, True) for kind, data in with_exif(block).items()}
    return files


STRANGE = strange()


def test_there_are_more_than_200_strange_files():
    assert len(STRANGE) > 200 and len({data for data, _ in STRANGE.values()}) > 200


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_file_is_read_or_refused(name, capfd):
    data, valid = STRANGE[name]
    if valid is None:
        try:
            read_upload(data, name, COLOUR)
            valid = True
        except DataError:
            valid = False
    if valid:
        read(data, name=name)
        read(data, GREY)
    else:
        words = {"bomb:": "too large", "a": "not a picture that can be read"}.get(name.split()[0], "")
        assert words in refusal(data, name)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("block", DAMAGED_EXIF)
def test_a_damaged_exif_block_spoils_no_picture(block):
    for data in with_exif(DAMAGED_EXIF[block]).values():
        upload = read(data)
        assert upload.notes == () and abs(upload.image.transpose(1, 2, 0) - smooth(24, 24).astype(int)).max() < 25


def test_a_file_of_too_many_bytes_is_not_opened(monkeypatch):
    data = encoded(smooth(24, 24), format="PNG")
    assert read(data + bytes(LIMIT_BYTES - len(data))).size == (24, 24)
    monkeypatch.setattr(Image, "open", None)
    assert refusal(data + bytes(LIMIT_BYTES - len(data) + 1)) == "mine.png is too large: at most 20 MB are read"


def test_refusals_say_what_would_be_valid():
    assert refusal(b"hello") == "mine.png is not a picture that can be read: valid are PNG, JPEG and WebP"
    assert refusal(png(9000, 9000, 8, 2, b"")) == (
        "mine.png is too large: at most 45,000,000 pixels of a PNG are read, "
        "and no side longer than 65,535")  # fmt: skip
    assert refusal(encoded(noise(24, 24), format="PNG")[:-50]) == (
        "mine.png is damaged or incomplete: a complete PNG, JPEG or WebP picture is needed")  # fmt: skip


def test_too_many_pixels_are_refused_before_any_is_decoded(monkeypatch):
    monkeypatch.setattr(Image.Image, "load", None)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    for name, (data, _) in STRANGE.items():
        if name.startswith("bomb"):
            assert "too large" in refusal(data, name)


def peak() -> float:
    """The most memory that the process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def test_memory_does_not_grow():
    """What 250 uploads decode to is 2 GB in all, what three of them decode to is forgotten with them."""
    large = [encoded(smooth(1500, 2000), **KINDS[kind]) for kind in ("PNG", "JPEG", "lossy WebP")]
    files = [data for data, _ in STRANGE.values()]

    def uploaded(data: bytes) -> None:
        with contextlib.suppress(DataError):
            read_upload(data, "x", COLOUR)

    for data in large + files[::10]:
        uploaded(data)
    before = peak()
    for i in range(250):
        uploaded(large[i % 3] if i % 2 else files[i % len(files)])
    assert peak() - before < 200


# Any bytes

BASES = [encoded(noise(9, 12), **options) for options in KINDS.values()]
BASES += [
    data for name, (data, _) in STRANGE.items() if name in ("PNG with EXIF: circle", "bare JPEG with EXIF: cut")
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A picture with some of its bytes changed, or taken out, or put in."""
    data = bytearray(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    data=st.one_of(st.binary(max_size=200), damaged()), shape=st.sampled_from([COLOUR, GREY, (3, 1, 1), (1, 64, 64)])
)
@example(data=b"", shape=COLOUR)
def test_any_bytes_are_a_picture_or_refused(data, shape):
    try:
        upload = read(data, shape)
    except DataError:
        return
    assert upload.image.shape == shape
