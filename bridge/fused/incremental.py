"""A network that computes again only what changes: the layers' clean outputs are kept, rectangles go through them.

Krypton (Nakandala, Kumar, Papakonstantinou, SIGMOD 2019) without its approximation: nothing that changes is left out.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from bridge.fused.patches import Pair, Patch, Sliding, together
from bridge.model import logits_of

# Value by value, so that a rectangle of the output needs that rectangle of the input only.
_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.Softplus,
    nn.BatchNorm2d, nn.Dropout, nn.Dropout2d, nn.Identity,
)  # fmt: skip
_FUNCTIONS: tuple[Any, ...] = (
    F.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.hardswish, F.hardsigmoid, F.sigmoid, F.tanh, F.softplus, torch.relu,
    torch.sigmoid, torch.tanh,
)  # fmt: skip
_METHODS = ("relu", "sigmoid", "tanh", "contiguous", "clone")
_BINARY: tuple[Any, ...] = (
    operator.add, operator.sub, operator.mul, operator.truediv, torch.add, torch.sub, torch.mul, torch.div,
)  # fmt: skip
_OUT_OF_PLACE: dict[Any, Any] = {
    operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul,
    operator.itruediv: operator.truediv, torch.relu_: torch.relu, F.relu_: F.relu,
}  # fmt: skip


class Untraceable(Exception):
    """This network cannot be followed layer by layer; it is then run whole."""


class Incremental:
    """A traced copy of a network's computation, with batch norm folded into convolutions and channels last.

    Weights are read, not copied, but where batch norm is folded. Raises Untraceable for a network whose computation depends on
    its data, or that has hooks inside.
    """

    def __init__(self, module: nn.Module) -> None:
        inner = [m for m in module.modules() if m is not module]
        if any(m._forward_hooks or m._forward_pre_hooks for m in inner):
            raise Untraceable("a submodule has hooks, which tracing would not call")
        try:
            self._graph = fx.Tracer().trace(module)
        except Exception as error:
            raise Untraceable(f"torch.fx cannot trace it: {error}") from error
        self._root = module
        self._steps: list[tuple[fx.Node, Callable[..., Any]]] = []
        self._clean: dict[fx.Node, Tensor] = {}
        self._padded: dict[fx.Node, Tensor] = {}
        self.computed = self.whole = 0  # multiply-adds of convolutions, and what dense passes would have taken
        self._fresh: set[fx.Node] = set()  # nodes whose values nothing else holds, so that a ReLU may overwrite them
        self._keeping = False
        self._compile(dict(module.named_modules()))

    def clean(self, image: Tensor) -> Tensor:
        """The logits (1, classes) of one normalised image; every layer's output is kept until the next."""
        self._clean, self._padded = {}, {}
        return self._run(image.contiguous(memory_format=torch.channels_last), keep=True)

    def occluded(self, values: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """The logits (b, classes) of the clean image with `values` (b, rows, columns, c) at (top, left)."""
        start = next(node for node, _ in self._steps if node.op == "placeholder")
        return self._run(Patch(values, top, left, self._clean[start]), keep=False)

    def dense(self, images: Tensor) -> Tensor:
        """The logits of whole normalised images."""
        return self._run(images.contiguous(memory_format=torch.channels_last), keep=False)

    @torch.no_grad()
    def _run(self, value: Any, *, keep: bool) -> Tensor:
        found: dict[fx.Node, Any] = {}
        self._keeping = keep
        for node, step in self._steps:
            if node.op == "placeholder":
                found[node] = value
            elif node.op == "output":
                return logits_of(fx.node.map_arg(node.args[0], found.__getitem__))
            else:
                args = fx.node.map_arg(node.args, found.__getitem__)
                kwargs = fx.node.map_arg(node.kwargs, found.__getitem__)
                found[node] = _unchanging(step, args, kwargs) if keep else step(*args, **kwargs)
            output = found[node]
            if keep and isinstance(output, Tensor) and output.ndim == 4:
                self._clean[node] = output[0].permute(1, 2, 0).contiguous()
        raise Untraceable("its graph has no output")

    def _compile(self, modules: dict[str, nn.Module]) -> None:
        """One function a node; a batch norm right after a convolution goes into its weights."""
        calls: dict[str, int] = {}
        for node in self._graph.nodes:
            if node.op == "call_module":
                calls[node.target] = calls.get(node.target, 0) + 1
        folded: dict[fx.Node, nn.BatchNorm2d] = {}
        for node in self._graph.nodes:
            before = node.args[0] if node.args else None
            if (
                node.op == "call_module" and type(modules[node.target]) is nn.BatchNorm2d
                and isinstance(before, fx.Node) and before.op == "call_module" and len(before.users) == 1
                and type(modules[str(before.target)]) is nn.Conv2d and calls[str(before.target)] == 1
            ):  # fmt: skip
                norm: Any = modules[node.target]
                if norm.running_mean is not None and not norm.training:
                    folded[before] = norm
        for node in self._graph.nodes:
            module = modules.get(node.target) if node.op == "call_module" else None
            step: Callable[..., Any]
            if type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
                step = self._convolution(node, module, folded.get(node))
                self._fresh.add(node)
            elif any(node.args and node.args[0] is before for before in folded):
                step = _same
                self._fresh.add(node)
            elif (pooling := _pooling(module)) is not None:
                step = self._sliding(node, pooling, module)
            else:
                step = self._other(node, module)
            self._steps.append((node, step))

    def _convolution(self, node: fx.Node, module: nn.Conv2d, norm: nn.BatchNorm2d | None) -> Callable[..., Any]:
        weight, bias = _fold(module, norm)
        weight = weight.contiguous(memory_format=torch.channels_last)
        stride, padding, dilation = _pair(module.stride), _pair(module.padding), _pair(module.dilation)
        each = weight[0].numel() * len(weight)

        def compute(tile: Tensor) -> Tensor:
            output = F.conv2d(tile, weight, bias, stride, 0, dilation, module.groups)
            self.computed += each * len(output) * output.shape[2] * output.shape[3]
            return output

        def dense(images: Tensor) -> Tensor:
            output = F.conv2d(images, weight, bias, stride, padding, dilation, module.groups)
            self.computed += each * len(output) * output.shape[2] * output.shape[3]
            return output

        kernel = tuple(d * (k - 1) + 1 for k, d in zip(weight.shape[2:], dilation, strict=True))
        sliding = Sliding((kernel[0], kernel[1]), stride, padding, 0.0, compute)
        inner = self._sliding(node, sliding, dense)

        def counted(value: Any) -> Any:
            output = inner(value)
            batch, shape = len(output.values if isinstance(output, Patch) else output), self._clean.get(node)
            if shape is not None:
                self.whole += each * batch * shape.shape[0] * shape.shape[1]
            return output

        return counted

    def _sliding(self, node: fx.Node, sliding: Sliding, dense: Any) -> Callable[..., Any]:
        def step(value: Any) -> Any:
            if isinstance(value, Patch):
                if node not in self._padded:
                    self._padded[node] = sliding.pad(value.clean)
                changed = sliding.changed(value, self._padded[node], self._clean[node])
                if changed is not None:
                    return changed
                value = value.dense()
            return dense(value)

        return step

    def _other(self, node: fx.Node, module: nn.Module | None) -> Callable[..., Any]:
        """Elementwise and joining operations on rectangles, everything else on whole maps."""
        whole = _whole(node, module, self._root)
        if node.op == "call_method" and str(node.target).rstrip("_") in _METHODS:
            elementwise = True
        else:
            target = _OUT_OF_PLACE.get(node.target, node.target)
            elementwise = type(module) in _MODULES if module is not None else target in _FUNCTIONS
        binary = node.op == "call_function" and _OUT_OF_PLACE.get(node.target, node.target) in _BINARY
        if binary:
            self._fresh.add(node)
        before = node.args[0] if node.args else None
        relu = type(module) is nn.ReLU or node.target in (F.relu, torch.relu)
        over = relu and isinstance(before, fx.Node) and before in self._fresh and len(before.users) == 1
        cat = node.op == "call_function" and node.target in (torch.cat, torch.concat)

        def step(*args: Any, **kwargs: Any) -> Any:
            if over and not self._keeping:
                value = args[0]
                (value.values if isinstance(value, Patch) else value).relu_()
                return Patch(value.values, value.top, value.left, self._clean[node]) if isinstance(value, Patch) else value
            if elementwise and isinstance(args[0], Patch):
                patch, output = args[0], whole(args[0].images, *args[1:], **kwargs)
                return Patch(output.permute(0, 2, 3, 1), patch.top, patch.left, self._clean[node])
            if binary and _joinable(args):
                values, top, left = together([a for a in args if isinstance(a, Patch)])
                rest = iter(values)
                output = whole(*(next(rest) if isinstance(a, Patch) else a for a in args), **kwargs)
                return Patch(output, top, left, self._clean[node])
            if cat and _axis(args, kwargs) == 1 and _joinable(args[0]) and all(isinstance(a, Patch) for a in args[0]):
                values, top, left = together(list(args[0]))
                return Patch(torch.cat(values, -1), top, left, self._clean[node])
            return whole(*fx.node.map_aggregate(args, _dense), **fx.node.map_aggregate(kwargs, _dense))

        return step


def _same(value: Any) -> Any:
    return value


def _dense(value: Any) -> Any:
    return value.dense() if isinstance(value, Patch) else value


def _pair(value: Any) -> Pair:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _joinable(values: Any) -> bool:
    """Patches of maps of one size, and numbers."""
    sizes = {v.clean.shape[:2] for v in values if isinstance(v, Patch)}
    return len(sizes) == 1 and all(isinstance(v, Patch | int | float) for v in values)


def _axis(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    return int(args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis", 0)))


def _fold(module: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias with the batch norm in them; multiplied in float64, so that they are rounded once."""
    weight, bias = module.weight.detach(), None if module.bias is None else module.bias.detach()
    if norm is None or norm.running_mean is None or norm.running_var is None:
        return weight, bias
    wide = weight.dtype if weight.device.type == "mps" else torch.float64
    mean, variance = norm.running_mean.to(wide), norm.running_var.to(wide)
    gamma = torch.ones_like(mean) if norm.weight is None else norm.weight.detach().to(wide)
    beta = torch.zeros_like(mean) if norm.bias is None else norm.bias.detach().to(wide)
    scale = gamma / (variance + norm.eps).sqrt()
    shifted = beta + ((0 if bias is None else bias.to(wide)) - mean) * scale
    return (weight.to(wide) * scale.view(-1, 1, 1, 1)).to(weight), shifted.to(weight)


def _pooling(module: nn.Module | None) -> Sliding | None:
    """Max and average pooling as sliding windows; None for what is none, or counts its border in another way."""
    if type(module) is nn.MaxPool2d and not module.return_indices:
        kernel, stride, padding = _pair(module.kernel_size), _pair(module.stride), _pair(module.padding)
        dilation = _pair(module.dilation)
        reach = (dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1)
        return Sliding(reach, stride, padding, -torch.inf, lambda t: F.max_pool2d(t, kernel, stride, 0, dilation))
    if type(module) is nn.AvgPool2d and module.divisor_override is None:
        kernel, stride, padding = _pair(module.kernel_size), _pair(module.stride), _pair(module.padding)
        if (module.count_include_pad or padding == (0, 0)) and not module.ceil_mode:
            return Sliding(kernel, stride, padding, 0.0, lambda t: F.avg_pool2d(t, kernel, stride))
    return None


def _whole(node: fx.Node, module: nn.Module | None, root: nn.Module) -> Callable[..., Any]:
    """What the node does to whole tensors, never in place: its inputs are kept."""
    if module is not None:
        return module
    if node.op == "get_attr":
        attribute: Any = operator.attrgetter(str(node.target))(root)
        return lambda: attribute
    if node.op == "call_method":
        name = str(node.target)
        if name.endswith("_") and not name.endswith("__"):
            return lambda self, *args, **kwargs: getattr(self.clone(), name)(*args, **kwargs)
        return lambda self, *args, **kwargs: getattr(self, name)(*args, **kwargs)
    target: Any = _OUT_OF_PLACE.get(node.target, node.target)

    def call(*args: Any, **kwargs: Any) -> Any:
        return target(*args, **(kwargs | {"inplace": False} if "inplace" in kwargs else kwargs))

    return call


def _unchanging(step: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """step(*args, **kwargs). Raises Untraceable where it wrote into its input in a way that is not foreseen here."""
    tensors = [a for a in args if isinstance(a, Tensor) and not a.is_inference()]
    versions = [a._version for a in tensors]
    output = step(*args, **kwargs)
    if [a._version for a in tensors] != versions:
        raise Untraceable("it works in place")
    return output
