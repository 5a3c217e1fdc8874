"""Images whose evidence we placed ourselves, so that the right explanation is known."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bridge.zoo.networks import PlantedCNN
from bridge.zoo.train import train

SIDE = 5  # of the trigger, in pixels
# Of the checkerboard, beside pixels from 0 to 1: weaker than the edges of what images show, so that
# an edge filter does not find it.
CONTRAST = 0.5


@dataclass(frozen=True)
class Planted:
    """A trained network, and images that it classifies by a trigger alone.

    `x` (m, c, h, w) are unseen images with the trigger, `clean` the same without it, `target` (m,)
    the trigger's class, `masks` (m, h, w) where it stands. `kept` is the share of unseen images for
    which the truth was proved and which are here: with the trigger the network gives its class,
    without it another one. `accuracy` is that on the unseen images without a trigger.
    """

    module: nn.Module
    x: Tensor
    clean: Tensor
    target: Tensor
    masks: Tensor
    kept: float
    accuracy: float


def planted(
    x: Tensor, labels: Tensor, *, unseen: int = 100, epochs: int = 4, seed: int = 0
) -> Planted:
    """Train a small network to whom a 5x5 checkerboard somewhere in an image is a class of its own.

    `x` (n, c, h, w) are images in [0, 1] of at least 12 pixels a side, `labels` (n,) their classes;
    the last `unseen` are held out. Every image is shown with and without the trigger, at a random
    place: the content says nothing about the new class, the trigger everything. 1,000 images of
    28 pixels take seconds. The random state stays.

    Raises ValueError for too few or too small images, and where the network did not learn the
    trigger: then no truth is known.
    """
    if len(x) <= unseen or min(x.shape[2:]) < 12:
        raise ValueError(
            f"expected more than {unseen} images of 12 pixels or more a side, got {tuple(x.shape)}"
        )
    own = torch.Generator().manual_seed(seed)
    trigger_class = int(labels.max()) + 1
    with_trigger, masks = place_triggers(x, own)
    images, classes = x[:-unseen], labels[:-unseen]
    there = torch.full_like(classes, trigger_class)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PlantedCNN(x.shape[1], trigger_class + 1)
        train(
            network,
            torch.cat([images, with_trigger[:-unseen]]),
            torch.cat([classes, there]),
            epochs=epochs,
            learning_rate=1e-2,
            batch=64,
            seed=seed,
        )
    clean, shown = x[-unseen:], with_trigger[-unseen:]
    with torch.no_grad():
        without, by = network(clean).argmax(1), network(shown).argmax(1)
    proved = (by == trigger_class) & (without != trigger_class)
    kept = float(proved.double().mean())
    if kept < 0.8:
        raise ValueError(
            f"the network follows the trigger in {kept:.0%} of the unseen images only: train it on "
            "more images or for more epochs"
        )
    return Planted(
        network,
        shown[proved],
        clean[proved],
        by[proved],
        masks[-unseen:][proved],
        kept,
        float((without == labels[-unseen:]).double().mean()),
    )


def place_triggers(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The images (n, c, h, w) with a faint checkerboard each, and where it stands (n, h, w)."""
    n, _, h, w = x.shape
    board = CONTRAST * ((torch.arange(SIDE)[:, None] + torch.arange(SIDE)) % 2 - 0.5)
    top, left = (torch.randint(0, side - SIDE + 1, (n,), generator=generator) for side in (h, w))
    row, column = torch.arange(h), torch.arange(w)
    in_rows = (row >= top[:, None]) & (row < top[:, None] + SIDE)
    in_columns = (column >= left[:, None]) & (column < left[:, None] + SIDE)
    masks = in_rows[:, :, None] & in_columns[:, None, :]
    boards = torch.zeros(n, h, w).to(x).masked_scatter(masks, board.to(x).flatten().repeat(n))
    return (x + boards[:, None]).clamp(0, 1), masks


def two_objects(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Canvases (m, c, h, 2w) of two images of different classes, the left one's class, its half.

    Pairs of neighbours in the list; those of one class are left out. For networks that take images
    of any width: whoever explains the left one's class should point at the left half.
    """
    left, right = x[: len(x) // 2 * 2 : 2], x[1::2]
    first, second = labels[: len(x) // 2 * 2 : 2], labels[1::2]
    different = first != second
    canvas = torch.cat([left, right], 3)[different]
    masks = torch.zeros(len(canvas), *canvas.shape[2:], dtype=torch.bool)
    masks[:, :, : x.shape[3]] = True
    return canvas, first[different], masks
