"""Is the brightest cell of Grad-CAM where the evidence is? A patch is made all that drives a logit.

The network keeps its weights; only a linear readout of its outputs is fitted, to tell images that
show a patch from those that do not. Images, and cells where there are enough, are held out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bridge
from bridge.core.layers import GridLayer
from bridge.core.model import logits_of

PAIRS = 64  # images that the readout is fitted to, each with the patch and without
MORE_PAIRS = 256
HELD_OUT = 16
MANY = 32  # cells, of which a quarter are held out, too
AT_ONCE = 16
PLACES = (0.0, -0.5, 0.5)  # cells beside: a network of strides centres its cells there
PENALTIES = tuple(10.0**-k for k in range(10))  # of ridge, in squares of the largest scale
FOUND, DRIVEN, MIXED, FOLLOWED = 0.9, 0.8, 0.2, 0.5
LUCK, PARTLY = 0.01, 0.5

Cell = tuple[int, int]
Box = tuple[slice, ...]


@dataclass(frozen=True)
class Planting:
    """How Grad-CAM answers a patch that drives a logit, on held-out images, each a share.

    `drive`: of the logit's variance, what the patch makes. `covered`: of the patch's effect on the
    logit, what another image's pixels at its place take away. `brightest`: of the images, those
    whose brightest cell is the planted one; `beside`: that one or one that touches it; by chance
    `chance` and `chance_beside`. `risen`: those whose map rises most there as the patch comes.
    `focus`: of all change of the layer, what its most changed cell, whichever that is, holds beyond
    an equal share: 0 where all change alike, 1 where no other changes.
    `follows`: of the images, those whose map rises most at that cell, whichever it is. `place`: how
    far beside the cells the patches lie.
    """

    drive: float
    covered: float
    brightest: float
    risen: float
    beside: float
    chance: float
    chance_beside: float
    focus: float
    follows: float
    place: float

    @property
    def verdict(self) -> str:
        """What it means; only "misplaced" blames the grid.

        "mixed": no cell of the layer holds a fifth of the change beyond its share, so that no map
        of it can tell places. "not driven": something else than the patch moves the logit as well.
        "read elsewhere": the patch is told by other cells than the one that it changes, as where
        all are normalised together. None of these depends on how the cells are laid out. "beside":
        at most one cell off, as where a network without padding cuts the borders off. "partly":
        found in more images than a wrong grid finds.
        """
        if self.brightest >= FOUND and self.drive >= DRIVEN:
            return "found"
        if self.focus < MIXED:
            return "mixed"
        if self.drive < DRIVEN:
            return "not driven"
        if self.follows < FOLLOWED:
            return "read elsewhere"
        clear = self.chance_beside**HELD_OUT < LUCK
        if clear and self.beside >= FOUND:
            return "beside"
        return "partly" if self.brightest > PARTLY else "misplaced"


def planting(module: nn.Module, found: GridLayer, size: tuple[int, int]) -> Planting:
    """Grad-CAM at a layer of `module` for images (n, 3, *size) with a patch of one cell.

    The module's outputs are what the logit is read out of: two hundred classes or so, random ones,
    lose little. Best of three places, up to the first that is found; with more images for the
    readout where fewer were too few.
    """
    tried: list[Planting] = []
    for place in PLACES:
        tried.append(_planted(module, found, size, place, PAIRS))
        if tried[-1].verdict == "found":
            return tried[-1]
    best = max(tried, key=lambda each: (each.drive >= DRIVEN, each.brightest, each.follows))
    if best.drive < DRIVEN:
        return _planted(module, found, size, best.place, MORE_PAIRS)
    return best


def _planted(
    module: nn.Module, found: GridLayer, size: tuple[int, int], place: float, pairs: int
) -> Planting:
    h, w = found.shape[1:]
    generator = torch.Generator().manual_seed(5)
    patch = (torch.rand(3, *size, generator=generator) > 0.5).float()
    order = [divmod(int(c), w) for c in torch.randperm(h * w, generator=generator)]
    seen, unseen = order, order
    if len(order) >= MANY:
        seen, unseen = order[MANY // 4 :], order[: MANY // 4]
    clean = _images(pairs, size, 11)
    boxes = _boxes(_cycled(seen, pairs), found, size, place)
    readout = _readout(module, clean, _patched(clean, boxes, patch))
    model = bridge.wrap(readout, layer=f"trunk.{found.name}", reshape=found.grid)

    cells = _cycled(unseen, HELD_OUT)
    clean = _images(HELD_OUT, size, 22)
    boxes = _boxes(cells, found, size, place)
    shown = _patched(clean, boxes, patch)
    covered = _covered(shown, boxes, _images(HELD_OUT, size, 33))
    without, by, again = (_outputs(model, images)[:, 1] for images in (clean, shown, covered))
    effect = by.mean() - without.mean()
    noise = (by.var(correction=0) + without.var(correction=0)) / 2
    target = torch.ones(HELD_OUT, dtype=torch.long)
    maps, before = (
        bridge.run("layer_gradcam", model, images, target, implementation="fused").output[:, 0]
        for images in (shown, clean)
    )
    away, away_of_rise = (
        [_distance(divmod(int(each.argmax()), w), c) for each, c in zip(these, cells, strict=True)]
        for these in (maps, maps - before)
    )
    near = [sum(_distance(each, cell) <= 1 for each in order) for cell in cells]
    changed = _grids(model, found, shown) - _grids(model, found, clean)
    moved = changed.norm(dim=1).flatten(1)
    alike = 1 / (h * w)
    return Planting(
        drive=float(effect**2 / (effect**2 + 4 * noise)),
        covered=float((by - again).mean() / effect),
        brightest=sum(each == 0 for each in away) / HELD_OUT,
        risen=sum(each == 0 for each in away_of_rise) / HELD_OUT,
        beside=sum(each <= 1 for each in away) / HELD_OUT,
        chance=alike,
        chance_beside=sum(near) / len(near) * alike,
        focus=(float((moved.amax(1) / moved.sum(1)).mean()) - alike) / (1 - alike),
        follows=float((moved.argmax(1) == (maps - before).flatten(1).argmax(1)).double().mean()),
        place=place,
    )


class _Readout(nn.Module):
    """A network, and a linear function of what it gives."""

    def __init__(self, trunk: nn.Module, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(len(weight), 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.stack([torch.zeros_like(weight), weight]))
            self.head.bias.copy_(torch.stack([torch.zeros_like(bias), bias]))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(logits_of(self.trunk(x)))
        return logits


def _readout(module: nn.Module, clean: Tensor, shown: Tensor) -> nn.Module:
    """The network with logit 1 fitted to 1 for `shown`, 0 for `clean`: ridge, in float64.

    The penalty is the one with the least error on images left out one at a time.
    """
    outputs = _outputs(module, torch.cat([clean, shown]))
    wanted = torch.cat([torch.zeros(len(clean)), torch.ones(len(shown))]).double()
    mean = outputs.mean(0)
    left, scales, right = torch.linalg.svd(outputs - mean, full_matrices=False)
    along = left.T @ (wanted - 0.5)
    errors, weights = [], []
    for penalty in PENALTIES:
        squares = scales**2 + penalty * scales[0] ** 2
        kept = scales**2 / squares
        own = (left**2 * kept).sum(1) + 1 / len(wanted)  # what each image tells of itself
        errors.append(float(((wanted - 0.5 - left @ (kept * along)) / (1 - own)).square().sum()))
        weights.append(right.T @ (scales / squares * along))
    weight = weights[errors.index(min(errors))]
    return _Readout(module, weight, 0.5 - mean @ weight).eval()


def _images(count: int, size: tuple[int, int], seed: int) -> Tensor:
    """Coarse colours and fine noise, fainter than the patch."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 7, generator=generator)
    fine = torch.rand(count, 3, *size, generator=generator)
    return 0.35 + 0.15 * (F.interpolate(coarse, size, mode="bilinear") + fine)


def _boxes(cells: list[Cell], found: GridLayer, size: tuple[int, int], place: float) -> list[Box]:
    """Rows and columns of the image under each cell, that far beside it."""
    sides = list(zip(found.shape[1:], size, strict=True))
    return [
        tuple(
            slice(*(min(max(round((at + e + place) * side / of), 0), side) for e in (0, 1)))
            for at, (of, side) in zip(cell, sides, strict=True)
        )
        for cell in cells
    ]


def _patched(x: Tensor, boxes: list[Box], patch: Tensor) -> Tensor:
    """The images with the same pixels in one box each."""
    x = x.clone()
    for image, (rows, columns) in zip(x, boxes, strict=True):
        there = image[:, rows, columns]
        there.copy_(patch[:, : there.shape[1], : there.shape[2]])
    return x


def _covered(x: Tensor, boxes: list[Box], other: Tensor) -> Tensor:
    """The images with another one's pixels in one box each."""
    x = x.clone()
    for image, pixels, (rows, columns) in zip(x, other, boxes, strict=True):
        image[:, rows, columns] = pixels[:, rows, columns]
    return x


def _grids(model: Any, found: GridLayer, x: Tensor) -> Tensor:
    """What the layer gives."""
    kept: list[Tensor] = []
    handle = model.module.get_submodule(f"trunk.{found.name}").register_forward_hook(
        lambda module, inputs, output: kept.append(found.grid(output.detach()))
    )
    model(x.clone().requires_grad_())  # with a graph, as Grad-CAM has it
    handle.remove()
    return kept[-1].detach()


@torch.no_grad()
def _outputs(module: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([logits_of(module(part)) for part in x.split(AT_ONCE)]).double()


def _cycled(cells: list[Cell], count: int) -> list[Cell]:
    return list(islice(cells * count, count))


def _distance(a: Cell, b: Cell) -> int:
    return max(abs(a[0] - b[0]), abs(a[1] - b[1]))
