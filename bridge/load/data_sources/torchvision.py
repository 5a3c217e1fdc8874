"""`torchvision:NAME`: the classification data sets of torchvision, downloaded when absent."""

from __future__ import annotations

import inspect
import operator
from typing import Any

from PIL import Image

from bridge.load.data import ImageData, Request, data_source
from bridge.load.images import Pixels, Unreadable, pixels_of


@data_source("torchvision")
def torchvision(request: Request) -> ImageData:
    """A data set of torchvision by the name of its class."""
    from torchvision import datasets

    factory = getattr(datasets, request.name, None)
    if request.name.startswith("_") or not inspect.isclass(factory):
        raise ValueError(f"torchvision.datasets has no {request.name!r}")
    accepted = inspect.signature(factory).parameters
    if "train" in accepted and request.split not in ("train", "test"):
        raise ValueError(
            f'the split of {request.source} is "train" or "test", got {request.split!r}'
        )
    offered = {
        "root": request.root,
        "train": request.split == "train",
        "split": request.split,
        "download": True,
    }
    try:
        dataset: Any = factory(**{key: value for key, value in offered.items() if key in accepted})
    except Exception as error:  # no network, no such split, files missing, an argument more
        raise ValueError(f"torchvision cannot load {request.name}: {error}") from error
    where = f"image {{}} of {request.source}"

    def read(index: int) -> tuple[Pixels, int]:
        try:
            image, label = dataset[index]
        except Exception as error:  # a broken file raises whatever its decoder stumbles over
            raise Unreadable(f"{where.format(index)} cannot be read ({error})") from error
        if not isinstance(image, Image.Image):
            raise ValueError(f"{request.source} gives {type(image).__name__}, expected images")
        return pixels_of(image, where.format(index)), _number(label, request.source)

    listed = getattr(dataset, "targets", None)
    label = None if listed is None else lambda index: _number(listed[index], request.source)
    return ImageData(request.source, len(dataset), read, _classes(dataset), label=label)


def _number(label: Any, source: str) -> int:
    try:
        return operator.index(label)
    except TypeError:
        raise ValueError(
            f"{source} gives labels such as {label!r}, expected the number of a class"
        ) from None


def _classes(dataset: Any) -> tuple[str, ...] | None:
    """The names; a class of several, as ImageNet's, has them joined by commas."""
    classes = getattr(dataset, "classes", None)
    if not classes:
        return None
    return tuple(name if isinstance(name, str) else ", ".join(name) for name in classes)
