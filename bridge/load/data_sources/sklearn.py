"""`sklearn:digits`: scikit-learn's 1797 digits of 8 x 8 pixels (extra `digits`)."""

from __future__ import annotations

import numpy as np

from bridge.load.data import ImageData, Request, data_source
from bridge.load.images import Pixels
from bridge.zoo import DIGITS


@data_source("sklearn")
def sklearn(request: Request) -> ImageData:
    """The digits; every fifth is a test image, as the file's order mixes writers and digits."""
    if request.name != "digits":
        raise ValueError(f"unknown scikit-learn source {request.name!r}: expected sklearn:digits")
    if request.split not in ("train", "test"):
        raise ValueError(f'split must be "train" or "test", got {request.split!r}')
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ValueError(
            'sklearn:digits needs scikit-learn: pip install "gradbridge[digits]"'
        ) from error
    images, labels = load_digits(return_X_y=True)
    chosen = (np.arange(len(images)) % 5 == 0) == (request.split == "test")
    images, labels = images[chosen], labels[chosen]

    def read(index: int) -> tuple[Pixels, int]:
        pixels = images[index].astype(np.float32).reshape(1, 8, 8) / np.float32(16)
        return pixels, int(labels[index])

    return ImageData(
        request.source, len(labels), read, DIGITS, label=lambda index: int(labels[index])
    )
