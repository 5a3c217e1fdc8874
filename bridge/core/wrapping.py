"""What `wrap` is told of a model, checked: each says what was expected and what came."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from bridge.core.layers import Reshape


def check_module(module: Any) -> None:
    """Raise TypeError for what is no torch module."""
    if isinstance(module, nn.Module):
        return
    hint = ""
    if inspect.isclass(module) and issubclass(module, nn.Module):
        hint = f", a class: pass an instance, {module.__name__}()"
    elif isinstance(module, str):
        hint = ": bridge.load_model takes a model's name"
    elif isinstance(module, Mapping):
        hint = ": weights alone are no model; load_state_dict them into one"
    raise TypeError(f"expected a torch.nn.Module, got {type(module).__name__}{hint}")


def pixel_bounds(bounds: Any) -> tuple[float, float]:
    """(lowest, highest), finite and in this order."""
    wrong = f"bounds must be two numbers, (lowest, highest) pixel value, got {bounds!r}"
    if isinstance(bounds, str) or not isinstance(bounds, Sequence | Tensor):
        raise TypeError(wrong)
    if len(bounds) != 2:
        raise ValueError(wrong)
    if not all(isinstance(bound, Real | Tensor) for bound in bounds):
        raise TypeError(wrong)
    low, high = (float(bound) for bound in bounds)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"bounds must be finite, (lowest, highest) pixel value, got {bounds!r}")
    if not low < high:
        raise ValueError(wrong)
    return low, high


def normalisation(
    mean: Any, std: Any, low: float, high: float
) -> tuple[Tensor | None, Tensor | None]:
    """Mean and standard deviation as tensors (1, c, 1, 1); None where neither was given."""
    if mean is None and std is None:
        return None, None
    means = _per_channel(0.0 if mean is None else mean, "mean")
    stds = _per_channel(1.0 if std is None else std, "std")
    if bool((stds <= 0).any()):
        raise ValueError(f"std must be positive, got {std}")
    if 1 != means.shape[1] != stds.shape[1] != 1:
        counts = f"{means.shape[1]} and {stds.shape[1]}"
        raise ValueError(f"mean and std must have one value a channel, got {counts} of them")
    middle, span = (low + high) / 2, high - low
    if bool(((means - middle).abs() > 1.5 * span).any()):
        raise ValueError(
            f"mean {mean} lies far outside the bounds of the pixels, [{low:g}, {high:g}]: give "
            "wrap(..., bounds=(0, 255)) for pixels of 0 to 255, or mean / 255 and std / 255"
        )
    return means, stds


def _per_channel(values: Any, name: str) -> Tensor:
    try:
        tensor = torch.as_tensor(values, dtype=torch.float64).detach().clone().flatten()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be numbers, one a channel, got {values!r}") from error
    if not tensor.numel() or not bool(tensor.isfinite().all()):
        raise ValueError(f"{name} must be finite numbers, one a channel, got {values}")
    return tensor.view(1, -1, 1, 1)


def layer_name(module: nn.Module, layer: Any) -> str | None:
    """The dotted name of a layer given by its name or itself."""
    named = {name: part for name, part in module.named_modules() if name}
    if isinstance(layer, nn.Module):
        name = next((name for name, part in named.items() if part is layer), None)
        if name is None:
            raise ValueError(f"layer {type(layer).__name__} is not a submodule of the model")
        return name
    if layer is not None and not isinstance(layer, str):
        raise TypeError(f"layer must be the name of a submodule, or itself, got {layer!r}")
    compiled = f"_orig_mod.{layer}"  # as torch.compile calls what it was given
    if layer is not None and layer not in named and compiled in named:
        return compiled
    if layer is not None and layer not in named:
        last = ", ".join(list(named)[-12:])
        raise ValueError(f"the model has no layer {layer!r}; its layers are {last}")
    return layer


def checked_reshape(reshape: Any, layer: Any) -> Reshape | None:
    """What makes (n, c, h, w) of the output of the layer that is stated with it."""
    if reshape is not None and not callable(reshape):
        kind = type(reshape).__name__
        raise TypeError(
            f"reshape must be a function of the layer's output that gives (n, c, h, w), got {kind}"
        )
    if reshape is not None and layer is None:
        raise ValueError("reshape is for the output of a stated layer: pass layer=NAME with it")
    return reshape


def names_of_classes(names: Any) -> tuple[str, ...] | None:
    """One name a class, in order; of a text its letters ("0123456789")."""
    if names is None:
        return None
    if isinstance(names, set | frozenset | Mapping) or not hasattr(names, "__iter__"):
        kind = type(names).__name__
        raise TypeError(f"class_names must be a list of names in the classes' order, got a {kind}")
    return tuple(map(str, names))
