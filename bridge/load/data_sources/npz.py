"""`npz:PATH`: arrays of images and labels that NumPy saved."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.load.data import ImageData, Request, data_source
from bridge.load.images import Pixels
from bridge.load.labels import numbered


@data_source("npz")
def npz(request: Request) -> ImageData:
    """Images (n, h, w), (n, h, w, c) or (n, c, h, w) with labels (n,).

    uint8 / 255 and uint16 / 65535, floats as they are. Labels are numbers, or texts as in a csv.
    """
    path = request.path
    images, labels = _arrays(path, request.split)
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1:
        raise ValueError(f"the labels in {path} have shape {labels.shape}, expected (n,)")
    if images.ndim == 0 or len(images) != len(labels):
        count = len(images) if images.ndim else "no"
        raise ValueError(f"{path} has {count} images and {len(labels)} labels")
    images = _channels_first(images, path)
    _check_values(images, path)
    numbers, class_names = _numbers(labels, request, path)

    def read(index: int) -> tuple[Pixels, int]:
        image = images[index]
        if image.dtype == np.uint8:
            return image, numbers[index]
        scale = np.float32(65535 if image.dtype.kind == "u" else 1)
        return image.astype(np.float32) / scale, numbers[index]

    return ImageData(
        request.source, len(images), read, class_names, label=lambda index: numbers[index]
    )


def _arrays(path: Path, split: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    if not os.path.isfile(path):
        raise ValueError(f"{path} is not a file")
    pairs = ((f"x_{split}", f"y_{split}"), ("images", "labels"), ("x", "y"))
    try:
        with np.load(path, allow_pickle=False) as archive:
            for image_key, label_key in pairs:
                if image_key in archive.files and label_key in archive.files:
                    return archive[image_key], archive[label_key]
            held = sorted(archive.files)
    except Exception as error:  # a broken file raises whatever its reader stumbles over
        raise ValueError(f"{path} is not a readable .npz file ({error})") from error
    raise ValueError(
        f"{path} holds {held}: expected images and labels, x and y, or x_{split} and y_{split}"
    )


def _channels_first(images: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    shape = images.shape
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and shape[1] not in (1, 3) and shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape[1:]:
        raise ValueError(
            f"the images in {path} have shape {shape}, expected (n, h, w), (n, h, w, c) or "
            "(n, c, h, w) with 1 or 3 channels"
        )
    return images


def _check_values(images: npt.NDArray[Any], path: Path) -> None:
    kind, size = images.dtype.kind, images.dtype.itemsize
    if kind != "f" and (kind != "u" or size > 2):
        raise ValueError(
            f"the images in {path} are {images.dtype}, expected uint8, uint16 or floats: save 0 to "
            "255 as uint8, 0 to 65535 as uint16"
        )
    if (kind, size) == ("u", 2) and 0 < images.max(initial=0) <= 255:
        raise ValueError(f"the images in {path} are uint16 but only go to 255: save them as uint8")
    if kind == "f":
        for index, image in enumerate(images):
            if not np.abs(image).max() <= np.finfo(np.float32).max:  # NaN fails as well
                raise ValueError(
                    f"image {index} in {path} holds NaN, infinity or values beyond float32"
                )


def _numbers(
    labels: npt.NDArray[Any], request: Request, path: Path
) -> tuple[list[int], tuple[str, ...] | None]:
    if labels.dtype.kind == "U":
        texts = [str(label) for label in labels]
        number, class_names = numbered(texts, request.class_names, str(path))
        return [number[text] for text in texts], class_names
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"the labels in {path} are {labels.dtype}, expected integers or texts")
    negative = np.flatnonzero(labels < 0)
    if negative.size:
        raise ValueError(
            f"label {negative[0]} in {path} is {labels[negative[0]]}: classes are numbered from 0"
        )
    return labels.tolist(), None
