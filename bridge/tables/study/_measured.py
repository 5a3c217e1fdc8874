"""A study as its summary reads it: six tables, a manifest, a proof."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import pandas as pd

from bridge.tables.agreement import headline
from bridge.tables.study._summary import Results

KEYS = {
    "images": ["id"],
    "attributions": ["id", "method"],
    "pairs": ["id", "a", "b"],
    "metrics": ["id", "method", "metric"],
    "attacks": ["id", "method", "norm", "epsilon"],
}


class Measured(Protocol):
    """What is read of a study; see `Results` for the columns of its frames."""

    @property
    def images(self) -> pd.DataFrame: ...
    @property
    def attributions(self) -> pd.DataFrame: ...
    @property
    def pairs(self) -> pd.DataFrame: ...
    @property
    def metrics(self) -> pd.DataFrame: ...
    @property
    def attacks(self) -> pd.DataFrame: ...
    @property
    def failures(self) -> pd.DataFrame: ...
    @property
    def manifest(self) -> Mapping[str, Any]: ...
    @property
    def proof(self) -> Any: ...
    @property
    def finished(self) -> bool: ...


def results_of(study: Measured) -> Results:
    """The tables of a study, each image once."""
    frames = {name: getattr(study, name) for name in KEYS}
    if frames["images"]["id"].duplicated().any():
        # Shards tell images with the same pixels apart only once they are together.
        frames = {name: each.drop_duplicates(KEYS[name]) for name, each in frames.items()}
    model = card_of(study.manifest).get("model", {})
    configured = study.manifest.get("configuration", {})
    return Results(
        **frames,
        failures=study.failures,
        class_names=model.get("class_names"),
        second=_named(configured.get("transfer")),
        seed=int(configured.get("seed") or 0),
    )


def _named(second: Any) -> str:
    """The name of the model that images were transferred to; "" where there is none."""
    return str(second.get("name", "")) if isinstance(second, Mapping) else str(second or "")


def card_of(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was run, see `bridge.record.manifest.describe`: a manifest has it inside, or is it."""
    found: Mapping[str, Any] = manifest.get("card", manifest)
    return found


def lines_of(study: Measured) -> tuple[str, ...]:
    """What must be known before any number: is it whole, whose classes; nothing where it is."""
    lines = []
    total = study.manifest.get("images")
    if not study.finished:
        of = f" of {total:,}" if isinstance(total, int) else ""
        lines.append(f"UNFINISHED: {len(study.images):,}{of} images so far.")
    if study.manifest.get("labels") == "predicted":
        lines.append("Attacked and counted is the model's own prediction, no label.")
    return tuple(lines)


def proof_of(study: Measured) -> tuple[str, ...]:
    """Whether the numbers hold: what the sample by all implementations showed."""
    if study.proof is None:
        return ()
    return (f"Proof, {len(study.proof.x)} images: {headline(study.proof.agreement)}",)
