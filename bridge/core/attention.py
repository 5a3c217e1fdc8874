"""Attention made visible: every layer's weights with their graph, whatever computes them."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from bridge.core.habits import COARSE, EXACT

SOFTMAX = (torch.softmax, torch.Tensor.softmax, torch.special.softmax, F.softmax)
CONVOLUTION = (torch.conv2d, F.conv2d)
SLACK = 32
Logits = Callable[[Tensor], Tensor]


class Explicit(TorchFunctionMode):
    """Inside, attention is computed step by step: scores, their softmax, the sum of the values.

    Whatever a model is written with, it calls one of a few functions of torch, and those are
    replaced for this pass; the model itself is not touched, and no class is known by its name.
    `weights` are the softmaxes in order, (n, heads, queries, keys) or (n * heads, queries, keys),
    with their graph; `scores` are the first one's, `grids` the (height, width) of convolutions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []
        self.scores: Tensor | None = None
        self.grids: list[tuple[int, int]] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return self.call(function, args, dict(kwargs or {}))

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the model gets for one call of a function of torch."""
        if function is F.scaled_dot_product_attention:
            return self.attend(*args, **kwargs)
        if function is F.multi_head_attention_forward:
            return self._multi_head(*args, **kwargs)
        if function in SOFTMAX and _over_keys(*args, **kwargs):
            scores = args[0] if args else kwargs["input"]
            return self._softmax(scores, function(*args, **kwargs))
        output = function(*args, **kwargs)
        if function in CONVOLUTION and output.ndim == 4:
            self.grids.append((output.shape[2], output.shape[3]))
        return output

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """softmax(query key^T / sqrt(d)) value: `F.scaled_dot_product_attention`, as it is said."""
        if enable_gqa:
            repeated = query.shape[-3] // key.shape[-3]
            key, value = (t.repeat_interleave(repeated, -3) for t in (key, value))
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        scores = self.product(query * scale, key.transpose(-2, -1))
        if is_causal:
            attn_mask = torch.ones_like(scores, dtype=torch.bool).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        weights = self._softmax(scores, scores.softmax(-1))
        if dropout_p:
            weights = F.dropout(weights, dropout_p)
        return self.product(weights, value)

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """The matrix product of two activations."""
        return a @ b

    def see(self, weights: Tensor) -> Tensor:
        """Keep one layer's weights; what is returned goes on in their place."""
        self.weights.append(weights)
        return weights

    def _softmax(self, scores: Tensor, weights: Tensor) -> Tensor:
        if self.scores is None:
            self.scores = scores.detach()
        return self.see(weights)

    def _multi_head(self, *args: Any, **kwargs: Any) -> Any:
        """`F.multi_head_attention_forward`, whose own calls come to us as well."""
        asked, averaged = kwargs.get("need_weights", True), kwargs.get("average_attn_weights", True)
        with self:
            output, _ = _opened(F.multi_head_attention_forward)(
                *args, **{**kwargs, "need_weights": False}
            )
        if not asked:
            return output, None
        return output, self.weights[-1].mean(1) if averaged else self.weights[-1]


def _over_keys(input: Tensor, dim: int | None = None, *_: Any, **__: Any) -> bool:
    """Whether a softmax may be one of attention: over the last axis of (..., queries, keys)."""
    return input.ndim > 2 and dim in (-1, input.ndim - 1)


@cache
def _opened(function: types.FunctionType) -> Callable[..., Any]:
    """A Python function of torch that runs at once, where the original would ask the mode again."""
    names = {**function.__globals__, "has_torch_function": lambda tensors: False}
    copy = types.FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def explicit(model: Logits, x: Tensor, mode: Explicit, *, half: bool = False) -> Tensor:
    """The logits of a pass inside `mode`, with their graph: see `prove`, and what it raises."""
    with mode:
        logits = model(x)
    prove(model, x, logits, mode, half=half)
    return logits


def prove(model: Logits, x: Tensor, logits: Tensor, mode: Explicit, *, half: bool = False) -> None:
    """Raise ValueError unless the logits of a pass inside `mode` are the model's own.

    They may differ by rounding (`half`: of 16 bits). Or where no attention was seen in that pass.
    """
    check_seen(mode)
    with torch.no_grad():
        own = model(x.detach())
    allowed = COARSE if half or not _exact(own) else EXACT.get(own.dtype, COARSE)
    off, largest = (float(each.abs().max()) for each in (logits.detach() - own, own))
    # Logits that are zero by cancellation round as what cancels does.
    if not off <= allowed * largest + SLACK * torch.finfo(own.dtype).eps:
        raise ValueError(
            f"the model's logits, up to {largest:.3g}, change by {off:.1e} where what it calls of "
            f"torch is computed step by step, more than rounding ({allowed:.0e} of them): its "
            "attention cannot be looked at"
        )


def check_seen(mode: Explicit) -> None:
    """Raise ValueError after a pass without attention."""
    if not mode.weights:
        raise ValueError(
            "no attention was seen in its forward pass: none that calls torch's softmax or "
            "scaled_dot_product_attention from Python"
        )


def _exact(logits: Tensor) -> bool:
    """Whether a device multiplies in the precision that it says: a GPU may take TF32."""
    return logits.device.type == "cpu" or logits.dtype == torch.float64
