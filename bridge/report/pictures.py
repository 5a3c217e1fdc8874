"""Thumbnails as data: WebP in base64, so that one file holds them all."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from bridge.record.record import Record
from bridge.tables import Key, epsilon_text, records, stated
from bridge.tables.predictions import CLEAN, predictions
from bridge.visualize.heatmap import as_rgb, coloured, heatmap, limit

LARGEST = 192  # pixels a side of a thumbnail, about as large as it is shown
LOSSLESS = 64  # below this, WebP without loss is small enough, and exact

CONFIDENCE = predictions["confidence"]
Said = Mapping[tuple[Key, int], Mapping[str, Any]]


@dataclass(frozen=True)
class Picture:
    """One thumbnail: what it shows, and what the model says of it where that is known.

    `place` is where it stands among all of its run, for others to show it again.
    """

    kind: str  # "image", "map", "attack" or "change"
    name: str
    data: str
    caption: str = ""
    fooled: bool = False
    place: str = ""


@dataclass(frozen=True)
class Row:
    """One image of the gallery: itself, its maps, its attacks and what they changed.

    `said` is what the model says of it, `confidence` how sure it is; "" and NaN where no prediction
    was recorded.
    """

    index: int
    label: str
    said: str
    confidence: float
    right: bool
    fooled_by: tuple[str, ...]
    pictures: tuple[Picture, ...]

    @property
    def image(self) -> Picture:
        """The image as it is."""
        return self.pictures[0]

    @property
    def maps(self) -> list[Picture]:
        """Its maps."""
        return [picture for picture in self.pictures if picture.kind == "map"]

    @property
    def changes(self) -> list[tuple[Picture, Picture]]:
        """Each attack's image with what it changed, which belong together."""
        attacked = [picture for picture in self.pictures if picture.kind == "attack"]
        changed = [picture for picture in self.pictures if picture.kind == "change"]
        return list(zip(attacked, changed, strict=True))


def gallery(run: Record) -> Iterator[Row]:
    """Every image with every attribution, and every attack at its largest epsilon.

    By the reference, or whoever there is; a method's maps share one scale.
    """
    size = (int(run.x.shape[2]), int(run.x.shape[3]))
    bounds = tuple(run.manifest["model"]["bounds"])
    chosen, attacks = run.chosen(), run.norms
    images = as_rgb(run.x, bounds)
    maps = {
        name: Signed(heatmap(run.outputs[key].float(), size))
        for name, key in chosen.items()
        if name not in attacks and run.outputs[key].ndim == 4
    }
    attacked = {name: run.outputs[key].float() for name, key in chosen.items() if name in attacks}
    shown = {name: as_rgb(output, bounds) for name, output in attacked.items()}
    changes = {
        name: Signed(heatmap(output - run.x.float(), size)) for name, output in attacked.items()
    }
    said, span = _said(run), bounds[1] - bounds[0]
    for index in range(len(run.x)):
        label, clean = int(run.labels[index]), said.get((CLEAN, index))
        right = clean is not None and clean["predicted"] == label
        pictures = [Picture("image", "image", webp(images[index]))]
        for name, map_ in maps.items():
            pictures.append(Picture("map", name, map_.webp(index), f"±{map_.limit:.2g}"))
        for name in attacked:
            caption = epsilon_text(chosen[name][2], attacks[name])
            row = said.get((chosen[name], index))
            if row is not None:
                caption += f": {run.class_name(int(row['predicted']))} {CONFIDENCE.show(row)}"
            fooled = right and row is not None and row["predicted"] != label
            pictures.append(Picture("attack", name, webp(shown[name][index]), caption, fooled))
            change = changes[name]
            caption = f"×{span / change.limit:.3g}, full colour ±{change.limit:.2g}"
            pictures.append(Picture("change", name, change.webp(index), caption))
        yield Row(
            index,
            run.class_name(label),
            "" if clean is None else run.class_name(int(clean["predicted"])),
            math.nan if clean is None else float(clean["confidence"]),
            right,
            tuple(p.name for p in pictures if p.fooled),
            tuple(replace(p, place=f"{index}-{k}") for k, p in enumerate(pictures)),
        )


def _said(run: Record) -> Said:
    """What the model says, by whose images these are and the number of the image."""
    return {
        ((row["method"], row["implementation"], stated(row["epsilon"])), row["image"]): row
        for row in records(run.predictions)
    }


class Signed:
    """Maps (n, h, w) on one scale, full colour at `limit`; in 255 steps, which saves bytes."""

    def __init__(self, maps: Tensor) -> None:
        self.limit = limit(maps)
        self.steps = (maps / self.limit * 127).round()

    def webp(self, index: int) -> str:
        return webp(coloured(self.steps[index], 127))


def webp(rgb: Tensor) -> str:
    """(h, w, 3) in [0, 1] as a data URI."""
    h, w = rgb.shape[:2]
    if max(h, w) > LARGEST:
        scale = LARGEST / max(h, w)
        smaller = (round(h * scale), round(w * scale))
        shrunk = F.interpolate(rgb.permute(2, 0, 1)[None].float(), smaller, mode="area")
        rgb = shrunk[0].permute(1, 2, 0)
    buffer = io.BytesIO()
    pixels = (rgb.numpy() * 255).round().astype(np.uint8)
    if max(h, w) <= LOSSLESS:
        Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, method=4)
    else:
        Image.fromarray(pixels).save(buffer, "WEBP", quality=55, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
