"""`lightning:FILE_OR_MODULE:CLASS@CHECKPOINT`: a LightningModule (extra `lightning`)."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

from torch import nn

from bridge.load.models import Loaded, missing, model_source
from bridge.load.objects import failed, load_object
from bridge.load.weights import existing


@model_source("lightning")
def lightning(name: str, pretrained: bool) -> Loaded:
    """A LightningModule made with the hyper-parameters of its checkpoint, and with its weights.

    Its forward(x) gives the logits. A checkpoint that holds more than tensors and plain numbers is
    refused: loading it could run any code.
    """
    place, _, file = name.rpartition("@")
    if not place:
        raise ValueError(f"{name!r} should be FILE.py:CLASS@CHECKPOINT or MODULE:CLASS@CHECKPOINT")
    path = existing(file)
    try:
        kind: Any = load_object(place)
    except ValueError as error:
        if isinstance(error.__cause__, ModuleNotFoundError) and "lightning" in str(error):
            raise missing("lightning", "lightning") from error
        raise
    if not (inspect.isclass(kind) and hasattr(kind, "load_from_checkpoint")):
        what = kind.__name__ if inspect.isclass(kind) else f"a {type(kind).__name__}"
        raise ValueError(f"{place} is {what}, expected a class of LightningModule")
    try:
        module: nn.Module = kind.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{file} holds more than tensors and plain numbers, and loading it could run any code: "
            f"it is refused; save model.state_dict() as .safetensors and pass it as weights of "
            f"python:{place}"
        ) from error
    except (Exception, SystemExit) as error:  # the class's own code runs
        text = " ".join(failed(error).split())
        raise ValueError(f"{place} cannot be made of {file}: {text}") from error
    return module, {}
