"""Which attributions find a cause that was planted, and which barely notice a random head?

    python benchmarks/planted.py

A network is trained in seconds to whom a faint 5 x 5 checkerboard is a class of its own
(`bridge.zoo.planted`), so that the right answer is known; and canvases of two garments, of which
the left one is explained (`two_objects`). Needs Fashion-MNIST beside the project. Writes
benchmarks/results/planted.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import torch
from real_data import loaders
from torch import Tensor
from torch.nn import functional as F

import bridge
from bridge.core.model import ModelAdapter
from bridge.core.preflight import without_attention
from bridge.core.registry import get
from bridge.metrics.baselines import baseline_maps
from bridge.metrics.measure import measure
from bridge.record.manifest import installed
from bridge.statistics.intervals import mean_interval, wilson
from bridge.zoo.planted import planted, two_objects

RESULTS = Path(__file__).parent / "results"
TRAINING, UNSEEN = 3000, 150
CANVASES, AGAIN = 100, 20
PARAMS: dict[str, dict[str, Any]] = {}
COARSE = (7, 4)


def attributions(model: ModelAdapter, x: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The maps of every attribution that the model can have, and of Grad-CAM on coarser grids."""
    found = {}
    for name in bridge.methods():
        method = get(name)
        if method.kind != "attribution" or without_attention(method, model, x):
            continue
        by = "fused" if method.fast else "reference"
        found[name] = bridge.run(
            name, model, x, target, implementation=by, **PARAMS.get(name, {})
        ).output
    cam = found["layer_gradcam"]
    for cells in COARSE:
        if min(cam.shape[2:]) > cells and cam.shape[2] == cam.shape[3]:
            found[f"layer_gradcam, averaged to {cells} x {cells} cells"] = F.adaptive_avg_pool2d(
                cam, cells
            )
    return found


def located(model: ModelAdapter, x: Tensor, target: Tensor, masks: Tensor) -> list[str]:
    """Rows of a table: each map's hits and energy, the best first."""
    controls = baseline_maps(x)
    found = []
    for name, maps in {**attributions(model, x, target), **controls}.items():
        hits, energy = (
            measure(metric, model, x, target, maps, masks=masks)
            for metric in ("pointing_game", "energy_pointing_game")
        )
        shown = [f"{float(v.nanmean()):.3f} {interval(v)}" for v in (hits, energy)]
        label = f"{name} (control)" if name in controls else name
        undefined = int(energy.isnan().sum())
        row = f"| {label} | {shown[0]} | {shown[1]} | {undefined} |"
        found.append((float(hits.nanmean()), name in controls, row))
    best = max(hits for hits, control, _ in found if control)
    ordered = sorted(found, key=lambda each: -each[0])
    return [
        row.replace(" |", " ✗ |", 1) if hits <= best and not control else row
        for hits, control, row in ordered
    ]


def interval(values: Tensor) -> str:
    known = values[values.isfinite()].numpy()
    whole = bool(((known == 0) | (known == 1)).all())  # shares of hits have Wilson's interval
    ends = wilson(known.sum(), len(known)) if whole else mean_interval(known)
    low, high = (float(end) for end in ends)
    return f"[{low:.3f}, {high:.3f}]"


def randomised(worlds: Mapping[str, tuple[ModelAdapter, Tensor, Tensor]]) -> Iterator[str]:
    """Rows: how alike a map and that of the model with a random head, and random weights, are."""
    for name in bridge.methods():
        method = get(name)
        model, x, target = next(iter(worlds.values()))
        if method.kind != "attribution" or without_attention(method, model, x):
            continue
        cells = []
        for model, x, target in worlds.values():
            found = measure("parameter_randomisation", model, x, target, name)
            assert found.curve is not None
            first, last = (float(found.curve.values[:, k].nanmean()) for k in (0, -1))
            cells += [f"{first:.2f}", f"{last:.2f}"]
        yield f"| {name} | {' | '.join(cells)} |"


TEXT = """# Planted causes: which attributions find what is known to be the reason

Made by `python benchmarks/planted.py`. {versions}.

Hits: the share of images in which the map's largest value lies on the truth (pointing game; ties
share). Energy: the share of the map's positive part on the truth. In brackets the 95 % interval
over images: Wilson's of hits that are all or none, else the bootstrap's; the last column counts
maps without a positive value. ✗ marks a method that hits no more often than the best map that looks
at no model.

## A trigger of {side} x {side} pixels in Fashion-MNIST

{n} unseen images whose class the trigger alone decides ({kept:.1%} of those tried; accuracy without
triggers {accuracy:.1%} after training on {training} images). Chance is its area, {area:.3f}.
Grad-CAM's own grid has {grid} cells; averaged to fewer, as deeper networks have them, it loses the
trigger.

| method | hits | energy | undefined |
|---|---|---|---|
{trigger}

## Two garments beside each other, the left one explained

{canvases} canvases of 28 x 56 pixels through fashion_cnn; only those whose explained class is among
its two most probable. Chance is one half.

| method | hits | energy | undefined |
|---|---|---|---|
{canvas}

## Known failure: who notices that the head is random?

The rank correlation of a map with that of the same network after its last layer was drawn anew
(Adebayo et al. 2018), and after all were; mean over {again} images. 1: it explains something else
than the classification. What multiplies by the image, or takes its pixels away, keeps the order of
the black background, whatever the weights.

| method | {heads} |
|{rule}
{random}
"""


@click.command()
def main() -> None:
    data = loaders()
    if data is None:
        raise click.ClickException("no real data beside the project, and none at BRIDGE_TEST_DATA")
    images, labels = data.mnist("train", "fashion_mnist")
    found = planted(images[:TRAINING], labels[:TRAINING], unseen=UNSEEN)
    model = bridge.wrap(found.module, name="planted network")
    trigger = located(model, found.x, found.target, found.masks)
    click.echo("\n".join(trigger))
    garments = bridge.load_model("zoo:fashion_cnn")
    test, classes = data.mnist("test", "fashion_mnist")
    canvas, target, masks = two_objects(test[: 3 * CANVASES], classes[: 3 * CANVASES])
    with torch.no_grad():
        known = (garments(canvas).topk(2).indices == target[:, None]).any(1)
    canvas, target, masks = (each[known][:CANVASES] for each in (canvas, target, masks))
    halves = located(garments, canvas, target, masks)
    click.echo("\n".join(halves))
    worlds = {
        "planted": (model, found.x[:AGAIN], found.target[:AGAIN]),
        "fashion_cnn": (garments, test[:AGAIN], classes[:AGAIN]),
    }
    random = list(randomised(worlds))
    heads = [f"{name}: {what}" for name in worlds for what in ("random head", "all random")]
    cam = bridge.run("layer_gradcam", model, found.x[:1], found.target[:1]).output
    text = TEXT.format(
        versions=installed(),
        side=int(found.masks[0].any(1).sum()),
        n=len(found.x),
        kept=found.kept,
        accuracy=found.accuracy,
        training=TRAINING - UNSEEN,
        area=float(found.masks[0].double().mean()),
        grid=" x ".join(map(str, cam.shape[2:])),
        trigger="\n".join(trigger),
        canvases=len(canvas),
        canvas="\n".join(halves),
        again=AGAIN,
        heads=" | ".join(heads),
        rule="---|" * (1 + len(heads)),
        random="\n".join(random),
    )
    (RESULTS / "planted.md").write_text(text, encoding="utf-8")
    click.echo(RESULTS / "planted.md")


if __name__ == "__main__":
    main()
