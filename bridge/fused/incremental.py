"""A network that computes again only what changes: rectangles go through its kept clean outputs.

Krypton (Nakandala, Kumar, Papakonstantinou, SIGMOD 2019) without its approximation: nothing that
changes is left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from bridge.core.model import logits_of
from bridge.fused.folding import foldable, followable
from bridge.fused.layers import (
    Arithmetic,
    Concatenation,
    Convolution,
    Elementwise,
    Folded,
    Layer,
    Rectifier,
    Same,
    Untraceable,
    pooling,
)
from bridge.fused.operations import (
    is_arithmetic,
    is_concatenation,
    is_elementwise,
    is_relu,
    operation,
)
from bridge.fused.patches import Patch


class Incremental:
    """A traced copy of a network's computation, its batch norms folded, with channels last.

    Weights are read, not copied, but where a batch norm is folded into them. Takes images as the
    module does, normalised already. Raises Untraceable for a network whose computation depends on
    its data, or that has hooks inside.
    """

    def __init__(self, module: nn.Module) -> None:
        graph = traced(module)
        modules = dict(module.named_modules())
        norms = foldable(graph, modules)
        self._layers: dict[fx.Node, Layer] = {}
        for node in graph.nodes:
            self._layers[node] = _layer(node, modules, norms, self._layers)
        self._image = next(iter(self._layers.values()))
        self._convolutions = [c for c in self._layers.values() if isinstance(c, Convolution)]

    def clean(self, image: Tensor) -> Tensor:
        """The logits (1, classes) of one image; every layer's output is kept until the next."""
        return self._run(image.contiguous(memory_format=torch.channels_last), keep=True)

    def occluded(self, values: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """The logits (b, classes) of the clean image with rectangles of other values.

        `values` (b, rows, columns, c) stand at (`top`, `left`), both (b,).
        """
        return self._run(Patch(values, top, left, self._image.clean))

    def dense(self, images: Tensor) -> Tensor:
        """The logits (b, classes) of whole images."""
        return self._run(images.contiguous(memory_format=torch.channels_last))

    @property
    def share(self) -> float:
        """Multiply-adds since the clean image, as a share of what whole images would have taken."""
        spent = sum(layer.spent for layer in self._convolutions)
        return spent / max(1, sum(layer.full for layer in self._convolutions))

    @torch.no_grad()
    def _run(self, value: Tensor | Patch, *, keep: bool = False) -> Tensor:
        found: dict[fx.Node, Any] = {}
        for node, layer in self._layers.items():
            args: Any = (value,)
            if node.op != "placeholder":
                args = fx.node.map_arg(node.args, found.__getitem__)
            kwargs: Any = fx.node.map_arg(node.kwargs, found.__getitem__) if node.kwargs else {}
            found[node] = layer.keep(*args, **kwargs) if keep else layer(*args, **kwargs)
        return found[node]  # the last node is the output


def traced(module: nn.Module) -> fx.Graph:
    inner = [m for m in module.modules() if m is not module]
    if any(m._forward_hooks or m._forward_pre_hooks for m in inner):
        raise Untraceable("a submodule has hooks, which tracing would not call")
    try:
        return fx.Tracer().trace(module)
    except Exception as error:
        raise Untraceable(f"torch.fx cannot trace it: {error}") from error


def _layer(
    node: fx.Node,
    modules: dict[str, nn.Module],
    norms: dict[fx.Node, nn.BatchNorm2d],
    layers: dict[fx.Node, Layer],
) -> Layer:
    """The layer of a node, whose inputs are in `layers` already."""
    module = modules[str(node.target)] if node.op == "call_module" else None
    before = node.args[0] if node.args else None
    if node.op == "placeholder":
        return Same()
    if node.op == "output":
        return Layer(logits_of)
    if isinstance(module, nn.Conv2d) and followable(module):
        return Convolution(module, norms.get(node))
    if before in norms:
        return Folded()
    if (pool := pooling(module)) is not None:
        return pool
    whole = operation(node, module, modules[""])
    if is_relu(node, module) and isinstance(before, fx.Node):
        alone = len(before.users) == 1 and layers[before].fresh
        return Rectifier(whole) if alone else Elementwise(whole)
    if is_elementwise(node, module):
        return Elementwise(whole)
    if is_arithmetic(node):
        return Arithmetic(whole)
    return Concatenation(whole) if is_concatenation(node) else Layer(whole)
