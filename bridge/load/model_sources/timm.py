"""`timm:NAME`: the models of PyTorch Image Models (extra `timm`)."""

from __future__ import annotations

from typing import Any

from bridge.load import names
from bridge.load.models import Loaded, downloading, model_source, nearest


@model_source("timm")
def timm(name: str, pretrained: bool) -> Loaded:
    """A model of timm, with the preprocessing of its configuration.

    Models of ImageNet-1k have its class names: timm keeps the usual order.
    """
    try:
        import timm as library
    except ImportError as error:
        raise ValueError('timm is not installed: pip install "gradbridge[timm]"') from error
    try:
        module: Any = library.create_model(name, pretrained=pretrained)
    except RuntimeError as error:  # no such model, or none with weights
        known = nearest(name.partition(".")[0], library.list_models())
        raise ValueError(f"timm cannot build {name!r} ({error}){known}") from error
    except Exception as error:
        if pretrained:
            raise downloading(f"timm:{name}", error) from error
        raise
    config = library.data.resolve_model_data_config(module)
    wrapping: dict[str, Any] = {"mean": config["mean"], "std": config["std"]}
    if library.data.infer_imagenet_subset(module) == "imagenet-1k":
        wrapping["class_names"] = names.imagenet()
    return module, wrapping
