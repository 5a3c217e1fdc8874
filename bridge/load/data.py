"""Images with labels from a short source string: `samples:fashion_mnist`, `folder:PATH`, `torchvision:CIFAR10`, ...

Images are float32 in [0, 1], (c, h, w). Nothing is downloaded unless the source names a torchvision dataset.
"""

from __future__ import annotations

import inspect
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from bridge.load import names
from bridge.zoo import DIGITS

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


@dataclass(frozen=True)
class ImageData(Dataset[tuple[Tensor, int]]):
    """A dataset of (image, label): image float32 (c, h, w) in [0, 1], label int. An unreadable image raises ValueError."""

    source: str
    length: int
    read: Callable[[int], tuple[Tensor, int]]
    class_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not 0 <= index < self.length:
            raise IndexError(f"image {index} of {self.length} in {self.source}")
        return self.read(index)

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return (self[index] for index in range(self.length))


def load_data(source: str, *, split: str = "test", size: int | None = None, root: str = "data") -> ImageData:
    """A Dataset of (image, label) of any length, read image by image.

    Sources: `samples:{imagenet,cifar10,cifar100,mnist,fashion_mnist}` (20 images each, packaged with Foolbox),
    `folder:PATH` (one folder a class), `npz:PATH` (arrays images/labels, x/y or x_test/y_test), `sklearn:digits`,
    `torchvision:NAME` (downloads to `root` when absent). `split` picks "train" or "test" where the source has both;
    `size` resizes the shorter side and crops the centre. Raises ValueError for an unknown or empty source.
    """
    scheme, _, name = source.partition(":")
    if scheme not in SCHEMES or not name:
        raise ValueError(f"unknown data source {source!r}: expected one of {', '.join(s + ':NAME' for s in SCHEMES)}")
    data = SCHEMES[scheme](source, name, split=split, size=size, root=root)
    if not len(data):
        raise ValueError(f"{source} holds no images")
    return data


def load_batch(
    source: str, n: int | None = 16, *, split: str = "test", size: int | None = None, root: str = "data"
) -> tuple[Tensor, Tensor]:
    """The first n images and labels of a source as `x` (n, c, h, w) float32 in [0, 1] and `labels` (n,) int64.

    `n=None` takes all. An unreadable image is left out with a warning. Raises ValueError where the images differ in
    shape (pass `size`) or none can be read. Sources as in `load_data`.
    """
    if n is not None and n < 1:
        raise ValueError(f"n is the number of images and must be at least 1, got {n}")
    data = load_data(source, split=split, size=size, root=root)
    if n is not None and n > len(data):
        warnings.warn(f"{source} has {len(data)} images, not {n}: taking all of them", stacklevel=2)
    images, labels = [], []
    for index in range(len(data)):
        try:
            image, label = data[index]
        except ValueError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
            continue
        images.append(image)
        labels.append(label)
        if n is not None and len(images) == n:
            break
    if not images:
        raise ValueError(f"no image of {source} can be read")
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise ValueError(f"the images of {source} have different shapes {sorted(shapes)}: pass size=, for example 224")
    return torch.stack(images), torch.tensor(labels, dtype=torch.int64)


def _to_tensor(image: Image.Image, size: int | None, gray: bool = False) -> Tensor:
    """Pixels / 255 as (c, h, w); the shorter side resized to `size` (bilinear, antialiased), then the centre cropped."""
    image = image.convert("L" if gray else "RGB")
    if size is not None:
        scale = size / min(image.size)
        image = image.resize(
            (max(size, round(image.width * scale)), max(size, round(image.height * scale))), Image.Resampling.BILINEAR
        )
        left, top = (image.width - size) // 2, (image.height - size) // 2
        image = image.crop((left, top, left + size, top + size))
    pixels = torch.from_numpy(np.array(image, dtype=np.float32) / 255)
    return pixels[None] if gray else pixels.permute(2, 0, 1).contiguous()


def _open(path: Path, size: int | None, gray: bool = False) -> Tensor:
    try:
        with Image.open(path) as image:
            return _to_tensor(image, size, gray)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is not a readable image ({error})") from error


def _samples(source: str, name: str, *, size: int | None, **_: Any) -> ImageData:
    # Read by file name: foolbox.utils.samples gives channels_last tensors and, for "MNIST", Fashion-MNIST's images.
    prefixes = {n: n for n in ("imagenet", "cifar10", "cifar100", "mnist")} | {"fashion_mnist": "fashionMNIST"}
    if name not in prefixes:
        raise ValueError(f"unknown samples {name!r}: expected one of {', '.join(prefixes)}")
    spec = find_spec("foolbox")
    if spec is None or spec.origin is None:
        raise ValueError("the sample images are packaged with Foolbox: pip install foolbox")
    paths = sorted((Path(spec.origin).parent / "data").glob(f"{prefixes[name]}_[0-9][0-9]_*"))
    gray = "mnist" in name
    size = 224 if name == "imagenet" and size is None else size

    def read(index: int) -> tuple[Tensor, int]:
        return _open(paths[index], size, gray), int(paths[index].stem.split("_")[-1])

    return ImageData(source, len(paths), read, names.of_samples(name))


def _folder(source: str, name: str, *, size: int | None, **_: Any) -> ImageData:
    root = Path(name).expanduser()
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    classes = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        raise ValueError(f"{root} has no subfolders: expected one folder a class, {root.name}/CLASS/image.png")
    files = [
        (path, label)
        for label, folder in enumerate(classes)
        for path in sorted((root / folder).rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    # Classes take turns, so that the first n images show many classes and not the first folder alone.
    turn: dict[int, int] = {}
    order = []
    for path, label in files:
        order.append((turn.setdefault(label, 0), label, path))
        turn[label] += 1
    files = [(path, label) for _, label, path in sorted(order)]
    return ImageData(source, len(files), lambda index: (_open(files[index][0], size), files[index][1]), tuple(classes))


def _npz(source: str, name: str, *, split: str, size: int | None, **_: Any) -> ImageData:
    path = Path(name).expanduser()
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            for image_key, label_key in ((f"x_{split}", f"y_{split}"), ("images", "labels"), ("x", "y")):
                if image_key in archive and label_key in archive:
                    images, labels = archive[image_key], archive[label_key]
                    break
            else:
                raise ValueError(
                    f"{path} holds {sorted(archive.files)}: expected images and labels, x and y, or x_{split} and y_{split}"
                )
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise ValueError(f"{path} is not a readable .npz file ({error})") from error
    if len(images) != len(labels):
        raise ValueError(f"{path} has {len(images)} images and {len(labels)} labels")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"the labels in {path} are {labels.dtype}, expected integers")
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"the images in {path} have shape {images.shape}, expected (n, h, w), (n, h, w, c) or (n, c, h, w)")
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"the images in {path} are {images.dtype}, expected uint8 or float in [0, 1]")
    scale = 255 if images.dtype == np.uint8 else 1

    def read(index: int) -> tuple[Tensor, int]:
        image = torch.from_numpy(np.ascontiguousarray(images[index], dtype=np.float32)) / scale
        if size is not None:
            eight_bit = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy().squeeze()
            image = _to_tensor(Image.fromarray(eight_bit), size, gray=image.shape[0] == 1)
        return image, int(labels[index])

    return ImageData(source, len(images), read)


def _sklearn(source: str, name: str, *, split: str, size: int | None, **_: Any) -> ImageData:
    if name != "digits":
        raise ValueError(f"unknown scikit-learn source {name!r}: expected sklearn:digits")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ValueError('sklearn:digits needs scikit-learn: pip install "gradbridge[digits]"') from error
    images, labels = load_digits(return_X_y=True)
    # Every fifth image is a test image; the file's own order mixes writers and digits.
    chosen = np.arange(len(images)) % 5 == 0
    chosen = chosen if split == "test" else ~chosen
    tensors = torch.from_numpy(images[chosen]).float().div(16).view(-1, 1, 8, 8)
    if size is not None:
        tensors = torch.nn.functional.interpolate(tensors, size=size, mode="bilinear", antialias=True)
    targets = labels[chosen]
    return ImageData(source, len(targets), lambda index: (tensors[index], int(targets[index])), DIGITS)


def _torchvision(source: str, name: str, *, split: str, size: int | None, root: str) -> ImageData:
    from torchvision import datasets

    factory = getattr(datasets, name, None)
    if name.startswith("_") or not inspect.isclass(factory):
        raise ValueError(f"torchvision.datasets has no {name!r}")
    accepted = inspect.signature(factory).parameters
    offered = {"root": root, "train": split == "train", "split": split, "download": True}
    dataset: Any = factory(**{key: value for key, value in offered.items() if key in accepted})

    def read(index: int) -> tuple[Tensor, int]:
        image, label = dataset[index]
        return _to_tensor(image, size, gray=image.mode == "L"), int(label)

    classes = getattr(dataset, "classes", None)
    return ImageData(source, len(dataset), read, tuple(map(str, classes)) if classes else None)


SCHEMES: dict[str, Callable[..., ImageData]] = {
    "samples": _samples, "folder": _folder, "npz": _npz, "sklearn": _sklearn, "torchvision": _torchvision,
}  # fmt: skip
