"""Attributions and maps that look at no model, by the metrics: which methods beat the controls?

    python benchmarks/metrics_tables.py --world cifar       # ResNet-20, 200 images of CIFAR-10
    python benchmarks/metrics_tables.py --world imagenet    # SqueezeNet 1.1, 100 photographs
    python benchmarks/metrics_tables.py --world cifar --table     # the table of what there is

Hours on one core. The values of each image are kept in benchmarks/results/metrics_WORLD.json as
they come: started again, it goes on. Images are taken in chunks through all methods and metrics;
the table is of the chunks that are whole, and says how many images these are. Writes
benchmarks/results/metrics_WORLD.md.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import torch
from metrics_asked import METHODS, PARAMS, chunks, wanted
from metrics_cells import Cells
from metrics_page import table
from real_data import loaders
from torch import Tensor

import bridge
from bridge.core.model import ModelAdapter
from bridge.core.preflight import without_attention
from bridge.core.registry import get as method_of
from bridge.metrics.baselines import baseline_maps
from bridge.metrics.measure import measure
from bridge.metrics.registry import get, metrics
from bridge.record.manifest import versions

RESULTS = Path(__file__).parent / "results"
World = tuple[ModelAdapter, Tensor, Tensor]


def cifar(data: ModuleType, count: int) -> World:
    model = bridge.wrap(
        data.cifar_resnet(),
        mean=data.CIFAR_MEAN,
        std=data.CIFAR_STD,
        layer="layer3",
        name="ResNet-20",
    )
    x, labels = data.cifar10_test()
    return model, x[:count], labels[:count]


def imagenet(data: ModuleType, count: int) -> World:
    model = bridge.wrap(
        data.squeezenet(), mean=data.IMAGENET_MEAN, std=data.IMAGENET_STD, name="SqueezeNet 1.1"
    )
    # Every other photograph, as they are sorted by class.
    x, _ = data.imagenet_samples(n=100, step=2)
    return model, x[:count], predicted(model, x[:count])


WORLDS = {"cifar": (cifar, 200), "imagenet": (imagenet, 100)}


@torch.no_grad()
def predicted(model: ModelAdapter, x: Tensor) -> Tensor:
    return torch.cat([model(part).argmax(1) for part in x.split(10)])


def speaks_of(method: str) -> str:
    """What infidelity must know: a contribution on a linear model is w * x, a sensitivity w."""
    linear = method_of(method).tags.linear
    w, x = torch.full((1, 1, 4, 4), 3.0), torch.full((1, 1, 4, 4), 0.5)
    try:
        same = linear is not None and torch.allclose(linear(w, x), w * x)
    except TypeError:  # its answer depends on parameters
        same = True
    return "contribution" if same else "sensitivity"


def cell(
    world: World, method: str, maps: Tensor, metric: str, params: Mapping[str, Any]
) -> dict[str, Any]:
    """One metric of the maps of one chunk; what cannot be had is said."""
    model, x, target = world
    needs, more = get(metric).needs, dict(params)
    known = method in bridge.methods()
    if beyond := sorted(needs - {"explain", "full"}):
        return {"values": [], "error": f"needs {', '.join(beyond)}, which is not known here"}
    if "explain" in needs:
        if not known:
            return {"values": [], "error": "a control explains nothing"}
        more["explain"] = (method, METHODS.get(method, {}))
    if metric == "infidelity" and known:
        more["speaks_of"] = speaks_of(method)
    start = time.process_time()
    try:
        found = measure(metric, model, x, target, maps, **more)
    except (TypeError, ValueError) as error:
        return {"values": [], "error": str(error)}
    spent = {"forwards": found.forwards, "backwards": found.backwards}
    each = {name: round(value / len(x), 2) for name, value in spent.items()}
    return {
        "values": found.tolist(),
        **each,
        "seconds": round((time.process_time() - start) / len(x), 3),
    }


def fill(cells: Cells, name: str, world: World) -> None:
    """Every cell that is not there, chunk after chunk."""
    model, x, target = world
    known = [method_of(each) for each in bridge.methods()]
    methods = [
        each.name
        for each in known
        if each.kind == "attribution" and not without_attention(each, model, x)
    ]
    for first, count in chunks(len(x)).items():
        at = slice(first, first + count)
        part: World = (model, x[at], target[at])
        controls = baseline_maps(x[at], seed=first)
        for method in [*methods, *controls]:

            @cache
            def maps(method: str = method, part: World = part, controls: Any = controls) -> Tensor:
                if method in controls:
                    return controls[method]
                by = "fused" if method_of(method).fast else "reference"
                given = METHODS.get(method, {})
                return bridge.run(method, *part, implementation=by, **given).output

            for metric in metrics():
                if cells.get(method, metric, first) is None and wanted(
                    cells, name, method, metric, first
                ):
                    params = PARAMS[name].get(metric, {})
                    cells.put(method, metric, first, cell(part, method, maps(), metric, params))
        click.echo(f"{name}: {first + count} of {len(x)} images")


@click.command()
@click.option("--world", "name", type=click.Choice(list(WORLDS)), required=True)
@click.option("--images", type=int, help="Only so many of the first images are filled.")
@click.option("--table", "only_table", is_flag=True, help="Fill nothing.")
def main(name: str, images: int | None, only_table: bool) -> None:
    data = loaders()
    if data is None:
        raise click.ClickException("no real data beside the project, and none at BRIDGE_TEST_DATA")
    make, count = WORLDS[name]
    world = make(data, count)
    asked = {
        "world": name,
        "metrics": PARAMS[name],
        "methods": METHODS,
        "versions": versions(("torch", "torchvision", "numpy")),
    }
    cells = Cells(RESULTS / f"metrics_{name}.json", asked)
    if not only_table:
        model, x, target = world
        fill(cells, name, (model, x[:images], target[:images]))
    path = RESULTS / f"metrics_{name}.md"
    path.write_text(table(cells, name, world[0].name, len(world[1])), encoding="utf-8")
    click.echo(path)


if __name__ == "__main__":
    main()
