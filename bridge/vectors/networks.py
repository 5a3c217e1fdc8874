"""The networks of the test vectors: lists of plain layers, their weights and their images.

Every number is drawn with Python's own generator, whose numbers are the same everywhere, and has
few binary digits: it is the same in float32.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Layer = dict[str, Any]

CLASSES = 4
IMAGES = 3
FINE = 12  # binary digits after the point of a weight; images have eight
COARSE, COARSE_IMAGE = 2, 3  # the same where every sum must be exact


def _pair(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value, value]


def conv(
    name: str,
    channels: list[int],
    kernel: int | list[int],
    *,
    stride: int | list[int] = 1,
    padding: int = 0,
    groups: int = 1,
    bias: bool = True,
) -> Layer:
    """A convolution; `channels` are those that come in and go out."""
    sizes = {"kernel": _pair(kernel), "stride": _pair(stride), "padding": _pair(padding)}
    return {
        "name": name,
        "op": "conv",
        "channels": channels,
        **sizes,
        "groups": groups,
        "bias": bias,
    }


def pool(name: str, op: str, kernel: int, stride: int, padding: int = 0) -> Layer:
    """A "max_pool" or "average_pool"."""
    sizes = {"kernel": _pair(kernel), "stride": _pair(stride), "padding": _pair(padding)}
    return {"name": name, "op": op, **sizes}


def linear(features: list[int], *, bias: bool = True) -> Layer:
    """The last layer; `features` are those that come in and go out."""
    return {"name": "linear", "op": "linear", "features": features, "bias": bias}


def plain(name: str, op: str, **more: Any) -> Layer:
    """A layer that is said by its operation."""
    return {"name": name, "op": op, **more}


@dataclass(frozen=True)
class Network:
    """An architecture. `bits`: its weights have so few that every sum is exact in any order.

    `spread` is the standard deviation of its logits, about.
    """

    image: tuple[int, int, int]
    layers: tuple[Layer, ...]
    cam_layer: str | None = None
    spread: float = 2.0
    exact: bool = False
    seed: str = ""

    def described(self) -> dict[str, Any]:
        """As it is written: every layer with its inputs by name."""
        layers, before = [], "x"
        for layer in self.layers:
            layers.append({"inputs": [before], **layer})
            before = layer["name"]
        return {
            "input": list(self.image),
            "classes": CLASSES,
            "cam_layer": self.cam_layer,
            "layers": layers,
        }


PLAIN = (
    plain("pixels", "normalise"),
    conv("conv1", [3, 6], 3, padding=1),
    plain("norm1", "scale_shift", channels=6),
    plain("relu1", "relu"),
    pool("pool1", "max_pool", 2, 2),
    conv("conv2", [6, 6], 3, padding=1),
    plain("relu2", "relu"),
    plain("flat", "flatten"),
    linear([120, CLASSES]),
)
RESIDUAL = (
    plain("pixels", "normalise"),
    conv("conv1", [3, 6], 3, padding=1),
    pool("pool1", "max_pool", 3, 2, 1),
    plain("relu1", "relu"),
    conv("conv2", [6, 6], 3, padding=1, groups=2),
    plain("sum", "add", inputs=["pool1", "conv2"]),
    pool("mean", "average_pool", 2, 2),
    plain("flat", "flatten"),
    linear([36, CLASSES]),
)
REUSED = (
    conv("conv1", [1, 6], [3, 2]),
    plain("relu1", "relu"),
    conv("conv2", [6, 6], 3, stride=[1, 2], padding=1),
    plain("relu2", "relu", same_as="relu1"),
    plain("mean", "global_mean"),
    linear([6, CLASSES]),
)
# Its last column is never read: gradients there are exactly zero.
EXACT = (
    plain("pixels", "normalise"),
    conv("conv1", [3, 4], 3, stride=2, bias=False),
    pool("pool1", "max_pool", 2, 1),
    plain("relu1", "relu"),
    conv("conv2", [4, 4], [2, 1]),
    plain("norm2", "scale_shift", channels=4),
    plain("relu2", "relu"),
    plain("flat", "flatten"),
    linear([16, CLASSES]),
)
# No constant anywhere: a black image is zero in every layer, and so is its gradient.
BLACK = (
    conv("conv1", [1, 4], 3, padding=1, bias=False),
    plain("relu1", "relu"),
    pool("pool1", "max_pool", 2, 2),
    plain("flat", "flatten"),
    linear([48, CLASSES], bias=False),
)
LINEAR = (plain("flat", "flatten"), linear([60, CLASSES], bias=False))

NETWORKS: dict[str, Network] = {
    "plain": Network((3, 10, 8), PLAIN, "relu2"),
    # A saturated softmax: 1 - p of a label is 1e-7.
    "sure": Network((3, 10, 8), PLAIN, "relu2", spread=8.0, seed="plain"),
    "residual": Network((3, 9, 11), RESIDUAL, "sum"),
    "reused": Network((1, 8, 10), REUSED, "conv2"),
    "exact": Network((3, 9, 8), EXACT, "relu2", exact=True, seed="exact 0"),
    "black": Network((1, 8, 6), BLACK, "conv1", exact=True, seed="black 2"),
    "linear": Network((3, 5, 4), LINEAR),
}


def numbers(
    draws: random.Random, shape: tuple[int, ...], bits: int, low: float = -1.0, high: float = 1.0
) -> Array:
    """Uniform multiples of 2^-bits."""
    drawn = [low + (high - low) * draws.random() for _ in range(int(np.prod(shape)))]
    return rounded(np.array(drawn), bits).reshape(shape)


def rounded(values: Array, bits: int) -> Array:
    """The nearest multiples of 2^-bits."""
    return np.round(values * 2**bits) / 2**bits


def images(name: str) -> Array:
    """(3, c, h, w): pixels at both bounds, and constant patches, in which maxima are equal."""
    network, draws = NETWORKS[name], random.Random(f"images of {name}")
    bits = COARSE_IMAGE if network.exact else 8
    x = numbers(draws, (IMAGES, *network.image), bits, -0.2, 1.2).clip(0, 1)
    x[1, :, 2:6, 1:4], x[2, :, :4, :3] = 0.5, 0.0
    if name == "black":
        x[0] = 0.0
    return x


def initial_weights(name: str) -> dict[str, Array]:
    """Every tensor of a network by layer and part, the last layer not yet scaled."""
    network = NETWORKS[name]
    draws, found = random.Random(network.seed or name), {}
    bits = COARSE if network.exact else FINE
    for layer in network.layers:
        place, op = layer["name"], layer["op"]
        if op == "normalise":
            coarse = np.array([0.5, 0.25, 0.5])
            found[f"{place}.mean"] = coarse if network.exact else coarse - [0.1, -0.25, -0.1]
            found[f"{place}.std"] = coarse if network.exact else coarse / 2 + [-0.05, 0.125, 0.05]
        elif op == "scale_shift":
            found[f"{place}.scale"] = numbers(draws, (layer["channels"],), bits, 0.5, 1.5)
            found[f"{place}.shift"] = numbers(draws, (layer["channels"],), bits)
        elif op in ("conv", "linear"):
            inside, outside = layer["channels" if op == "conv" else "features"]
            kernel = layer["kernel"] if op == "conv" else []
            shape = (outside, inside // layer.get("groups", 1), *kernel)
            size = 1.0 if network.exact else 1.4 * float(3 / np.prod(shape[1:])) ** 0.5
            found[f"{place}.weight"] = numbers(draws, shape, bits, -size, size)
            if layer["bias"]:
                found[f"{place}.bias"] = numbers(draws, (outside,), bits, -size / 4, size / 4)
    return {key: rounded(value, FINE) for key, value in found.items()}


def spread_logits(
    name: str, weights: dict[str, Array], logits: Callable[[dict[str, Array]], Array]
) -> dict[str, Array]:
    """The same, the logits of its images centred and spread: by a power of two, to stay exact."""
    found = logits(weights)
    factor = 2.0 ** np.round(np.log2(NETWORKS[name].spread / found.std(0).mean()))
    spread = {**weights, "linear.weight": weights["linear.weight"] * factor}
    if "linear.bias" in weights:
        spread["linear.bias"] = rounded(factor * (weights["linear.bias"] - found.mean(0)), 6)
    return spread
