"""What the nodes of a traced network do: which go value by value, which join maps, and how."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

# Value by value, so that a rectangle of the output needs that rectangle of the input only.
_ELEMENTWISE_MODULES = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
    nn.BatchNorm2d,
    nn.Dropout,
    nn.Dropout2d,
    nn.Identity,
)
_ELEMENTWISE_FUNCTIONS: tuple[Any, ...] = (
    F.relu,
    F.relu6,
    F.leaky_relu,
    F.elu,
    F.gelu,
    F.silu,
    F.hardswish,
    F.hardsigmoid,
    F.sigmoid,
    F.tanh,
    F.softplus,
    torch.relu,
    torch.sigmoid,
    torch.tanh,
)
_ELEMENTWISE_METHODS = ("relu", "sigmoid", "tanh", "contiguous", "clone")
_ARITHMETIC: tuple[Any, ...] = (
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    torch.add,
    torch.sub,
    torch.mul,
    torch.div,
)
_OUT_OF_PLACE: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    torch.relu_: torch.relu,
    F.relu_: F.relu,
}


def is_elementwise(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether each output value depends on the input value at its place alone."""
    if module is not None:
        return type(module) in _ELEMENTWISE_MODULES
    if node.op == "call_method":
        return str(node.target).rstrip("_") in _ELEMENTWISE_METHODS
    return _OUT_OF_PLACE.get(node.target, node.target) in _ELEMENTWISE_FUNCTIONS


def is_relu(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether it is max(x, 0)."""
    return type(module) is nn.ReLU or node.target in (F.relu, torch.relu)


def is_arithmetic(node: fx.Node) -> bool:
    """Whether it adds, subtracts, multiplies or divides maps or numbers."""
    target = _OUT_OF_PLACE.get(node.target, node.target)
    return node.op == "call_function" and target in _ARITHMETIC


def is_concatenation(node: fx.Node) -> bool:
    """Whether it puts maps one after another."""
    return node.op == "call_function" and node.target in (torch.cat, torch.concat)


def operation(node: fx.Node, module: nn.Module | None, root: nn.Module) -> Callable[..., Any]:
    """What the node does to whole tensors, never in place: its inputs are kept."""
    if module is not None:
        return module
    if node.op == "get_attr":
        return _constant(operator.attrgetter(str(node.target))(root))
    if node.op == "call_method":
        return _method(str(node.target))
    return _function(_OUT_OF_PLACE.get(node.target, node.target))


def _constant(value: Any) -> Callable[[], Any]:
    def constant() -> Any:
        return value

    return constant


def _method(name: str) -> Callable[..., Any]:
    in_place = name.endswith("_") and not name.endswith("__")

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.clone() if in_place else self, name)(*args, **kwargs)

    return method


def _function(target: Callable[..., Any]) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        if "inplace" in kwargs:
            kwargs["inplace"] = False
        return target(*args, **kwargs)

    return function
