"""What images a model takes, as far as can be told before it has seen any."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from torch import Tensor, nn

from bridge.core.model import ModelAdapter
from bridge.core.warn import warn
from bridge.load.data import ImageData, load_data
from bridge.load.images import Unreadable


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


def fitted(
    model: ModelAdapter, source: str, size: int | None = None, split: str = "test"
) -> tuple[ImageData, str]:
    """The images of a source as a model takes them, with its own numbers as labels.

    And what was done to their size where nobody told it, in words, as `at_own_size`.
    """
    data = load_data(
        source,
        split=split,
        size=size,
        class_names=model.class_names,
        channels=gray(model, source),
    )
    return at_own_size(data, model)


def gray(model: ModelAdapter, source: str) -> int | None:
    """`channels` for the images of a source: 1 for image files that a model wants gray.

    Files are of colour or gray as it comes; other sources know what they hold.
    """
    files = source.partition(":")[0] in ("folder", "file", "csv")
    return 1 if files and channels_of(model) == 1 else None


def at_own_size(data: ImageData, model: ModelAdapter) -> tuple[ImageData, str]:
    """The images as the model's own transform resizes and crops them, and what was done, in words.

    Images that all have the final size already (the first, the middle and the last are looked at)
    stay as they are: somebody has cropped them before. "" where the model has no such transform, or
    `load_data` was told a size.
    """
    resizing = model.resizing
    told = (data.loading or {}).get("size") is not None
    if resizing is None or told:
        return data, ""
    shapes = set()
    for index in {0, len(data) // 2, len(data) - 1}:
        with suppress(Unreadable):
            shapes.add(data.read(index)[0].shape[1:])
    if shapes == {resizing.result}:
        height, width = shapes.pop()
        return data, f"images are {height} x {width} already, and stay as they are"
    return data.resized(resizing), f"images {resizing}, as {model.name}'s own transform"


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
