"""Expected gradients: integrated gradients over many baselines, at random points of the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import Tensor

from bridge.core.gradients import input_gradient
from bridge.core.model import ModelAdapter
from bridge.core.norms import per_image
from bridge.core.parameters import Domain, Draw, DrawnIndex, Samples
from bridge.core.registry import attribution
from bridge.core.shared import Shared
from bridge.core.tags import AN_IMAGE, Cases, Trap
from bridge.fused.chunks import GRADIENT, chunks

TWO_GRAYS = torch.tensor([0.1, 0.9]).view(2, 1, 1, 1)
Baselines = Annotated[
    float | Tensor | None,
    Domain(tensor=True, optional=True, unit="in pixel units", others=(0.35, TWO_GRAYS)),
]
# Numbers of images and of their samples -> a baseline and a point of the way for each.
Sampler = Callable[[Tensor, Any], tuple[Tensor, Tensor]]


def draw(
    x: Tensor,
    *,
    n_samples: int,
    baselines: float | Tensor | None,
    alphas: Tensor | None,
    noise: Tensor | None,
    chosen: Tensor | None,
) -> dict[str, Tensor]:
    """The random numbers that are needed and not given, in float32 for either precision."""
    shape, device, drawn = (len(x), n_samples), x.device, {}
    if alphas is None:
        drawn["alphas"] = torch.rand(shape, dtype=torch.float32, device=device)
    if baselines is None and noise is None:
        drawn["noise"] = torch.rand(*shape, *x.shape[1:], dtype=torch.float32, device=device)
    if baselines is not None and chosen is None:
        drawn["chosen"] = torch.randint(len(_images(baselines)), shape, device=device)
    return drawn


def requires(x: Tensor, *, n_samples: int, baselines: float | Tensor | None, **given: Any) -> None:
    """Raise ValueError for baselines or random numbers that do not fit."""
    samples, shapes = (len(x), n_samples), {"alphas": (len(x), n_samples)}
    count = 0
    if baselines is None:
        shapes["noise"] = (*samples, *x.shape[1:])
    else:
        images, shapes["chosen"] = _images(baselines), samples
        count, sides = len(images), zip(images.shape[1:], x.shape[1:], strict=False)
        if images.ndim != 4 or not count or any(side not in (1, full) for side, full in sides):
            expected = ("m", *x.shape[1:])
            raise ValueError(f"baselines have shape {tuple(images.shape)}, expected {expected}")
    for name, numbers in given.items():
        if numbers is None:
            continue
        if name not in shapes:
            raise ValueError(f"{name} is of no use {'with' if count else 'without'} baselines")
        if tuple(numbers.shape) != shapes[name]:
            raise ValueError(f"{name} has shape {tuple(numbers.shape)}, expected {shapes[name]}")
        if name == "chosen" and not 0 <= int(numbers.min()) <= int(numbers.max()) < count:
            raise ValueError(f"chosen must be numbers of the {count} baselines, from 0 on")


def _images(baselines: float | Tensor) -> Tensor:
    """The baselines to choose from, (m, c, h, w) or what broadcasts to that."""
    images = torch.as_tensor(baselines)
    return images if images.ndim else images.view(1, 1, 1, 1)


def sampler(model: ModelAdapter, x: Tensor, **params: Any) -> Sampler:
    """What gives the samples of this batch, drawn at once where they are not among `params`."""
    found = {**params, **draw(x, **params)}
    alphas, (low, high) = found["alphas"].to(x), model.bounds
    if found["baselines"] is None:
        noise = found["noise"].to(x)
        return lambda i, k: (low + (high - low) * noise[i, k], per_image(alphas[i, k], x))
    images, chosen = _images(found["baselines"]).to(x), found["chosen"].long()
    return lambda i, k: (images[chosen[i, k]], per_image(alphas[i, k], x))


@attribution(
    "expected_gradients",
    paper="arXiv:1906.10670",
    draw=draw,
    requires=requires,
    axioms=("dummy", "implementation invariance", "linearity"),
    quick={"n_samples": 4},
    quickest={"n_samples": 2},
)
def expected_gradients(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    n_samples: Samples = 20,
    baselines: Baselines = None,
    alphas: Draw = None,
    noise: Draw = None,
    chosen: DrawnIndex = None,
) -> Tensor:
    """mean over n_samples of (x - b) * d logit_t / d x at a x + (1 - a) b, a uniform in [0, 1).

    Every sample of every image has its own a and its own baseline b: uniform noise within the
    bounds, or with `baselines` (m, c, h, w), in pixel units, one of these by chance (a number is
    one gray image). Same shape as x; in expectation an image's sum is logit_t(x) less the mean of
    logit_t(b). The random numbers come from the global generator, or are given: `alphas` (n,
    n_samples), `noise` (n, n_samples, c, h, w) in [0, 1), which is scaled to the bounds, `chosen`
    (n, n_samples), the numbers of the baselines (Erion et al. 2019).
    """
    given = {"alphas": alphas, "noise": noise, "chosen": chosen}
    sample = sampler(model, x, n_samples=n_samples, baselines=baselines, **given)
    every, total = torch.arange(len(x), device=x.device), torch.zeros_like(x)
    for k in range(n_samples):
        b, a = sample(every, k)
        # b + a (x - b) in Captum's order: rounded otherwise, a ReLU may flip in float32.
        total += (x - b) * input_gradient(model, a * x + (1 - a) * b, target)
    return total / n_samples


def _passes(x: Tensor, *, n_samples: int, **_: Any) -> tuple[int, int]:
    return n_samples, n_samples


@expected_gradients.fused(passes=_passes)
def fused(shared: Shared, **params: Any) -> Tensor:
    """In the memory of one chunk, and of the noise; summed in float64 where the device has it."""
    model, x, count = shared.model, shared.x, params["n_samples"]
    sample = sampler(model, x, **params)
    total = torch.zeros_like(x, dtype=x.dtype if x.device.type == "mps" else torch.float64)
    for part in chunks(model, x, len(x) * count, GRADIENT):
        place = torch.arange(part.start, part.stop, device=x.device)
        image = place // count
        b, a = sample(image, place % count)
        gradient = input_gradient(model, a * x[image] + (1 - a) * b, shared.target[image])
        total.index_add_(0, image, ((x[image] - b) * gradient).to(total))
    return (total / count).to(x)


@expected_gradients.twin("captum")
def captum(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    n_samples: int,
    baselines: float | Tensor | None,
    alphas: Tensor | None,
    noise: Tensor | None,
    chosen: Tensor | None,
) -> Tensor:
    from unittest import mock

    import numpy as np
    from captum.attr import GradientShap

    given = {"alphas": alphas, "noise": noise, "chosen": chosen}
    sample = sampler(model, x, n_samples=n_samples, baselines=baselines, **given)
    place = torch.arange(len(x) * n_samples, device=x.device)
    starts, points = sample(place // n_samples, place % n_samples)
    # Captum draws with NumPy: which baseline each sample gets, image after image, then all points.
    # It is told ours.
    with mock.patch.multiple(
        np.random,
        choice=lambda count, size: np.arange(size),
        uniform=lambda low, high, size: points.flatten().tolist(),
    ):
        return GradientShap(model, multiply_by_inputs=True).attribute(
            x,
            baselines=starts.expand(-1, *x.shape[1:]),
            n_samples=n_samples,
            stdevs=0.0,
            target=target,
        )


expected_gradients.cases = Cases(
    "mean over k of (x - b_k) * d logit_target / d x at a_k x + (1 - a_k) b_k: a_k = alphas[:, k] "
    "for each image, b_k = noise[:, k] (bounds are 0 and 1), or with baselines the images "
    "baselines[chosen[:, k]]",
    ({"n_samples": 4}, {"n_samples": 4, "baselines": AN_IMAGE}),
    traps={
        "each-its-own-way": Trap(
            "each sample's gradient is multiplied by its own x - b",
            ("it multiplies the mean gradient by the mean of (x - baseline), not each by its own",),
        )
    },
)


# Deviations, the likeliest first.

# Baselines and points of each sample.
Drawn = list[tuple[Tensor, Tensor]]
Deviating = Callable[[ModelAdapter, Tensor, Tensor, Drawn], Tensor]


def deviation(sentence: str) -> Callable[[Deviating], Deviating]:
    """Register a deviation: what becomes of the same samples."""

    def register(function: Deviating) -> Deviating:
        @expected_gradients.variant(sentence)
        def deviating(
            model: ModelAdapter, x: Tensor, target: Tensor, *, n_samples: int, **params: Any
        ) -> Tensor:
            sample = sampler(model, x, n_samples=n_samples, **params)
            every = torch.arange(len(x), device=x.device)
            return function(model, x, target, [sample(every, k) for k in range(n_samples)])

        return function

    return register


def _gradients(model: ModelAdapter, x: Tensor, target: Tensor, drawn: Drawn) -> Tensor:
    """The gradient of each sample, (n_samples, n, c, h, w)."""
    return torch.stack([input_gradient(model, a * x + (1 - a) * b, target) for b, a in drawn])


def _ways(x: Tensor, drawn: Drawn) -> Tensor:
    return torch.stack([x - b for b, _ in drawn])


def _right(model: ModelAdapter, x: Tensor, target: Tensor, drawn: Drawn) -> Tensor:
    return (_ways(x, drawn) * _gradients(model, x, target, drawn)).mean(0)


@deviation("the factor (x - baseline) is missing")
def without_way(model: ModelAdapter, x: Tensor, target: Tensor, drawn: Drawn) -> Tensor:
    return _gradients(model, x, target, drawn).mean(0)


@deviation("it multiplies by x instead of (x - baseline)")
def times_x(model: ModelAdapter, x: Tensor, target: Tensor, drawn: Drawn) -> Tensor:
    return x * without_way(model, x, target, drawn)


@deviation("it multiplies the mean gradient by the mean of (x - baseline), not each by its own")
def product_of_means(model: ModelAdapter, x: Tensor, target: Tensor, drawn: Drawn) -> Tensor:
    return _ways(x, drawn).mean(0) * without_way(model, x, target, drawn)


@deviation("it averages the absolute values of the samples")
def absolute(model: ModelAdapter, x: Tensor, target: Tensor, drawn: Drawn) -> Tensor:
    return (_ways(x, drawn) * _gradients(model, x, target, drawn)).abs().mean(0)


@deviation("its gradient is that at the image, not at a point of the way")
def at_the_image(model: ModelAdapter, x: Tensor, target: Tensor, drawn: Drawn) -> Tensor:
    return _ways(x, drawn).mean(0) * input_gradient(model, x, target)


@deviation("its gradient is that at the baseline, not at a point of the way")
def at_the_baseline(model: ModelAdapter, x: Tensor, target: Tensor, drawn: Drawn) -> Tensor:
    return _right(model, x, target, [(b, torch.zeros_like(a)) for b, a in drawn])


@deviation("its point is always the middle of the way")
def in_the_middle(model: ModelAdapter, x: Tensor, target: Tensor, drawn: Drawn) -> Tensor:
    return _right(model, x, target, [(b, torch.full_like(a, 0.5)) for b, a in drawn])


@deviation("it counts the points of the way from the image, not from the baseline")
def from_the_image(model: ModelAdapter, x: Tensor, target: Tensor, drawn: Drawn) -> Tensor:
    return _right(model, x, target, [(b, 1 - a) for b, a in drawn])


@deviation("it draws a point for each pixel, which is not on the way")
def point_a_pixel(model: ModelAdapter, x: Tensor, target: Tensor, drawn: Drawn) -> Tensor:
    return _right(model, x, target, [(b, torch.rand_like(x)) for b, _ in drawn])


@deviation("it takes one sample whatever n_samples says")
def one_sample(model: ModelAdapter, x: Tensor, target: Tensor, drawn: Drawn) -> Tensor:
    return _right(model, x, target, drawn[:1])


@deviation("it uses one baseline for all samples")
def one_baseline(model: ModelAdapter, x: Tensor, target: Tensor, drawn: Drawn) -> Tensor:
    return _right(model, x, target, [(drawn[0][0], a) for _, a in drawn])


@deviation("it uses one point of the way for all samples")
def one_point(model: ModelAdapter, x: Tensor, target: Tensor, drawn: Drawn) -> Tensor:
    return _right(model, x, target, [(b, drawn[0][1]) for b, _ in drawn])


@deviation("its baseline is black (0): integrated gradients at random points")
def black(model: ModelAdapter, x: Tensor, target: Tensor, drawn: Drawn) -> Tensor:
    return _right(model, x, target, [(torch.zeros_like(b), a) for b, a in drawn])


@deviation("its baselines are normal noise, not uniform")
def normal(model: ModelAdapter, x: Tensor, target: Tensor, drawn: Drawn) -> Tensor:
    return _right(model, x, target, [(torch.randn_like(x), a) for _, a in drawn])
