"""Some of the images of a data set: the first, or drawn by a seed, or as many of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def some_of(
    data: Any,
    *,
    limit: int | None = None,
    sample: int | None = None,
    balanced: bool = False,
    seed: int = 0,
) -> Sequence[int]:
    """The indices of the first `limit` images, or of `sample` drawn by `seed`, in the data's order.

    `balanced`: the classes take turns, so that each has as many as the others, as long as it has
    any left. Raises ValueError where both are given, or labels are not known.

    >>> from bridge.load import load_data
    >>> data = load_data("sklearn:digits")
    >>> chosen = some_of(data, limit=10, balanced=True)
    >>> some_of(data, limit=3), sorted(data[index][1] for index in chosen)
    (range(0, 3), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    count = len(data)
    if limit is not None and sample is not None:
        raise ValueError("limit takes the first images and sample draws some: choose one of them")
    wanted = min(count, *(each for each in (limit, sample) if each is not None), count)
    if wanted == count or (sample is None and not balanced):
        return range(wanted)
    order = np.arange(count)
    if sample is not None:
        order = np.random.default_rng(seed).permutation(count)
    if balanced:
        labels = labels_of(data)[order]
        order = order[np.lexsort((labels, ranks(labels)))]
    return [int(index) for index in np.sort(order[:wanted])]


def labels_of(data: Any) -> npt.NDArray[Any]:
    """The label of every image, (n,), without reading the images where the data allows it.

    Raises ValueError where there are none.
    """
    known = getattr(data, "label", None)
    listed = next(
        (getattr(data, name) for name in ("targets", "labels") if hasattr(data, name)), None
    )
    if callable(known):
        found = [known(index) for index in range(len(data))]
    elif listed is not None and len(listed) == len(data):
        found = [int(label) for label in listed]
    else:
        found = [data[index][1] for index in range(len(data))]
    if any(label is None for label in found):
        raise ValueError("the images have no labels: nothing can be balanced by class")
    return np.array(found, dtype=np.int64)


def ranks(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Of each label how many of the same stand before it.

    >>> ranks(np.array([3, 1, 3, 3, 1])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    found = np.empty(len(labels), dtype=np.int64)
    found[order] = np.arange(len(labels)) - np.searchsorted(ordered, ordered, side="left")
    return found
