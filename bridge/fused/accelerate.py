"""Optional accelerations of a whole model.

They change its numbers, so each is asked for by name and judged by the harness.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from bridge.core.model import ModelAdapter, logits_of
from bridge.core.state import frozen
from bridge.fused.folded_model import folded_model

Acceleration = Literal["compile", "bf16", "cuda_graph", "fold"]
ACCELERATIONS: tuple[Acceleration, ...] = get_args(Acceleration)


def accelerated(model: ModelAdapter, how: Acceleration, x: Tensor) -> ModelAdapter:
    """The same model with another executor; the user's module is shared, not changed.

    "compile": torch.compile, which takes about a minute the first time. "bf16": autocast to
    bfloat16, logits in float32: about three digits. "cuda_graph": forward and backward recorded
    once for batches of exactly the shape of `x`, on a GPU, for small networks whose kernels are
    shorter than their launches. "fold": each batch norm goes into the convolution before it; exact
    in float64, in float32 as far off as a ReLU that flips; refused where tracing cannot prove it
    (see `bridge.fused.folded_model`). Raises ValueError for another name, without a GPU, or where
    it is refused.

    >>> import bridge
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> x, labels = bridge.load_batch("samples:fashion_mnist", n=2)
    >>> fast = accelerated(model, "bf16", x)
    >>> fast.name.endswith("+bf16")
    True
    """
    if how not in ACCELERATIONS:
        known = ", ".join(ACCELERATIONS)
        raise ValueError(f"unknown acceleration {how!r}: expected one of {known}")
    if how == "fold":
        return folded_model(model, x)
    layer = model.layer
    if how == "compile":
        module: Any = torch.compile(model.module)
        layer = None if layer is None else f"_orig_mod.{layer}"
    elif how == "bf16":
        module = _Autocast(model.module)
        layer = None if layer is None else f"module.{layer}"
    else:
        if x.device.type != "cuda":
            raise ValueError(f"CUDA graphs need images on a GPU, these are on {x.device}")
        # The graph replays kernels, not modules: hooks inside do not fire, so there is no layer to
        # explain.
        module, layer = _Graphed(model, x), None
    # The flag of the new outer module alone: train() and eval() would reach the user's.
    module.training = model.module.training
    name = f"{model.name}+{how}"
    how_wrapped = layer, model.bounds, model.class_names, name, model.reshape
    return ModelAdapter(module, model.mean, model.std, *how_wrapped)


class _Autocast(nn.Module):
    """Matrix products and convolutions in bfloat16, everything else and the logits in float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return logits_of(self.module(x)).float()


class _Graphed(nn.Module):
    """Batches of the recorded shape replay the graph; others run as ever."""

    def __init__(self, model: ModelAdapter, x: Tensor) -> None:
        super().__init__()
        self.module = model.module
        self._shape = x.shape
        with frozen(model.module):
            for p in model.module.parameters():  # the recorded backward pass is to the input only
                p.requires_grad_(False)
            sample = model.normalised(x.detach()).requires_grad_()
            self._replay: Any = torch.cuda.make_graphed_callables(self._logits, (sample,))

    def _logits(self, x: Tensor) -> Tensor:
        return logits_of(self.module(x))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape == self._shape and x.requires_grad and torch.is_grad_enabled():
            replayed: Tensor = self._replay(x)
            return replayed.clone()  # the replay's own output is overwritten by the next one
        return self._logits(x)
