"""Relevance by gradient x input: a pass whose functions have other gradients, and the same values.

With a zero epsilon and no bias, the relevance that layer-wise propagation gives an input is that
input times a gradient (Achtibat et al. 2024, proposition 3.1 on). Functions of torch are replaced
during one pass, so that the model itself is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bridge.attributions._attention import proved
from bridge.core.attention import Explicit
from bridge.core.gradients import input_gradient, target_logits
from bridge.core.method import Method
from bridge.core.model import ModelAdapter

# f(x) = x * share(x): their slope is taken to be the share, one half at 0.
ACTIVATIONS = (F.gelu, F.silu, F.hardswish)
NORMS = (F.layer_norm, F.rms_norm, torch.rms_norm)
MATRIX_PRODUCTS = (
    torch.matmul,
    torch.Tensor.matmul,
    torch.Tensor.__matmul__,
    torch.bmm,
    torch.Tensor.bmm,
)
PRODUCTS = (torch.mul, torch.Tensor.mul, torch.Tensor.__mul__)


class Relevance(Explicit):
    """Inside, gradients pass normalisation, activations and attention as relevance does.

    `constant`: attention weights are constants (CP-LRP), so that a layer is linear in its values;
    otherwise relevance goes through queries and keys too. Deviations: functions that it should
    `leave` as they are, products that are not `halved`.
    """

    def __init__(self, *, constant: bool, leave: Sequence[Any] = (), halved: bool = True) -> None:
        super().__init__()
        self.constant, self.leave, self.halved = constant, leave, halved

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if function in self.leave:
            return function(*args, **kwargs)
        if function is F.layer_norm:
            return _layer_norm(*args, **kwargs)
        if function in NORMS:
            return _rms_norm(*args, **kwargs)
        if function in ACTIVATIONS:
            return _by_share(function, *args, **kwargs)
        if function in MATRIX_PRODUCTS and _are_activations(*args, **kwargs):
            return self.product(*args, **kwargs)
        if function is torch.einsum and _are_activations(*args[1:]):
            return torch.einsum(args[0], *map(self._half, args[1:]))
        if function in PRODUCTS and _are_activations(*args, **kwargs) and _alike(*args):
            return self._half(args[0]) * self._half(args[1])
        return super().call(function, args, kwargs)

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """Both factors get half of the relevance, unless one is constant."""
        if not _are_activations(a, b):
            return a @ b
        return self._half(a) @ self._half(b)

    def _half(self, x: Tensor) -> Tensor:
        """x, with half of its gradient; halves add up to x exactly."""
        return x / 2 + (x / 2).detach() if self.halved else x

    def see(self, weights: Tensor) -> Tensor:
        """The weights, constant where they are said to be."""
        super().see(weights)
        return weights.detach() if self.constant else weights


def modified_gradient(model: ModelAdapter, x: Tensor, target: Tensor, mode: Relevance) -> Tensor:
    """d logit_t / d x with these gradients, same shape as x. Raises what `proved` raises."""
    x = x.detach().requires_grad_()
    logits = proved(model, x, mode)
    (gradient,) = torch.autograd.grad(target_logits(logits, target).sum(), x)
    return gradient


def _are_activations(*factors: Any, **_: Any) -> bool:
    """Whether both factors depend on the images: a layer's weights have no axis for them."""
    return len(factors) == 2 and all(
        isinstance(each, Tensor) and each.requires_grad and each.ndim > 2 for each in factors
    )


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape


def _layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sigma with sigma constant."""
    axes = tuple(range(-len(normalized_shape), 0))
    centred = input - input.mean(axes, keepdim=True)
    normal = centred / (centred.square().mean(axes, keepdim=True) + eps).sqrt().detach()
    normal = normal if weight is None else normal * weight
    return normal if bias is None else normal + bias


def _rms_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean x^2) with the root constant."""
    axes = tuple(range(-len(normalized_shape), 0))
    eps = torch.finfo(input.dtype).eps if eps is None else eps
    normal = input / (input.square().mean(axes, keepdim=True) + eps).sqrt().detach()
    return normal if weight is None else normal * weight


def _by_share(function: Callable[..., Tensor], input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """x * (f(x) / x) with the share constant."""
    kwargs.pop("inplace", None)
    given = input.detach()
    share = function(given, *args, **kwargs) / given
    return input * torch.where(given == 0, torch.full_like(given, 0.5), share)


def register_deviations(method: Method, *, constant: bool) -> None:
    """The known deviations that both ways of relevance share, `constant` as in `Relevance`."""

    def gradient(model: ModelAdapter, x: Tensor, target: Tensor, **changes: Any) -> Tensor:
        return modified_gradient(model, x, target, Relevance(constant=constant, **changes))

    @method.variant("it is the plain input x gradient")
    def plain(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
        return x * input_gradient(model, x, target)

    @method.variant("the factor x is missing")
    def without_factor(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
        return gradient(model, x, target)

    @method.variant("it multiplies by the normalised image instead of the pixels")
    def times_normalised(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor | None:
        if model.mean is None or model.std is None:
            return None
        return (x - model.mean) / model.std * gradient(model, x, target)

    @method.variant("layer norm's standard deviation is not constant")
    def plain_norm(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
        return x * gradient(model, x, target, leave=NORMS)

    @method.variant("activations have their own slope instead of f(x) / x")
    def plain_activations(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
        return x * gradient(model, x, target, leave=ACTIVATIONS)
