"""Image files: their values are kept, or the file is refused by name."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

import bridge
from bridge.load.images import Unreadable, read_image, to_tensor

RANDOM = np.random.default_rng(0)
GRAY = RANDOM.integers(0, 256, (4, 6), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (4, 6, 3), dtype=np.uint8)
GRAY16 = RANDOM.integers(0, 65536, (4, 6), dtype=np.uint16)
COLOUR16 = RANDOM.integers(0, 65536, (4, 6, 3), dtype=np.uint16)
FLOAT = RANDOM.random((4, 6), dtype=np.float32)
ALPHA = np.dstack([COLOUR, np.full((4, 6), 255, np.uint8)])
SEEN_THROUGH = np.dstack([COLOUR, np.where(GRAY > 128, 255, 254).astype(np.uint8)])


def chw(pixels):
    """(h, w) or (h, w, c) as (c, h, w)."""
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def png(path, pixels, colour_type, *chunks):
    """A PNG written by hand: Pillow writes no 16-bit colour."""
    height, width = pixels.shape[:2]
    big_endian = pixels.astype(pixels.dtype.newbyteorder(">"))
    rows = b"".join(b"\0" + row.tobytes() for row in big_endian)
    depth = 8 * pixels.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    everything = ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in everything
        )
    )


def tiff(path, pixels, *, photometric=1, kind=1, bits=None):
    """An uncompressed TIFF written by hand; `kind`: 1 unsigned, 2 signed, 3 floats."""
    height, width = pixels.shape[:2]
    bands = 1 if pixels.ndim == 2 else pixels.shape[2]
    bits = bits or 8 * pixels.dtype.itemsize
    raw = pixels.tobytes()
    wide = 8 + len(raw)  # where the bits of three bands stand, which do not fit into their entry
    raw += struct.pack("<HHH", bits, bits, bits)
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, bands, bits if bands == 1 else wide),
        (259, 3, 1, 1), (262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, bands),
        (278, 4, 1, height), (279, 4, 1, len(raw) - 6), (339, 3, 1, kind),
    ]  # fmt: skip
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    start = struct.pack("<I", 8 + len(raw))
    path.write_bytes(
        b"II*\0" + start + raw + struct.pack("<H", len(entries)) + body + struct.pack("<I", 0)
    )


def pnm(path, header, pixels):
    path.write_bytes(header + pixels.astype(pixels.dtype.newbyteorder(">")).tobytes())


def saved(pixels, name, mode=None, **options):
    def write(folder):
        image = Image.fromarray(pixels)
        (image.convert(mode) if mode else image).save(folder / name, **options)
        return folder / name

    return write


def by_hand(writer, name, *arguments, **options):
    def write(folder):
        writer(folder / name, *arguments, **options)
        return folder / name

    return write


def palette(name, **options):
    def write(folder):
        PALETTE.save(folder / name, **options)
        return folder / name

    return write


def clear(pixels, colour_type, *value):
    """A PNG, of which one value is transparent."""
    chunk = (b"tRNS", struct.pack(f">{len(value)}H", *map(int, value)))
    return by_hand(png, "a.png", pixels, colour_type, chunk)


ABSENT = next(value for value in range(256) if value not in GRAY)
PALETTE = Image.fromarray(COLOUR).quantize(8)
PALETTE_RGB = np.array(PALETTE.convert("RGB"))
DOTS = np.array(Image.fromarray(GRAY).convert("1")) * np.uint8(255)
KEPT = {
    "gray": (saved(GRAY, "a.png"), GRAY),
    "colour": (saved(COLOUR, "a.png"), COLOUR),
    "bmp": (saved(COLOUR, "a.bmp"), COLOUR),
    "webp": (saved(COLOUR, "a.webp", lossless=True), COLOUR),
    "black and white": (saved(GRAY, "a.png", "1"), DOTS),
    "palette": (palette("a.png"), PALETTE_RGB),
    "palette, gif": (palette("a.gif"), PALETTE_RGB),
    "palette with opaque alpha": (palette("a.png", transparency=b"\xff" * 8), PALETTE_RGB),
    "opaque alpha": (saved(ALPHA, "a.png"), COLOUR),
    "opaque gray alpha": (saved(GRAY, "a.png", "LA"), GRAY),
    "a transparent gray that does not occur": (clear(GRAY, 0, ABSENT), GRAY),
    "16 bits": (saved(GRAY16, "a.png"), GRAY16 / 65535),
    "16 bits, tiff": (saved(GRAY16, "a.tif"), GRAY16 / 65535),
    "16 bits, compressed tiff": (saved(GRAY16, "a.tif", compression="tiff_lzw"), GRAY16 / 65535),
    "16 bits, pgm": (by_hand(pnm, "a.pgm", b"P5 6 4 65535\n", GRAY16), GRAY16 / 65535),
    "10 bits, pgm": (by_hand(pnm, "a.pgm", b"P5 6 4 1023\n", GRAY16 >> 6), (GRAY16 >> 6) / 1023),
    "floats": (saved(FLOAT, "a.tiff"), FLOAT),
    "8 bits from white to black": (by_hand(tiff, "a.tif", GRAY, photometric=0), 255 - GRAY),
}  # fmt: skip


@pytest.mark.parametrize("kind", KEPT)
def test_the_values_of_a_file_are_kept(tmp_path, kind):
    write, expected = KEPT[kind]
    pixels = read_image(write(tmp_path))
    # Pillow counts in 16 bits: half a step, and float32's rounding.
    np.testing.assert_allclose(pixels, chw(expected), rtol=0, atol=0.5 / 65535 + 1e-7)
    assert pixels.dtype == (np.float32 if expected.dtype.kind == "f" else np.uint8)


def frames(name, **options):
    def write(folder):
        first, *others = (Image.fromarray(np.roll(COLOUR, k, axis=0)) for k in range(3))
        first.save(folder / name, save_all=True, append_images=others, **options)
        return folder / name

    return write


def bomb(folder):
    png(folder / "a.png", np.zeros((1, 1), np.uint8), 0)
    content = bytearray((folder / "a.png").read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    (folder / "a.png").write_bytes(content)
    return folder / "a.png"


def cut(name):
    def write(folder):
        Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / name)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
        return folder / name

    return write


def content(name, body):
    def write(folder):
        (folder / name).write_bytes(body)
        return folder / name

    return write


def pipe(folder):
    os.mkfifo(folder / "a.png")
    return folder / "a.png"


NOT_A_NUMBER = FLOAT.copy()
NOT_A_NUMBER[1, 1] = np.nan
DEEP_COLOUR, SIGNED, UNREADABLE = "16 bits a colour", "signed or 32-bit", "not a readable image"
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
REFUSED = {
    "alpha": (saved(SEEN_THROUGH, "a.png"), "transparency.*background"),
    "alpha, webp": (saved(SEEN_THROUGH, "a.webp", lossless=True), "transparency"),
    "alpha, tiff": (saved(SEEN_THROUGH, "a.tif"), "transparency"),
    "a transparent gray": (clear(GRAY, 0, GRAY[0, 0]), "transparency"),
    "a transparent 16-bit gray": (clear(GRAY16, 0, GRAY16[0, 0]), "transparency"),
    "a transparent colour": (clear(COLOUR, 2, *COLOUR[0, 0]), "transparency"),
    "a transparent place of a palette": (
        palette("a.gif", transparency=int(np.array(PALETTE)[0, 0])), "transparency"),
    "animated gif": (frames("a.gif"), "3 frames"),
    "animated webp": (frames("a.webp"), "3 frames"),
    "animated png": (frames("a.png"), "3 frames"),
    "pages of a tiff": (frames("a.tif"), "3 frames or pages"),
    "16-bit colour": (by_hand(png, "a.png", COLOUR16, 2), DEEP_COLOUR),
    "16-bit alpha": (by_hand(png, "a.png", np.dstack([COLOUR16, GRAY16]), 6), DEEP_COLOUR),
    "16-bit gray and alpha": (by_hand(png, "a.png", np.dstack([GRAY16, GRAY16]), 4), DEEP_COLOUR),
    "16-bit colour, tiff": (by_hand(tiff, "a.tif", COLOUR16, photometric=2), DEEP_COLOUR),
    "16-bit colour, ppm": (by_hand(pnm, "a.ppm", b"P6 6 4 65535\n", COLOUR16), DEEP_COLOUR),
    "12 bits": (by_hand(tiff, "a.tif", GRAY16, bits=12), "12 bits"),
    "16 bits from white": (by_hand(tiff, "a.tif", GRAY16, photometric=0), "white to black"),
    "signed 16 bits": (by_hand(tiff, "a.tif", GRAY16.astype(np.int16), kind=2), SIGNED),
    "32-bit integers": (by_hand(tiff, "a.tif", GRAY16.astype(np.int32), kind=2), SIGNED),
    "float64": (by_hand(tiff, "a.tif", FLOAT.astype(np.float64), kind=3), UNREADABLE),
    "floats to 255": (saved(FLOAT * 255, "a.tif"), r"floats from .* to 2\d\d.*expected \[0, 1\]"),
    "normalised floats": (saved(FLOAT - 0.5, "a.tif"), r"floats from -0\.\d+ .*expected \[0, 1\]"),
    "NaN": (saved(NOT_A_NUMBER, "a.tif"), "floats from nan"),
    "lab": (saved(COLOUR, "a.tif", "LAB"), "LAB: save it in RGB"),
    "a bomb": (bomb, "decompression bomb"),
    "half a jpeg": (cut("a.jpg"), UNREADABLE),
    "half a png": (cut("a.png"), UNREADABLE),
    "half a gif": (cut("a.gif"), UNREADABLE),
    "half a webp": (cut("a.webp"), UNREADABLE),
    "half a tiff": (cut("a.tif"), UNREADABLE),
    "half a bmp": (cut("a.bmp"), UNREADABLE),
    "nothing": (content("a.png", b""), UNREADABLE),
    "a text": (content("a.png", b"no image"), UNREADABLE),
    "a program": (content("a.png", POSTSCRIPT), UNREADABLE),
    "no file": (lambda f: f / "a.png", "is not a file"),
    "a folder": (lambda f: f, "is not a file"),
    "a named pipe": (pipe, "is not a file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_single_right_picture_is_refused_by_name(tmp_path, kind):
    write, words = REFUSED[kind]
    path = write(tmp_path)
    with pytest.raises(Unreadable, match=words) as refused:
        read_image(path)
    assert str(refused.value).startswith(str(path))


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_photographs_stand_upright(tmp_path, name):
    upright = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a),
        9: lambda a: a,  # means nothing
    }
    options = {"lossless": True} if name.endswith("webp") else {}
    for orientation, turn in upright.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(COLOUR).save(tmp_path / name, exif=exif, **options)
        assert np.array_equal(read_image(tmp_path / name), chw(turn(COLOUR))), orientation


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("pixels", [GRAY, GRAY16, FLOAT], ids=["8 bits", "16 bits", "floats"])
def test_gray_tiffs_stand_upright(tmp_path, pixels, compression):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.tif", exif=exif, compression=compression)
    expected = pixels / 65535 if pixels.dtype == np.uint16 else pixels
    turned = np.rot90(expected, -1)[None]
    np.testing.assert_allclose(read_image(tmp_path / "a.tif"), turned, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_inks_become_the_colours_they_print(tmp_path, name):
    for ink, colour in {
        (0, 0, 0, 0): (255, 255, 255),
        (0, 0, 0, 255): (0, 0, 0),
        (0, 255, 255, 0): (255, 0, 0),
    }.items():
        Image.new("CMYK", (8, 8), ink).save(tmp_path / name)
        assert np.all(read_image(tmp_path / name) == np.array(colour)[:, None, None])


def test_a_photo_with_previews_behind_it_is_a_photo(tmp_path):
    """Cameras write such files (MPO) with the suffix .jpg."""
    path = frames("a.jpg", format="MPO", quality=95)(tmp_path)
    Image.fromarray(COLOUR).save(tmp_path / "alone.jpg", quality=95)
    assert np.array_equal(read_image(path), read_image(tmp_path / "alone.jpg"))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif(tmp_path):
    Image.new("RGB", (16, 16), (255, 0, 0)).save(tmp_path / "a.avif")
    assert read_image(tmp_path / "a.avif").shape == (3, 16, 16)
    with pytest.raises(Unreadable, match="3 frames"):
        read_image(frames("b.avif")(tmp_path))


def test_floats_are_resized_as_floats():
    fine = (np.linspace(-2, 3, 64, dtype=np.float32) ** 3).reshape(1, 8, 8)
    small = to_tensor(fine, size=4)
    assert small.shape == (1, 4, 4)
    assert float(fine.min()) <= float(small.min()) < -2  # neither clamped
    assert 2 < float(small.max()) <= float(fine.max())
    constant = np.full((1, 9, 7), 0.12345678, dtype=np.float32)
    for size in (3, 20):  # nor rounded to 8 bits
        assert torch.equal(to_tensor(constant, size), torch.full((1, size, size), 0.12345678))
    # The same picture in 8 bits differs by no more than the rounding of its pixels.
    eight = to_tensor(COLOUR.transpose(2, 0, 1), size=3)
    floats = to_tensor((COLOUR.transpose(2, 0, 1) / np.float32(255)).astype(np.float32), size=3)
    assert float((eight - floats).abs().max()) < 1.01 / 255


def test_gray_and_colour_only_change_on_request():
    gray, colour = GRAY[None], COLOUR.transpose(2, 0, 1)
    assert to_tensor(gray).shape == (1, 4, 6)
    assert to_tensor(colour).shape == (3, 4, 6)
    repeated = to_tensor(gray, channels=3)
    assert repeated.shape == (3, 4, 6)
    assert torch.equal(to_tensor(repeated.numpy(), channels=1), to_tensor(gray))  # bit for bit
    luma = to_tensor(colour, channels=1)
    expected = (
        to_tensor(colour).double() * torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    ).sum(0)
    assert torch.allclose(luma[0].double(), expected, atol=1e-7)


def test_a_thin_image_is_not_blown_up_beyond_memory():
    with pytest.raises(
        Unreadable, match=r"strip would be resized to 2000 x 600000 .*crop it first"
    ):
        to_tensor(np.zeros((1, 1, 300), np.uint8), size=2000, where="strip")


def test_a_torchvision_data_set_is_decoded_alike(monkeypatch):
    from torchvision import datasets

    class Pictures:
        classes = (("tench", "Tinca tinca"), "goldfish")

        def __init__(self, root, train=True):
            self.items = [
                (Image.fromarray(SEEN_THROUGH), 0),
                (Image.fromarray(GRAY16), torch.tensor(1)),
            ]

        def __len__(self):
            return len(self.items)

        def __getitem__(self, index):
            return self.items[index]

    monkeypatch.setattr(datasets, "Pictures", Pictures, raising=False)
    with pytest.warns(UserWarning, match="left out: image 0 of torchvision:Pictures has transp"):
        x, labels = bridge.load_batch("torchvision:Pictures", n=2)
    assert torch.allclose(x[0], torch.from_numpy(GRAY16 / 65535).float()[None], atol=1e-7)
    assert labels.tolist() == [1]
    data = bridge.load_data("torchvision:Pictures")
    assert data.class_names == ("tench, Tinca tinca", "goldfish")
    with pytest.raises(ValueError, match='"train" or "test", got \'val\''):
        bridge.load_data("torchvision:Pictures", split="val")


@pytest.mark.parametrize("item", [(torch.zeros(3, 4, 4), 0), (Image.new("L", (4, 4)), [1, 0])])
def test_torchvision_data_sets_without_images_or_classes_are_refused(monkeypatch, item):
    from torchvision import datasets

    class Other(list):
        def __init__(self, root):
            super().__init__([item])

    monkeypatch.setattr(datasets, "Other", Other, raising=False)
    with pytest.raises(ValueError, match=r"torchvision:Other gives .*expected"):
        bridge.load_batch("torchvision:Other", n=1)
    with pytest.raises(ValueError, match=r"torchvision cannot load CocoDetection: .*annFile"):
        bridge.load_data("torchvision:CocoDetection", root=str(Path("nowhere")))
