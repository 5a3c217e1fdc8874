"""Max-sensitivity: how much the explanation changes where the image changes a little."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.core.parameters import Draw, Samples
from bridge.core.types import Unsupported
from bridge.metrics._neighbours import Perturbation, Radius, drawn, explained, made, neighbours
from bridge.metrics.measure import Explainer
from bridge.metrics.registry import metric


@metric(
    "max_sensitivity",
    better="lower",
    paper="arXiv:1901.09392",
    random=True,
    needs=("explain",),
    passes=made,
    explanations=explained,
)
def max_sensitivity(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    explain: Explainer,
    radius: Radius = 0.02,
    samples: Samples = 10,
    perturbation: Perturbation = "uniform",
    noise: Draw = None,
) -> Tensor:
    """max over |d|_inf <= radius of |map(x + d) - map(x)|_2 / |map(x)|_2, (n,).

    Yeh et al. 2019, definition 3.1; relative to the map's own norm, as every library has it (the
    paper's definition is not). By `perturbation`: `samples` "uniform" draws (`noise`, (samples, n,
    c, h, w), gives them; x + d may leave the bounds by the radius), "adversarial" what the Linf
    attacks by the gradient return, "explanation" what an attack on the gradient's map returns: the
    same size, and "uniform" is their control. NaN where the map is all zero.
    """
    near = neighbours(
        model, x, target, radius=radius, samples=samples, noise=noise, perturbation=perturbation
    )
    own = maps.double().flatten(1)
    changes = [(explain(each).double().flatten(1) - own).norm(dim=1) for each in near]
    norm = own.norm(dim=1)
    return torch.where(norm > 0, torch.stack(changes).amax(0) / norm, float("nan"))


@max_sensitivity.twin("captum")
def captum(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    explain: Explainer,
    radius: float,
    samples: int,
    perturbation: str,
    noise: Tensor | None,
) -> Tensor:
    from captum.metrics import sensitivity_max

    if perturbation != "uniform":
        raise Unsupported("Captum's sensitivity_max perturbs by noise alone")
    if noise is None:
        noise = drawn(x, radius, samples)
    left = iter(noise)

    def perturbed(inputs: Tensor) -> Tensor:
        return inputs + next(left)

    def explained(inputs: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        # Captum gives the first time a tuple and expects one, and then what `perturbed` gave.
        return (explain(inputs[0]),) if isinstance(inputs, tuple) else explain(inputs)

    return sensitivity_max(
        explained, (x,), perturb_func=perturbed, n_perturb_samples=len(noise),
        max_examples_per_batch=len(x),
    )  # fmt: skip


@max_sensitivity.variant("it is not divided by the norm of the map (as the paper's definition)")
def absolute(model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any) -> Tensor:
    return max_sensitivity(model, x, target, maps, **params) * maps.double().flatten(1).norm(dim=1)


@max_sensitivity.variant("it is the mean over the draws, not their maximum")
def mean_over_draws(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    noise: Tensor,
    **params: Any,
) -> Tensor:
    each = [max_sensitivity(model, x, target, maps, noise=one[None], **params) for one in noise]
    return torch.stack(each).mean(0)
