"""SmoothGrad: the gradient averaged over noisy copies of the image."""

from __future__ import annotations

import torch
from torch import Tensor

from bridge.gradients import input_gradient
from bridge.model import ModelAdapter
from bridge.registry import attribution


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


@smooth_grad.twin("captum")
def _(model: ModelAdapter, x: Tensor, target: Tensor, *, n_samples: int, stdev: float) -> Tensor:
    from captum.attr import NoiseTunnel, Saliency

    _check(n_samples, stdev)
    return NoiseTunnel(Saliency(model)).attribute(
        x, target=target, abs=False, nt_type="smoothgrad", nt_samples=n_samples, nt_samples_batch_size=None,
        stdevs=float(stdev),
    )  # fmt: skip
