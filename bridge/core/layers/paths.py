"""The autograd graph between image and logits: what all of it goes through, what keeps places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

Node = Any  # torch.autograd.graph.Node, whose stubs lack what is read here
Edge = tuple[Node, int]

# Each position of the output is made of the input's positions around it, or of all of them alike.
WEIGHTED = (  # these take the input first, then weights
    *("Convolution", "NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "NativeGroupNorm"),
)
KEEP_PLACES = (
    *WEIGHTED,
    *("Relu", "LeakyRelu", "Prelu", "PreluKernel", "Elu", "Gelu", "Silu", "Mish", "Sigmoid"),
    *("Tanh", "Softplus", "Hardswish", "Hardsigmoid", "Hardtanh", "Clamp", "NativeDropout"),
    *("MaxPool2DWithIndices", "AvgPool2D", "AdaptiveAvgPool2D", "AdaptiveMaxPool2D"),
    *("UpsampleNearest2D", "UpsampleBilinear2D", "Clone", "ToCopy"),
    *("Add", "Sub", "Rsub", "Mul", "Div", "Neg", "Pow", "Exp", "Sqrt", "Rsqrt"),
)
OF_CHANNELS = ("Cat", "Split", "SplitWithSizes")  # where their axis is that of channels


class Paths:
    """How many ways lead from the logits through each tensor to the image: exact, whole numbers."""

    def __init__(self, logits: Tensor, x: Tensor) -> None:
        root: Node = logits.grad_fn
        order = _children_first(root)
        self._to_image: dict[Node, int] = {}
        for node in order:
            ways = sum(self._to_image[child] for child, _ in _edges(node))
            self._to_image[node] = ways + (getattr(node, "variable", None) is x)
        self._from_logits: dict[Edge, int] = {(root, logits.output_nr): 1}
        arrived = {root: 1}
        for node in reversed(order):
            for edge in _edges(node):
                arrived[edge[0]] = arrived.get(edge[0], 0) + arrived[node]
                self._from_logits[edge] = self._from_logits.get(edge, 0) + arrived[node]
        self.total = self._to_image.get(root, 0)

    def all_through(self, tensor: Tensor) -> bool:
        """Whether every way goes through this tensor."""
        before = self._from_logits.get((tensor.grad_fn, tensor.output_nr), 0)
        return 0 < self.total == before * self._to_image.get(tensor.grad_fn, 0)


def keeps_places(tensor: Tensor) -> bool:
    """Whether maps (n, c, h, w) are made of the image by operations that move nothing.

    Convolutions, pooling, what works value by value, and gates of one number a channel. False where
    an operation is not known to be one (it may still be).
    """
    left: list[Node] = [tensor.grad_fn]
    known: set[Node] = set()
    while left:
        node = left.pop()
        kind, shape = node.name().partition("Backward")[0], _shape(node)
        same = max(shape[-2:], default=1) == 1  # one number for all positions
        if node in known or same or kind.endswith("AccumulateGrad"):
            continue
        known.add(node)
        channels = kind in OF_CHANNELS and node._saved_dim % 2**32 in (1, 2**32 - 3)
        if len(shape) != 4 or not (kind in KEEP_PLACES or channels):
            return False
        edges = _edges(node)
        left += [child for child, _ in (edges[:1] if kind in WEIGHTED else edges)]
    return True


def leaves(tensor: Tensor) -> Iterator[Tensor]:
    """The images and weights that a tensor was made of, as far as gradients go."""
    left: list[Node] = [tensor.grad_fn] if tensor.grad_fn is not None else []
    known: set[Node] = set(left)
    while left:
        node = left.pop()
        if (variable := getattr(node, "variable", None)) is not None:
            yield variable
        below = {child for child, _ in _edges(node)} - known
        known |= below
        left += below


def _shape(node: Node) -> tuple[int, ...]:
    """The shape of what an operation gave; of a weight or an image that of itself."""
    variable = getattr(node, "variable", None)
    return tuple(node._input_metadata[0].shape if variable is None else variable.shape)


def _edges(node: Node) -> list[Edge]:
    return [edge for edge in node.next_functions if edge[0] is not None]


def _children_first(root: Node) -> list[Node]:
    """All operations below one, each after those that it was made of."""
    order: list[Node] = []
    known: set[Node] = set()
    left = [(root, False)]
    while left:
        node, done = left.pop()
        if done:
            order.append(node)
        elif node is not None and node not in known:
            known.add(node)
            left += [(node, True), *((child, False) for child, _ in _edges(node))]
    return order
