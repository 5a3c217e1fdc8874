"""`torchvision:NAME`: torchvision's classifiers with their preferred weights."""

from __future__ import annotations

from typing import Any

from bridge.load.models import Loaded, downloading, model_source, nearest


@model_source("torchvision")
def torchvision(name: str, pretrained: bool) -> Loaded:
    """A classifier of torchvision, with the preprocessing and classes of its default weights."""
    from torchvision import models

    classifiers = models.list_models(module=models)
    if name not in classifiers:
        known = nearest(name, classifiers) or ": see torchvision.models.list_models()"
        raise ValueError(f"torchvision has no classifier {name!r}{known}")
    weights: Any = models.get_model_weights(name).DEFAULT
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # They normalise a second time by themselves, and warn where nobody chose how they begin.
        options = {"transform_input": False} | ({} if pretrained else {"init_weights": True})
    try:
        module = models.get_model(name, weights=weights if pretrained else None, **options)
    except Exception as error:
        if pretrained:  # a cache that cannot be written, a file cut short, no network
            raise downloading(f"torchvision:{name}", error) from error
        raise
    preset, classes = weights.transforms(), weights.meta.get("categories")
    return module, {"mean": preset.mean, "std": preset.std, "class_names": classes}
