"""Fool: iterate FGSM until the prediction changes, then stop, image by image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from bridge.attacks._cases import BOTH_WAYS, LOSS, SIGN_ZERO, each_with
from bridge.attacks._descent import like_epsilon, towards
from bridge.attacks._mistakes import negative_logit, sign_or_up, softmax_twice, unchanged
from bridge.core.gradients import loss_gradient, predict, predicted
from bridge.core.method import several, sizes
from bridge.core.model import ModelAdapter
from bridge.core.norms import per_image, project_linf, unit_l2, unit_linf
from bridge.core.parameters import Domain, SmallestSize, Steps
from bridge.core.recipe import Direction, Loss, cross_entropy
from bridge.core.registry import attack
from bridge.core.shared import Shared
from bridge.core.tags import Cases, Trap

Step = Annotated[float, Domain(low=0, unit="absolute, in pixel units", others=(0.011,))]

OFTEN = 8  # steps after which most predictions have changed


def _typical(x: Tensor, classes: int, *, steps: int, **_: object) -> tuple[float, float]:
    """A look after each step that is taken."""
    taken = min(steps, OFTEN)
    return taken + 1, taken


@attack(
    "fool",
    paper="arXiv:1607.02533",
    norm="linf",
    quickest={"steps": 3},
    tiny={"steps": 12, "step_size": 0.02},
    typical=_typical,
)
def fool(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: SmallestSize = None,
    steps: Steps = 100,
    step_size: Step = 1 / 255,
    targeted: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """x_{k+1} = clip(x_k + step_size * sign(d CE / d x_k)) until the prediction is not the label.

    With `targeted`: until it is the class to reach. Each image stops for itself and leaves the
    batch. Returns the images and {"iterations": (n,) int64}: steps taken, 0 where nothing had to be
    done, -1 where `steps` did not suffice. With `epsilon` the iterates stay in that Linf ball
    (after Kurakin et al. 2016).
    """
    adversarial = x.clone()
    iterations = torch.full_like(labels, -1)
    active = torch.arange(len(x), device=x.device)
    for step in range(steps + 1):
        done = (predict(model, adversarial[active]) == labels[active]) == targeted
        iterations[active[done]] = step
        active = active[~done]
        if step == steps or not len(active):
            break
        gradient = loss_gradient(model, adversarial[active], labels[active])
        moved = adversarial[active] + towards(targeted) * (step_size * gradient.sign())
        if epsilon is not None:
            moved = project_linf(moved, x[active], epsilon)
        adversarial[active] = moved.clamp(*model.bounds)
    return adversarial, {"iterations": iterations}


def _passes(x: Tensor, *, steps: int, **_: object) -> tuple[int, int]:
    """A look after each step; the first gradient is shared."""
    return steps, max(0, steps - 1)


@fool.fused("logits", "loss_gradient", passes=_passes)
def fused(
    shared: Shared,
    *,
    epsilon: float | list[float] | None,
    steps: int,
    step_size: float,
    targeted: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    """One pass a step says who is done and, for the others, where to go; the first is shared."""
    runs = [_fool(shared, e, steps, step_size, targeted) for e in sizes(epsilon)]
    counts = torch.stack([n for _, n in runs]) if several(epsilon) else runs[0][1]
    return like_epsilon([images for images, _ in runs], epsilon), {"iterations": counts}


def _fool(
    shared: Shared, epsilon: float | None, steps: int, step_size: float, targeted: bool
) -> tuple[Tensor, Tensor]:
    x, labels = shared.x, shared.labels
    adversarial, iterations = x.clone(), torch.full_like(labels, -1)
    active = torch.arange(len(x), device=x.device)
    logits, gradient = shared["logits"], shared["loss_gradient"]
    for step in range(steps + 1):
        if step:
            images = adversarial[active].requires_grad_(step < steps)
            logits = shared.model(images)
        done = (predicted(logits) == labels[active]) == targeted
        iterations[active[done]] = step
        left = active[~done]
        if step == steps or not len(left):
            break
        if step:
            loss = F.cross_entropy(logits[~done], labels[left], reduction="sum")
            (gradient,) = torch.autograd.grad(loss, images)
        moved = adversarial[left] + towards(targeted) * (step_size * gradient[~done].sign())
        if epsilon is not None:
            moved = project_linf(moved, x[left], epsilon)
        adversarial[left] = moved.clamp_(*shared.model.bounds)
        active = left
    return adversarial, iterations


def _walk(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: float | None,
    steps: int,
    step_size: float,
    targeted: bool,
    loss: Loss = cross_entropy,
    direction: Direction = torch.sign,
    going: Callable[[Tensor], Tensor] = torch.logical_not,
    clip: bool = True,
    factor: float = 1.0,
) -> Tensor:
    """The same loop over the whole batch, with its parts exchangeable: `going(fooled)` go on."""
    adversarial = x
    for _ in range(steps):
        images = adversarial.clone().requires_grad_()
        logits = model(images)
        (gradient,) = torch.autograd.grad(loss(logits, labels).sum(), images)
        goes_on = going((predicted(logits) == labels) == targeted)
        step = towards(targeted) * factor * step_size * direction(gradient)
        moved = adversarial + step
        if epsilon is not None:
            moved = project_linf(moved, x, epsilon)
        if clip:
            moved = moved.clamp(*model.bounds)
        adversarial = torch.where(per_image(goes_on, x), moved, adversarial)
    return adversarial


def _until_all_are_fooled(fooled: Tensor) -> Tensor:
    return torch.full_like(fooled, not bool(fooled.all()))


fool.variant("images go on until all are fooled", going=_until_all_are_fooled)(_walk)
fool.variant("it never stops: all steps are taken", going=torch.ones_like)(_walk)
fool.variant("it does not clip to the bounds", clip=False)(_walk)
fool.variant("it steps downhill: the sign is reversed", factor=-1.0)(_walk)
fool.variant("it takes nll_loss on raw logits, which is -logit", loss=negative_logit)(_walk)
fool.variant("it takes the loss on probabilities (softmax twice)", loss=softmax_twice)(_walk)
fool.variant("it steps along the L2-normalised gradient", direction=unit_l2)(_walk)
fool.variant("it steps along the max-normalised gradient", direction=unit_linf)(_walk)
fool.variant("it takes sign(0) = 1: pixels without gradient move", direction=sign_or_up)(_walk)
fool.variant("it steps along the gradient without normalising it", direction=unchanged)(_walk)
fool.variant("the step is halved", factor=0.5)(_walk)
fool.variant("the step is doubled", factor=2.0)(_walk)


fool.cases = Cases(
    f"{LOSS}x_k+1 = clip(project(x_k + step_size * sign(g))) to [0, 1], sign(0) = 0, until argmax "
    "is not the target (targeted: is), each image for itself, at most `steps` times; an image "
    "that is fooled already stays. Only with an epsilon: project to x + clamp(delta, -epsilon, "
    "epsilon)",
    each_with({"steps": 6, "step_size": 0.03125}, [*BOTH_WAYS, {"epsilon": 0.0625}]),
    traps={
        **SIGN_ZERO,
        "stops-for-itself": Trap(
            "each image stops as soon as it is fooled",
            ("images go on until all are fooled", "it never stops: all steps are taken"),
        ),
    },
)
