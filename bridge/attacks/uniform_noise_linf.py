"""Uniform noise in Linf: the control that every attack has to beat."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bridge.attacks._foolbox import run_foolbox
from bridge.core.model import ModelAdapter
from bridge.core.norms import linf_norm, per_image, uniform, unit_l2
from bridge.core.parameters import Draw, LinfSize
from bridge.core.registry import attack
from bridge.core.tags import Cases, Trap

LARGEST = (
    "Foolbox divides the noise by its largest positive value, not by its largest absolute value: "
    "where the most extreme pixel is negative the noise leaves the ball by their ratio, and "
    "Foolbox clips it back. The reference has Linf norm epsilon exactly"
)


def draw(x: Tensor, *, noise: Tensor | None, **_: Any) -> dict[str, Tensor]:
    return {} if noise is not None else {"noise": uniform(x, -1, 1)}


def requires(x: Tensor, *, noise: Tensor | None, **_: Any) -> None:
    """Raise ValueError where the noise does not fit the images."""
    if noise is not None and noise.shape != x.shape:
        shapes = f"shape {tuple(noise.shape)}, expected {tuple(x.shape)}"
        raise ValueError(f"noise has {shapes}")


@attack(
    "uniform_noise_linf",
    norm="linf",
    draw=draw,
    requires=requires,
    control=True,
    tiny={"epsilon": 0.1},
)
def uniform_noise_linf(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: LinfSize = 8 / 255,
    noise: Draw = None,
) -> Tensor:
    """clip(x + epsilon * u / max|u|), u uniform in [-1, 1): random, and ignores the model.

    It has the same Linf size as an attack. `noise` takes u itself; otherwise it comes from the
    global generator.
    """
    u = drawn(x, noise)
    return (x + epsilon * u / largest(u)).clamp(*model.bounds)


def drawn(x: Tensor, noise: Tensor | None) -> Tensor:
    """The noise: the one given, or from the global generator."""
    return uniform(x, -1, 1) if noise is None else noise.to(x)


def largest(u: Tensor) -> Tensor:
    """max |u| of each image, (n, 1, 1, 1)."""
    return per_image(linf_norm(u), u)


@uniform_noise_linf.variant("it does not scale the noise to its largest absolute value")
def not_scaled(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, noise: Tensor | None
) -> Tensor:
    return (x + epsilon * drawn(x, noise)).clamp(*model.bounds)


@uniform_noise_linf.variant(
    "it divides by the largest positive value instead of the largest absolute one, as Foolbox does"
)
def positive_clipped(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, noise: Tensor | None
) -> Tensor:
    u = drawn(x, noise)
    scaled = epsilon * u / u.amax((1, 2, 3), keepdim=True)
    return (x + scaled.clamp(-epsilon, epsilon)).clamp(*model.bounds)


@uniform_noise_linf.twin("foolbox", differs=LARGEST, everywhere=True, instead=positive_clipped)
def foolbox(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, noise: Tensor | None
) -> Tensor:
    import eagerpy
    from foolbox.attacks import LinfAdditiveUniformNoiseAttack

    attack = LinfAdditiveUniformNoiseAttack()
    if noise is not None:
        attack.sample_noise = lambda images: eagerpy.astensor(noise.to(x))
    return run_foolbox(attack, model, x, labels, epsilon=epsilon, clipped=True)


@uniform_noise_linf.variant("it divides by the largest positive value and leaves the ball")
def positive(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, noise: Tensor | None
) -> Tensor:
    u = drawn(x, noise)
    return (x + epsilon * u / u.amax((1, 2, 3), keepdim=True)).clamp(*model.bounds)


@uniform_noise_linf.variant("it does not clip to the bounds")
def not_clipped(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, noise: Tensor | None
) -> Tensor:
    u = drawn(x, noise)
    return x + epsilon * u / largest(u)


@uniform_noise_linf.variant("it takes the sign of the noise")
def sign(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, noise: Tensor | None
) -> Tensor:
    return (x + epsilon * drawn(x, noise).sign()).clamp(*model.bounds)


@uniform_noise_linf.variant("it scales by the batch's largest value")
def of_the_batch(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, noise: Tensor | None
) -> Tensor:
    u = drawn(x, noise)
    return (x + epsilon * u / u.abs().max()).clamp(*model.bounds)


@uniform_noise_linf.variant("it takes the absolute value of the noise")
def absolute(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, noise: Tensor | None
) -> Tensor:
    u = drawn(x, noise)
    return (x + epsilon * u.abs() / largest(u)).clamp(*model.bounds)


@uniform_noise_linf.variant("it normalises the noise in L2")
def in_l2(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, noise: Tensor | None
) -> Tensor:
    return (x + epsilon * unit_l2(drawn(x, noise))).clamp(*model.bounds)


@uniform_noise_linf.variant("it subtracts the noise")
def subtracted(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, noise: Tensor | None
) -> Tensor:
    u = drawn(x, noise)
    return (x - epsilon * u / largest(u)).clamp(*model.bounds)


@uniform_noise_linf.variant("it clips to [-1, 1] instead of [0, 1]")
def clipped_wider(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, noise: Tensor | None
) -> Tensor:
    u = drawn(x, noise)
    return (x + epsilon * u / largest(u)).clamp(-1, 1)


uniform_noise_linf.cases = Cases(
    "clip(x + epsilon * noise / max|noise|) to [0, 1], the maximum over each image; noise is given",
    ({"epsilon": 0.125},),
    traps={
        "largest-absolute-value": Trap(
            "the noise is divided by its largest absolute value, not by its largest value",
            (
                "it divides by the largest positive value instead of the largest absolute one, as "
                "Foolbox does",
            ),
        )
    },
)
