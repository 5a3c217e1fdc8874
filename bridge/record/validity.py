"""Is what a run directory holds a run? Its card, its tensors and its tables, one by one."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from bridge.record import store
from bridge.tables import Table, stated, tables

# What reports read of a card. A type, or a tuple of types; a mapping holds at least these.
TEXT = (str, type(None))
NUMBER = (int, float)
CARD: dict[str, Any] = {
    "created": str,
    "model": {
        "name": str,
        "class": str,
        "layer": TEXT,
        "bounds": list,
        "dtype": TEXT,
        "parameters": int,
    },
    "images": {"shape": list},
    "device": {"type": str, "name": str, "threads": int, "platform": str},
    "versions": dict,
}
# What need not be there: older runs lack some of it.
FURTHER: dict[str, Any] = {
    "finished": bool,
    "stopped_by": TEXT,
    "not_run": list,
    "labels": str,
    "command": str,
    "methods": dict,
    "functions": dict,
    "data": dict,
    "together": dict,
    "accuracy": (dict, type(None)),
    "judged": dict,
    "results": dict,
}
TOGETHER: dict[str, Any] = {
    "methods": list,
    "seconds": NUMBER,
    "forwards": NUMBER,
    "backwards": NUMBER,
    "one_after_another": dict,
}
SPENT: dict[str, Any] = {"seconds": NUMBER, "forwards": NUMBER, "backwards": NUMBER}


def check_card(manifest: Mapping[str, Any]) -> None:
    """Raise ValueError where a card lacks what every run says, or says it in another form."""
    _expect(CARD, manifest, "")
    _expect({key: kind for key, kind in FURTHER.items() if key in manifest}, manifest, "")
    model = manifest["model"]
    bounds = model["bounds"]
    if len(bounds) != 2 or not all(map(_is_number, bounds)) or not bounds[0] < bounds[1]:
        raise ValueError(f"model.bounds is {bounds}, expected [lowest, highest]")
    names = model.get("class_names")
    if names is not None and not (
        isinstance(names, list) and all(isinstance(name, str) for name in names)
    ):
        raise ValueError("model.class_names is no list of names")
    for name in ("mean", "std"):
        values = model.get(name)
        if isinstance(values, list) and not all(map(_is_number, values)):
            raise ValueError(f"model.{name} is {values}, expected numbers")
    for name, method in manifest.get("methods", {}).items():
        _expect({"params": dict}, method, f"methods.{name}.")
    for cell in manifest.get("not_run", ()):
        if not isinstance(cell, list) or len(cell) != 3:
            raise ValueError(f"not_run has {cell!r}, expected [method, implementation, epsilon]")
    if manifest.get("accuracy"):
        _expect({"right": int, "images": int}, manifest["accuracy"], "accuracy.")
    if manifest.get("together"):
        _expect(TOGETHER, manifest["together"], "together.")
        for name, sums in manifest["together"]["one_after_another"].items():
            _expect(SPENT, sums, f"together.one_after_another.{name}.")


def _expect(fields: Mapping[str, Any], found: Any, where: str) -> None:
    if not isinstance(found, Mapping):
        raise ValueError(f"{where.rstrip('.')} is {found!r}, expected an object")
    for key, kind in fields.items():
        if key not in found:
            raise ValueError(f"{where}{key} is missing")
        value = found[key]
        if isinstance(kind, dict):
            _expect(kind, value, f"{where}{key}.")
        elif not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            names = " or ".join(each.__name__ for each in kinds)
            raise ValueError(f"{where}{key} is {value!r}, expected {names}")


def _is_place(value: Any, images: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < images


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_images(tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError where there are no images and labels: the folder may be a benchmark's."""
    for name in ("x", "labels"):
        if name not in tensors:
            raise ValueError(f"it holds no {name!r}, so this is no comparison (a benchmark?)")


def check_tensors(tensors: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> None:
    """Raise ValueError for images, labels or outputs that do not fit together or the card."""
    x, labels = tensors["x"], tensors["labels"]
    if not x.is_floating_point() or x.ndim != 4 or not x.numel():
        raise ValueError(f"x is {x.dtype} of shape {tuple(x.shape)}, expected images (n, c, h, w)")
    if list(x.shape) != list(manifest["images"]["shape"]):
        raise ValueError(f"x has shape {list(x.shape)}, run.json {manifest['images']['shape']}")
    low, high = manifest["model"]["bounds"]
    slack = (high - low) * 4 * torch.finfo(x.dtype).eps
    smallest, largest = (float(end) for end in x.aminmax())  # NaN comes through
    if not (low - slack <= smallest and largest <= high + slack):
        raise ValueError(f"x lies in [{smallest:g}, {largest:g}], outside [{low:g}, {high:g}]")
    if labels.dtype != torch.int64 or tuple(labels.shape) != (len(x),):
        shape = tuple(labels.shape)
        raise ValueError(f"labels are {labels.dtype} of shape {shape}, expected int64 ({len(x)},)")
    names = manifest["model"].get("class_names")
    classes = manifest["model"].get("classes") or (len(names) if names else math.inf)
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(f"labels reach from {labels.min()} to {labels.max()} of {classes} classes")
    judged = manifest.get("judged", {}).get("images")
    if judged is not None and not all(_is_place(place, len(x)) for place in judged):
        raise ValueError(f"run.json judges images {judged} of {len(x)}")
    for name, output in tensors.items():
        if name not in ("x", "labels"):
            _check_output(name, output, x, (len(x), len(judged or x)))


def _check_output(name: str, output: Tensor, x: Tensor, counts: Collection[int]) -> None:
    _, _, epsilon = store.tensor_key(name)
    images = len(output) if output.ndim and len(output) in counts else len(x)
    expected = (images, *(x.shape[1:] if epsilon is not None else output.shape[1:]))
    if not output.is_floating_point() or tuple(output.shape) != expected:
        found = f"{output.dtype} of shape {tuple(output.shape)}"
        raise ValueError(f"{name} is {found}, expected floats of shape {expected}")


def check_table(table: Table, frame: pd.DataFrame, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError for a table that cannot be this run's."""
    table.check(frame)
    labels = tensors["labels"]
    if table.name == "predictions" and len(frame):
        if frame["image"].max() >= len(labels):
            raise ValueError(f"image {frame['image'].max()} of {len(labels)}")
        if frame["label"].tolist() != labels[frame["image"].tolist()].tolist():
            raise ValueError("its labels are not those of tensors.safetensors")
    if table.name == "attacks" and len(frame):
        for row in frame.to_dict("records"):
            key = row["method"], row["implementation"], stated(row["epsilon"])
            output = tensors.get(store.tensor_name(*key))
            if output is not None and output.shape[1:] != tensors["x"].shape[1:]:
                raise ValueError(f"{key} is an attack, but its tensor is no image")


def check_run(
    manifest: Mapping[str, Any], frames: Mapping[str, pd.DataFrame], tensors: Mapping[str, Tensor]
) -> None:
    """Raise ValueError naming the file of a run directory that is malformed, and how."""
    known = tables()
    parts: list[tuple[str, Any, tuple[Any, ...]]] = [
        (store.TENSORS, check_images, (tensors,)),
        (store.CARD, check_card, (manifest,)),
        (store.TENSORS, check_tensors, (tensors, manifest)),
    ]
    for name, frame in frames.items():
        if name in known:
            parts.append((f"{name}.parquet", check_table, (known[name], frame, tensors)))
    for file, check, given in parts:
        try:
            check(*given)
        except ValueError as error:
            raise ValueError(f"{file} is malformed: {error}") from error
        except Exception as error:  # values of kinds that no check expects
            raise ValueError(f"{file} is malformed: {type(error).__name__} {error}") from error
