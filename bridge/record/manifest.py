"""What a run was made of, so that it can be read and repeated: model, images, versions, device."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter

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


def device_name(device: torch.device) -> str:
    """The accelerator's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def describe(model: ModelAdapter, x: Tensor) -> dict[str, Any]:
    """The card of a run: when, which model, preprocessing, images, versions and device."""
    try:
        layer: str | None = model.cam_layer_name(x)
    except ValueError:
        layer = None
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
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "platform": platform.platform(),
        },
        "versions": versions(),
    }


def plain(value: Any) -> Any:
    """The value in JSON's types: small tensors as lists, large ones as their shape, else its text.

    >>> plain({"size": (8, 0.5), "dtype": torch.float32})
    {'size': [8, 0.5], 'dtype': 'torch.float32'}
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, Tensor):
        return (
            value.flatten().tolist()
            if value.numel() <= 16
            else f"tensor of shape {tuple(value.shape)}"
        )
    return str(value)
