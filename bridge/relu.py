"""The modified ReLU gradients that guided backprop and deconvolution share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bridge.gradients import input_gradient
from bridge.model import ModelAdapter

SKIP = (
    "Captum clips the gradient of the ReLU's input tensor: where that tensor is also used elsewhere, as in "
    "h + f(relu(h)), the skip path's gradient is clipped too. The reference clips at the ReLU alone, as the paper and "
    "zennit do"
)


class _Guided(torch.autograd.Function):
    """relu(x) forward; backward g * (x > 0) * (g > 0)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,), (g,) = ctx.saved_tensors, gradients
        return g * (x > 0) * (g > 0)


class _Deconvolution(torch.autograd.Function):
    """relu(x) forward; backward g * (g > 0), whatever x was."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.relu()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (g,) = gradients
        return g * (g > 0)


@contextmanager
def _relu_rule(model: nn.Module, rule: type[torch.autograd.Function]) -> Iterator[None]:
    """Every call of every nn.ReLU module gives `rule.apply(its input)`: reused modules and skip paths are right too."""
    handles = [
        module.register_forward_hook(lambda m, inputs, output: rule.apply(inputs[0]))
        for module in model.modules()
        if isinstance(module, nn.ReLU)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def guided_gradient(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """The input gradient with g * (x > 0) * (g > 0) at every ReLU."""
    with _relu_rule(model, _Guided):
        return input_gradient(model, x, target)


def deconvolution_gradient(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """The input gradient with g * (g > 0) at every ReLU."""
    with _relu_rule(model, _Deconvolution):
        return input_gradient(model, x, target)
