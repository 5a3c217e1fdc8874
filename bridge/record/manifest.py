"""What a run was made of, so that it can be read and repeated: model, images, versions, device."""

from __future__ import annotations

import datetime
import math
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bridge.core.model import ModelAdapter

SMALL = 16  # numbers: more are not listed
PACKAGES = ("gradbridge", "torch", "torchvision", "captum", "foolbox", "numpy", "scipy", "pandas")


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str | None]:
    """Installed version of each distribution, None where it is absent."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def installed(between: str = "; ") -> str:
    """The versions of what is installed, in a line."""
    return between.join(f"{name} {number}" for name, number in versions().items() if number)


def device_name(device: torch.device) -> str:
    """The accelerator's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def autocast(device: torch.device) -> torch.dtype | None:
    """What autocast computes in on a device, None where it is off."""
    on = torch.is_autocast_enabled(device.type)
    return torch.get_autocast_dtype(device.type) if on else None


def describe(model: ModelAdapter, x: Tensor) -> dict[str, Any]:
    """The card of a run: when, which model, preprocessing, images, versions and device."""
    try:
        layer: str | None = model.cam_layer_name(x)
    except ValueError:
        layer = None
    habits = model.habits(x)
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "model": {
            "name": model.name,
            "class": type(model.module).__name__,
            "layer": layer,
            "bounds": model.bounds,
            "mean": model.mean,
            "std": model.std,
            "dtype": model.dtype,
            "class_names": model.class_names,
            "classes": int(model.facts(x).logits.shape[1]),
            "depends_on": habits.depends_on,
            "writes": habits.writes,
            "parameters": sum(p.numel() for p in model.module.parameters()),
        },
        "images": {
            "shape": tuple(x.shape),
            "dtype": x.dtype,
            "lowest": float(x.min()),
            "highest": float(x.max()),
        },
        "device": {
            "type": str(x.device),
            "name": device_name(x.device),
            "autocast": autocast(x.device),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "platform": platform.platform(),
        },
        "versions": versions(),
    }


def plain(value: Any) -> Any:
    """The value in JSON's types, whatever it is.

    Numbers that are not finite become text, which JSON has no other way to say. Small tensors and
    arrays become lists, large ones their shape; anything else its text.

    >>> plain({"size": (8, 0.5), "dtype": torch.float32, "gap": float("nan"), 3: {1}})
    {'size': [8, 0.5], 'dtype': 'torch.float32', 'gap': 'nan', '3': [1]}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, Tensor | np.ndarray):
        if math.prod(value.shape) <= SMALL:
            return plain(value.flatten().tolist())
        return f"{'tensor' if isinstance(value, Tensor) else 'array'} of shape {tuple(value.shape)}"
    return str(value)
