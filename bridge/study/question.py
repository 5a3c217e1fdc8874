"""Which classes a comparison explains and attacks, and whether the model knows its images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bridge.core.model import ModelAdapter
from bridge.core.preflight import check_batch, check_labels
from bridge.core.warn import warn
from bridge.metrics.attack import classify
from bridge.record.preamble import GIVEN, PREDICTED, suspicious
from bridge.study.suspicion import likely


@dataclass(frozen=True)
class Question:
    """Images (n, c, h, w), and the classes (n,) that are attacked (`labels`) and explained.

    `attacks` is "given" or "predicted", `explains` also "labels", for where they come from. `right`
    counts the images that the model gets right, None without labels.
    """

    model: ModelAdapter
    x: Tensor
    labels: Tensor
    target: Tensor
    attacks: str
    explains: str
    right: int | None

    @property
    def labelled(self) -> bool:
        """Whether what is attacked are labels, not the model's own predictions."""
        return self.attacks == GIVEN

    def described(self) -> dict[str, Any]:
        """For the manifest."""
        known = self.right is not None
        return {
            "labels": self.attacks,
            "target": self.explains,
            "accuracy": {"right": self.right, "images": len(self.x)} if known else None,
        }


def question(model: nn.Module, x: Any, labels: Any, target: Any) -> Question:
    """All checks of a model, its images and their classes; one pass of the model over them.

    `labels` (n,) or None, `target` (n,), "predicted" or None (the labels). Raises what preflight
    raises, and ValueError for another word; warns where the model knows too few of the images.
    """
    if isinstance(target, str) and target != PREDICTED:
        raise ValueError(f"unknown target {target!r}: expected {PREDICTED!r} or a class an image")
    adapter, images, classes = check_batch(model, x, every=True)
    given = None if labels is None else check_labels(labels, images, classes)
    predicted, _ = classify(adapter, images)
    right = None
    if given is not None:
        right = int((predicted == given).sum())
        if suspicious((right, len(images))):
            warn(
                f"{adapter.name} gets {right} of {len(images)} images right, less than a fifth: "
                f"{likely(adapter, images, given, predicted)}"
            )
    if given is None or isinstance(target, str):
        given, attacks = predicted, PREDICTED
    else:
        attacks = GIVEN
    if target is None or isinstance(target, str):
        explained, explains = given, "labels" if attacks == GIVEN else PREDICTED
    else:
        explained = check_labels(target, images, classes, "target")
        explains = GIVEN
    return Question(adapter, images, given, explained, attacks, explains, right)
