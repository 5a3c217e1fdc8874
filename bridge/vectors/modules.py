"""The networks of the test vectors as torch modules, right ones and wrong ones."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridge.core.model import ModelAdapter, wrap
from bridge.vectors.networks import (
    NETWORKS,
    Array,
    Layer,
    images,
    initial_weights,
    numbers,
    spread_logits,
)

Parts = Mapping[str, Tensor]
Make = Callable[[Layer, Parts], nn.Module]
NUDGE = 1e-11


class Add(nn.Module):
    """The sum of two layers."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second


class GlobalMean(nn.Module):
    """(n, c, h, w) -> (n, c)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Listed(nn.Module):
    """A list of layers run one after the other; normalising is the adapter's."""

    def __init__(
        self, described: dict[str, Any], tensors: Mapping[str, Array], wrong: Mapping[str, Make]
    ) -> None:
        super().__init__()
        self.order = [layer for layer in described["layers"] if layer["op"] != "normalise"]
        self.layers = nn.ModuleDict()
        for layer in self.order:
            if "same_as" not in layer:
                parts = {
                    key.partition(".")[2]: torch.tensor(value)
                    for key, value in tensors.items()
                    if key.partition(".")[0] == layer["name"]
                }
                self.layers[layer["name"]] = wrong.get(layer["op"], build)(layer, parts)

    def forward(self, x: Tensor) -> Tensor:
        values = {"x": x, "pixels": x}
        for layer in self.order:
            module = self.layers[layer.get("same_as", layer["name"])]
            x = values[layer["name"]] = module(*[values[name] for name in layer["inputs"]])
        return x


def build(layer: Layer, parts: Parts) -> nn.Module:
    """The torch module of a layer."""
    op = layer["op"]
    if op == "conv":
        inside, outside = layer["channels"]
        sizes = {key: layer[key] for key in ("stride", "padding", "groups", "bias")}
        return _loaded(nn.Conv2d(inside, outside, layer["kernel"], **sizes), parts)
    if op == "linear":
        inside, outside = layer["features"]
        return _loaded(nn.Linear(inside, outside, bias=layer["bias"]), parts)
    if op == "scale_shift":
        norm = nn.BatchNorm2d(layer["channels"], eps=0.0)
        return _loaded(norm, {"weight": parts["scale"], "bias": parts["shift"]})
    if op == "max_pool":
        return nn.MaxPool2d(layer["kernel"], layer["stride"], layer["padding"])
    if op == "average_pool":
        return nn.AvgPool2d(layer["kernel"], layer["stride"], layer["padding"])
    simple = {"relu": nn.ReLU, "add": Add, "global_mean": GlobalMean, "flatten": nn.Flatten}
    return simple[op]()


def _loaded(module: nn.Module, parts: Parts) -> nn.Module:
    module.double().load_state_dict(dict(parts), strict=False)
    return module


# What frameworks do differently, each with the sentence that names it.

WRONG_LAYERS: list[tuple[str, str, Make]] = []


def mistake(sentence: str, op: str) -> Callable[[Make], Make]:
    """Register another way of doing an operation."""

    def register(make: Make) -> Make:
        WRONG_LAYERS.append((sentence, op, make))
        return make

    return register


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _half_at_zero(x: Tensor) -> Tensor:
    return torch.maximum(x, torch.zeros_like(x))


def _one_at_zero(x: Tensor) -> Tensor:
    return x * (x >= 0)


@mistake("its ReLU has derivative 0.5 at zero", "relu")
def half_relu(layer: Layer, parts: Parts) -> nn.Module:
    return Of(_half_at_zero)


@mistake("its ReLU has derivative 1 at zero", "relu")
def one_relu(layer: Layer, parts: Parts) -> nn.Module:
    return Of(_one_at_zero)


def _pooled(layer: Layer, reduce: Callable[[Tensor], Tensor], pad: float) -> nn.Module:
    (kh, kw), (sh, sw), (ph, pw) = layer["kernel"], layer["stride"], layer["padding"]

    def pooled(x: Tensor) -> Tensor:
        padded = F.pad(x, (pw, pw, ph, ph), value=pad)
        return reduce(padded.unfold(2, kh, sh).unfold(3, kw, sw).flatten(4))

    return Of(pooled)


def _shared(windows: Tensor) -> Tensor:
    return windows.amax(-1)


def _first(windows: Tensor) -> Tensor:
    return windows.max(-1).values


def _last(windows: Tensor) -> Tensor:
    return windows.flip(-1).max(-1).values


@mistake("its max pool shares the gradient among equal maxima", "max_pool")
def shared_pool(layer: Layer, parts: Parts) -> nn.Module:
    return _pooled(layer, _shared, -torch.inf)


@mistake("its max pool gives the gradient to the last of equal maxima", "max_pool")
def last_pool(layer: Layer, parts: Parts) -> nn.Module:
    return _pooled(layer, _last, -torch.inf)


@mistake("its max pool pads with zeros", "max_pool")
def zero_pool(layer: Layer, parts: Parts) -> nn.Module:
    return _pooled(layer, _first, 0.0)


@mistake("its convolution flips the kernel", "conv")
def flipped(layer: Layer, parts: Parts) -> nn.Module:
    return build(layer, {**parts, "weight": parts["weight"].flip(2, 3)})


# The same layers with every sum in reverse order; none of the exact networks has groups.


def _reversed_conv(layer: Layer, parts: Parts) -> nn.Module:
    kernel, stride, padding = (tuple(layer[key]) for key in ("kernel", "stride", "padding"))
    weight = parts["weight"].flatten(1).flip(1)
    bias = parts.get("bias", torch.zeros(len(weight), dtype=weight.dtype))

    def conv(x: Tensor) -> Tensor:
        columns = F.unfold(x, kernel, padding=padding, stride=stride)
        sums = weight.to(x) @ columns.flip(1) + bias.to(x)[:, None]
        rows = (x.shape[2] + 2 * padding[0] - kernel[0]) // stride[0] + 1
        return sums.unflatten(2, (rows, -1))

    return Of(conv)


def _reversed_linear(layer: Layer, parts: Parts) -> nn.Module:
    weight, bias = parts["weight"].flip(1), parts.get("bias", torch.zeros(()))

    def linear(x: Tensor) -> Tensor:
        return x.flip(1) @ weight.to(x).T + bias.to(x)

    return Of(linear)


REVERSED: dict[str, Make] = {"conv": _reversed_conv, "linear": _reversed_linear}


# The networks wrapped.


def adapter(
    name: str,
    tensors: Mapping[str, Array],
    wrong: Mapping[str, Make] | None = None,
    *,
    normalise: bool = True,
) -> ModelAdapter:
    """A network in float64, wrapped."""
    network = NETWORKS[name]
    module = Listed(network.described(), tensors, wrong or {}).eval()
    mean, std = (tensors.get(f"pixels.{part}") if normalise else None for part in ("mean", "std"))
    return wrap(
        module,
        mean=None if mean is None else torch.tensor(mean),
        std=None if std is None else torch.tensor(std),
        layer=network.cam_layer and f"layers.{network.cam_layer}",
    )


@cache
def weights(name: str) -> dict[str, Array]:
    """Every tensor of a network, by layer and part."""

    def logits(tensors: dict[str, Array]) -> Array:
        with torch.no_grad():
            return adapter(name, tensors)(torch.tensor(images(name))).numpy()

    return spread_logits(name, initial_weights(name), logits)


def nudged(model: ModelAdapter, way: int = 1) -> ModelAdapter:
    """The same with each channel's weights moved in the 11th digit, one way (1) or the other (-1).

    Zeros and equal values stay what they are; values that are nearly equal change places, in one
    of the two ways: which of them is larger is the processor's rounding.
    """
    moved, draws = copy.deepcopy(model), random.Random("nudge")
    with torch.no_grad():
        for module in moved.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                factor = torch.tensor(1 + way * NUDGE * numbers(draws, (len(module.weight),), 12))
                for parameter in module.parameters():
                    parameter.mul_(factor.view(-1, *[1] * (parameter.ndim - 1)))
    return moved
