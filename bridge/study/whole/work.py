"""What is done with every image, and images in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.fused.planning import Task
from bridge.study.whole.items import Item

PREDICTED = "predicted"


@dataclass
class Work:
    """What is done with every image: methods with their parameters, and which class is meant.

    `target`: None explains the label, "predicted" what the model says, a number that class. Not
    `labelled`: what the model says is attacked. `most` images at once go through a method ("" for
    the clean pass): halved where memory runs out. `metrics`, by name with all their parameters,
    measure the maps.
    """

    model: ModelAdapter
    tasks: tuple[Task, ...]
    target: str | int | None = None
    labelled: bool = True
    seed: int = 0
    keep: dict[str, str] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    second: ModelAdapter | None = None  # what the attacks' images are transferred to
    peeled: list[str] = field(default_factory=list)  # what was halved, in words

    @property
    def attributions(self) -> tuple[Task, ...]:
        return tuple(task for task in self.tasks if task.method.kind == "attribution")

    def needs(self, tasks: Sequence[Task]) -> frozenset[Any]:
        """What the clean pass has to give."""
        return frozenset(need for task in tasks for need in task.needs) | {"logits"}


@dataclass(frozen=True)
class Batch:
    """Images (n, c, h, w) of one shape, and what is known of each."""

    x: Tensor
    items: tuple[Item, ...]

    def __len__(self) -> int:
        return len(self.items)

    def cut(self, part: slice) -> Batch:
        """Some of them."""
        return Batch(self.x[part], self.items[part])


def batches_of(items: Sequence[Item], model: ModelAdapter) -> tuple[list[Batch], list[Item]]:
    """The images that could be read, by their shapes, as the model takes them; and the others."""
    groups: dict[Any, list[Item]] = {}
    for item in items:
        if item.image is not None:
            groups.setdefault(tuple(item.image.shape), []).append(item)
    found = []
    for group in groups.values():
        x = torch.stack([item.image for item in group if item.image is not None])
        x = x.to(model.device or x.device, non_blocking=True)
        x = x.to(model.dtype or x.dtype)
        # What the loader holds need not be held twice.
        found.append(Batch(x, tuple(replace(item, image=None) for item in group)))
    return found, [item for item in items if item.image is None]
