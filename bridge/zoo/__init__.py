"""The zoo: small classifiers that we train ourselves, with their weights as safetensors.

`benchmarks/train_zoo.py` trains them; the `.json` beside each weight file records script, seed,
epochs and accuracy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from torch import nn

from bridge.zoo.networks import DigitsCNN, FashionAlexNet, FashionCNN

FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DIGITS = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True)
class Entry:
    """What is needed to build and wrap one zoo model.

    `mean` and `std`: of its images, a value a channel. `layer`: what Grad-CAM explains.
    `image_shape`: (c, h, w). `samples`: the source of images that fit it. `training`: a model that
    takes seconds is trained on its samples when it is loaded, with these options of
    `bridge.zoo.train.train`; the others' weights are shipped.
    """

    build: Callable[[], nn.Module]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layer: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    samples: str
    training: Mapping[str, Any] = field(default_factory=dict)

    def module(self) -> nn.Module:
        """A new, untrained network of this architecture, from torch's global random state."""
        return self.build()


ZOO: dict[str, Entry] = {
    "fashion_cnn": Entry(
        FashionCNN,
        mean=(0.2860,),
        std=(0.3530,),
        layer="features.conv5",
        class_names=FASHION_CLASSES,
        image_shape=(1, 28, 28),
        samples="samples:fashion_mnist",
    ),
    "fashion_alexnet": Entry(
        FashionAlexNet,
        mean=(0.2860,),
        std=(0.3530,),
        layer="features.conv5",
        class_names=FASHION_CLASSES,
        image_shape=(1, 28, 28),
        samples="samples:fashion_mnist",
    ),
    "digits_cnn": Entry(
        DigitsCNN,
        mean=(0.3053,),
        std=(0.3760,),
        layer="features.conv2",
        class_names=DIGITS,
        image_shape=(1, 8, 8),
        samples="sklearn:digits",
        training={"epochs": 8, "learning_rate": 1e-2, "batch": 64},
    ),
}


def weights_file(name: str) -> Any:
    """The shipped `.safetensors` of a zoo model; none where the model is trained when loaded."""
    return files(__package__) / f"{name}.safetensors"


def record(name: str) -> dict[str, Any]:
    """How the shipped weights of a zoo model were made: script, seed, epochs, versions, accuracy.

    >>> record("fashion_cnn")["script"]
    'benchmarks/train_zoo.py'
    """
    text = (files(__package__) / f"{name}.json").read_text(encoding="utf-8")
    recorded: dict[str, Any] = json.loads(text)
    return recorded
