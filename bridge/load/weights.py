"""Weights from a file, without running what is in it."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from bridge.core.model import ModelAdapter


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Load a state dict into a module, every key and shape matching.

    `path`: a .safetensors file, or a .pt or .pth file of plain tensors, also under "state_dict". A
    leading `module.` of DataParallel is dropped. A wrapped model gets them inside.

    Raises ValueError for a missing or corrupt file, for a pickle that holds more than tensors, and
    for keys or shapes that do not fit.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"there is no weight file {path}")
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    target = module.module if isinstance(module, ModelAdapter) else module
    try:
        target.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit this model: {error}") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error})") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors, and loading it could run any code: it is refused; "
            "save model.state_dict() as .safetensors instead"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a readable weight file ({error})") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values()):
        return state
    raise ValueError(f"{path} holds no state dict (names to tensors)")
