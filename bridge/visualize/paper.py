"""Figures for papers: images, their maps and their adversarials, in a column's width."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor

from bridge.core.epsilon import epsilon_text, stated
from bridge.visualize.heatmap import as_rgb, heatmap, limit
from bridge.visualize.sheet import GAP, LEAST, LEFT, Column, Figure

Key = tuple[str, str, float | None]

# In inches: a column of two, and both with what is between them (84 and 174 mm).
WIDTHS = {"single": 3.25, "double": 6.875}
IMAGES = 4  # that are shown where none are named


class Shown(Protocol):
    """What is read of a run: a Comparison, or a run directory that was loaded."""

    @property
    def x(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    @property
    def outputs(self) -> Mapping[Key, Tensor]: ...
    @property
    def manifest(self) -> Mapping[str, Any]: ...
    @property
    def norms(self) -> Mapping[str, str | None]: ...
    @property
    def predictions(self) -> pd.DataFrame: ...
    def chosen(self) -> Mapping[str, Key]: ...
    def class_name(self, label: int) -> str: ...


def figure(
    c: Shown,
    images: Iterable[int] | int | None = None,
    methods: Iterable[str | Key] | str | None = None,
    *,
    width: str | float = "double",
    scale: str = "method",
    changes: bool = False,
) -> Figure:
    """A row an image and a column a method, for a paper: `figure(c, ...).save("maps.pdf")`.

    `images` are numbers of images (default: the first 4), `methods` names of attributions and
    attacks in the order in which they are shown (default: all), or keys of `c.outputs` where it
    is not the one that `c.chosen()` takes. Of an attack the adversarial images, with the class that
    the model then sees below where that is another; with `changes` what was changed too.
    `width`: "single" (3.25 in, 84 mm), "double" (6.875 in, 174 mm) or inches.

    Maps and changes: channels summed, blue negative, red positive, with a colour bar. `scale`
    "method": a method's maps share one scale, full at the 98th percentile of their absolute values;
    "shared": all maps of the figure do, and the bar has its numbers.

    Fonts are embedded, and the bytes of a file are the same from run to run. Raises KeyError for a
    method that the run does not have, ValueError for an image that it does not have, another width
    or scale, or more columns than the width has room for, each naming what there is.
    """
    if scale not in ("method", "shared"):
        raise ValueError(f"unknown scale {scale!r}: expected 'method' or 'shared'")
    inches = _inches(width)
    places = _places(images, len(c.x))
    columns = _columns(c, places, _keys(c, methods), changes)
    if scale == "shared":
        columns = _on_one_scale(columns)
    names = [c.class_name(int(c.labels[place])) for place in places]
    found = Figure(columns, names, scale, inches)
    if found.side < LEAST:
        most = int((inches - LEFT) / (LEAST + GAP))
        raise ValueError(
            f"{len(columns)} columns have no room in {inches:g} inches: at most {most} do; name "
            "fewer methods, or take width='double'"
        )
    return found


def _inches(width: Any) -> float:
    if isinstance(width, str) and width in WIDTHS:
        return WIDTHS[width]
    if isinstance(width, bool) or not isinstance(width, int | float) or not 1 <= width <= 40:
        raise ValueError(f"width {width!r}: expected 'single', 'double' or 1 to 40 inches")
    return float(width)


def _places(images: Iterable[int] | int | None, count: int) -> list[int]:
    """The numbers of the images. Raises ValueError for one that there is not."""
    if images is None:
        images = range(min(IMAGES, count))
    places = [operator.index(i) for i in (images if isinstance(images, Iterable) else [images])]
    for place in places:
        if not 0 <= place < count:
            raise ValueError(f"there is no image {place}: the run has {count}, from 0 on")
    if not places:
        raise ValueError("there is no image to show: name at least one")
    return places


def _keys(c: Shown, methods: Iterable[str | Key] | str | None) -> list[Key]:
    """Whose outputs are shown. Raises KeyError naming those that there are."""
    chosen = {name: key for name, key in c.chosen().items() if c.outputs[key].ndim == 4}
    if isinstance(methods, str):
        methods = [methods]
    keys = []
    for each in chosen if methods is None else methods:
        key = chosen.get(each) if isinstance(each, str) else each
        if key is None or key not in c.outputs or c.outputs[key].ndim != 4:
            there = ", ".join(chosen) or "none"
            raise KeyError(f"the run has no pictures of {each!r}; it has: {there}")
        if len(c.outputs[key]) != len(c.x):
            raise ValueError(f"{key} ran on {len(c.outputs[key])} of {len(c.x)} images only")
        keys.append(key)
    return keys


def _columns(c: Shown, places: Sequence[int], keys: Sequence[Key], changes: bool) -> list[Column]:
    """The images, and what each key stands for."""
    low, high = c.manifest.get("model", {}).get("bounds", (0.0, 1.0))
    size, x = (int(c.x.shape[2]), int(c.x.shape[3])), c.x[places].float()
    columns = [Column("image", as_rgb(x, (low, high)))]
    for key in keys:
        name, _, epsilon = key
        head, output = name.replace("_", " "), c.outputs[key][places].float()
        if name not in c.norms:
            maps = heatmap(output, size)
            columns.append(Column(head, maps, limit(maps)))
            continue
        head = f"{head} {epsilon_text(epsilon, c.norms[name])}"
        columns.append(Column(head, as_rgb(output, (low, high)), below=_seen(c, key, places)))
        if changes:
            change = heatmap(output - x, size)
            columns.append(Column("change", change, limit(change)))
    return columns


def _seen(c: Shown, key: Key, places: Sequence[int]) -> list[str]:
    """What the model sees in each attacked image, where that is not the label."""
    said = {
        int(row.image): (int(row.predicted), int(row.label))
        for row in c.predictions.itertuples()
        if (row.method, row.implementation, stated(row.epsilon)) == key
    }
    seen = [said.get(place, (0, 0)) for place in places]
    return ["" if now == label else c.class_name(now) for now, label in seen]


def _on_one_scale(columns: Sequence[Column]) -> list[Column]:
    """The same, all maps on the scale of all of them."""
    signed = [column.pictures.flatten() for column in columns if column.largest is not None]
    largest = limit(torch.cat(signed)) if signed else 1.0
    return [
        each if each.largest is None else Column(each.head, each.pictures, largest)
        for each in columns
    ]
