"""Thumbnails as data: WebP in base64, so that one file holds them all."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from bridge import tables
from bridge.compare import Comparison
from bridge.visualize.heatmap import as_rgb, heatmap, limit

LARGEST = 160  # pixels a side of a thumbnail: they are shown at 96, on fine screens with up to twice as many
LOSSLESS = 64  # below this, WebP without loss is small enough, and exact


@dataclass(frozen=True)
class Picture:
    """One thumbnail: what it shows, and what the model says of it where that is known."""

    kind: str  # "image", "map", "attack" or "change"
    name: str
    data: str
    caption: str = ""
    fooled: bool | None = None


@dataclass(frozen=True)
class Row:
    """One image of the gallery: itself, its maps, its attacks and what they changed."""

    index: int
    label: str
    predicted: str
    confidence: float
    right: bool
    fooled_by: tuple[str, ...]
    pictures: tuple[Picture, ...]


def class_name(run: Comparison, label: int) -> str:
    """What the model calls a class."""
    names = run.manifest["model"].get("class_names")
    return str(names[label]) if names and 0 <= label < len(names) else str(label)


def gallery(run: Comparison) -> Iterator[Row]:
    """Every image with every attribution (by the reference, or whoever there is) and every attack at its largest epsilon."""
    size = (int(run.x.shape[2]), int(run.x.shape[3]))
    bounds = tuple(run.manifest["model"]["bounds"])
    attacks = dict.fromkeys(run.attacks["method"])
    chosen = _chosen(run)
    images = as_rgb(run.x, bounds)
    maps = {name: heatmap(run.outputs[key].float(), size) for name, key in chosen.items()
            if name not in attacks and run.outputs[key].ndim == 4}  # fmt: skip
    scales = {name: limit(map_) for name, map_ in maps.items()}
    attacked = {name: run.outputs[key].float() for name, key in chosen.items() if name in attacks}
    changes = {name: heatmap(output - run.x.float(), size) for name, output in attacked.items()}
    spans = {name: limit(change) for name, change in changes.items()}
    said = {(r.method, r.implementation, _none(r.epsilon), r.image): r for r in run.predictions.itertuples()}
    norms = dict(zip(run.attacks["method"], run.attacks["norm"], strict=True))
    for index in range(len(run.x)):
        clean = said["clean", "model", None, index]
        label = int(run.labels[index])
        pictures = [Picture("image", "image", _webp(images[index]))]
        for name, map_ in maps.items():
            pictures.append(Picture("map", name, _webp(_coloured(map_[index], scales[name]))))
        fooled = []
        for name, output in attacked.items():
            key = chosen[name]
            row = said.get((*key, index))
            caption = tables.epsilon_text(key[2], norms[name])
            hit = None
            if row is not None:
                hit = clean.predicted == label and row.predicted != label
                caption += f": {class_name(run, int(row.predicted))} {row.confidence:.0%}"
            fooled += [name] if hit else []
            pictures.append(Picture("attack", name, _webp(as_rgb(output[index : index + 1], bounds)[0]), caption, hit))
            change = _webp(_coloured(changes[name][index], spans[name]))
            pictures.append(Picture("change", name, change, f"change, full colour {spans[name]:.3f}"))
        yield Row(
            index, class_name(run, label), class_name(run, int(clean.predicted)), float(clean.confidence),
            bool(clean.predicted == label), tuple(fooled), tuple(pictures),
        )  # fmt: skip


def _chosen(run: Comparison) -> dict[str, tuple[str, str, float | None]]:
    """Of each method the output to show: of the first implementation, at the largest epsilon."""
    chosen: dict[str, tuple[str, str, float | None]] = {}
    for key in run.outputs:
        known = chosen.get(key[0])
        if known is None or (key[1] == known[1] and (key[2] or 0) > (known[2] or 0)):
            chosen[key[0]] = key
    return chosen


def _none(value: float | None) -> float | None:
    return None if value is None or value != value else value


def _coloured(map_: Tensor, largest: float) -> Tensor:
    """Blue negative, white zero, red positive, full colour at `largest`: (h, w, 3)."""
    scaled = ((map_ / largest).clamp(-1, 1).nan_to_num(0.0) + 1) / 2
    return torch.from_numpy(colormaps["bwr"](scaled.numpy())[..., :3])


def _webp(rgb: Tensor) -> str:
    """(h, w, 3) in [0, 1] as a data URI."""
    h, w = rgb.shape[:2]
    if max(h, w) > LARGEST:
        scale = LARGEST / max(h, w)
        shrunk = F.interpolate(rgb.permute(2, 0, 1)[None].float(), (round(h * scale), round(w * scale)), mode="area")
        rgb = shrunk[0].permute(1, 2, 0)
    buffer = io.BytesIO()
    pixels = (rgb.numpy() * 255).round().astype(np.uint8)
    if max(h, w) <= LOSSLESS:
        Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, method=4)
    else:
        Image.fromarray(pixels).save(buffer, "WEBP", quality=55, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
