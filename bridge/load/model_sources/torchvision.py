"""`torchvision:NAME` and `torchvision:NAME@WEIGHTS`: torchvision's classifiers."""

from __future__ import annotations

from typing import Any

from bridge.core.resizing import Resizing
from bridge.load.models import Loaded, downloading, model_source, nearest


@model_source("torchvision")
def torchvision(name: str, pretrained: bool) -> Loaded:
    """A classifier of torchvision, with the preprocessing, size and classes of its weights.

    Of the weights that are named (`resnet50@IMAGENET1K_V1`), else of torchvision's preferred ones.
    """
    from torchvision import models

    name, _, wanted = name.partition("@")
    classifiers = models.list_models(module=models)
    if name not in classifiers:
        known = nearest(name, classifiers) or ": see torchvision.models.list_models()"
        raise ValueError(f"torchvision has no classifier {name!r}{known}")
    choice: Any = models.get_model_weights(name)
    if wanted and wanted not in choice.__members__:
        listed = ", ".join(["DEFAULT", *(each.name for each in choice)])
        raise ValueError(f"torchvision has no weights {wanted!r} of {name}, only {listed}")
    weights = choice[wanted or "DEFAULT"]
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # They normalise a second time by themselves, and warn where nobody chose how they begin.
        options = {"transform_input": False} | ({} if pretrained else {"init_weights": True})
    try:
        module = models.get_model(name, weights=weights if pretrained else None, **options)
    except Exception as error:
        if pretrained:  # a cache that cannot be written, a file cut short, no network
            raise downloading(f"torchvision:{name}@{weights.name}", error) from error
        raise
    preset = weights.transforms()
    wrapping = {
        "mean": preset.mean,
        "std": preset.std,
        "class_names": weights.meta.get("categories"),
        "resizing": Resizing(
            preset.resize_size[0], (preset.crop_size[0],) * 2, preset.interpolation.value
        ),
    }
    return module, wrapping
