"""Can this model be explained and attacked? What stands in the way is found by trying it."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from bridge.conformance.model_report import FINITE, SAME, ModelReport
from bridge.core.errors import describe
from bridge.core.examine import layer_in_words, remarks
from bridge.core.gradients import input_gradient, predicted
from bridge.core.habits import COARSE, EXACT
from bridge.core.kinds import kind_of
from bridge.core.model import ModelAdapter, logits_of
from bridge.core.preflight import check_batch, check_needs
from bridge.core.preflight import check_model as adapted
from bridge.core.registry import get, methods
from bridge.core.resizing import Resizing
from bridge.core.state import frozen, seeded
from bridge.core.turns import turn
from bridge.core.types import BridgeWarning
from bridge.core.wide import wide
from bridge.load import channels_of, load_batch

FEW = 4  # images
NONE = "do not reach the images"
SIDES = (224, 32, 28, 64, 96, 128, 256, 299, 384, 512)  # tried until the model takes one


@torch.inference_mode(False)
def check_model(module: nn.Module, x: Tensor | None = None) -> ModelReport:
    """Is this classifier a function of one image, with finite gradients, the same in float64?

    `module`: a model, wrapped or plain. `x`: images (n, c, h, w) as it takes them, of which it is
    shown four (all, where it takes no other number); without them photographs in the size of its
    own transform, else in the first usual size that it takes. Some ten passes; no trace is left.

    Returns a `ModelReport`, also of a model that cannot be used: its `error` says why. Raises
    TypeError for what is no module, ValueError for one without weights yet.

    >>> import bridge
    >>> report = check_model(bridge.load_model("zoo:fashion_cnn"))
    >>> report.passed, report.classes, report.gradients, "saliency" in report.cannot_run
    (True, 10, 'finite', False)
    >>> logits = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).eval()
    >>> check_model(logits, torch.rand(2, 3, 4, 4)).cannot_run["guided_backprop"][:41]
    'guided_backprop changes the gradient of n'
    """
    with turn(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", BridgeWarning)
        model = adapted(module)
        known, error = _stated(model), ""
        try:
            if x is None:
                x, known["pictures"] = _photographs(model)
            else:
                known["pictures"] = "images that were given"
            model, images, known["classes"] = check_batch(model, x)
            known |= _seen(model, images)
        except (TypeError, ValueError) as problem:
            error = describe(problem)
    said = dict.fromkeys(str(each.message) for each in caught)
    return ModelReport(**known, remarks=tuple(said), error=error)


def _stated(model: ModelAdapter) -> dict[str, Any]:
    """What is known without a pass."""
    weights = sum(p.numel() for p in model.module.parameters())
    dtype = str(model.dtype).removeprefix("torch.")
    return {
        "name": model.name,
        "kind": kind_of(model.module) or f"plain modules ({type(model.module).__name__})",
        "weights": f"{weights:,} weights in {dtype} on {model.device}" if weights else "no weights",
        "bounds": model.bounds,
        "mean": None if model.mean is None else tuple(model.mean.flatten().tolist()),
        "std": None if model.std is None else tuple(model.std.flatten().tolist()),
        "resizing": "" if model.resizing is None else str(model.resizing),
        "named": model.class_names is not None,
    }


def _photographs(model: ModelAdapter) -> tuple[Tensor, str]:
    """A few in the model's own size, else in the first usual one that it takes."""
    own = model.resizing.result if model.resizing else None
    first: Exception | None = None
    channels = channels_of(model) or 3
    for shape in [own] if own else [(side, side) for side in SIDES]:
        size = Resizing(shape, None)
        x, _ = load_batch("samples:imagenet", FEW, size=size, channels=3 if channels == 3 else 1)
        low, top = model.bounds
        x = (low + (top - low) * x).expand(-1, channels, -1, -1)
        x = x.to(model.device or x.device, model.dtype or x.dtype).contiguous()
        try:
            model.facts(x)
            return x, "photographs" if own else "photographs in a size that was guessed"
        except Exception as error:  # anything, out of the user's own forward
            first = first or error
    assert first is not None
    tried = "of its own size" if own else f"of {', '.join(map(str, SIDES))} pixels a side"
    raise ValueError(f"it takes no image {tried}: {describe(first)}; pass images that it takes, x=")


def _seen(model: ModelAdapter, x: Tensor) -> dict[str, Any]:
    """What a few passes tell."""
    facts, habits = model.facts(x), model.habits(x)
    few = x if habits.batch else x[:FEW]
    with torch.no_grad(), seeded(0), frozen(model):
        output = model.module(model.normalised(few))
    logits = logits_of(output)
    for remark in remarks(model, x):  # which are told once a model only
        warnings.warn(remark, BridgeWarning, stacklevel=2)
    lacking = {}
    for name in methods():
        try:
            check_needs(get(name), model, x)
        except ValueError as error:
            lacking[name] = str(error)
    return {
        "images": tuple(few.shape),
        "output": f"{facts.look_like or 'logits'}, {_form(output)}",
        "layer": layer_in_words(model, x),
        "relu_modules": facts.relu_calls,
        "relu_functions": max(0, facts.relu_operations - facts.relu_calls),
        "depends_on": habits.depends_on,
        "gradients": _gradients(model, few, predicted(logits)) if habits.differentiable else NONE,
        "cannot_run": lacking,
        **_in_float64(model, few, logits, coarse=facts.half or x.device.type != "cpu"),
    }


def _form(output: Any) -> str:
    """What the user's own module returned, in words."""
    if isinstance(output, Tensor):
        return "a tensor"
    return f"the .logits of its {type(output).__name__}"


def _gradients(model: ModelAdapter, x: Tensor, target: Tensor) -> str:
    """ "finite", or what the gradients of the predicted classes are."""
    with torch.enable_grad(), seeded(0), frozen(model):
        gradients = input_gradient(model, x, target).flatten(1)
    wrong = ~gradients.isfinite().all(1)
    if bool(wrong.any()):
        return f"are NaN or infinite on images {wrong.nonzero()[:, 0].tolist()}"
    nothing = (gradients == 0).all(1)
    if bool(nothing.any()):
        return f"are zero everywhere on images {nothing.nonzero()[:, 0].tolist()}"
    return FINITE


@torch.no_grad()
def _in_float64(model: ModelAdapter, x: Tensor, logits: Tensor, coarse: bool) -> dict[str, Any]:
    """Whether a copy in float64, in which agreement is judged, gives the same logits."""
    try:
        copy = model.astype(torch.float64)
        with seeded(0), frozen(copy):
            exact = copy(wide(x))
    except Exception as error:  # anything, out of the user's own forward
        return {"float64": f"it cannot be computed, nor agreement judged: {describe(error)}"}
    gap = float((exact.double() - wide(logits)).abs().max() / exact.abs().max().clamp(min=1e-300))
    if exact.dtype != torch.float64:
        dtype = str(exact.dtype).removeprefix("torch.")
        return {"float64": f"it computes in {dtype} even so: gaps are rounding", "gap": gap}
    limit = COARSE if coarse else EXACT.get(logits.dtype, COARSE)
    return {"float64": SAME if gap <= limit else f"its logits differ by {gap:.0e}", "gap": gap}
