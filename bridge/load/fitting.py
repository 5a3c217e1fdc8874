"""What images a model takes, as far as can be told before it has seen any."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bridge.core.model import ModelAdapter
from bridge.core.warn import warn


def channels_of(model: ModelAdapter) -> int | None:
    """How many channels its images have: of its mean, else its first convolution's.

    None where neither says so. One mean may be for all channels, and a convolution knows better.

    >>> from bridge.load import load_model
    >>> channels_of(load_model("zoo:fashion_cnn"))
    1
    """
    stated = None if model.mean is None else int(model.mean.shape[1])
    if stated is not None and stated > 1:
        return stated
    convolutions = (part for part in model.module.modules() if isinstance(part, nn.Conv2d))
    first = next(convolutions, None)
    return stated if first is None else first.in_channels


def warn_of_other_classes(
    model: ModelAdapter, x: Tensor, class_names: Sequence[str] | None, source: str
) -> None:
    """Warn where images of another number of classes than the model knows were numbered.

    `class_names` are the classes of the images' source, which the model's own names could not be
    matched to.
    """
    try:
        classes = int(model.facts(x).logits.shape[1])
    except Exception:  # what does not fit is refused, in words, where it runs
        return
    if class_names is not None and len(class_names) != classes:
        some = ", ".join(class_names[:3]) + (", ..." if len(class_names) > 3 else "")
        warn(
            f"{source} has {len(class_names)} classes ({some}), numbered from 0, and the model has "
            f"{classes} without names: their numbers hardly mean the same; give the model its "
            "class_names, or the labels as its own numbers in csv:FILE"
        )
