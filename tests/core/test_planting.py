"""A patch alone drives the logit: Grad-CAM's brightest cell is there, unless the grid is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer

import bridge
from benchmarks.models_list import planted
from benchmarks.models_planting import HELD_OUT, planting

OUTPUTS = 201  # no layer has so many channels
SIZE = (96, 96)
BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "cnn": lambda: nn.Sequential(
        *(convolution(before, after) for before, after in pairwise((3, 16, 32, 64, 96))),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, OUTPUTS),
    ),
    "vit": lambda: VisionTransformer(96, 16, 2, 3, 96, 96, num_classes=OUTPUTS),
    "swin": lambda: SwinTransformer([8, 8], 48, [2, 2], [2, 4], [3, 3], num_classes=OUTPUTS),
}


def convolution(before: int, after: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()
    )


class Mixer(nn.Module):
    """A map whose positions are all mixed, then averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 16, 16)
        self.mix = nn.Linear(36, 36)
        self.last = nn.Conv2d(32, 64, 1)
        self.head = nn.Linear(64, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        cells = self.patches(x)
        mixed = self.last(self.mix(cells.flatten(2)).view_as(cells).relu()).relu()
        logits: Tensor = self.head(mixed.mean((2, 3)))
        return logits


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return planted(BUILDERS[name](), torch.rand(4, 3, *SIZE))


@pytest.mark.parametrize("name", BUILDERS)
def test_the_patch_that_drives_the_logit_is_the_brightest_cell(name):
    module = network(name)
    found = bridge.wrap(module).grid_layer(torch.rand(1, 3, *SIZE))
    told = planting(module, found, SIZE)
    assert told.verdict == "found", told
    assert told.drive > 0.8
    assert told.covered == pytest.approx(1, abs=0.15)
    assert told.brightest >= 1 - 1 / HELD_OUT


WRONG: dict[str, Callable[[Tensor], Tensor]] = {
    "cnn": lambda grid: grid.roll(1, 3),
    "vit": lambda grid: grid.transpose(2, 3),
    "swin": lambda grid: grid.flip(2),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_grid_that_lies_wrong_is_misplaced(name):
    module = network(name)
    found = bridge.wrap(module).grid_layer(torch.rand(1, 3, *SIZE))
    mutant = replace(found, reading=None, reshape=lambda out: WRONG[name](found.grid(out)))
    told = planting(module, mutant, SIZE)
    assert told.verdict == "misplaced", told
    assert told.brightest < 0.5


def test_cells_that_are_mixed_are_no_fault_of_the_grid():
    torch.manual_seed(0)
    module = Mixer().eval()
    told = planting(module, bridge.wrap(module, layer="last").grid_layer(images()), SIZE)
    assert told.verdict == "mixed", told


def images() -> Tensor:
    return torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
