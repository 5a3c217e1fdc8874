"""What a class image climbs: the logit of its class, or an activation inside the network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from bridge.core.gradients import target_logits
from bridge.core.model import ModelAdapter
from bridge.core.parameters import Domain

Objective = Callable[[Tensor], Tensor]  # images (k, c, h, w) -> (k,)


def class_logit(model: ModelAdapter, targets: Tensor) -> Objective:
    """Each image's logit of its own target (k,)."""
    return partial(_logit, model, targets)


def activation(
    model: ModelAdapter,
    layer: str,
    channel: int | None = None,
    neuron: tuple[int, int] | None = None,
) -> Objective:
    """The mean of a layer's output, of one channel of it, at one neuron (y, x).

    Raises ValueError where there is no such layer; the objective, where there is no such channel.
    """
    names = dict(model.module.named_modules())
    if layer not in names:
        known = ", ".join(list(names)[1:][-12:])
        raise ValueError(f"the model has no layer {layer!r}; its layers are {known}")

    if channel is not None:
        Domain(whole=True).check("channel", channel)
    if neuron is not None and (not isinstance(neuron, tuple | list) or len(neuron) != 2):
        raise TypeError(f"neuron must be two whole numbers (y, x), got {neuron!r}")
    for place in neuron or ():
        Domain(whole=True).check("neuron", place)

    def climbed(x: Tensor) -> Tensor:
        output = _output(model, names[layer], x)
        if channel is not None:
            if not 0 <= channel < output.shape[1]:
                raise ValueError(
                    f"layer {layer!r} has {output.shape[1]} channels, there is no channel {channel}"
                )
            output = output[:, channel : channel + 1]
        if neuron is not None:
            sides = tuple(output.shape[2:])
            if len(sides) != 2 or not all(
                0 <= n < side for n, side in zip(neuron, sides, strict=True)
            ):
                raise ValueError(f"layer {layer!r} has no neuron {neuron}: its (h, w) are {sides}")
            output = output[..., neuron[0], neuron[1]]
        return output.flatten(1).mean(1)

    return climbed


def _logit(model: ModelAdapter, targets: Tensor, x: Tensor) -> Tensor:
    return target_logits(model(x), targets)


def _output(model: ModelAdapter, layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer gave last in a forward pass."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        kept.append(output)

    handle = layer.register_forward_hook(keep)
    try:
        model(x)
    finally:
        handle.remove()
    return kept[-1]
