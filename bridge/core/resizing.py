"""How images are brought to the size that a model takes: resized, then cropped in the middle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any

from bridge.core.parameters import check_whole

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")  # Pillow's


@dataclass(frozen=True)
class Resizing:
    """resize, then crop the centre: what torchvision, timm and Hugging Face do before a model.

    `resize`: the length of the shorter side in pixels, (height, width) for exactly that shape, None
    for images as they come. `crop`: (height, width) cut out of the middle, None for all of it.
    `interpolation`: one of Pillow's filters by name, antialiased.

    Raises ValueError or TypeError for sizes that are no numbers of pixels, a crop larger than what
    it is cut from, and unknown filters.

    >>> print(Resizing(256, (224, 224)))
    resized to 256 (bilinear), cropped to 224 x 224
    >>> Resizing(256, (224, 224)).shape(512, 1024)
    (256, 512)
    """

    resize: int | tuple[int, int] | None
    crop: tuple[int, int] | None
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            value = getattr(self, name)
            sides = list(value) if isinstance(value, list | tuple) else [value]
            for side in () if value is None else sides:
                check_whole(name, side, 1)
            if isinstance(value, list):  # out of JSON
                object.__setattr__(self, name, tuple(value))
        if self.interpolation not in INTERPOLATIONS:
            listed = ", ".join(INTERPOLATIONS)
            raise ValueError(f"interpolation is {self.interpolation!r}: expected one of {listed}")
        if self.resize is None or self.crop is None:
            return
        least = self.resize if isinstance(self.resize, tuple) else (self.resize, self.resize)
        if self.crop[0] > least[0] or self.crop[1] > least[1]:
            raise ValueError(f"crop {self.crop} is larger than what it is cut from, {self.resize}")

    @classmethod
    def of(cls, size: Any) -> Resizing | None:
        """What `size=` means: pixels of the shorter side and of the crop, or this itself.

        Also as the mapping that `plain` gives; None for nothing.
        """
        if size is None or isinstance(size, Resizing):
            return size
        if isinstance(size, Mapping):
            return cls(**size)
        if isinstance(size, Integral) and size < 1:
            raise ValueError(f"size is a number of pixels and must be at least 1, got {size}")
        return cls(side := check_whole("size", size, 1), (side, side))

    @property
    def plain(self) -> int | dict[str, Any]:
        """The same in JSON's types: the number of pixels where that says it all."""
        if self == Resizing.of(self.resize if isinstance(self.resize, int) else None):
            return self.resize  # type: ignore[return-value]
        return asdict(self)

    @property
    def result(self) -> tuple[int, int] | None:
        """(height, width) of every image afterwards; None where that depends on the image."""
        return self.crop or (self.resize if isinstance(self.resize, tuple) else None)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of an image that has been resized, and not cropped yet."""
        if self.resize is None:
            return height, width
        if isinstance(self.resize, tuple):
            return self.resize
        short, long = sorted((height, width))
        longer = int(self.resize * long / short)  # cut off, as torchvision and Hugging Face do
        return (longer, self.resize) if height > width else (self.resize, longer)

    def __str__(self) -> str:
        crop = "" if self.crop is None else f"cropped to {_by(self.crop)}"
        if self.resize is None:
            return crop or "taken as they are"
        exact = isinstance(self.resize, tuple)
        size = f"exactly {_by(self.resize)}" if exact else str(self.resize)  # type: ignore[arg-type]
        resize = f"resized to {size} ({self.interpolation})"
        return f"{resize}, {crop}" if crop and self.crop != self.resize else resize


def _by(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"
