"""Checks before anything runs: each says what was expected, what came, and what to do."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bridge.core.examine import bad_logits, check_habits, no_logits, of_kind, refuse
from bridge.core.facts import Facts
from bridge.core.kinds import is_exported
from bridge.core.method import Method
from bridge.core.model import ModelAdapter, wrap
from bridge.core.turns import turn
from bridge.core.warn import warn

# Images may leave the bounds by this share of the range through float rounding (1 + 1.2e-7); they
# are clipped back.
ROUNDING = 1e-6


def check_model(model: nn.Module) -> ModelAdapter:
    """The adapter of a model; a plain module is wrapped with no normalisation.

    Warns where the model is in training mode. Raises ValueError where it has no weights yet.
    """
    adapter = model if isinstance(model, ModelAdapter) else wrap(model)
    parts = adapter.parts()
    weights = [p for part in parts for p in part._parameters.values() if p is not None]
    usable = set(map(type, weights)) <= {nn.Parameter} and not (
        any(map(attrgetter("is_meta"), weights)) or any(map(Tensor.is_inference, weights))
    )
    for name, parameter in () if usable else adapter.module.named_parameters():
        if is_lazy(parameter):
            raise ValueError(
                f"the parameter {name!r} of {adapter.name} has no shape yet (a lazy module): pass "
                "one batch through the model first"
            )
        if parameter.is_meta or parameter.is_inference():
            how = (
                "on the device meta, without weights"
                if parameter.is_meta
                else ("made in inference_mode, which autograd cannot follow")
            )
            raise ValueError(
                f"the parameter {name!r} of {adapter.name} is {how}: load the model's weights "
                "outside of it"
            )
    with turn():  # another thread may have it in evaluation mode just now
        training = any(getattr(m, "training", False) for m in parts)
    if training and not is_exported(adapter.module):
        warn(
            f"the model {adapter.name} is in training mode: bridge runs it in evaluation mode "
            "(batch norm and dropout fixed) and puts the mode back; call model.eval() to silence "
            "this"
        )
    return adapter


def check_images(model: ModelAdapter, x: Any) -> Tensor:
    """The images (n, c, h, w) within the bounds, detached, contiguous and on their own memory.

    Raises TypeError or ValueError for what is no such images, naming the remedy.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"images must be a torch.Tensor (n, c, h, w), got {type(x).__name__}")
    if x.layout != torch.strided or x.is_nested or x.is_meta:
        kind = "nested" if x.is_nested else "on the device meta" if x.is_meta else "sparse"
        raise ValueError(f"images are {kind}, expected a dense tensor with numbers in it")
    if not x.is_floating_point():
        raise TypeError(
            f"images are {x.dtype}, expected floating point: for 8-bit images pass x.float() / 255"
        )
    if x.ndim != 4:
        raise ValueError(
            f"images have shape {tuple(x.shape)}, expected (n, c, h, w)"
            + (": pass x[None]" if x.ndim == 3 else "")
        )
    if not x.numel():
        raise ValueError(f"images have shape {tuple(x.shape)}: there is nothing in them")
    if not x.is_leaf:
        warn(
            "the images are the result of a computation that tracks gradients: bridge works on "
            "x.detach()"
        )
    x = x.detach()
    low, high = model.bounds
    smallest, largest = (float(end) for end in x.aminmax())  # NaN comes through
    if not math.isfinite(smallest + largest):
        bad = ~x.isfinite().flatten(1).all(1)
        raise ValueError(f"images {bad.nonzero()[:, 0].tolist()} contain NaN or infinity")
    slack = ROUNDING * (high - low)
    if smallest < low - slack or largest > high + slack:
        hint = (
            "8-bit values? pass x / 255"
            if smallest >= 0 and largest > 2 and largest <= 255
            else "they look normalised: pass plain pixels and give wrap(..., mean=, std=) instead, "
            "so that it is done once"
            if smallest < 0
            else "scale them into the bounds"
        )
        raise ValueError(
            f"images lie in [{smallest:.4g}, {largest:.4g}], outside the model's bounds "
            f"[{low:g}, {high:g}]: {hint}; or state other bounds with "
            f"wrap(..., bounds=({smallest:.4g}, {largest:.4g}))"
        )
    device, dtype = model.device, model.dtype
    if device is not None and x.device != device:
        raise ValueError(
            f"images are on {x.device} and the model on {device}: pass x.to({str(device)!r})"
        )
    if dtype is not None and x.dtype != dtype:
        raise ValueError(f"images are {x.dtype} and the model {dtype}: pass x.to({dtype})")
    channels = 0 if model.mean is None else model.mean.shape[1]
    if channels > 1 and x.shape[1] != channels:
        raise ValueError(
            f"images have {x.shape[1]} channels, but the model's mean and std have {channels}"
        )
    copy = x.clone(memory_format=torch.contiguous_format)
    return copy if low <= smallest and largest <= high else copy.clamp_(low, high)


def check_labels(labels: Any, x: Tensor, classes: int, what: str = "labels") -> Tensor:
    """The classes of images `x`, (n,) int64 on their device. Never broadcasts, never rounds.

    Raises TypeError for what are no integers, ValueError for another count or for classes outside 0
    to `classes` - 1; `what` names them in the message.
    """
    if isinstance(labels, int | np.integer) and not isinstance(labels, bool):
        labels = [int(labels)]
    try:
        tensor = labels if isinstance(labels, Tensor) else torch.as_tensor(np.asarray(labels))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{what} must be integers, one an image, got {type(labels).__name__}"
        ) from error
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{what} are {tensor.dtype}, expected integers (int64), one class an image")
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_meta:
        kind = "on the device meta" if tensor.is_meta else "sparse or nested"
        raise ValueError(f"{what} are {kind}, expected a dense tensor of integers")
    tensor = tensor.detach().to(device=x.device, dtype=torch.int64, copy=True)
    tensor = tensor[None] if tensor.ndim == 0 else tensor
    if tuple(tensor.shape) != (len(x),):
        raise ValueError(
            f"{what} have shape {tuple(tensor.shape)} for {len(x)} images, expected ({len(x)},): "
            "one an image"
        )
    smallest, largest = (int(end) for end in tensor.aminmax())
    if smallest < 0 or largest >= classes:
        raise ValueError(
            f"{what} reach from {smallest} to {largest}, but the model has "
            f"{classes} classes (0 to {classes - 1})"
        )
    return tensor


def check_logits(model: ModelAdapter, facts: Facts) -> int:
    """The number of classes. Raises ValueError for outputs that are no logits.

    Warns for probabilities.
    """
    logits = facts.logits
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(
            f"the model's output has shape {tuple(logits.shape)}, expected (n, classes) with at "
            "least two classes: bridge works on classifiers"
        )
    kind = f"a {logits.layout} tensor" if logits.layout != torch.strided else str(logits.dtype)
    if logits.layout != torch.strided or not logits.is_floating_point():
        raise TypeError(f"the model's output is {kind}, expected dense logits in floating point")
    if logits.is_meta:
        raise ValueError("the model's output is on the device meta, without numbers")
    if len(logits) != facts.images:
        raise ValueError(
            f"the model gave {len(logits)} rows of logits for a batch of {facts.images} images, "
            "expected one an image"
        )
    if not facts.usable:
        model.forget()  # of other images they may be finite
        raise no_logits(~logits.isfinite().all(1))
    if facts.look_like == "probabilities":
        warn(
            f"the outputs of {model.name} look like probabilities (they are positive and sum to "
            "1): their gradients vanish where the model is sure, and attacks take the softmax "
            "twice; wrap the model without its softmax"
        )
    elif facts.look_like == "log-probabilities":
        warn(
            f"the outputs of {model.name} look like log-probabilities (log_softmax): attacks are "
            "not affected, but attributions explain log p_t instead of the logit; wrap the model "
            "without its log_softmax"
        )
    return int(logits.shape[1])


def check_needs(method: Method, model: ModelAdapter, x: Tensor) -> None:
    """Raise ValueError where the model lacks what a method needs; warn where it half has it."""
    known = model.known(x) if method.tags.gradient else None
    if known is not None and not known.differentiable:
        kind = of_kind(model)
        raise ValueError(
            f"{method.name} needs gradients, and none reaches the images through {model.name}"
            + (kind.rstrip(",") or " (a detach, no_grad or rounding in its forward?)")
        )
    if "layer" in method.needs:
        model.grid_layer(x)
    if without_attention(method, model, x):
        raise ValueError(
            f"{method.name} looks at attention, and {model.name}{of_kind(model)} has none that runs"
        )
    if "tokens" in method.needs:
        try:
            model.tokens(x)
        except ValueError as error:
            raise ValueError(
                f"{method.name} needs attention over cells of the image, which {model.name} has "
                f"not: {error}"
            ) from error
    if "relu" in method.needs:
        modules = model.facts(x).relu_calls
        functional = model.facts(x).relu_operations - modules
        if known is not None and known.aside:
            raise ValueError(
                f"{method.name} changes the gradient of nn.ReLU modules, and no image goes through "
                f"any of those of {model.name} (they make position biases, say): the result would "
                "silently be the plain gradient; use a method that needs no ReLU"
            )
        if not modules:
            kind = of_kind(model)
            raise ValueError(
                f"{method.name} changes the gradient of nn.ReLU modules and {model.name}{kind} has "
                "none that run"
                + (f" (its {functional} ReLUs are functional calls)" if functional > 0 else "")
                + ": the result would silently be the plain gradient; use nn.ReLU modules"
                + (" (pass the module that it was made of)" if kind else "")
            )
        if functional > 0:
            warn(
                f"{functional} of the {functional + modules} ReLUs of {model.name} are functional "
                f"calls, not nn.ReLU modules: {method.name} cannot change their gradient"
            )


def without_attention(method: Method, model: ModelAdapter, x: Tensor) -> bool:
    """Whether a method looks at attention, and the model is of a kind that has none."""
    return bool(method.needs & {"attention", "tokens"}) and not model.facts(x).attentions


def check_batch(
    model: nn.Module, x: Any, *, every: bool = False
) -> tuple[ModelAdapter, Tensor, int]:
    """All checks that need no labels: (adapter, images, number of classes).

    With `every` the logits of all images are looked at, not only of the first four. Raises
    TypeError or ValueError for images `x` and a model that do not fit together; warns for what
    would make numbers misleading.
    """
    adapter = check_model(model)
    images = check_images(adapter, x)
    with turn():
        try:
            facts = adapter.facts(images)
        except BaseException as error:
            refuse(adapter, images, error)
        classes = check_logits(adapter, facts)
        check_habits(adapter, images)
        if every and bool((bad := bad_logits(adapter, images)).any()):
            raise no_logits(bad)
    return adapter, images, classes


def preflight(
    model: nn.Module, x: Any, labels: Any, *, what: str = "labels"
) -> tuple[ModelAdapter, Tensor, Tensor]:
    """All checks that do not depend on the method: (adapter, images, labels) ready to use.

    Those of `check_batch`, and of the classes `labels` (called `what` in messages).
    """
    adapter, images, classes = check_batch(model, x)
    return adapter, images, check_labels(labels, images, classes, what)
