"""What one forward pass tells about a model: its logits, and its layers in the order they ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bridge.core.kinds import eagerly, is_scripted
from bridge.core.state import hooked
from bridge.core.wide import wide

HALF = (torch.float16, torch.bfloat16)
# Kernels of attention as a whole; the last two are what torch's own modules may call.
ATTENTION = (
    "_scaled_dot_product",
    "_native_multi_head_attention",
    "_transformer_encoder_layer_fwd",
)


@dataclass(frozen=True)
class LayerCall:
    """One submodule as one forward pass saw it, at the place of its last call.

    `shape` is its last output's, None where that is no tensor; `calls` how often it ran.
    """

    name: str
    shape: tuple[int, ...] | None
    calls: int


@dataclass(frozen=True)
class Facts:
    """What one forward pass tells: logits (n, classes) of these `images`, layers in order.

    `relu_calls` counts calls of nn.ReLU modules, `relu_operations` all ReLUs, however they are
    written. `half`: some of it is computed in 16 bits, as under autocast. `activations`: the
    numbers that all operations made of one image, views not counted, which is what a gradient pass
    keeps and the caches have to hold; 0 where they cannot be seen. `attentions` counts what may be
    layers of attention.
    """

    logits: Tensor
    layers: tuple[LayerCall, ...]
    relu_calls: int
    relu_operations: int
    half: bool = False
    images: int = 0
    activations: int = 0
    attentions: int = 0

    @cached_property
    def usable(self) -> bool:
        """Whether all logits are finite."""
        return bool(self.logits.isfinite().all())

    @cached_property
    def look_like(self) -> str:
        """What the logits look like if not logits: "probabilities", "log-probabilities", or ""."""
        exact = wide(self.logits)
        if bool((exact >= 0).all()):
            return "probabilities" if _one(exact.sum(1)) else ""
        return "log-probabilities" if bool((exact <= 0).all()) and _one(exact.exp().sum(1)) else ""

    @property
    def spatial_layers(self) -> tuple[LayerCall, ...]:
        """Layers that ran once and gave (n, c, h, w) with more than one position, in order."""
        return tuple(
            layer
            for layer in self.layers
            if layer.calls == 1
            and layer.shape
            and len(layer.shape) == 4
            and layer.shape[2] * layer.shape[3] > 1
        )


def _one(sums: Tensor) -> bool:
    return bool(((sums - 1).abs() < 1e-3).all())


def observe(
    model: Callable[[Tensor], Tensor], module: nn.Module, x: Tensor
) -> tuple[Facts, Tensor, dict[str, Tensor]]:
    """model(x), with a hook on every submodule of `module`: facts, logits, outputs by layer.

    Each layer's last output, with its graph. One that was overwritten in place after its layer gave
    it is left out.
    """
    seen: dict[str, LayerCall] = {}
    outputs: dict[str, tuple[Tensor, int]] = {}
    named = module.named_modules()
    names = {part: name for name, part in named if name and not is_scripted(part)}
    relu_calls = 0

    def see(part: nn.Module, inputs: object, output: Any) -> None:
        nonlocal relu_calls
        relu_calls += isinstance(part, nn.ReLU)
        name = names[part]
        calls = seen.pop(name).calls if name in seen else 0
        shape = tuple(output.shape) if isinstance(output, Tensor) else None
        seen[name] = LayerCall(name, shape, calls + 1)
        if isinstance(output, Tensor):
            outputs[name] = output, output._version

    with eagerly(module), hooked(names, see), _Operations() as operations:
        logits = model(x)
    activations = operations.numbers // max(1, len(x))
    counts = (
        relu_calls,
        operations.relus,
        operations.half,
        len(x),
        activations,
        operations.attentions,
    )
    facts = Facts(logits.detach(), tuple(seen.values()), *counts)
    kept = {name: out for name, (out, version) in outputs.items() if out._version == version}
    return facts, logits, kept


def _attends(function: Any, output: Any) -> bool:
    """Whether an operation may be attention."""
    name = function._opname
    if name in ("_softmax", "_safe_softmax"):
        return output.ndim > 2
    return name.startswith(ATTENTION)


class _Operations(TorchDispatchMode):
    """What happens below the modules: ReLUs, however written, 16 bits, numbers that are made.

    And softmaxes over a third axis or more, or kernels of attention.
    """

    relus = 0
    attentions = 0
    half = False
    numbers = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here (`eagerly`), and to skip dynamo is to import it: a second."""
        return False

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        self.relus += function in (torch.ops.aten.relu.default, torch.ops.aten.relu_.default)
        self.half |= isinstance(output, Tensor) and output.dtype in HALF
        self.attentions += _attends(function, output)
        made = output if isinstance(output, tuple | list) else (output,)
        if not any(returned.alias_info for returned in function._schema.returns):
            self.numbers += sum(each.numel() for each in made if isinstance(each, Tensor))
        return output
