"""Images with labels from a short source string: `samples:fashion_mnist`, `folder:PATH`, ...

A source is one file in `bridge/load/data_sources` with one registration; being there it is found.
Images are float32 (c, h, w). Nothing is downloaded unless the source names a torchvision dataset.
"""

from __future__ import annotations

import functools
import importlib
import operator
import os
import pkgutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from bridge.core.resizing import Resizing
from bridge.load.images import Pixels, Unreadable, to_tensor
from bridge.load.labels import renumbered


@dataclass(frozen=True)
class Request:
    """What a source is asked for: `source` is the whole string, `name` what follows its scheme.

    A source of labels that are texts numbers them with `bridge.load.labels.numbered`; labels that
    are numbers it leaves, with the data set's own class names, to `load_data`.
    """

    source: str
    name: str
    split: str = "test"
    root: str = "data"
    class_names: tuple[str, ...] | None = None

    @property
    def path(self) -> Path:
        """The name as a path; a leading ~ is the home folder."""
        return Path(os.path.expanduser(self.name))  # Path.expanduser raises for a ~ of nobody


@dataclass(frozen=True)
class ImageData(Dataset[tuple[Tensor, int | None]]):
    """A dataset of (image, label): image float32 (c, h, w), label int, or None where unlabelled.

    An image that cannot be read rightly raises Unreadable, a ValueError that names it.
    `read(index)` gives its pixels as the source has them and its label; `where(index)` names it;
    `label(index)`, where there is one, gives the label alone, without reading the image. `loading`
    are the arguments of `load_data` that made it.
    """

    source: str
    length: int
    read: Callable[[int], tuple[Pixels, int | None]]
    class_names: tuple[str, ...] | None = None
    labelled: bool = True
    name: Callable[[int], str] | None = None
    size: int | Resizing | None = None
    channels: int | None = None
    label: Callable[[int], int | None] | None = None
    loading: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, int | None]:
        if not 0 <= index < self.length:
            raise IndexError(f"image {index} of {self.length} in {self.source}")
        pixels, label = self.read(index)
        return to_tensor(pixels, self.size, self.channels, self.where(index)), label

    def __iter__(self) -> Iterator[tuple[Tensor, int | None]]:
        return (self[index] for index in range(self.length))

    def resized(self, resizing: Resizing) -> ImageData:
        """The same images, brought to another size."""
        loading = None if self.loading is None else {**self.loading, "size": resizing.plain}
        return replace(self, size=resizing, loading=loading)

    def where(self, index: int) -> str:
        """What an image is called in messages: its file, or its place in the source."""
        return self.name(index) if self.name else f"image {index} of {self.source}"


Source = Callable[[Request], ImageData]

_SOURCES: dict[str, Source] = {}


def data_source(scheme: str) -> Callable[[Source], Source]:
    """Register `source(request) -> ImageData` for `scheme:name`.

    It raises ValueError for a name that it does not know, or for what it cannot read at all.
    """

    def register(source: Source) -> Source:
        _SOURCES[scheme] = source
        return source

    return register


def data_sources() -> dict[str, Source]:
    """The sources by their schemes.

    >>> list(data_sources())
    ['csv', 'file', 'folder', 'hf', 'npz', 'samples', 'sklearn', 'torchvision', 'webdataset']
    """
    _import_our_own()
    return dict(sorted(_SOURCES.items()))


@functools.cache
def _import_our_own() -> None:
    package = importlib.import_module("bridge.load.data_sources")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def load_data(
    source: str,
    *,
    split: str = "test",
    size: int | Resizing | Mapping[str, Any] | None = None,
    root: str = "data",
    class_names: Sequence[str] | None = None,
    channels: int | None = None,
) -> ImageData:
    """A Dataset of (image, label) of any length, read image by image.

    Sources: `samples:{imagenet,cifar10,cifar100,mnist,fashion_mnist}` (20 images each, packaged
    with Foolbox), `folder:PATH` (one folder a class; images without folders have no labels),
    `file:PATH` (one image), `csv:PATH` (columns path and label), `npz:PATH` (arrays images/labels,
    x/y or x_test/y_test), `sklearn:digits`, `torchvision:NAME` and `hf:NAME` (download to `root`
    when absent; `hf:FOLDER` does not), `webdataset:FILES` (tar files, `train-{000..146}.tar`).
    `split` picks "train" or "test" where the source has both.

    `class_names`, a model's in the order of its logits, make the labels the model's own numbers:
    folders and the labels of a csv are matched to them by name (case, spaces, underscores and
    hyphens do not count; "tabby" is "tabby, tabby cat"), WordNet id (ImageNet's classes) or index,
    the classes of other sources by name. Without them folders are numbered alphabetically.

    `size` resizes the shorter side and crops the centre; it may be a `Resizing` (also as its
    `plain` mapping), as the `model.resizing` of a loaded model is. `channels` 1 makes gray of
    colour, 3 repeats gray. Files give values in [0, 1], or are refused by name (transparency,
    animation, 16-bit colour); floats of an npz are kept as they are.

    Raises ValueError for an unknown or empty source, and for labels that are no class of the
    model, with the nearest names.

    >>> data = load_data("samples:fashion_mnist")
    >>> len(data), data[0][0].shape, data.class_names[data[0][1]]
    (20, torch.Size([1, 28, 28]), 'Ankle boot')
    """
    if not isinstance(source, str):
        raise TypeError(f"source is a string such as 'folder:PATH', got {source!r}")
    scheme, _, name = source.partition(":")
    known = data_sources()
    if scheme not in known or not name:
        expected = ", ".join(f"{each}:NAME" for each in known)
        raise ValueError(f"unknown data source {source!r}: expected one of {expected}")
    resizing = Resizing.of(size)
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1 (gray) or 3 (colour), got {channels!r}")
    wanted = _names(class_names)
    data = known[scheme](Request(source, name, split, root, wanted))
    if not len(data):
        raise ValueError(f"{source} holds no images")
    loading = {
        "source": source,
        "split": split,
        "size": None if resizing is None else resizing.plain,
        "root": root,
        "class_names": wanted,
        "channels": channels,
    }
    data = replace(data, size=resizing or data.size, channels=channels, loading=loading)
    if wanted is None or wanted == data.class_names or not data.labelled:
        return data
    return _with_labels_of(wanted, data)


def load_batch(
    source: str,
    n: int | None = 16,
    *,
    split: str = "test",
    size: int | Resizing | Mapping[str, Any] | None = None,
    root: str = "data",
    class_names: Sequence[str] | None = None,
    channels: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The first n images and labels: `x` (n, c, h, w) float32 and `labels` (n,) int64.

    `labels` is None where the source has none: a folder of images without subfolders. `n=None`
    takes all. An image that cannot be read rightly is left out, with a warning that names it.
    Sources and the other parameters as in `load_data`.

    Raises ValueError where the images differ in shape (pass `size` or `channels`), none can be
    read, or a label is no class of `class_names`.

    >>> x, labels = load_batch("samples:cifar10", n=4)
    >>> x.shape, labels
    (torch.Size([4, 3, 32, 32]), tensor([3, 8, 8, 0]))
    """
    data = load_data(
        source, split=split, size=size, root=root, class_names=class_names, channels=channels
    )
    return first_of(data, n)


def first_of(data: ImageData, n: int | None) -> tuple[Tensor, Tensor | None]:
    """The first n images of a data set and their labels, as `load_batch` gives them."""
    if n is not None and _whole("n", n) < 1:
        raise ValueError(f"n is the number of images and must be at least 1, got {n}")
    if n is not None and n > len(data):
        warnings.warn(
            f"{data.source} has {len(data)} images, not {n}: taking all of them", stacklevel=3
        )
    images: list[Tensor] = []
    taken: list[int] = []
    labels: list[int | None] = []
    reason: Unreadable | None = None
    for index in range(len(data)):
        try:
            image, label = data[index]
        except Unreadable as error:
            warnings.warn(f"left out: {error}", stacklevel=3)
            reason = reason or error
            continue
        if images and image.shape != images[0].shape:
            raise ValueError(_different(data, taken[0], images[0], index, image))
        images.append(image)
        taken.append(index)
        labels.append(label)
        if len(images) == n:
            break
    if not images:
        raise ValueError(f"no image of {data.source} can be read: {reason}")
    x = torch.stack(images)
    return x, torch.tensor(labels, dtype=torch.int64) if data.labelled else None


def _whole(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None


def _names(class_names: Sequence[str] | None) -> tuple[str, ...] | None:
    if class_names is None:
        return None
    if isinstance(class_names, str | Mapping | Set):
        kind = type(class_names).__name__
        raise TypeError(f"class_names is a list in the order of the logits, got a {kind}")
    return tuple(map(str, class_names))


def _with_labels_of(class_names: tuple[str, ...], data: ImageData) -> ImageData:
    """The same data, its labels the numbers of a model's classes."""
    theirs = renumbered(data.class_names, class_names, data.source) if data.class_names else None

    def renumber(label: int | None, index: int) -> int | None:
        number: int | str | None = label
        if theirs is not None and label is not None:
            number = theirs[label]
        if isinstance(number, str):
            raise ValueError(f"the label of {data.where(index)} is no class of the model: {number}")
        if number is not None and number >= len(class_names):
            raise ValueError(
                f"{data.where(index)} has label {number}, but the model has {len(class_names)} "
                f"classes, 0 to {len(class_names) - 1}"
            )
        return number

    def read(index: int) -> tuple[Pixels, int | None]:
        pixels, label = data.read(index)
        return pixels, renumber(label, index)

    def label_of(index: int) -> int | None:
        return renumber(data.label(index) if data.label else None, index)

    known = label_of if data.label else None
    return replace(data, read=read, class_names=class_names, label=known)


def _different(data: ImageData, first: int, one: Tensor, second: int, other: Tensor) -> str:
    what = [
        f"{data.where(index)} has {image.shape[0]} x {image.shape[1]} x {image.shape[2]}"
        for index, image in ((first, one), (second, other))
    ]
    remedy = [
        *(["size=, for example 224"] if one.shape[1:] != other.shape[1:] else []),
        *(["channels=3 (or 1)"] if one.shape[0] != other.shape[0] else []),
    ]
    return f"{' and '.join(what)} (channels, height, width): pass {' and '.join(remedy)}"
