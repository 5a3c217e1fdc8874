"""How every Foolbox twin is called."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bridge.model import ModelAdapter


def run_foolbox(
    attack: Any,
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: float | None,
    targeted: bool = False,
    clipped: bool = False,
) -> Tensor:
    """The images that a Foolbox attack returns: `raw`, or with `clipped` those that Foolbox clips to the ball again.

    For the projected attacks both are in the ball, and clipping again would only add rounding. The device is passed,
    since Foolbox moves the model to the first GPU by default.
    """
    import foolbox

    classifier = foolbox.PyTorchModel(model, bounds=model.bounds, device=x.device, preprocessing=None)
    criterion = foolbox.criteria.TargetedMisclassification(labels) if targeted else foolbox.criteria.Misclassification(labels)
    raw, clipped_images, _ = attack(classifier, x, criterion, epsilons=epsilon)
    images: Tensor = clipped_images if clipped else raw
    return images


def starting_at(attack: Any, start: Tensor) -> Any:
    """A Foolbox gradient attack that starts from this tensor instead of drawing one."""
    import eagerpy

    attack.get_random_start = lambda x0, epsilon: eagerpy.astensor(start)
    return attack
