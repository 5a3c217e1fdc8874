"""The zoo: small classifiers that we train ourselves, with their weights as safetensors beside them.

`benchmarks/train_zoo.py` trains them; the `.json` beside each weight file records script, seed, epochs and accuracy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from torch import nn

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DIGITS = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True)
class Entry:
    """What is needed to build and wrap one zoo model: its architecture, preprocessing, Grad-CAM layer and classes."""

    build: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layer: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    samples: str

    def module(self) -> nn.Module:
        """A new, untrained network of this architecture (its weights come from torch's global random state)."""
        from . import networks

        network: nn.Module = getattr(networks, self.build)()
        return network


ZOO: dict[str, Entry] = {
    "fashion_cnn": Entry(
        "FashionCNN", (0.2860,), (0.3530,), "features.conv5", FASHION_CLASSES, (1, 28, 28), "samples:fashion_mnist"
    ),
    "fashion_alexnet": Entry(
        "FashionAlexNet", (0.2860,), (0.3530,), "features.conv5", FASHION_CLASSES, (1, 28, 28), "samples:fashion_mnist"
    ),
    "digits_cnn": Entry("DigitsCNN", (0.3053,), (0.3760,), "features.conv2", DIGITS, (1, 8, 8), "sklearn:digits"),
}


def weights_file(name: str) -> Any:
    """The shipped `.safetensors` of a zoo model (it may not exist: `digits_cnn` is trained when it is loaded)."""
    return files(__package__) / f"{name}.safetensors"


def record(name: str) -> dict[str, Any]:
    """How the shipped weights of a zoo model were made: script, seed, epochs, torch version and test accuracy."""
    text = (files(__package__) / f"{name}.json").read_text(encoding="utf-8")
    recorded: dict[str, Any] = json.loads(text)
    return recorded
