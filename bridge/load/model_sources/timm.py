"""`timm:NAME`: the models of PyTorch Image Models (extra `timm`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bridge.core.resizing import Resizing
from bridge.load import names
from bridge.load.models import Loaded, downloading, missing, model_source, nearest, quiet_hub


@model_source("timm")
def timm(name: str, pretrained: bool) -> Loaded:
    """A model of timm, with the preprocessing and the test size of its configuration.

    Models of ImageNet-1k have its class names: timm keeps the usual order.
    """
    try:
        import timm as library
    except ImportError as error:
        raise missing("timm", "timm") from error
    try:
        with quiet_hub():
            module: Any = library.create_model(name, pretrained=pretrained)
    except RuntimeError as error:  # no such model, or none with weights
        known = nearest(name.partition(".")[0], library.list_models())
        raise ValueError(f"timm cannot build {name!r} ({error}){known}") from error
    except Exception as error:
        if pretrained:
            raise downloading(f"timm:{name}", error) from error
        raise
    config = library.data.resolve_model_data_config(module, use_test_size=True)
    wrapping: dict[str, Any] = {
        "mean": config["mean"],
        "std": config["std"],
        "resizing": resizing_of(config),
    }
    if library.data.infer_imagenet_subset(module) == "imagenet-1k":
        wrapping["class_names"] = names.imagenet()
    return module, wrapping


def resizing_of(config: Mapping[str, Any]) -> Resizing | None:
    """What `timm.data.create_transform(**config)` does to sizes; None for borders around images."""
    crop = tuple(config["input_size"][-2:])
    height, width = (math.floor(side / config["crop_pct"]) for side in crop)
    if config["crop_mode"] == "squash":
        return Resizing((height, width), crop, config["interpolation"])
    if config["crop_mode"] == "center" and height == width:
        return Resizing(height, crop, config["interpolation"])
    return None
