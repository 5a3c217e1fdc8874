"""Other libraries' implementations, to be timed or compared beside ours where they are installed.

    pip install --no-deps torchattacks          # its pins clash with others
    gradbridge bench --methods fgsm,pgd --function fgsm=benchmarks/peers.py:torchattacks_fgsm \\
        --function pgd=benchmarks/peers.py:torchattacks_pgd
    gradbridge compare --methods integrated_gradients \\
        --function integrated_gradients=benchmarks/peers.py:zennit_ig \\
        --param integrated_gradients.method=riemann_right
"""

from __future__ import annotations

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


def zennit_ig(model: nn.Module, x: Tensor, target: Tensor, *, n_steps: int, method: str) -> Tensor:
    """Zennit's points are those of the right Riemann rule."""
    from zennit.attribution import IntegratedGradients

    if method != "riemann_right":
        raise ValueError(
            "zennit follows riemann_right: pass --param integrated_gradients.method=riemann_right"
        )
    with IntegratedGradients(model, n_iter=n_steps, baseline_fn=torch.zeros_like) as attributor:
        _, relevance = attributor(
            x.clone(), lambda output: nn.functional.one_hot(target, output.shape[1]).to(output)
        )
    return relevance.detach()
