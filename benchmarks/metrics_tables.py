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

import itertools
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import torch
from metrics_cells import Cells
from real_data import loaders
from torch import Tensor

import bridge
from bridge.core.model import ModelAdapter
from bridge.core.preflight import without_attention
from bridge.core.registry import get as method_of
from bridge.metrics.baselines import baseline_maps
from bridge.metrics.measure import measure
from bridge.metrics.ranking import ranked
from bridge.metrics.registry import get, metrics
from bridge.record.manifest import versions

RESULTS = Path(__file__).parent / "results"
World = tuple[ModelAdapter, Tensor, Tensor]

# What is asked otherwise than by default, and what for: the passes.
PARAMS: dict[str, dict[str, dict[str, Any]]] = {
    "cifar": {"max_sensitivity": {"samples": 4}, "infidelity": {"scaled": True}},
    "imagenet": {
        # A 14th of the pixels a step, half as many steps as RISE takes.
        **{name: {"step": 3584} for name in ("deletion", "insertion", "pixel_flipping")},
        "sensitivity_n": {"subsets": 16},
        "infidelity": {"samples": 6, "scaled": True},
        "max_sensitivity": {"samples": 4},
        "road": {"shares": (0.1, 0.3, 0.5)},
    },
}
METHODS: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"n_steps": 16},
    "smooth_grad": {"n_samples": 10},
    "expected_gradients": {"n_samples": 10},
}
# The maps of most methods have no scale: what compares sums with logits is no contest of all.
UNRANKED = {"completeness_gap": "most methods promise no sum"}
DEAR = {"cifar": 10.0, "imagenet": 10.0}  # seconds of a core an image: dearer cells go no further
AGAIN = {"cifar": 20, "imagenet": 10}  # images whose methods explain again, where a metric asks it
FIRST, CHUNK = 2, 10  # images of the first chunk, which shows what is dear, and of the others
WAY = {"lower": "↓", "higher": "↑", "neither": ""}


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


def chunks(count: int) -> dict[int, int]:
    """The first image of each chunk, and how many it has.

    >>> chunks(25)
    {0: 2, 2: 8, 10: 10, 20: 5}
    """
    starts = [start for start in (0, FIRST, *range(CHUNK, count, CHUNK)) if start < count]
    return {a: b - a for a, b in itertools.pairwise([*starts, count])}


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
    if "masks" in needs:
        return {"values": [], "error": "needs to know where the truth is"}
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


def wanted(cells: Cells, name: str, method: str, metric: str, first: int) -> bool:
    """Whether a chunk is measured: the first always, others where that was there and not dear."""
    if not first:
        return True
    start = cells.get(method, metric, 0)
    dear = start is not None and (start.get("error") or start["seconds"] > DEAR[name])
    return not dear and ("explain" not in get(metric).needs or first < AGAIN[name])


def complete(cells: Cells, name: str, count: int) -> dict[int, int]:
    """The chunks before the first that lacks a cell."""
    found: dict[int, int] = {}
    for first, size in chunks(count).items():
        for method, by_metric in cells.found.items():
            for metric, there in by_metric.items():
                if str(first) not in there and wanted(cells, name, method, metric, first):
                    return found
        found[first] = size
    return found


def table(cells: Cells, name: str, world: World) -> str:
    """The table of the chunks that are whole."""
    firsts = complete(cells, name, len(world[1]))
    n = sum(firsts.values())
    frame = cells.frame(firsts)
    controls = sorted(set(baseline_maps(world[1][:1])))
    frame["control"] = frame["method"].isin(controls)
    sizes = frame[frame["error"] == ""].groupby(["method", "metric"]).size()
    again = sum(size for first, size in firsts.items() if first < AGAIN[name])
    explaining = [each for each in metrics() if "explain" in get(each).needs]
    whole = sizes[[k == (again if m in explaining else n) for (_, m), k in sizes.items()]]
    frame = frame.set_index(["method", "metric"]).loc[lambda f: f.index.isin(whole.index)]
    frame = frame.reset_index()
    rows = list(dict.fromkeys(frame["method"]))
    by_all = [
        metric
        for metric in metrics()
        if all((method, metric) in whole.index for method in rows)
        and get(metric).better != "neither"
        and metric not in UNRANKED
    ]
    order = ranked(frame[frame["metric"].isin(by_all)])
    means = frame.groupby(["method", "metric"])["value"].mean()
    shown = [metric for metric in metrics() if metric in set(frame["metric"])]
    lines = [
        "| method | mean rank | ± | beats all controls | "
        + " | ".join(f"{m.replace('_', ' ')} {WAY[get(m).better]}".strip() for m in shown)
        + " | NaN |",
        "|" + "---|" * (len(shown) + 5),
    ]
    for method, row in order.iterrows():
        values = []
        for metric in shown:
            value = means.get((method, metric))
            values.append("–" if value is None or value != value else f"{value:.3g}")
        undefined = int(frame[frame["method"] == method]["value"].isna().sum())
        mark = f"{method} (control)" if row["control"] else str(method)
        behind = "" if row["control"] else f"{row['beats']:.0%}"
        if not row["control"] and row["mean_rank"] > order[order["control"]]["mean_rank"].min():
            mark += " ✗"
        lines.append(
            f"| {mark} | {row['mean_rank']:.1f} [{row['low']:.1f}, {row['high']:.1f}] | "
            f"{row['disagreement']:.1f} | {behind} | {' | '.join(values)} | {undefined} |"
        )
    return TEXT.format(
        title=f"Metrics of attributions: {world[0].name}",
        n=n,
        again=again,
        asked=len(world[1]),
        name=name,
        versions=", ".join(f"{k} {v}" for k, v in cells.asked["versions"].items()),
        ranks=", ".join(by_all),
        rows="\n".join(lines),
        cost=costs(cells, name),
        params="\n".join(stated(name)),
        left="\n".join(left_out(cells, name, rows)),
    )


def costs(cells: Cells, name: str) -> str:
    """Passes and seconds an image of each metric, of saliency's maps; and of each method."""
    lines = ["| metric | forwards | backwards | seconds |", "|---|---|---|---|"]
    for metric, there in cells.found.get("saliency", {}).items():
        found = there.get("0", {})
        if not found.get("error"):
            lines.append(
                f"| {metric.replace('_', ' ')} | {found['forwards']:g} | {found['backwards']:g} | "
                f"{found['seconds']:.2f} |"
            )
    return "\n".join(lines)


def stated(name: str) -> Iterator[str]:
    for who, params in {**METHODS, **PARAMS[name]}.items():
        yield f"- {who}: " + ", ".join(f"{key}={value}" for key, value in params.items())


def left_out(cells: Cells, name: str, rows: list[str]) -> Iterator[str]:
    """What stands as a dash, and why."""
    why: dict[str, list[str]] = {}
    for method, by_metric in cells.found.items():
        for metric, there in by_metric.items():
            found = there.get("0", {})
            if found.get("error"):
                why.setdefault(f"{metric}: {found['error'].split(':')[0]}", []).append(method)
            elif found and found["seconds"] > DEAR[name]:
                text = f"{metric}: dearer than {DEAR[name]:g} seconds an image"
                why.setdefault(text, []).append(f"{method} ({found['seconds']:.0f} s)")
    for text, methods in why.items():
        everyone = len(methods) == len(rows)
        yield f"- {text}: {'all' if everyone else ', '.join(methods)}"


TEXT = """# {title}

{n} of {asked} images. The values of each image are in metrics_{name}.json. Made by
`python benchmarks/metrics_tables.py --world {name}`, which goes on where it stopped. {versions}.

Means over the images; ↓ less, ↑ more is better. Mean rank, 1 the best, with a bootstrap interval of
95 % over the images, and ± how far the metrics disagree about it (standard deviation of the ranks),
over the metrics that all rows have: {ranks}.
"Beats all controls": the share of these in which the mean is better than that of all four maps that
look at no model. ✗ marks a method whose mean rank is behind that of a control. NaN counts undefined
values of an image. Three of these metrics (effective share, entropy, sparseness) reward few pixels,
right or wrong. Metrics that explain again (max-sensitivity, parameter randomisation, random logit
and their like) are means over the first {again} images.

{rows}

What a metric costs of each image (saliency's maps; seconds on one busy core):

{cost}

Asked otherwise than by default:

{params}

Not in the table:

{left}
"""


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
    path.write_text(table(cells, name, world), encoding="utf-8")
    click.echo(path)


if __name__ == "__main__":
    main()
