"""Why a model gets so few images right: what is likely wrong, tried on the very images.

A cause is named only where it was seen; otherwise the message says what to look at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bridge.core.gradients import predicted as classes_of
from bridge.core.model import ModelAdapter, logits_of
from bridge.core.state import frozen, seeded

ENOUGH = 0.5  # of the images right: then it was that
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SAME_CLASS = 2  # images of a class, before one can say that its number is another
LOOK = (
    "are the labels numbered as the model's classes, are mean and std those that it was trained "
    "with, and the size and order of the channels?"
)


def likely(model: ModelAdapter, x: Tensor, labels: Tensor, predicted: Tensor) -> str:
    """What is wrong with a model, images or labels (n,) that do not fit, as a sentence."""
    other = _other_numbers(labels, predicted)
    if other:
        return other
    found = max(_tried(model, x, labels), default=(0, ""))
    if found[0] >= ENOUGH * len(x):
        return f"with {found[1]} it gets {found[0]} right"
    return LOOK


def _other_numbers(labels: Tensor, predicted: Tensor) -> str:
    """The labels as another numbering: each has a prediction of its own for most of its images."""
    modes: dict[int, int] = {}
    agree = counted = 0
    for label in labels.unique().tolist():
        of = predicted[labels == label]
        if len(of) >= SAME_CLASS:
            values, counts = of.unique(return_counts=True)
            modes[label] = int(values[counts.argmax()])
            agree += int(counts.max())
            counted += len(of)
    if len(modes) < 2 or len(set(modes.values())) < len(modes) or agree <= ENOUGH * counted:
        return ""
    label, number = next((a, b) for a, b in modes.items() if a != b)
    return (
        f"the labels seem to be numbered otherwise than its classes: images with label {label} are "
        f"predicted as {number}, and so on"
    )


def _tried(model: ModelAdapter, x: Tensor, labels: Tensor) -> Iterator[tuple[int, str]]:
    """How many images it gets right with other preprocessing, and with which."""
    for words, change in _changes(model, x).items():
        try:
            with torch.no_grad(), seeded(0), frozen(model):
                logits = logits_of(model.module(change()))
            yield int((classes_of(logits) == labels).sum()), words
        except Exception:  # it is a try: what cannot be tried is not it
            continue


def _changes(model: ModelAdapter, x: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Other ways from the pixels of `x` to what the user's module sees, by their words."""
    low, high = model.bounds
    unit = (x - low) / (high - low)

    def imagenet() -> Tensor:
        mean, std = (torch.tensor(values).to(x).view(1, 3, 1, 1) for values in IMAGENET)
        return (unit - mean) / std

    def bgr() -> Tensor:
        return model.normalised(x.flip(1))

    def halves() -> Tensor:
        return unit * 2 - 1

    def bytes_() -> Tensor:
        return unit * 255

    def inverted() -> Tensor:
        return model.normalised(low + high - x)

    found: dict[str, Callable[[], Tensor]] = {
        "mean 0.5 and std 0.5 (pixels from -1 to 1)": halves,
        "pixels from 0 to 255": bytes_,
        "the inverse of the images (black for white)": inverted,
    }
    if model.mean is not None:
        found["pixels as they are, without mean and std"] = unit.clone
    if x.shape[1] == 3:
        found["ImageNet's mean and std"] = imagenet
        found["the channels in the order blue, green, red"] = bgr
    return found
