"""What the report of a study says, whatever it is written in: summary, card, proof."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bridge.report.content import CLASSES, Section
from bridge.tables import plain, records
from bridge.tables.agreement import agreement
from bridge.tables.study import Measured, Summary, card_of, summary_tables

MOST = 1000  # rows of a table that stand in the report in full; all are in its CSV and Parquet
PROOF = "proof"


def sections(summary: Summary, proof: Any) -> list[Section]:
    """The tables of the summary in their order, the verdicts of the proof before what failed."""
    found = []
    for table, view in summary.views():
        frame = summary.tables[table.name]
        every = None
        if len(view.rows or view.remarks) < len(frame) <= MOST:
            shown = summary_tables()[table.name]
            every = plain(shown.columns, records(frame))
        found.append(Section(table.name, table.heading, view, every))
    if proof is not None and len(proof.agreement):
        heading = f"Proof: {len(proof.x)} images by all implementations"
        view = agreement.view(proof.agreement, proof.tables)
        at = len(found) - bool(found and found[-1].name == "failures")
        found.insert(at, Section(PROOF, heading, view))
    return found


def card(study: Measured) -> dict[str, str]:
    """What the study was made of; what its manifest does not say is left out."""
    manifest = study.manifest
    made, configured = card_of(manifest), manifest.get("configuration", {})
    model, images, device = (made.get(name, {}) for name in ("model", "images", "device"))
    data = configured.get("data", manifest.get("data", {}))
    source = data.get("source", "given by the caller") if isinstance(data, Mapping) else str(data)
    shape = images.get("shape") if isinstance(images, Mapping) else None
    methods = configured.get("methods", manifest.get("methods", {}))
    said = {
        "Model": _model(model),
        "Data": f"{source}: {len(study.images):,} images"
        + (f", the first of {' x '.join(map(str, shape[1:]))}" if shape else ""),
        "Methods": ", ".join(methods) if methods else "",
        "Grad-CAM layer": model.get("layer"),
        "Classes": CLASSES[manifest.get("labels", "given") != "predicted"],
        "Seed": configured.get("seed", manifest.get("seed")),
        "Device": ", ".join(str(device[k]) for k in ("type", "name", "platform") if device.get(k)),
        "Versions": ", ".join(f"{k} {v}" for k, v in made.get("versions", {}).items() if v),
        "Fingerprint": str(manifest.get("fingerprint", ""))[:16],
        "Made": manifest.get("created", made.get("created")),
    }
    return {key: str(value) for key, value in said.items() if value not in (None, "")}


def _model(model: Mapping[str, Any]) -> str:
    if not model:
        return ""
    size = f"{model['parameters']:,} parameters" if model.get("parameters") else ""
    inside = ", ".join(filter(None, [model.get("class"), size, model.get("dtype")]))
    return f"{model.get('name', 'model')} ({inside})"


def curves(summary: Summary) -> dict[str, dict[str, pd.DataFrame]]:
    """By norm and method the points of the curves over epsilon, of those with more than one."""
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for (norm, method), points in summary.curves.groupby(["norm", "method"], sort=False):
        if len(points) > 1:
            found.setdefault(str(norm), {})[str(method)] = points
    return found
