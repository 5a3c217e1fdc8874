"""How every Foolbox twin is called."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bridge.core.model import ModelAdapter


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
    """The images that a Foolbox attack returns: `raw`, or those that it clips to the ball again.

    For the projected attacks both are in the ball, and clipping again (`clipped`) would only add
    rounding. The device is passed, since Foolbox moves the model to the first GPU by default.
    """
    import foolbox

    classifier = foolbox.PyTorchModel(
        model, bounds=model.bounds, device=x.device, preprocessing=None
    )
    criteria = foolbox.criteria
    aim = criteria.TargetedMisclassification if targeted else criteria.Misclassification
    raw, clipped_images, _ = attack(classifier, x, aim(labels), epsilons=epsilon)
    images: Tensor = clipped_images if clipped else raw
    return images


def starting_at(attack: Any, start: Tensor) -> Any:
    """A Foolbox gradient attack that starts from this tensor instead of drawing one."""
    import eagerpy

    attack.get_random_start = lambda x0, epsilon: eagerpy.astensor(start)
    return attack
