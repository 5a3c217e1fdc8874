"""Other libraries' implementations, to be timed or compared beside ours where they are installed.

    pip install --no-deps torchattacks torchcam grad-cam   # their pins clash with others
    pip install --no-deps --no-build-isolation adv-lib zennit
    gradbridge bench --methods fgsm,pgd --function fgsm=benchmarks/peers.py:torchattacks_fgsm \\
        --function pgd=benchmarks/peers.py:torchattacks_pgd
    gradbridge compare --methods integrated_gradients \\
        --function integrated_gradients=benchmarks/peers.py:zennit_ig \\
        --param integrated_gradients.method=riemann_right
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn


def torchattacks_fgsm(model: nn.Module, x: Tensor, labels: Tensor, *, epsilon: float) -> Tensor:
    import torchattacks

    return torchattacks.FGSM(model, eps=epsilon)(x, labels)


def torchattacks_pgd(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int,
    step_size: float | None,
    random_start: bool,
) -> Tensor:
    import torchattacks

    alpha = 0.01 / 0.3 * epsilon if step_size is None else step_size
    return torchattacks.PGD(
        model, eps=epsilon, alpha=alpha, steps=steps, random_start=random_start
    )(x, labels)


def adv_lib_pgd(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int,
    step_size: float | None,
    random_start: bool,
) -> Tensor:
    """adv-lib keeps the last iterate that fools and never looks at the one after the last step.

    Otherwise its steps are ours, where the bounds are 0 and 1.
    """
    sys.modules.setdefault("visdom", ModuleType("visdom"))  # a server of plots, not needed here
    from adv_lib.attacks import pgd_linf

    return pgd_linf(
        model,
        x,
        labels,
        epsilon,
        steps=steps,
        random_init=random_start,
        absolute_step_size=step_size,
    )


def zennit_saliency(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    from zennit.attribution import Gradient

    with Gradient(model) as attributor:
        return attributor(x.clone(), _one_hot(target))[1].abs()


def zennit_smooth_grad(
    model: nn.Module, x: Tensor, target: Tensor, *, n_samples: int, stdev: float
) -> Tensor:
    """Zennit's level is a share of each image's range of values, and its first copy has no noise.

    `stdev` is divided by the mean range: the noise is as strong on images of one range.
    """
    from zennit.attribution import SmoothGrad

    span = float((x.flatten(1).amax(1) - x.flatten(1).amin(1)).mean())
    with SmoothGrad(model, noise_level=stdev / span, n_iter=n_samples) as attributor:
        return attributor(x.clone(), _one_hot(target))[1]


def _one_hot(target: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda output: nn.functional.one_hot(target, output.shape[1]).to(output)


def grad_cam_layer(
    model: nn.Module, x: Tensor, target: Tensor, *, layer: nn.Module | None = None
) -> Tensor:
    """pytorch-grad-cam: with a ReLU, at the image's size, each map scaled to [0, 1]."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    layers = [model.cam_layer(x) if layer is None else layer]
    with GradCAM(model=model, target_layers=layers) as cam:
        maps = cam(input_tensor=x, targets=[ClassifierOutputTarget(int(t)) for t in target])
    return torch.from_numpy(maps)[:, None].to(x)


def torchcam_layer(
    model: nn.Module, x: Tensor, target: Tensor, *, layer: nn.Module | None = None
) -> Tensor:
    """torchcam: with a ReLU, of the layer's size."""
    from torchcam.methods import GradCAM

    layer = model.cam_layer(x) if layer is None else layer
    with GradCAM(model, target_layer=layer) as cam:
        scores = model(x.clone().requires_grad_())
        return cam(target.tolist(), scores, normalized=False)[0][:, None]


def zennit_ig(model: nn.Module, x: Tensor, target: Tensor, *, n_steps: int, method: str) -> Tensor:
    """Zennit's points are those of the right Riemann rule."""
    from zennit.attribution import IntegratedGradients

    if method != "riemann_right":
        raise ValueError(
            "zennit follows riemann_right: pass --param integrated_gradients.method=riemann_right"
        )
    with IntegratedGradients(model, n_iter=n_steps, baseline_fn=torch.zeros_like) as attributor:
        _, relevance = attributor(x.clone(), _one_hot(target))
    return relevance.detach()
