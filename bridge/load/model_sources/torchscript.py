"""`torchscript:FILE.pt`: what torch.jit.save wrote; its submodules cannot be hooked."""

from __future__ import annotations

import torch

from bridge.load.models import Loaded, model_source
from bridge.load.weights import existing


@model_source("torchscript")
def torchscript(name: str, pretrained: bool) -> Loaded:
    """A scripted or traced model with its weights; gradients reach the images as in any other.

    Methods that need its layers or its ReLUs are refused on it, and say so.
    """
    path = existing(name)
    try:
        return torch.jit.load(str(path), map_location="cpu"), {}
    except Exception as error:  # a broken file raises whatever its reader stumbles over
        text = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{name} is no TorchScript file ({text}): expected what torch.jit.save writes; weights "
            "alone go to a model of another source, weights=FILE or --weights FILE"
        ) from error
