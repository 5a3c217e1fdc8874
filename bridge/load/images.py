"""Image files as pixels: a value is kept as the file states it, or the file is refused by name.

Pixels are arrays (c, h, w) with one channel (gray) or three (RGB): uint8, or float32.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from bridge.core.resizing import Resizing

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.float32]

SUFFIXES = frozenset(
    ".avif .bmp .gif .jfif .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp".split()
)
# What a file may be, whatever its name: Pillow would run Ghostscript on PostScript.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP")
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # Pillow's own names
GRAY_MODES = ("1", "L", "LA", "La", *DEEP_MODES)
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, as Pillow's
MOST_PIXELS = 178_956_970  # where Pillow sees a decompression bomb
WHITE_IS_ZERO, PHOTOMETRIC = 0, 262  # a TIFF's tag and its value


class Unreadable(ValueError):
    """An image that cannot be read, or not without losing something; the message names it."""


def read_image(path: Path) -> Pixels:
    """The pixels of a file, upright. Raises Unreadable, see `pixels_of`.

    Colour profiles are not applied.
    """
    if not os.path.isfile(path):  # opening a named pipe would wait for ever
        raise Unreadable(f"{path} is not a file")
    try:
        # Opened here: given a path, Pillow maps a plain TIFF into memory and turns it wrongly.
        with path.open("rb") as file:
            return decoded(file, str(path))
    except OSError as error:
        raise Unreadable(f"{path} is not a readable image ({error})") from error


def in_colour(pixels: Pixels) -> Pixels:
    """The pixels (c, h, w) with a gray channel repeated, as models of colour take them."""
    return pixels.repeat(3, axis=0) if len(pixels) == 1 else pixels


def decoded(file: IO[bytes], where: str, most: int | None = None) -> Pixels:
    """The pixels in an open file, as `read_image`; `most` limits them before they are decoded.

    Raises Unreadable, see `pixels_of`.
    """
    Image.init()
    known = [each for each in FORMATS if each in Image.OPEN]
    try:
        with Image.open(file, formats=known) as image:
            width, height = image.size
            if most is not None and width * height > most:
                raise Unreadable(
                    f"{where} has {height} x {width} pixels, more than the {most:,} that are taken"
                )
            return pixels_of(image, where)
    except Unreadable:
        raise
    except Exception as error:  # a broken file raises whatever its decoder stumbles over
        raise Unreadable(f"{where} is not a readable image ({error})") from error


def pixels_of(image: Image.Image, where: str) -> Pixels:
    """The pixels of an open image, upright: uint8, or float32 in [0, 1] for deeper ones.

    16-bit gray values v become v / 65535, float ones stay. Palettes, CMYK and YCbCr become RGB.
    Raises Unreadable for what has no single right picture, or one that Pillow cannot give: several
    frames or pages, transparency, 16-bit colour, 32-bit integers, floats outside [0, 1].
    """
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # MPO: a photo, with previews behind it
        raise Unreadable(f"{where} holds {frames} frames or pages: save the one you mean by itself")
    _refuse_lost_bits(image, where)
    if image.mode in ("LAB", "HSV"):
        raise Unreadable(f"{where} has its colours in {image.mode}: save it in RGB")
    form = image.format
    image = ImageOps.exif_transpose(image)
    deep = image.mode in DEEP_MODES
    if image.has_transparency_data:
        image = _opaque(image, deep, where)
    if deep:
        return _deep(image, form, where)
    if image.mode in GRAY_MODES:
        return np.array(image.convert("L"))[None]
    return np.array(image.convert("RGB")).transpose(2, 0, 1)


def _refuse_lost_bits(image: Image.Image, where: str) -> None:
    """Refuse where Pillow would drop bits, or leave a file's own scale unread."""
    tiles = getattr(image, "tile", None)  # how a file's bytes become pixels, until it is loaded
    arguments: Any = tiles[0][3] if tiles else ""
    raw, *rest = (arguments,) if isinstance(arguments, str) else arguments or ("",)
    raw = str(raw)
    colour = image.mode not in DEEP_MODES
    cut = ";16" in raw and not raw.startswith("BGR")  # BGR;16 has five or six bits a colour
    if colour and (cut or (image.format == "PPM" and rest and rest[0] > 255)):
        raise Unreadable(
            f"{where} has 16 bits a colour, of which Pillow keeps 8: save it with 8, or all images "
            "as floats in an .npz file"
        )
    if raw == "I;12":
        raise Unreadable(f"{where} has 12 bits a pixel: save it with 8 or 16")
    tags = getattr(image, "tag_v2", {})
    if not colour and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        raise Unreadable(f"{where} counts from white to black: save it from black to white")


def _opaque(image: Image.Image, deep: bool, where: str) -> Image.Image:
    """The same image without its alpha channel, which must hide nothing."""
    if not deep:
        full = image.convert("RGBA")
        if full.getchannel("A").getextrema() == (255, 255):
            return full.convert("L" if image.mode in GRAY_MODES else "RGB")
    raise Unreadable(
        f"{where} has transparency, and what lies behind it is not known: put it on a "
        "background (PIL.Image.alpha_composite) and save it without alpha"
    )


def _deep(image: Image.Image, form: str | None, where: str) -> Pixels:
    values = np.array(image).astype(np.float32)[None]
    if image.mode == "F":
        low, high = float(values.min()), float(values.max())
        if not 0 <= low <= high <= 1:  # NaN fails as well
            raise Unreadable(
                f"{where} holds floats from {low:.4g} to {high:.4g}: expected [0, 1], scale them"
            )
        return values
    if image.mode == "I" and form not in ("PNG", "PPM"):
        raise Unreadable(f"{where} holds signed or 32-bit integers: save it with 8 or 16 bits")
    return values / np.float32(65535)


def to_tensor(
    pixels: Pixels,
    size: int | Resizing | None = None,
    channels: int | None = None,
    where: str = "the image",
) -> Tensor:
    """Pixels as float32 (c, h, w): uint8 ones / 255, float ones as they are.

    `size` resizes the shorter side (bilinear, antialiased) and crops the centre, or does what a
    `Resizing` says; `channels` 1 makes gray of colour (0.299 R + 0.587 G + 0.114 B), 3 repeats
    gray. Raises Unreadable where the resized image would be absurdly large, or is smaller than what
    is cut out of it.

    >>> to_tensor(np.full((3, 2, 4), 51, dtype=np.uint8), size=1, channels=1)
    tensor([[[0.2000]]])
    """
    resizing = Resizing.of(size)
    if resizing is not None:
        pixels = _cropped(_resized(pixels, resizing, where), resizing, where)
    scale = np.float32(255 if pixels.dtype == np.uint8 else 1)
    image = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32) / scale)
    if channels == 3 and image.shape[0] == 1:
        return image.repeat(3, 1, 1)
    if channels == 1 and image.shape[0] == 3:
        red, green, blue = image
        if torch.equal(red, green) and torch.equal(green, blue):
            return image[:1]  # gray already: not even rounded
        return (image * image.new_tensor(LUMA)[:, None, None]).sum(0, keepdim=True)
    return image


def _resized(pixels: Pixels, resizing: Resizing, where: str) -> Pixels:
    """By Pillow, as photographs are resized for training; floats as floats."""
    height, width = resizing.shape(*pixels.shape[1:])
    if (height, width) == pixels.shape[1:]:
        return pixels
    if height * width > MOST_PIXELS:
        raise Unreadable(f"{where} would be resized to {height} x {width} pixels: crop it first")
    how = Image.Resampling[resizing.interpolation.upper()]
    if pixels.dtype == np.uint8:
        image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
        eight_bit = np.array(image.resize((width, height), how))
        return eight_bit[None] if eight_bit.ndim == 2 else eight_bit.transpose(2, 0, 1)
    channels = [Image.fromarray(each).resize((width, height), how) for each in pixels]
    resized = np.stack([np.array(each) for each in channels])
    return resized.clip(pixels.min(), pixels.max())  # rounding must not leave their range


def _cropped(pixels: Pixels, resizing: Resizing, where: str) -> Pixels:
    """The centre; where that lies between two pixels, as torchvision rounds."""
    if resizing.crop is None:
        return pixels
    (height, width), (high, wide) = pixels.shape[1:], resizing.crop
    if height < high or width < wide:
        raise Unreadable(f"{where} is {height} x {width}, and {high} x {wide} are cut out of it")
    top, left = round((height - high) / 2), round((width - wide) / 2)
    return pixels[:, top : top + high, left : left + wide]
