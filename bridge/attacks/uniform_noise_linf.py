"""Uniform noise in Linf: the control that every attack has to beat."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bridge.attacks._descent import check
from bridge.attacks._foolbox import run_foolbox
from bridge.model import ModelAdapter
from bridge.norms import linf_norm, per_image, uniform
from bridge.registry import attack

LARGEST = (
    "Foolbox divides the noise by its largest positive value, not by its largest absolute value: where the most extreme "
    "pixel is negative the noise leaves the ball by their ratio, and Foolbox clips it back. The reference has Linf norm "
    "epsilon exactly"
)


def _draw(x: Tensor, *, noise: Tensor | None, **_: Any) -> dict[str, Tensor]:
    return {} if noise is not None else {"noise": uniform(x, -1, 1)}


@attack("uniform_noise_linf", norm="linf", draw=_draw)
def uniform_noise_linf(
    model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float = 8 / 255, noise: Tensor | None = None
) -> Tensor:
    """clip(x + epsilon * u / max|u|), u uniform in [-1, 1): random, of the same Linf size as an attack; ignores the model.

    `noise` takes u itself; otherwise it comes from the global generator.
    """
    check(epsilon)
    u = uniform(x, -1, 1) if noise is None else noise.to(x)
    return (x + epsilon * u / per_image(linf_norm(u), u)).clamp(*model.bounds)


@uniform_noise_linf.twin("foolbox", differs=LARGEST)
def _(model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float, noise: Tensor | None) -> Tensor:
    import eagerpy
    from foolbox.attacks import LinfAdditiveUniformNoiseAttack

    attack = LinfAdditiveUniformNoiseAttack()
    if noise is not None:
        attack.sample_noise = lambda images: eagerpy.astensor(noise.to(x))
    return run_foolbox(attack, model, x, labels, epsilon=epsilon, clipped=True)
