"""Which images a study is about, and the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.core.parameters import check_whole
from bridge.core.preflight import check_batch
from bridge.load import ImageData, at_own_size, load_data
from bridge.load.sampling import some_of
from bridge.study.whole.items import Item, dataset_of, item_of

LOOKED_AT = 64  # images that are tried until one can be read


@dataclass(frozen=True)
class Images:
    """The data, which of its images are meant, and the first of them that can be read."""

    data: Any
    places: Sequence[int]
    x: Tensor
    labelled: bool
    described: dict[str, Any]  # what decides the numbers
    loading: dict[str, Any]  # how to have them again


def images_of(
    model: ModelAdapter,
    data: Any,
    limit: int | None,
    sample: int | None,
    balanced: bool,
    seed: int,
) -> Images:
    """The images that are meant. Raises ValueError where the first ones cannot be read."""
    loading: dict[str, Any] = {}
    if isinstance(data, str):
        data, _ = at_own_size(load_data(data, class_names=model.class_names), model)
    if isinstance(data, ImageData):
        loading = dict(data.loading or {})
    found = dataset_of(data)
    for name, value in (("limit", limit), ("sample", sample)):
        if value is not None:
            check_whole(name, value, 1)
    places = some_of(found, limit=limit, sample=sample, balanced=balanced, seed=seed)
    first = _first(found, places)
    x = first.image[None] if first.image is not None else torch.empty(0)
    x = x.to(model.device or x.device, model.dtype or x.dtype)
    _, x, _ = check_batch(model, x)
    labelled = found.labelled if isinstance(found, ImageData) else first.label is not None
    described = {
        "images": len(places),
        "of": len(found),
        "limit": limit,
        "sample": sample,
        "balanced": balanced,
        **{name: loading.get(name) for name in ("split", "size", "channels")},
    }
    where = {"source": getattr(found, "source", type(found).__name__), "loading": loading}
    return Images(found, places, x, labelled, described, where)


def _first(data: Any, places: Sequence[int]) -> Item:
    item: Item | None = None
    for index in places[:LOOKED_AT]:
        item = item_of(data, int(index))
        if item.image is not None:
            return item
    why = item.error[1] if item is not None and item.error else "there are none"
    raise ValueError(f"none of the first images can be read: {why}")
