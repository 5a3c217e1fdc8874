"""Weights from a file, without running what is in it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bridge.core.kinds import is_compiled
from bridge.core.model import ModelAdapter

WRAPPERS = ("module.", "_orig_mod.")  # what stands before names that were saved from inside them


def existing(path: str | Path, what: str = "file") -> Path:
    """A file's path; a leading ~ is the home folder. Raises ValueError where there is none."""
    path = Path(os.path.expanduser(path))  # Path.expanduser raises for a ~ of nobody
    if not os.path.isfile(path):  # which a named pipe is not, that would wait for ever
        found = "is no file" if os.path.exists(path) else "is not there"
        raise ValueError(f"there is no {what} {path}: it {found}")
    return path


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Load a state dict into a module, every key and shape matching.

    `path`: a .safetensors file, or a .pt or .pth file of plain tensors, also under "state_dict". A
    leading `module.` of DataParallel is dropped. A wrapped model gets them inside.

    Raises ValueError for a missing or corrupt file, for a pickle that holds more than tensors, and
    for keys or shapes that do not fit; the module is then as it was.
    """
    path = existing(path, "weight file")
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for wrapper in WRAPPERS:
        if state and all(key.startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): value for key, value in state.items()}
    target = module.module if isinstance(module, ModelAdapter) else module
    if is_compiled(target):
        target = getattr(target, "_orig_mod", target)
    before = {name: value.detach().clone() for name, value in target.state_dict().items()}
    try:
        for name in state.keys() & before.keys():
            if state[name].is_complex() and not before[name].is_complex():
                raise ValueError(f"{name} is {state[name].dtype}, expected {before[name].dtype}")
        target.load_state_dict(state)
    except Exception as error:  # a module may load in a way of its own
        with torch.no_grad():  # some may have been taken already
            for name, value in target.state_dict().items():
                value.copy_(before[name])
        text = " ".join(str(error).split())
        raise ValueError(f"the weights in {path} do not fit this model: {text}") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error})") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors, and loading it could run any code: it is refused; "
            "save model.state_dict() as .safetensors instead"
        ) from error
    except Exception as error:  # a broken file raises whatever its reader stumbles over
        text = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} is not a readable weight file ({text})") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds no state dict (names to tensors): {_kind(state)}")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"{path} holds no state dict (names to tensors): {key!r} is {_kind(value)}"
            )
    return state


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
