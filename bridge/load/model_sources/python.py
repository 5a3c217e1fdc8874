"""`python:PACKAGE.MODULE:FACTORY` and `python:FILE.py:FACTORY`: the user's own networks."""

from __future__ import annotations

from torch import nn

from bridge.load.models import Loaded, model_source
from bridge.load.objects import failed, load_object


@model_source("python")
def python(name: str, pretrained: bool) -> Loaded:
    """What a function without arguments returns, or a module that is there already."""
    made = load_object(name)
    module = made
    if callable(made) and not isinstance(made, nn.Module):
        try:
            module = made()
        except (Exception, SystemExit) as error:
            raise ValueError(f"{name} cannot make a model: {failed(error)}") from error
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"{name} gave a {type(module).__name__}, expected a torch.nn.Module or a function that "
            "returns one"
        )
    return module, {}
