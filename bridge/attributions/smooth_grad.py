"""SmoothGrad: the gradient averaged over noisy copies of the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bridge.core.gradients import input_gradient
from bridge.core.model import ModelAdapter
from bridge.core.parameters import Samples, Stdev
from bridge.core.registry import attribution
from bridge.core.shared import Shared
from bridge.fused.chunks import gradient_sum

# (model, x, target, noise of one sample) -> what is averaged, same shape as x
Noisy = Callable[[ModelAdapter, Tensor, Tensor, Tensor], Tensor]


def linear(w: Tensor, x: Tensor, **_: Any) -> Tensor:
    """On logits = w x the gradient is the same everywhere."""
    return w


@attribution(
    "smooth_grad",
    paper="arXiv:1706.03825",
    random=True,
    axioms=("dummy", "implementation invariance", "linearity"),
    linear=linear,
    quick={"n_samples": 4},
    quickest={"n_samples": 2},
)
def smooth_grad(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    n_samples: Samples = 20,
    stdev: Stdev = 0.1,
) -> Tensor:
    """mean over n_samples of d logit_t / d x at x + stdev * normal noise, signed, same shape as x.

    `stdev` is absolute, in pixel units (Captum's default is 1.0, the paper's 10 to 20 % of the
    range). The noise comes from the global generator, drawn at once in float32 for either
    precision, sample after sample of each image: the order that Captum draws in, so that a seed
    means the same noise for both (Smilkov et al. 2017).
    """
    total = torch.zeros_like(x)
    for noise in _noise(x, n_samples, stdev):
        total += input_gradient(model, (x + noise).to(x), target)
    return total / n_samples


def _noise(x: Tensor, n_samples: int, stdev: float) -> tuple[Tensor, ...]:
    shape = (len(x), n_samples, *x.shape[1:])
    return (stdev * torch.randn(shape, dtype=torch.float32, device=x.device)).unbind(1)


def _passes(x: Tensor, *, n_samples: int, **_: Any) -> tuple[int, int]:
    return n_samples, n_samples


@smooth_grad.fused(passes=_passes)
def fused(shared: Shared, *, n_samples: int, stdev: float) -> Tensor:
    x = shared.x
    weights = torch.full((n_samples,), 1 / n_samples, dtype=x.dtype, device=x.device)
    if x.device.type == "cpu" and x[0].numel() % 16 == 0:
        # On a CPU the generator works in blocks of 16: noise drawn chunk after chunk is the noise
        # drawn at once.
        def noisy(image: Tensor, sample: Tensor) -> Tensor:
            noise = torch.randn(len(image), *x.shape[1:], dtype=torch.float32)
            return (x[image] + stdev * noise).to(x)
    else:
        noise = torch.randn(len(x), n_samples, *x.shape[1:], dtype=torch.float32, device=x.device)

        def noisy(image: Tensor, sample: Tensor) -> Tensor:
            return (x[image] + stdev * noise[image, sample]).to(x)

    return gradient_sum(shared.model, x, shared.target, noisy, weights)


@smooth_grad.twin("captum")
def captum(
    model: ModelAdapter, x: Tensor, target: Tensor, *, n_samples: int, stdev: float
) -> Tensor:
    from captum.attr import NoiseTunnel, Saliency

    return NoiseTunnel(Saliency(model)).attribute(
        x,
        target=target,
        abs=False,
        nt_type="smoothgrad",
        nt_samples=n_samples,
        nt_samples_batch_size=None,
        stdevs=float(stdev),
    )


# Deviations, the likeliest first.


def deviation(sentence: str) -> Callable[[Noisy], Noisy]:
    """Register a deviation in what is averaged over the samples."""

    def register(gradient: Noisy) -> Noisy:
        @smooth_grad.variant(sentence)
        def deviating(
            model: ModelAdapter, x: Tensor, target: Tensor, *, n_samples: int, stdev: float
        ) -> Tensor:
            samples = [gradient(model, x, target, n) for n in _noise(x, n_samples, stdev)]
            return torch.stack(samples).mean(0)

        return gradient

    return register


@deviation("it averages the absolute gradients")
def absolute(model: ModelAdapter, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    return input_gradient(model, x + noise, target).abs()


@deviation("it averages the squared gradients (SmoothGrad squared)")
def squared(model: ModelAdapter, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    return input_gradient(model, x + noise, target).square()


@deviation("it clips the noisy images to the bounds")
def clipped(model: ModelAdapter, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    return input_gradient(model, (x + noise).clamp(*model.bounds), target)


@deviation("its noise is halved")
def half_the_noise(model: ModelAdapter, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    return input_gradient(model, x + noise / 2, target)


@deviation("its noise is doubled")
def twice_the_noise(model: ModelAdapter, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    return input_gradient(model, x + 2 * noise, target)


@deviation("its noise is in normalised units (times std)")
def normalised_noise(model: ModelAdapter, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    return input_gradient(model, x + noise * (1.0 if model.std is None else model.std), target)


@deviation("it multiplies each gradient by its noisy image")
def times_noisy(model: ModelAdapter, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    return (x + noise) * input_gradient(model, x + noise, target)


smooth_grad.variant(
    "it takes one sample whatever n_samples says, or one noise for all samples", n_samples=1
)(smooth_grad.reference)
smooth_grad.variant("it adds no noise: it is the plain gradient", stdev=0.0)(smooth_grad.reference)
for _value in (0.1, 0.15, 0.2, 1.0):
    smooth_grad.variant(f"its stdev is always {_value:g}", stdev=_value)(smooth_grad.reference)


@smooth_grad.variant("it is the variance of the gradients (VarGrad)")
def variance(
    model: ModelAdapter, x: Tensor, target: Tensor, *, n_samples: int, stdev: float
) -> Tensor:
    samples = [input_gradient(model, x + n, target) for n in _noise(x, n_samples, stdev)]
    return torch.stack(samples).var(0)
