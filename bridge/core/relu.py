"""The other gradients of a ReLU, of guided backpropagation and of deconvolution."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from bridge.core.gradients import input_gradient
from bridge.core.model import ModelAdapter
from bridge.core.state import hooked

PLAIN_NODE = "ReluBackward0"


@dataclass(frozen=True)
class ReluRule:
    """What a ReLU of input x passes back, of the gradient g that reaches it: a positive part.

    That of g * (x > 0), its plain gradient, where `active_only`; else that of g itself.
    """

    active_only: bool

    @staticmethod
    def positive(gradient: Tensor) -> Tensor:
        """g * (g > 0)."""
        return gradient * (gradient > 0)


GUIDED = ReluRule(active_only=True)
DECONVOLUTION = ReluRule(active_only=False)


class _Relu(torch.autograd.Function):
    """relu(x) forward, a rule backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rule: ReluRule) -> Tensor:
        ctx.rule = rule
        if rule.active_only:
            ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (g,) = gradients
        if ctx.rule.active_only:
            (x,) = ctx.saved_tensors
            g = g * (x > 0)
        return ctx.rule.positive(g), None


def relus(model: nn.Module) -> list[nn.Module]:
    """The nn.ReLU modules of a model."""
    return [module for module in model.modules() if isinstance(module, nn.ReLU)]


@contextmanager
def in_modules(model: nn.Module, rule: ReluRule) -> Iterator[None]:
    """Inside, every call of every nn.ReLU module has this gradient.

    The output is replaced, call by call: modules used twice and skip paths are right too.
    """

    def replace(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Any:
        return _Relu.apply(inputs[0], rule)

    with hooked(relus(model), replace):
        yield


@contextmanager
def at_nodes(nodes: Iterable[Node], rule: ReluRule) -> Iterator[None]:
    """Inside, these ReLUs of a graph that is there already (`PLAIN_NODE`s) have this gradient."""

    def replace(passed: tuple[Any, ...], arrived: tuple[Any, ...]) -> tuple[Any, ...]:
        chosen = passed if rule.active_only else arrived
        return tuple(None if gradient is None else rule.positive(gradient) for gradient in chosen)

    handles = [node.register_hook(replace) for node in nodes]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def modified_gradient(model: ModelAdapter, x: Tensor, target: Tensor, rule: ReluRule) -> Tensor:
    """d logit_t / d x by another rule at every nn.ReLU module, same shape as x."""
    with in_modules(model, rule):
        return input_gradient(model, x, target)


def guided_gradient(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """The input gradient with g * (x > 0) * (g > 0) at every ReLU (Springenberg et al. 2014)."""
    return modified_gradient(model, x, target, GUIDED)


def deconvolution_gradient(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """The input gradient with g * (g > 0) at every ReLU (Zeiler and Fergus 2013)."""
    return modified_gradient(model, x, target, DECONVOLUTION)
