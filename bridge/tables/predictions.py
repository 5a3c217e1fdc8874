"""Predictions: what the model says of every image, clean and attacked. Data for others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
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
    every = range(len(evidence.x))
    yield from _of(evidence, CLEAN, evidence.x, every)
    for cell in evidence.of("attack"):
        places = every if cell.images is None else cell.images
        try:
            images = cell.run.output.to(evidence.x.device)
            said = partial(_of, evidence, cell.key, images, places)
            yield from evidence.once("predicted", cell, said)
        except Exception as error:
            evidence.failed(cell.method.name, cell.implementation, "predictions", error)


def _of(
    evidence: Evidence, key: Key, images: Tensor, places: Sequence[int]
) -> list[dict[str, Any]]:
    """What the model says of each, in a batch of these images alone."""
    predicted, confidence = classify(evidence.model, images)
    labels = evidence.labels[list(places)].tolist()
    said = zip(places, labels, predicted.tolist(), confidence.tolist(), strict=True)
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
        for index, label, guess, sure in said
    ]
