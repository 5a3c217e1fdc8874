"""What an implementation gave back, and what it left behind."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bridge.core.examine import bad_logits, no_logits
from bridge.core.method import Fused, Method, Served, several
from bridge.core.model import ModelAdapter
from bridge.core.tags import Function
from bridge.core.types import BridgeWarning, Failure, Run


def is_ours(method: Method, function: Function) -> bool:
    """Whether it is our own reference or fast implementation, which leave no trace."""
    if isinstance(function, Served):
        function = function.fused
    if isinstance(function, Fused):
        function = function.function
    ours = (method, method.reference, method.fast and method.fast.function)
    module = str(getattr(function, "__module__", ""))
    return any(function is each for each in ours) and module.startswith("bridge.")


def traces(
    method: Method, by: str, model: ModelAdapter, x: Tensor, written: Sequence[str]
) -> Iterator[Failure]:
    """What an implementation changed, besides what the model's own forward pass writes."""
    names = [name for name in written if name not in model.habits(x).writes]
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        text = (
            f"{by} of {method.name} changed the model's {', '.join(names[:3])}{more}: put back; "
            "it should work on a copy (copy.deepcopy)"
        )
        yield Failure(method.name, by, "trace", BridgeWarning.__name__, text)


def not_finite(method: Method, by: str, output: Tensor, leading: bool) -> Iterator[Failure]:
    """The images for which the output has NaN or infinity."""
    if math.isfinite(output.sum()):  # NaN and infinity come through, and nothing is written
        return
    finite = output.isfinite()
    if not bool(finite.all()):
        bad = ~(finite.all(0) if leading else finite).flatten(1).all(1)
        images = bad.nonzero()[:, 0].tolist()
        text = f"{by} of {method.name} gave values that are not finite on images {images}"
        yield Failure(method.name, by, "output", BridgeWarning.__name__, text)


def not_finite_logits(method: Method, by: str, model: ModelAdapter, x: Tensor) -> Iterator[Failure]:
    """The images whose own logits have NaN or infinity; it takes a clean pass of all."""
    bad = bad_logits(model, x)
    if bool(bad.any()):
        text = str(no_logits(bad))
        yield Failure(method.name, by, "logits", BridgeWarning.__name__, text)


def parts(method: Method, by: str, returned: Any) -> tuple[Any, Mapping[str, Any]]:
    """The output, and the details where a pair was returned. Raises TypeError for another pair."""
    if not isinstance(returned, tuple) or len(returned) != 2:
        return returned, {}
    output, details = returned
    if not isinstance(details, Mapping):
        kinds = ", ".join(type(each).__name__ for each in returned)
        raise TypeError(
            f"{by} returned a tuple ({kinds}) for {method.name}, expected a torch.Tensor, or one "
            "and a dictionary of details"
        )
    return output, details


def together(details: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The details of several runs: tensors of one shape stacked, all else as lists."""
    names = list(dict.fromkeys(name for each in details for name in each))
    return {name: _stacked([each.get(name) for each in details]) for name in names}


def as_one(runs: Sequence[Run], output: Tensor, **changes: Any) -> Run:
    """Several runs as one with this output, with what they took and noticed together.

    It is the first but for that, and for `changes`.
    """
    return replace(
        runs[0],
        output=output,
        seconds=sum(run.seconds for run in runs),
        forwards=sum(run.forwards for run in runs),
        backwards=sum(run.backwards for run in runs),
        noticed=tuple(dict.fromkeys(each for run in runs for each in run.noticed)),
        **changes,
    )


def _stacked(values: list[Any]) -> Any:
    shapes = {value.shape if isinstance(value, Tensor) else None for value in values}
    return torch.stack(values) if len(shapes) == 1 and None not in shapes else values


def check_output(
    method: Method, by: str, x: Tensor, params: Mapping[str, Any], output: Any
) -> None:
    """Raise TypeError or ValueError for what is no map of these images, or no images."""

    def wrong(came: object, expected: object) -> str:
        return f"{by} returned {came} for {method.name}, expected {expected}"

    if not isinstance(output, Tensor):
        raise TypeError(wrong(type(output).__name__, "a torch.Tensor"))
    if output.layout != torch.strided or output.is_nested:
        raise ValueError(wrong("a sparse or nested tensor", "a dense one"))
    if not output.is_floating_point():
        raise ValueError(wrong(output.dtype, "floating point"))
    if output.is_meta:
        raise ValueError(wrong("a tensor on the device meta", f"one on {x.device}"))
    shape = tuple(output.shape)
    if method.kind == "attribution":
        if shape[:1] != (len(x),):
            raise ValueError(wrong(f"shape {shape}", f"a map for each of {len(x)} images"))
        return
    epsilon: Any = params.get("epsilon")
    expected = (len(epsilon), *x.shape) if several(epsilon) else tuple(x.shape)
    if shape != expected:
        raise ValueError(wrong(f"images of shape {shape}", expected))
    if (output.dtype, output.device) != (x.dtype, x.device):
        came = f"{output.dtype} images on {output.device}"
        raise ValueError(wrong(came, f"{x.dtype} on {x.device}"))
