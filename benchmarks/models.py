"""All of torchvision's classifiers, and families of timm and transformers: layer, proof, agreement.

    python benchmarks/models.py                  # an hour on one thread; goes on where it ended
    python benchmarks/models.py --only swin      # those whose "library/name" has it; done anew

Each model has random, planted weights (see models_list.py) and explains one image. The rule chooses
the layer of Grad-CAM on one image; planting tells whether its cells are true: a patch is made all
that drives a logit, and must be the brightest cell (see models_planting.py). Then each method's
other implementations are held against the reference, in float64, with the smallest parameters.
Writes benchmarks/results/models.md and models.json.
"""

from __future__ import annotations

import gc
import json
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch
from models_list import MANY, Entry, entries
from models_planting import DRIVEN, FOUND, MIXED, planting
from torch import Tensor

import bridge
from bridge.core.errors import describe
from bridge.core.model import ModelAdapter
from bridge.core.registry import get
from bridge.metrics.agreement import FLOAT64_NOISE, MULTIPLE, gaps, image_scale, verdict
from bridge.record.manifest import versions

RESULTS = Path(__file__).parent / "results"
METHODS = (
    *("saliency", "integrated_gradients", "layer_gradcam", "guided_gradcam", "occlusion"),
    *("fgsm", "pgd"),
)
VERDICTS = ("found", "mixed", "not driven", "read elsewhere", "beside", "partly", "misplaced")


def planted(entry: Entry) -> dict[str, Any]:
    """Whether the brightest cell is the one of a patch that alone drives the logit."""
    module = entry.build(MANY)
    found = bridge.wrap(module).grid_layer(entry.images()[:1])
    told = planting(module, found, (entry.size, entry.size))
    return {"layer": found.name, "verdict": told.verdict, **asdict(told)}


def cell(method: str, model: ModelAdapter, wide: ModelAdapter, x: Tensor, target: Tensor) -> str:
    """What the other implementations are beside the reference: "equal", "rounding", "refused: why".

    "differs: who, by how much" would be one who is wrong, "known: who" one that is known to differ,
    "named: why" a model on which nobody is to blame.
    Bits that are the same in float32 are equal; all else is judged in float64, on `wide`.
    """
    known = get(method)
    given = {**known.tags.quick, **known.tags.quickest}
    params = {k: v(min(x.shape[2:])) if callable(v) else v for k, v in given.items()}
    try:
        reference = bridge.run(method, model, x, target, **params).output
        reference64: Tensor | None = None
    except ValueError as error:
        return f"refused: {describe(error).replace(model.name, 'the model')}"
    if known.kind == "attribution" and not bool(reference.any()):
        return "empty"
    worst = "equal"
    for name in [name for name in known.implementations() if name != "reference"]:
        options = {**params, "implementation": name}
        try:
            if torch.equal(bridge.run(method, model, x, target, **options).output, reference):
                continue
            if reference64 is None:
                reference64 = bridge.run(method, wide, x.double(), target, **params).output
            output = bridge.run(method, wide, x.double(), target, **options).output
        except Exception as error:
            return f"failed: {name}: {describe(error)}"
        scale = image_scale(reference64) if known.kind == "attribution" else 1.0
        gap = float(gaps(output, reference64, scale).max())
        exact = torch.equal(output, reference64)
        found = verdict(gap, FLOAT64_NOISE, exact=exact)
        if found == "differs" and gap <= MULTIPLE * _own(method, wide, x, target, params, scale):
            found = "rounding"
        if found == "differs":
            twin = known.twins.get(name)
            as_known = twin is not None and twin.instead is not None
            if fault := model.habits(x).depends_on:  # which everybody is told
                return f"named: {fault}"
            return f"{'known' if as_known else 'differs'}: {name}, {gap:.0e}"
        worst = "rounding" if found == "rounding" else worst
    return worst


def _own(
    method: str,
    wide: ModelAdapter,
    x: Tensor,
    target: Tensor,
    params: dict[str, Any],
    scale: Tensor | float,
) -> float:
    """How far the reference itself moves where the image moves in its last bits."""
    first, second = (
        bridge.run(method, wide, x.double() * factor, target, **params).output
        for factor in (1.0, 1.0 - 2.0**-50)
    )
    return float(gaps(second, first, scale).max())


def row(entry: Entry) -> dict[str, Any]:
    """One model."""
    model, x = bridge.wrap(entry.build()), entry.images()[:1]
    result: dict[str, Any] = {"library": entry.library, "model": entry.name, "size": entry.size}
    start = time.process_time()
    try:
        found = model.grid_layer(x)
        result |= {
            "layer": found.name,
            "reading": str(found.reading),
            "grid": found.shape,
            "proof": found.proof,
            "evidence": found.evidence,
        }
    except ValueError as error:
        result |= {"proof": "refused", "evidence": str(error)}
    result["search"] = time.process_time() - start
    start = time.process_time()
    with torch.no_grad():
        target = model(x).argmax(1)
    result["pass"] = time.process_time() - start
    wide = model.astype(torch.float64)
    result["cells"] = {method: cell(method, model, wide, x, target) for method in METHODS}
    return result


def table(rows: list[dict[str, Any]]) -> str:
    """The whole page."""
    kinds = ("operations", "cells", "unproven", "refused")
    counts = {kind: sum(r.get("proof") == kind for r in rows) for kind in kinds}
    cells = [c for r in rows for c in r.get("cells", {}).values()]
    verdicts = {k: sum(c.startswith(k) for c in cells) for k in ("equal", "rounding", "refused")}
    others = [c.partition(": ")[0] for c in cells if not c.startswith(tuple(verdicts))]
    broken = [r for r in rows if "error" in r]
    lines = [
        "# Models: the layer of Grad-CAM, its proof, and agreement",
        "",
        f"{len(rows)} models with random, planted weights, one image each; made by "
        "`python benchmarks/models.py` with "
        + ", ".join(f"{k} {v}" for k, v in versions(("torch", "captum", "foolbox")).items())
        + ".",
        "",
        f"Layer: {counts['operations']} proved by their operations, {counts['cells']} by changed "
        f"cells, {counts['unproven']} unproven, {counts['refused']} refused"
        + (f"; {len(broken)} could not be built or run." if broken else "."),
        f"Cells of methods: {verdicts['equal']} equal, {verdicts['rounding']} rounding, "
        f"{verdicts['refused']} refused, {len(others)} other: "
        + ("; ".join(sorted(set(others))) or "none")
        + ".",
        "",
        *_of_planting([r["planting"] for r in rows if "planting" in r]),
        "",
        "Search: CPU seconds that the choice and its proof took, in "
        "forward passes of one image. A cell is the worst of all other implementations beside the "
        "reference, in float64 where the bits of float32 differ: equal (1e-9), rounding (8e-6, or "
        "8 times what the reference itself moves with the image's last bits), refused.",
        "",
        "LeViT of transformers: torch's own gradient of one image alone is wrong there, as central "
        "differences tell, so that the reference, which asks for one image at a time, differs from "
        "those that ask for many; whoever runs it is told so.",
        "",
        "| model | size | layer | reading | grid | proof | brightest | drive | planting "
        "| search, passes | " + " | ".join(METHODS) + " |",
        "|---" * (10 + len(METHODS)) + "|",
    ]
    reasons: dict[str, int] = {}
    for r in sorted(rows, key=lambda r: (r["library"], r["model"])):
        lines.append(_line(r, reasons))
    lines += ["", "Reasons:", ""]
    lines += [f"{number}. {reason}" for reason, number in reasons.items()]
    return "\n".join(lines) + "\n"


def _line(r: dict[str, Any], reasons: dict[str, int]) -> str:
    def short(text: str) -> str:
        head, _, reason = text.partition(": ")
        if not reason:
            return text
        return f"{head} ({reasons.setdefault(reason, len(reasons) + 1)})"

    name = f"{r['library']} {r['model']} | {r['size']}"
    if "error" in r:
        return f"| {name} | {short('not run: ' + r['error'])} |" + " |" * (7 + len(METHODS))
    if r["proof"] == "refused":
        layer = f"{short('refused: ' + r['evidence'])} | | | refused | | | "
    else:
        grid = "{1} x {2}".format(*r["grid"])
        proof = {"operations": "operations", "cells": "changed cells"}.get(r["proof"], r["proof"])
        layer = f"{r['layer']} | {r['reading']} | {grid} | {proof} | {_planting(r)}"
    search = f"{r['search'] / max(r['pass'], 1e-9):.0f}"
    cells = " | ".join(short(r["cells"][method]) for method in METHODS)
    return f"| {name} | {layer} | {search} | {cells} |"


def _planting(r: dict[str, Any]) -> str:
    if "planting" not in r:
        return "| | "
    told = r["planting"]
    other = f" (at {told['layer']})" if told["layer"] != r["layer"] else ""
    why = {"mixed": f": {told['focus']:.2f}"}.get(told["verdict"], "")
    brightest = f"{told['brightest']:.2f} (chance {told['chance']:.2f})"
    return f"{brightest} | {told['drive']:.2f} | {told['verdict']}{why}{other}"


def _of_planting(told: list[dict[str, Any]]) -> list[str]:
    """What the columns of planting mean, and how many are what."""
    counts = {k: sum(t["verdict"] == k for t in told) for k in dict.fromkeys(VERDICTS)}
    return [
        f"Planting, {len(told)} models (blank: not measured, or no layer): "
        + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        + ". The network keeps its weights; a linear readout of "
        f"{MANY} random outputs is fitted to tell images with a patch of one cell's size from the "
        "same without it. On held-out images (and cells, on grids of 32 or more): drive is the "
        "share of the logit's variance that the patch makes, brightest the share of images whose "
        "brightest cell of Grad-CAM is the planted one, best of three places (on the cells, half a "
        "cell either side: a network of strides centres its cells there).",
        "",
        f"Found: brightest in {FOUND:.0%} and driven, {DRIVEN:.0%}. Mixed: the layer's most "
        f"changed cell, whichever it is, holds less than {MIXED:.0%} of the layer's change beyond "
        "an equal share (the figure is told), so that no map of it can tell places. Not driven: "
        "more than the patch moves the logit, so that nothing is told. Read elsewhere: the map "
        "rises most at another cell than the one that the layer changes most, whichever that is: "
        "other cells tell of the patch, as where all are normalised together. Beside: none of "
        f"these, and the brightest cell is at most one off in {FOUND:.0%}, as where a network "
        "without padding cuts the borders off. Partly: brightest in more than half. Misplaced: "
        "none of these; a transposed, mirrored or shifted grid is (see the tests). These words "
        "were settled while 47 of the models were looked at, and then held for all: under the "
        "first ones HF's PoolFormer, inception_v3 and mobilenet_v3_small were misplaced. Chance is "
        "that of one place; with few cells it is high.",
    ]


@click.command()
@click.option("--only", default="", help='Models whose "library/name" contains it, done anew.')
def main(only: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    path = RESULTS / "models.json"
    for entry in entries():
        key = f"{entry.library}/{entry.name}"
        known = {} if only else _read(path).get(key, {})
        if only not in key or (known and ("planting" in known or "grid" not in known)):
            continue
        try:
            made = known or row(entry)
            if "grid" in made:
                made["planting"] = planted(entry)
        except Exception as error:
            made = {"library": entry.library, "model": entry.name, "size": entry.size}
            made["error"] = describe(error)
        gc.collect()
        click.echo(f"{key}: {made.get('layer', made.get('error', 'refused'))}")
        rows = dict(sorted({**_read(path), key: made}.items()))  # another run may have written
        path.write_text(json.dumps(rows, indent=1) + "\n")
        (RESULTS / "models.md").write_text(table(list(rows.values())))


def _read(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return found


if __name__ == "__main__":
    main()
