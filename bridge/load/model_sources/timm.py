"""`timm:NAME`: the models of PyTorch Image Models (extra `timm`)."""

from __future__ import annotations

from bridge.load.models import Loaded, model_source


@model_source("timm")
def timm(name: str, pretrained: bool) -> Loaded:
    """A model of timm, with the preprocessing of its configuration."""
    try:
        import timm as library
    except ImportError as error:
        raise ValueError('timm is not installed: pip install "gradbridge[timm]"') from error
    try:
        module = library.create_model(name, pretrained=pretrained)
    except RuntimeError as error:
        raise ValueError(f"timm cannot build {name!r}: {error}") from error
    config = library.data.resolve_model_data_config(module)
    return module, {"mean": config["mean"], "std": config["std"]}
