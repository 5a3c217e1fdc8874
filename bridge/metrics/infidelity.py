"""Infidelity: does the map foretell what a perturbation does to the logit?"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.core.norms import per_image
from bridge.core.parameters import Domain, Draw, Samples, Stdev
from bridge.metrics._replacement import Replacement, replacement
from bridge.metrics._score import scores
from bridge.metrics.registry import metric

Speaks = Annotated[
    Literal["sensitivity", "contribution"], Domain(choices=("sensitivity", "contribution"))
]


@metric(
    "infidelity",
    better="lower",
    paper="arXiv:1901.09392",
    random=True,
    needs=("full",),
    passes=lambda *_, samples=10, **__: samples + 1,
)
def infidelity(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    samples: Samples = 10,
    stdev: Stdev = 0.2,
    speaks_of: Speaks = "sensitivity",
    baseline: Replacement = "zero",
    scaled: bool = False,
    noise: Draw = None,
) -> Tensor:
    """E_I (I . map - (logit_t(x) - logit_t(x - I)))^2 with I ~ N(0, stdev^2), (n,).

    Yeh et al. 2019, definition 2.1, with `samples` draws (`noise`, (samples, n, c, h, w), gives
    them). A map that `speaks_of` "contribution" (input x gradient, integrated gradients) is divided
    by x - baseline first (where that is not 0), as one of "sensitivity" (a gradient) stands for
    itself. `scaled` multiplies the map by the best beta (the authors' code; their section 4).
    """
    if noise is None:
        noise = stdev * torch.randn(samples, *x.shape, dtype=x.dtype, device=x.device)

    def make(image: Tensor, k: Tensor) -> Tensor:
        moved = x[image] - noise[(k - 1).clamp(min=0), image]
        return moved.where(per_image(k > 0, moved), x[image])

    found = scores(model, target, len(noise) + 1, make, "logit")
    change = found[:, :1] - found[:, 1:]
    sensitivity = maps.double()
    if speaks_of == "contribution":
        along = (x - replacement(x, baseline)).double()
        sensitivity = sensitivity / along.where(along != 0, 1.0)
    foretold = (noise.double() * sensitivity).flatten(2).sum(2).T
    if scaled:
        norm = foretold.square().mean(1, keepdim=True)
        beta = (foretold * change).mean(1, keepdim=True) / norm.where(norm > 0, 1.0)
        foretold = beta * foretold
    return (foretold - change).square().mean(1)


@infidelity.twin("captum")
def captum(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    samples: int,
    stdev: float,
    speaks_of: str,
    baseline: str | float | Tensor,
    scaled: bool,
    noise: Tensor | None,
) -> Tensor:
    from captum.metrics import infidelity as theirs
    from captum.metrics import infidelity_perturb_func_decorator

    start = replacement(x, baseline)
    if noise is None:
        noise = stdev * torch.randn(samples, *x.shape, dtype=x.dtype, device=x.device)
    drawn = noise.transpose(0, 1).flatten(0, 1)  # Captum repeats each image before it asks

    def moved(inputs: Tensor, baselines: Tensor | None = None) -> Tensor:
        return inputs - drawn

    divided = infidelity_perturb_func_decorator(multiply_by_inputs=speaks_of == "contribution")
    perturbed = divided(moved)

    return theirs(
        model, perturbed, x, maps, baselines=start, target=target,
        n_perturb_samples=len(noise), normalize=scaled,
    )  # fmt: skip


@infidelity.variant("the noise is added to the image, not taken from it")
def added(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, *, noise: Tensor, **params: Any
) -> Tensor:
    # I . map keeps its sign and the change does not: as if the map were turned round.
    return infidelity(model, x, target, -maps, noise=-noise, **params)


@infidelity.variant("a contribution is not divided by x - baseline")
def undivided(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any
) -> Tensor:
    return infidelity(model, x, target, maps, **{**params, "speaks_of": "sensitivity"})


@infidelity.variant("the map is scaled by the best factor where that was not asked for")
def always_scaled(
    model: ModelAdapter, x: Tensor, target: Tensor, maps: Tensor, **params: Any
) -> Tensor:
    return infidelity(model, x, target, maps, **{**params, "scaled": True})
