"""The images of a dataset one by one, as a DataLoader's workers read them."""

from __future__ import annotations

import contextlib
import itertools
import signal
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from bridge.core.errors import describe
from bridge.load import ImageData
from bridge.load.images import pixels_of, to_tensor
from bridge.study.whole.identity import id_of, listing_of

PROBES = 8  # images that a listing without file names is known by


@dataclass(frozen=True)
class Item:
    """One image (c, h, w) with its id, its label and what it is called.

    Where it could not be read, `image` is None and `error` says why: its kind and its text.
    """

    index: int
    image: Tensor | None
    id: str
    label: int | None
    source: str
    error: tuple[str, str] | None = None

    def pin_memory(self) -> Item:
        """The same where a GPU copies from; a DataLoader asks for it."""
        return self if self.image is None else replace(self, image=self.image.pin_memory())


class Items(Dataset[Item]):
    """A dataset's images by their index; one that cannot be read is an Item, too."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Item:
        return item_of(self.data, int(index))


def item_of(data: Any, index: int) -> Item:
    """One image of a dataset, whatever becomes of it."""
    source = name_of(data, index)
    try:
        image, label = _pair(data[index])
        return Item(index, image, id_of(image), label, source)
    except Exception as error:
        kind, text = type(error).__name__, describe(error)
        return Item(index, None, f"@{index}", None, source, (kind, text))


def _pair(given: Any) -> tuple[Tensor, int | None]:
    """The image and the label of what a dataset gave."""
    image, label = given, None
    if isinstance(given, dict):
        image, label = given.get("image"), given.get("label")
    elif isinstance(given, tuple | list):
        image, label = (*given, None)[:2]
    if isinstance(image, Image.Image):
        image = to_tensor(pixels_of(image, "the image"))
    if not isinstance(image, Tensor):
        kind = type(image).__name__
        raise TypeError(f"the dataset gave a {kind}, expected (image, label), image a tensor")
    if image.ndim != 3:
        raise ValueError(f"the image has shape {tuple(image.shape)}, expected (c, h, w)")
    if label is not None:
        label = int(label)
    return image.detach().contiguous(), label


def name_of(data: Any, index: int) -> str:
    """The file of an image, "" where it has none."""
    if isinstance(data, ImageData) and data.name is not None:
        return str(data.name(index)).encode("utf-8", "backslashreplace").decode()
    return ""


def dataset_of(data: Any) -> Any:
    """The dataset to read, by index. Raises TypeError for what has no indices."""
    found = data.dataset if isinstance(data, DataLoader) else data
    if isinstance(found, IterableDataset) or not (
        hasattr(found, "__getitem__") and hasattr(found, "__len__")
    ):
        raise TypeError(
            f"the data is a {type(found).__name__}, expected a source string, a Dataset with a "
            "length and (image, label) by index, or a DataLoader of one: a stream cannot be "
            "resumed, write its images to files first"
        )
    if not len(found):
        raise ValueError("the data holds no images")
    return found


def listing(data: Any, places: Sequence[int]) -> str:
    """The hash of what is listed: the files by their names, else a few images by their pixels."""
    names = tuple(getattr(data, "class_names", None) or ())
    texts = [type(data).__name__, str(len(data)), *map(str, names)]
    if isinstance(data, ImageData) and data.name is not None:
        root = str(Path(data.source.partition(":")[2]).expanduser())
        files = (name_of(data, int(index)).removeprefix(root) for index in places)
        return listing_of(itertools.chain(texts, files), {})
    texts.append(",".join(map(str, places)) if len(places) < len(data) else "all")
    chosen = {int(places[len(places) * k // PROBES]) for k in range(PROBES)}
    items = [item_of(data, index) for index in sorted(chosen)]
    return listing_of(texts, {item.index: item.image for item in items if item.image is not None})


def stream(
    data: Any, batches: Iterable[Sequence[int]], workers: int, *, pinned: bool = False
) -> Iterator[list[Item]]:
    """The items of each batch of indices, in order.

    Workers read ahead, and leave signals to the process that waits for them. The user's random
    state is left alone.
    """
    loader = DataLoader(
        Items(data),
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=_same,
        pin_memory=pinned,
        worker_init_fn=_ignore_signals,
        generator=torch.Generator().manual_seed(0),
    )
    with contextlib.closing(_batches(loader)) as found:
        yield from found


def _batches(loader: DataLoader[Any]) -> Generator[list[Item], None, None]:
    """The batches of a loader, as something that can be closed."""
    yield from loader


def _same(items: list[Item]) -> list[Item]:
    return items


def _ignore_signals(worker: int) -> None:
    """Ctrl-C goes to all processes of a terminal: who waits for us ends us."""
    torch.set_num_threads(1)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
