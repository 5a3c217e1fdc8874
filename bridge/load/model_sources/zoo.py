"""`zoo:NAME`: the small classifiers that come with bridge."""

from __future__ import annotations

from importlib.resources import as_file
from typing import Any

from torch import nn

from bridge.core.state import seeded
from bridge.load.data import load_batch
from bridge.load.models import Loaded, model_source
from bridge.load.weights import load_weights
from bridge.zoo import ZOO, Entry, weights_file
from bridge.zoo.train import train


@model_source("zoo")
def zoo(name: str, pretrained: bool) -> Loaded:
    """A model of the zoo, with its weights, preprocessing, Grad-CAM layer and classes."""
    if name not in ZOO:
        raise ValueError(f"unknown zoo model {name!r}: expected one of {', '.join(ZOO)}")
    entry = ZOO[name]
    with seeded(0):
        module = entry.module()
        if pretrained and entry.training:
            _train(module, entry)
        elif pretrained:
            with as_file(weights_file(name)) as path:
                load_weights(module, path)
    wrapping: dict[str, Any] = {
        "mean": entry.mean,
        "std": entry.std,
        "layer": entry.layer,
        "class_names": entry.class_names,
    }
    return module, wrapping


def _train(module: nn.Module, entry: Entry) -> None:
    """Seconds of training on the entry's own images, the same every time."""
    x, labels = load_batch(entry.samples, n=None, split="train")
    assert labels is not None  # the zoo's own images have them
    train(module, (x - entry.mean[0]) / entry.std[0], labels, **entry.training)
