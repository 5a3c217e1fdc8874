"""`samples:NAME`: the 20 images a data set that are packaged with Foolbox."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from bridge.load import names
from bridge.load.data import ImageData, Request, data_source
from bridge.load.images import Pixels, read_image

# Our names and the beginnings of the files': what Foolbox gives as "MNIST" are Fashion-MNIST's.
PREFIXES = {
    "imagenet": "imagenet",
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "mnist": "mnist",
    "fashion_mnist": "fashionMNIST",
}


@data_source("samples")
def samples(request: Request) -> ImageData:
    """Read by file name: `foolbox.utils.samples` confuses the two, and gives channels last."""
    name = request.name
    if name not in PREFIXES:
        raise ValueError(f"unknown samples {name!r}: expected one of {', '.join(PREFIXES)}")
    spec = find_spec("foolbox")
    if spec is None or spec.origin is None:
        raise ValueError("the sample images are packaged with Foolbox: pip install foolbox")
    paths = sorted((Path(spec.origin).parent / "data").glob(f"{PREFIXES[name]}_[0-9][0-9]_*"))

    def read(index: int) -> tuple[Pixels, int]:
        return read_image(paths[index]), int(paths[index].stem.split("_")[-1])

    size = 224 if name == "imagenet" else None  # photographs of several sizes
    return ImageData(request.source, len(paths), read, names.of_samples(name), size=size)
