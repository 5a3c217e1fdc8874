"""What is wrong with a model, in words: no function of one image, NaN logits, images it refuses."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

from bridge.core.errors import describe, ends_us, is_ours, left
from bridge.core.kinds import kind_of
from bridge.core.model import ModelAdapter
from bridge.core.state import frozen, seeded
from bridge.core.warn import warn

# How many clean images go through the model at once where all of them are looked at.
AT_ONCE = 64


def no_logits(bad: Tensor) -> ValueError:
    """The error for images, (n,) bool, whose logits are NaN or infinite."""
    return ValueError(
        f"the model's logits are not finite on images {bad.nonzero()[:, 0].tolist()}: leave them "
        "out, or check the model's weights and its normalisation"
    )


def in_parts(model: ModelAdapter, x: Tensor) -> tuple[Tensor, ...]:
    """Images (n, c, h, w) as they go through the model where all of them are looked at."""
    if len(x) <= AT_ONCE:
        return (x,)
    return x.split(model.habits(x).batch or AT_ONCE)


@torch.no_grad()
def bad_logits(model: ModelAdapter, x: Tensor) -> Tensor:
    """Whose logits are NaN or infinite, (n,) bool: one clean pass of all images (n, c, h, w)."""
    with seeded(0), frozen(model):
        return torch.cat([~model(part).isfinite().all(1) for part in in_parts(model, x)])


def check_habits(model: ModelAdapter, x: Tensor) -> None:
    """Warn, once a model and kind of images, of what `remarks` says of it.

    Raises ValueError for another number of images than the only one that it takes.
    """
    known = model.known(x)
    batch = (known or model.habits(x)).batch
    if batch not in (None, len(x)):
        raise ValueError(
            f"the model {model.name}{of_kind(model)} takes batches of {batch} images only, these "
            f"are {len(x)}: pass {batch}, or make it for any number of images"
        )
    for remark in remarks(model, x) if known is None else ():
        warn(remark)


def remarks(model: ModelAdapter, x: Tensor) -> list[str]:
    """What to know of a model before its numbers are believed, in sentences."""
    found, name = model.habits(x), f"{model.name}{of_kind(model)}"
    said = []
    if found.depends_on:
        said.append(
            f"the model {name} is no function of one image: {found.depends_on}; implementations "
            "need not agree on it, and none of them is to blame"
        )
    if found.writes:
        said.append(
            f"a forward pass of {model.name} writes into its own {', '.join(found.writes)}: it is "
            "put back each time"
        )
    if found.batch is not None:
        said.append(
            f"the model {name} takes batches of {found.batch} images only: implementations that "
            "use others, smaller or larger, fail on it"
        )
    classes = model.facts(x).logits.shape[1]
    if model.class_names is not None and len(model.class_names) != classes:
        said.append(
            f"class_names has {len(model.class_names)} names, and the model {name} {classes} "
            "classes: names may stand beside the wrong ones"
        )
    return said


def layer_in_words(model: ModelAdapter, x: Tensor) -> str:
    """The layer that Grad-CAM explains, its grid and what proves it; or why there is none."""
    try:
        return str(model.grid_layer(x))
    except ValueError as error:
        return f"none: {error}"


def refuse(model: ModelAdapter, x: Tensor, error: BaseException) -> NoReturn:
    """Raise ValueError for images whose first pass raised `error`, naming both and the place.

    What bridge raised itself, and the wish to end, are raised as they are.
    """
    if ends_us(error) or is_ours(error):
        raise error
    told = error if isinstance(error, Exception) else left(error, "it")
    shape = tuple(x.shape)
    raise ValueError(
        f"the model {model.name}{of_kind(model)} cannot take images of shape {shape}: "
        f"{describe(told)}"
    ) from error


def of_kind(model: ModelAdapter) -> str:
    """What stands behind a model's name: ", a quantised model,", or nothing."""
    kind = kind_of(model.module)
    return f", {kind}," if kind else ""
