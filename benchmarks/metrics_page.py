"""The page of a table of metrics, of the chunks of images that are whole."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from metrics_asked import AGAIN, DEAR, METHODS, PARAMS, UNRANKED, chunks, wanted
from metrics_cells import Cells

from bridge.metrics.baselines import baseline_maps
from bridge.metrics.ranking import ranked
from bridge.metrics.registry import get, metrics

WAY = {"lower": "↓", "higher": "↑", "neither": ""}


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


def table(cells: Cells, name: str, model: str, asked: int) -> str:
    """The page of what there is of `asked` images through a model of this name."""
    firsts = complete(cells, name, asked)
    n = sum(firsts.values())
    frame = cells.frame(firsts)
    controls = sorted(baseline_maps(torch.rand(1, 3, 8, 8)))
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
        title=f"Metrics of attributions: {model}",
        n=n,
        again=again,
        asked=asked,
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
