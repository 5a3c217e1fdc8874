"""`hf:NAME`: the data sets of the Hugging Face hub, or one saved to a folder (extra `datasets`)."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bridge.load.data import ImageData, Request, data_source
from bridge.load.images import Pixels, Unreadable, in_colour, pixels_of
from bridge.load.labels import numbered

LABELS = ("label", "labels", "class", "target")


@data_source("hf")
def hf(request: Request) -> ImageData:
    """NAME, NAME:CONFIGURATION, or a folder that `save_to_disk` wrote.

    Its first column of images, and its first one of classes (or one called label).
    """
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            'hf:NAME needs the library datasets: pip install "gradbridge[datasets]"'
        ) from error
    rows = _rows(datasets, request)
    features = rows.features
    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    if not images:
        raise ValueError(f"{request.source} has the columns {list(features)}: none holds images")
    classes = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    column = next(iter([*classes, *(name for name in LABELS if name in features)]), None)
    where = f"image {{}} of {request.source}"

    @functools.cache
    def numbers() -> npt.NDArray[np.int64] | None:
        """All labels; the images are not read."""
        if column is None:
            return None
        listed = list(rows.select_columns([column])[column])
        if any(isinstance(each, str) for each in listed):
            number, _ = numbered(list(map(str, listed)), request.class_names, request.source)
            listed = [number[str(each)] for each in listed]
        return np.array(listed, dtype=np.int64)

    def label(index: int) -> int | None:
        found = numbers()
        return None if found is None else int(found[index])

    def read(index: int) -> tuple[Pixels, int | None]:
        try:
            image = rows[index][images[0]]
        except Exception as error:  # a broken file raises whatever its decoder stumbles over
            raise Unreadable(f"{where.format(index)} cannot be read ({error})") from error
        if not isinstance(image, Image.Image):
            raise Unreadable(f"{where.format(index)} is a {type(image).__name__}, no image")
        return in_colour(pixels_of(image, where.format(index))), label(index)

    named = tuple(features[column].names) if column in classes else None
    return ImageData(request.source, len(rows), read, named, column is not None, label=label)


def _rows(datasets: Any, request: Request) -> Any:
    """The split that is meant."""
    try:
        if os.path.isdir(request.path):
            found = datasets.load_from_disk(str(request.path))
            if not isinstance(found, datasets.DatasetDict):
                return found
            if request.split not in found:
                raise ValueError(f"its splits are {', '.join(found)}")
            return found[request.split]
        name, _, configuration = request.name.partition(":")
        return datasets.load_dataset(
            name, configuration or None, split=request.split, cache_dir=request.root
        )
    except Exception as error:  # no network, no such name, no such split
        text = " ".join(str(error).split())[:300]
        raise ValueError(f"{request.source} cannot be loaded ({request.split}): {text}") from error
