"""What must be known of a run before any of its numbers: is it whole, of which classes, how right.

The first lines of the terminal, of a report and of a notebook.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

import pandas as pd

FEW = 5  # a model that gets fewer than one of so many images right is not the one that was meant
SOME = 6  # numbers of images that are named
# Without them nothing needs to be said of whose classes these are.
GIVEN = "given"
PREDICTED = "predicted"


def preamble(manifest: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """The sentences, a line each."""
    lines = [
        _unfinished(manifest, tables),
        _dependent(manifest),
        _classes(manifest),
        _judged(manifest),
        accuracy(right(manifest, tables)),
    ]
    return [line for line in lines if line]


def right(
    manifest: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]
) -> tuple[int, int] | None:
    """Images that the model gets right, and images; None where no label says so."""
    stated = manifest.get("accuracy")
    if stated:
        return stated["right"], stated["images"]
    said = tables.get("predictions")
    if said is None or manifest.get("labels", GIVEN) != GIVEN:
        return None
    clean = said[said["method"] == "clean"]
    return (int((clean["predicted"] == clean["label"]).sum()), len(clean)) if len(clean) else None


def accuracy(counts: tuple[int, int] | None) -> str:
    """How many images the model gets right, and what to think of that.

    >>> accuracy((13, 16))
    'The model gets 13 of 16 images right.'
    """
    if counts is None:
        return ""
    correct, images = counts
    text = f"The model gets {correct} of {images} images right"
    return f"{text}: is this what was meant?" if suspicious(counts) else f"{text}."


def suspicious(counts: tuple[int, int]) -> bool:
    """Whether so few right answers ask for a warning: less than a fifth of five images or more."""
    correct, images = counts
    return images >= FEW and correct * FEW < images


def _classes(manifest: Mapping[str, Any]) -> str:
    attacked = manifest.get("labels", GIVEN) == PREDICTED
    explained = manifest.get("target") == PREDICTED
    if attacked and explained:
        return "Explained and attacked is the model's own prediction, no label."
    if attacked:
        return "Attacked is the model's own prediction, no label."
    return "Explained is the model's own prediction, no label." if explained else ""


def _judged(manifest: Mapping[str, Any]) -> str:
    """On how many images implementations were judged, and who gave the results of all."""
    said = manifest.get("judged", {})
    places, images = said.get("images"), said.get("of")
    if places is None:
        return ""
    if not places:
        return (
            f"Nothing was judged (judged=0): the results of all {images} images are unproved here."
        )
    few = ", ".join(map(str, places[:SOME])) + (", ..." if len(places) > SOME else "")
    return (
        f"Judged on {len(places)} of {images} images (number {few}); results of all {images} by "
        "the quickest implementation of each method."
    )


def _dependent(manifest: Mapping[str, Any]) -> str:
    """Of a model that is no function of one image, that no verdict blames anybody."""
    why = manifest["model"].get("depends_on")
    text = "The model is no function of one image, so that implementations need not agree on it"
    return f"{text}: {why}." if why else ""


def _unfinished(manifest: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> str:
    if manifest.get("finished", True):
        return ""
    ran, asked = manifest.get("ran"), manifest.get("asked")
    text = f"UNFINISHED: stopped by {manifest.get('stopped_by') or 'the user'}"
    if ran is not None and asked is not None:
        text += f" after {ran} of {asked} runs"
    began = {
        name for table in ("runtime", "attacks", "agreement") for name in tables[table]["method"]
    }
    missing = _listed(manifest.get("not_run", ()), began)
    if missing:
        return f"{text}; not run: {missing}."
    return f"{text}; verdicts or tables may be missing."


def _listed(cells: Iterable[Iterable[Any]], began: Container[str]) -> str:
    """What did not run: methods by name, of those that began also by whom."""
    by_method: dict[str, list[str]] = {}
    for method, implementation, _ in cells:
        of = by_method.setdefault(str(method), [])
        if implementation not in of:
            of.append(str(implementation))
    return ", ".join(
        f"{method} ({', '.join(names)})" if method in began else method
        for method, names in by_method.items()
    )
