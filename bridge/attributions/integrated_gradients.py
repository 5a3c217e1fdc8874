"""Integrated gradients: the gradient averaged on the straight path from a baseline, times the way."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bridge.fused.chunks import gradient_sum
from bridge.gradients import input_gradient, target_logits
from bridge.model import ModelAdapter
from bridge.registry import attribution
from bridge.shared import Shared
from bridge.types import Unsupported

# Captum puts n_steps copies of the batch through the model at once. Above this many pixels (800 images of 28x28, 28 of
# 3x224x224) the twin lets it work in chunks, which changes rounding only: the whole of it can be tens of gigabytes.
CAPTUM_PIXELS_AT_ONCE = 2**22


def quadrature(method: str, n_steps: int) -> tuple[list[float], list[float]]:
    """Points in [0, 1] and weights that sum to 1, for `method` in Captum's words."""
    n = n_steps
    if n < (2 if method == "riemann_trapezoid" else 1):
        raise ValueError(f"n_steps={n} is too few for {method}")
    if method == "gausslegendre":
        points, weights = np.polynomial.legendre.leggauss(n)
        return list((points + 1) / 2), list(weights / 2)
    if method == "riemann_left":
        return [k / n for k in range(n)], [1 / n] * n
    if method == "riemann_right":
        return [(k + 1) / n for k in range(n)], [1 / n] * n
    if method == "riemann_middle":
        return [(k + 0.5) / n for k in range(n)], [1 / n] * n
    if method == "riemann_trapezoid":
        ends = 0.5 / (n - 1)
        return [k / (n - 1) for k in range(n)], [ends, *[1 / (n - 1)] * (n - 2), ends]
    raise ValueError(
        f"unknown quadrature {method!r}: expected gausslegendre, riemann_left, riemann_right, riemann_middle or "
        "riemann_trapezoid"
    )


@attribution("integrated_gradients", paper="arXiv:1703.01365")
def integrated_gradients(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    n_steps: int = 50,
    baseline: float | Tensor = 0.0,
    method: str = "gausslegendre",
) -> Tensor:
    """(x - b) * integral_0^1 d logit_t / d x at (b + a (x - b)) da, same shape as x (Sundararajan et al. 2017).

    `baseline` is in pixel units, a number or a tensor that broadcasts to x: 0 is black, which is not zero after
    normalisation. Completeness: the sum over an image tends to logit_t(x) - logit_t(b). `n_steps` gradients a call.
    """
    way = x - baseline
    total = torch.zeros_like(x)
    for point, weight in zip(*quadrature(method, n_steps), strict=True):
        total += weight * input_gradient(model, baseline + point * way, target)
    return way * total


@integrated_gradients.fused("logits", passes=lambda x, *, n_steps, **_: (n_steps + 1, n_steps))
def _(shared: Shared, *, n_steps: int, baseline: float | Tensor, method: str) -> tuple[Tensor, dict[str, Tensor]]:
    """In the memory of one chunk; with `completeness`, sum of the map - (logit_t(x) - logit_t(b)), for each image (n,)."""
    x, target = shared.x, shared.target
    points, weights = (torch.tensor(values, dtype=x.dtype, device=x.device) for values in quadrature(method, n_steps))
    start = torch.broadcast_to(torch.as_tensor(baseline, dtype=x.dtype, device=x.device), x.shape)
    way = x - start

    def on_the_way(image: Tensor, point: Tensor) -> Tensor:
        return torch.addcmul(start[image], points[point].view(-1, 1, 1, 1), way[image])

    map_ = way * gradient_sum(shared.model, x, target, on_the_way, weights)
    with torch.no_grad():
        # A number as the baseline is one image for the whole batch, not n of them.
        ends = shared.model(start if isinstance(baseline, Tensor) else start[:1]).expand(len(x), -1)
    gained = target_logits(shared["logits"], target) - target_logits(ends, target)
    return map_, {"completeness": map_.flatten(1).sum(1) - gained}


@integrated_gradients.twin("captum")
def _(model: ModelAdapter, x: Tensor, target: Tensor, *, n_steps: int, baseline: float | Tensor, method: str) -> Tensor:
    from captum.attr import IntegratedGradients

    if method == "riemann_trapezoid":
        raise Unsupported(
            f"Captum's riemann_trapezoid weights sum to (n - 1) / n = {(n_steps - 1) / n_steps:.3f}, not to 1: "
            "it is not the trapezoid rule that the reference follows"
        )
    pixels = x.numel() * n_steps
    chunk = None if pixels <= CAPTUM_PIXELS_AT_ONCE else max(len(x), CAPTUM_PIXELS_AT_ONCE // x[0].numel())
    if isinstance(baseline, Tensor):
        baseline = baseline.to(x).expand_as(x)
    return IntegratedGradients(model, multiply_by_inputs=True).attribute(
        x, baselines=baseline, target=target, n_steps=n_steps, method=method, internal_batch_size=chunk
    )
