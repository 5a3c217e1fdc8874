"""SmoothGrad: the gradient averaged over noisy copies of the image."""

from __future__ import annotations

import torch
from torch import Tensor

from bridge.fused.chunks import gradient_sum
from bridge.gradients import input_gradient
from bridge.model import ModelAdapter
from bridge.registry import attribution
from bridge.shared import Shared


def _check(n_samples: int, stdev: float) -> None:
    if n_samples < 1 or stdev < 0:
        raise ValueError(f"n_samples must be at least 1 and stdev not negative, got {n_samples} and {stdev}")


@attribution("smooth_grad", paper="arXiv:1706.03825")
def smooth_grad(model: ModelAdapter, x: Tensor, target: Tensor, *, n_samples: int = 20, stdev: float = 0.1) -> Tensor:
    """mean over n_samples of d logit_t / d x at x + stdev * normal noise, signed, same shape as x (Smilkov et al. 2017).

    `stdev` is absolute, in pixel units (Captum's default is 1.0, the paper's 10 to 20 % of the range). The noise comes
    from the global generator, drawn at once in float32 for either precision, sample after sample of each image: the
    order that Captum draws in, so that a seed means the same noise for both.
    """
    _check(n_samples, stdev)
    noise = stdev * torch.randn(len(x), n_samples, *x.shape[1:], dtype=torch.float32, device=x.device)
    total = torch.zeros_like(x)
    for sample in noise.unbind(1):
        total += input_gradient(model, x + sample, target)
    return total / n_samples


@smooth_grad.fused(passes=lambda x, *, n_samples, **_: (n_samples, n_samples))
def _(shared: Shared, *, n_samples: int, stdev: float) -> Tensor:
    _check(n_samples, stdev)
    x = shared.x
    weights = torch.full((n_samples,), 1 / n_samples, dtype=x.dtype, device=x.device)
    if x.device.type == "cpu" and x[0].numel() % 16 == 0:
        # On a CPU the generator works in blocks of 16: noise drawn chunk after chunk is the noise drawn at once.
        def noisy(image: Tensor, sample: Tensor) -> Tensor:
            return x[image] + stdev * torch.randn(len(image), *x.shape[1:], dtype=torch.float32)
    else:
        noise = torch.randn(len(x), n_samples, *x.shape[1:], dtype=torch.float32, device=x.device)

        def noisy(image: Tensor, sample: Tensor) -> Tensor:
            return x[image] + stdev * noise[image, sample]

    return gradient_sum(shared.model, x, shared.target, noisy, weights)


@smooth_grad.twin("captum")
def _(model: ModelAdapter, x: Tensor, target: Tensor, *, n_samples: int, stdev: float) -> Tensor:
    from captum.attr import NoiseTunnel, Saliency

    _check(n_samples, stdev)
    return NoiseTunnel(Saliency(model)).attribute(
        x, target=target, abs=False, nt_type="smoothgrad", nt_samples=n_samples, nt_samples_batch_size=None,
        stdevs=float(stdev),
    )  # fmt: skip
