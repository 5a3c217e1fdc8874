"""`export:FILE.pt2`: what torch.export.save wrote; its submodules cannot be hooked."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from bridge.load.models import Loaded, model_source
from bridge.load.weights import existing


@model_source("export")
def export(name: str, pretrained: bool) -> Loaded:
    """An exported program as a module, in the mode and for the batch sizes that it was made for.

    Gradients reach the images, unless it was lowered for inference. Methods that need its layers or
    its ReLUs are refused on it, and say so.
    """
    path = existing(name)
    try:
        pickled = _pickled(path)
        program: Any = None if pickled else torch.export.load(path)
    except Exception as error:  # a broken file raises whatever its reader stumbles over
        text = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{name} is no exported program ({text}): expected what torch.export.save writes"
        ) from error
    if pickled:
        raise ValueError(
            f"{name} holds pickles ({pickled}), and loading them could run any code: it is refused"
        )
    return program.module(), {}


def _pickled(path: Path) -> str:
    """What in an archive would be unpickled, "" for nothing: plain tensors are bytes."""
    with zipfile.ZipFile(path) as archive:
        for each in archive.namelist():
            if each.endswith("_config.json"):
                for name, entry in json.loads(archive.read(each))["config"].items():
                    if entry.get("use_pickle") or not entry.get("tensor_meta"):
                        return name
            if "/sample_inputs/" in each:  # which torch.export.load would unpickle all the same
                try:
                    torch.load(io.BytesIO(archive.read(each)), weights_only=True)
                except pickle.UnpicklingError:
                    return "its sample inputs"
    return ""
