"""Is a grid true? Single cells of the image are changed, and the same cells of it must answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bridge.core.layers.readings import Reading, Size

CELLS = 12
AT_ONCE = 4  # images in a pass
Cell = tuple[int, int]
Run = Callable[[Tensor], Tensor]  # images to the output of a layer


@dataclass(frozen=True)
class Probe:
    """The changed cells, and a layer's outputs for the image as it is and as changed in each."""

    cells: list[Cell]
    outputs: Tensor


@dataclass(frozen=True)
class Agreement:
    """How well the cells of a grid answer to changes of the same cells of the image.

    `answer`: where the mean of all positions is 1. `offset`: how far beside them the answers lie,
    in cells. `others`: the answer of transposed or mirrored cells. `leading` and `nearby`: the
    share of changes that the same cell, or one beside it, answers most. `elsewhere`: the share that
    another cell answers, more than twice as much.
    """

    answer: float
    offset: float
    others: float
    leading: float
    nearby: float
    elsewhere: float
    small: bool

    @property
    def proved(self) -> bool:
        """Answers of no place pass for one grid of 7 x 7 in a million, for less of larger ones."""
        leads = self.leading > 0.5 if self.small else self.nearby > 0.8
        return self.answer > max(1.5, self.others) and self.offset < 0.75 and leads

    @property
    def denied(self) -> bool:
        """Whether other cells answer clearly."""
        return self.others > max(1.5, self.answer) or self.elsewhere > 0.5

    def __str__(self) -> str:
        return (
            f"changed cells answer {self.answer:.1f} times the mean, "
            f"{self.leading if self.small else self.nearby:.0%} of them most"
        )


def probed(
    run: Run, x: Tensor, grid: Size, bounds: tuple[float, float], *, batch: int | None = None
) -> Probe:
    """Change cells of the first image, one at a time: every pixel by half of the range.

    `batch` is the only number of images that the model takes.
    """
    h, w = grid
    order = torch.randperm(h * w, generator=torch.Generator().manual_seed(h * 1000 + w))
    cells = [divmod(int(cell), w) for cell in order[:CELLS]]
    images = x[:1].detach().repeat(len(cells) + 1, 1, 1, 1)
    low, high = bounds
    for number, (i, j) in enumerate(cells, 1):
        top, bottom = (round(edge * x.shape[2] / h) for edge in (i, i + 1))
        left, right = (round(edge * x.shape[3] / w) for edge in (j, j + 1))
        patch = images[number, :, top:bottom, left:right]
        patch.copy_(low + (patch - low + (high - low) / 2).remainder(high - low))
    parts = images.split(batch or AT_ONCE)
    answers = [run(_filled(part, batch))[: len(part)] for part in parts]
    return Probe(cells, torch.cat(answers))


def _filled(part: Tensor, batch: int | None) -> Tensor:
    """As many images as the model takes, the last one repeated."""
    missing = 0 if batch is None else batch - len(part)
    return torch.cat([part, part[-1:].repeat(missing, 1, 1, 1)]) if missing else part


def agreement(probe: Probe, reading: Reading) -> Agreement:
    """How the cells of a reading answer."""
    h, w = reading.h, reading.w
    grid = reading.grid(probe.outputs).double()
    change = (grid[1:] - grid[:1]).flatten(2)
    # What all positions do alike (attention to everything, a gate) tells nothing of places.
    change = change - change.median(2, keepdim=True).values
    moved = change.norm(dim=1).view(-1, h, w)
    # Some positions answer to whatever changes: each is held against its own mean, too.
    usual = moved.mean(0, keepdim=True)
    moved = moved / (usual + usual.mean()).clamp_min(1e-300)
    moved = moved / moved.mean((1, 2), keepdim=True).clamp_min(1e-300)

    def at(place: Callable[[int, int], Cell], *, elsewhere: bool = False) -> float:
        places = [
            (answer, cell, place(*cell)) for answer, cell in zip(moved, probe.cells, strict=True)
        ]
        inside = [
            float(answer[p])
            for answer, cell, p in places
            if 0 <= p[0] < h and 0 <= p[1] < w and not (elsewhere and p == cell)
        ]
        return sum(inside) / len(inside) if inside else 0.0

    steps = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    near = {step: at(partial(_beside, step)) for step in steps}
    least = min(near.values())
    total = sum(near.values()) - 9 * least
    pulls = [sum(s[axis] * (near[s] - least) for s in steps) for axis in (0, 1)]
    offset = max(map(abs, pulls)) / total if total else math.inf
    others = max(
        at(lambda i, j: (j, i), elsewhere=True),
        at(lambda i, j: (h - 1 - i, j), elsewhere=True),
        at(lambda i, j: (i, w - 1 - j), elsewhere=True),
    )
    best = [divmod(int(answer.argmax()), w) for answer in moved]
    away = [max(abs(a[0] - b[0]), abs(a[1] - b[1])) for a, b in zip(best, probe.cells, strict=True)]
    clearly = [
        far > 1 and float(answer.max()) > 2 * float(answer[cell])
        for far, answer, cell in zip(away, moved, probe.cells, strict=True)
    ]
    count = len(away)
    leading, nearby = (sum(far <= most for far in away) / count for most in (0, 1))
    elsewhere = sum(clearly) / count
    return Agreement(near[0, 0], offset, others, leading, nearby, elsewhere, small=min(h, w) <= 3)


def _beside(step: Cell, i: int, j: int) -> Cell:
    return i + step[0], j + step[1]
