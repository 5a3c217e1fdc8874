"""MI-FGSM: sign steps along a momentum of the loss gradients, each over its L1 norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import Tensor

from bridge.attacks._cases import BOTH_WAYS, IN_LINF, LINF_CASE, LOSS, SIGN_ZERO, WALK, each_with
from bridge.attacks._descent import like_epsilon, observed, towards
from bridge.attacks._foolbox import run_foolbox
from bridge.core.edits import equation
from bridge.core.gradients import loss_gradient
from bridge.core.method import sizes
from bridge.core.model import ModelAdapter
from bridge.core.norms import TINY, project_linf, unit_l1
from bridge.core.parameters import Domain, LinfSize, Steps, StepSize
from bridge.core.recipe import Recipe
from bridge.core.registry import attack
from bridge.core.shared import Shared
from bridge.core.tags import Cases, Trap
from bridge.fused.descent import descend

SIGNS = (
    "Foolbox adds the gradient's sign to its momentum, not the gradient over its L1 norm: a pixel "
    "has one vote a step, however small its gradient is, and stays where it is when its votes "
    "cancel out. The reference follows the paper's equation, as torchattacks does"
)
Momentum = Annotated[float, Domain(low=0, unit="decay a step", others=(0.6, 0.0))]


def step_of(epsilon: float, steps: int, step_size: float | None) -> float:
    """The step: by default the paper's, with which `steps` of them just reach the ball's edge."""
    return epsilon / steps if step_size is None else step_size


def recipe(
    x: Tensor,
    bounds: tuple[float, float],
    *,
    epsilon: float,
    steps: int,
    step_size: float | None,
    momentum: float,
    targeted: bool,
) -> Recipe:
    return Recipe(
        epsilon=epsilon,
        step=step_of(epsilon, steps, step_size),
        steps=steps,
        start=x,
        direction=torch.sign,
        targeted=targeted,
        clip=bounds,
        momentum=momentum,
        momentum_norm=unit_l1,
    )


@attack(
    "mi_fgsm",
    paper="arXiv:1710.06081",
    norm="linf",
    axioms=("ascent",),
    quick={"steps": 5},
    quickest={"steps": 2},
    tiny={"epsilon": 0.1, "step_size": 0.04},
    recipe=recipe,
    observed=observed("linf"),
)
def mi_fgsm(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: LinfSize = 8 / 255,
    steps: Steps = 10,
    step_size: StepSize = None,
    momentum: Momentum = 1.0,
    targeted: bool = False,
) -> Tensor:
    """x_{k+1} = clip(project(x_k + step_size * sign(g_k))), g_k = mu g_{k-1} + d_k / norm1(d_k).

    d_k = d CE / d x_k, from x_0 = x with no momentum yet; the last iterate. `momentum` is the decay
    mu (0: plain BIM). `step_size` is absolute, in pixel units; by default epsilon / steps (Dong et
    al. 2017).
    """
    step = towards(targeted) * step_of(epsilon, steps, step_size)
    adversarial, g = x, torch.zeros_like(x)
    for _ in range(steps):
        g = momentum * g + unit_l1(loss_gradient(model, adversarial, labels))
        adversarial = project_linf(adversarial + step * g.sign(), x, epsilon).clamp(*model.bounds)
    return adversarial


class Accumulated:
    """The direction of a descent with momentum: it keeps the sum from step to step."""

    def __init__(self, momentum: float) -> None:
        self.momentum, self.sum = momentum, torch.zeros(())

    def __call__(self, gradient: Tensor) -> Tensor:
        self.sum = self.momentum * self.sum.to(gradient) + unit_l1(gradient)
        return self.sum.sign()


def _passes(x: Tensor, *, steps: int, **_: Any) -> tuple[int, int]:
    return steps - 1, steps - 1


@mi_fgsm.fused("loss_gradient", passes=_passes)
def fused(
    shared: Shared,
    *,
    epsilon: float | list[float],
    steps: int,
    step_size: float | None,
    momentum: float,
    targeted: bool,
) -> Tensor:
    ends = [
        descend(
            shared,
            shared.x[None],
            epsilon=[each],
            step_size=[step_of(each, steps, step_size)],
            steps=steps,
            targeted=targeted,
            direction=Accumulated(momentum),
            project=project_linf,
            first=shared["loss_gradient"],
        )[0]
        for each in sizes(epsilon)
    ]
    return like_epsilon(ends, epsilon)


# (decay, sum so far, gradient) -> the new sum
Update = Callable[[float, Tensor, Tensor], Tensor]


def updated(update: Update, *, ahead: bool = False) -> Callable[..., Tensor]:
    """The attack with another update of its momentum.

    `ahead` takes the gradient where the momentum leads.
    """

    def deviating(
        model: ModelAdapter,
        x: Tensor,
        labels: Tensor,
        *,
        epsilon: float,
        steps: int,
        step_size: float | None,
        momentum: float,
        targeted: bool,
    ) -> Tensor:
        step = towards(targeted) * step_of(epsilon, steps, step_size)
        adversarial, g = x, torch.zeros_like(x)
        for _ in range(steps):
            at = adversarial + step * momentum * g if ahead else adversarial
            g = update(momentum, g, loss_gradient(model, at, labels))
            moved = adversarial + step * g.sign()
            adversarial = project_linf(moved, x, epsilon).clamp(*model.bounds)
        return adversarial

    return deviating


def votes(momentum: float, g: Tensor, gradient: Tensor) -> Tensor:
    return momentum * g + gradient.sign()


@mi_fgsm.twin("foolbox", differs=SIGNS, everywhere=True, leaves="gradients", instead=updated(votes))
def foolbox(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int,
    step_size: float | None,
    momentum: float,
    targeted: bool,
) -> Tensor:
    from foolbox.attacks import LinfMomentumIterativeFastGradientMethod

    attack = LinfMomentumIterativeFastGradientMethod(
        momentum=momentum,
        abs_stepsize=step_of(epsilon, steps, step_size),
        steps=steps,
        random_start=False,
    )
    return run_foolbox(attack, model, x, labels, epsilon=epsilon, targeted=targeted)


# Deviations that the recipe cannot say.


def deviation(sentence: str, *, ahead: bool = False) -> Callable[[Update], Update]:
    """Register a deviation in the momentum."""

    def register(update: Update) -> Update:
        yours = f"the gradient at x_k + step * mu * g; g = {equation(update)}" if ahead else update
        ours = "momentum * g + unit_l1(gradient), the gradient at x_k"
        mi_fgsm.variant(sentence, yours=yours, ours=ours)(updated(update, ahead=ahead))
        return update

    return register


@deviation("it divides the gradient by the L1 norm of the whole batch")
def over_the_batch(momentum: float, g: Tensor, gradient: Tensor) -> Tensor:
    return momentum * g + gradient / gradient.abs().sum().clamp(min=TINY)


@deviation("it divides each channel of the gradient by its own L1 norm")
def over_each_channel(momentum: float, g: Tensor, gradient: Tensor) -> Tensor:
    return momentum * g + gradient / gradient.abs().sum((2, 3), keepdim=True).clamp(min=TINY)


@deviation("it divides the sum, with the new gradient in it, by its L1 norm, not the gradient")
def sum_over_its_norm(momentum: float, g: Tensor, gradient: Tensor) -> Tensor:
    return unit_l1(momentum * g + gradient)


@deviation("its momentum is a running mean, mu g + (1 - mu) d: with a decay of 1 nothing moves")
def running_mean(momentum: float, g: Tensor, gradient: Tensor) -> Tensor:
    return momentum * g + (1 - momentum) * unit_l1(gradient)


@deviation("it takes the gradient where its momentum leads (Nesterov, NI-FGSM)", ahead=True)
def nesterov(momentum: float, g: Tensor, gradient: Tensor) -> Tensor:
    return momentum * g + unit_l1(gradient)


mi_fgsm.cases = Cases(
    f"{LOSS}v = 0 at first, then v = momentum * v + g / max(norm1(g), 1e-12), norms of each image; "
    f"d(g) = sign(v). {WALK}{IN_LINF}",
    each_with({**LINF_CASE, "momentum": 0.75}, BOTH_WAYS),
    traps={
        **SIGN_ZERO,
        "each-over-its-norm": Trap(
            "each gradient is divided by its own L1 norm before it is added",
            (
                "it adds the gradient to its momentum without normalising it",
                "it adds the gradient's sign to its momentum",
                "it divides the sum, with the new gradient in it, by its L1 norm, not the gradient",
            ),
        ),
    },
)
