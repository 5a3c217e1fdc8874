"""`torchvision:NAME`: torchvision's classifiers with their preferred weights."""

from __future__ import annotations

from typing import Any

from bridge.load.models import Loaded, model_source


@model_source("torchvision")
def torchvision(name: str, pretrained: bool) -> Loaded:
    """A classifier of torchvision, with the preprocessing and classes of its default weights."""
    from torchvision import models

    try:
        weights = models.get_model_weights(name).DEFAULT
    except ValueError as error:
        raise ValueError(
            f"torchvision has no classifier {name!r}: see torchvision.models.list_models()"
        ) from error
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # They normalise a second time by themselves, and warn where nobody chose how they begin.
        options = {"transform_input": False} | ({} if pretrained else {"init_weights": True})
    module = models.get_model(name, weights=weights if pretrained else None, **options)
    preset, classes = weights.transforms(), weights.meta.get("categories")
    return module, {"mean": preset.mean, "std": preset.std, "class_names": classes}
