"""Predictions: what the model says of every image, clean and attacked. Data for others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from bridge.metrics.attack import classify
from bridge.tables import EPSILON, Column, Evidence, Key, table

CLEAN: Key = ("clean", "model", None)

predictions = table(
    "predictions",
    heading="Predictions",
    columns=[
        Column("image", format=".0f", low=0, key=True),
        Column("label", format=".0f", low=0, key=True),
        Column("method", key=True),
        Column("implementation", heading="by", key=True),
        EPSILON,
        Column("predicted", format=".0f", low=-1, key=True),
        Column("confidence", format=".0%", low=0, high=1),
    ],
    order=60,
    shown=False,
)


@predictions.fill
def rows(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """A row an image: of the clean ones (method "clean"), and after each attack."""
    yield from _of(evidence, CLEAN, evidence.x)
    for cell in evidence.of("attack"):
        try:
            yield from _of(evidence, cell.key, cell.run.output.to(evidence.x.device))
        except Exception as error:
            evidence.failed(cell.method.name, cell.implementation, "predictions", error)


def _of(evidence: Evidence, key: Key, images: Tensor) -> list[dict[str, Any]]:
    """What the model says of each, in a batch of these images alone."""
    predicted, confidence = classify(evidence.model, images)
    said = zip(evidence.labels.tolist(), predicted.tolist(), confidence.tolist(), strict=True)
    return [
        {
            "image": index,
            "label": label,
            "method": key[0],
            "implementation": key[1],
            "epsilon": key[2],
            "predicted": guess,
            "confidence": sure,
        }
        for index, (label, guess, sure) in enumerate(said)
    ]
