"""What people do to a map after it was computed, each with the sentence that diagnosis says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from bridge.conformance.subject import Subject
from bridge.conformance.worlds import World

# The changed map; None where the change makes no sense.
Change = Callable[[Tensor, Subject, World], Tensor | None]
CHANGES: list[tuple[str, Change]] = []
PIXELS = (1, 2, 3)
BATCH = (0, 1, 2, 3)


def changed(sentence: str) -> Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]]:
    """Register a change of the map (n, c, h, w) alone."""

    def register(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        CHANGES.append((sentence, partial(_alone, change)))
        return change

    return register


def _alone(
    change: Callable[[Tensor], Tensor], map_: Tensor, subject: Subject, world: World
) -> Tensor:
    return change(map_)


def changed_with(sentence: str) -> Callable[[Change], Change]:
    """Register a change that needs to know the function or the world."""

    def register(change: Change) -> Change:
        CHANGES.append((sentence, change))
        return change

    return register


# Signs.


@changed("it has the opposite sign")
def negated(map_: Tensor) -> Tensor:
    return -map_


@changed("it takes the absolute value")
def absolute(map_: Tensor) -> Tensor:
    return map_.abs()


@changed("it keeps the positive part only (ReLU)")
def positive(map_: Tensor) -> Tensor:
    return map_.relu()


@changed("it keeps the negative part only")
def negative(map_: Tensor) -> Tensor:
    return map_.clamp(max=0)


# Places.


@changed("it reverses the channels (BGR instead of RGB)")
def channels_reversed(map_: Tensor) -> Tensor:
    return map_.flip(1)


@changed("it swaps height and width")
def transposed(map_: Tensor) -> Tensor:
    return map_.transpose(2, 3)


@changed("it swaps height and width in memory")
def transposed_in_memory(map_: Tensor) -> Tensor:
    return map_.transpose(2, 3).reshape(map_.shape)


@changed("it mirrors the map left to right")
def mirrored(map_: Tensor) -> Tensor:
    return map_.flip(3)


@changed("it mirrors the map upside down")
def upside_down(map_: Tensor) -> Tensor:
    return map_.flip(2)


def _rolled(down: int, right: int, map_: Tensor) -> Tensor:
    return map_.roll((down, right), (2, 3))


for _words, _down, _right in (
    ("to the right", 0, 1),
    ("to the left", 0, -1),
    ("downwards", 1, 0),
    ("upwards", -1, 0),
    ("down and right", 1, 1),
):
    changed(f"it is shifted by one pixel {_words}")(partial(_rolled, _down, _right))


# Scales.


@changed("it is divided by each image's maximum")
def over_own_maximum(map_: Tensor) -> Tensor:
    return _over(map_, map_.abs().amax(PIXELS, keepdim=True))


@changed("it is divided by each image's largest value")
def over_own_largest(map_: Tensor) -> Tensor:
    return _over(map_, map_.amax(PIXELS, keepdim=True))


@changed("it is divided by each image's sum")
def over_own_sum(map_: Tensor) -> Tensor:
    return _over(map_, map_.abs().sum(PIXELS, keepdim=True))


@changed("it is divided by each image's L2 norm")
def over_own_norm(map_: Tensor) -> Tensor:
    return map_ / map_.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


@changed("it is scaled to [0, 1] per image (min-max)")
def own_minmax(map_: Tensor) -> Tensor:
    return _minmax(map_, PIXELS)


@changed("it is divided by the batch's maximum")
def over_maximum(map_: Tensor) -> Tensor:
    return map_ / map_.abs().max()


@changed("it is divided by the batch's sum")
def over_sum(map_: Tensor) -> Tensor:
    return map_ / map_.abs().sum()


@changed("it is divided by the batch's L2 norm")
def over_norm(map_: Tensor) -> Tensor:
    return map_ / map_.norm()


@changed("it is scaled to [0, 1] over the batch (min-max)")
def minmax(map_: Tensor) -> Tensor:
    return _minmax(map_, BATCH)


@changed("it is centred per image")
def centred(map_: Tensor) -> Tensor:
    return map_ - map_.mean(PIXELS, keepdim=True)


def _over(map_: Tensor, size: Tensor) -> Tensor:
    """map / size, and 0 where an image's map is all zero."""
    return map_ / size.masked_fill(size == 0, 1)


def _minmax(map_: Tensor, dims: tuple[int, ...]) -> Tensor:
    low, high = map_.amin(dims, keepdim=True), map_.amax(dims, keepdim=True)
    return (map_ - low) / (high - low)


# Channels and images taken together.


@changed("it is averaged over the channels")
def channel_mean(map_: Tensor) -> Tensor:
    return map_.mean(1, keepdim=True).expand_as(map_)


@changed("it is summed over the channels")
def channel_sum(map_: Tensor) -> Tensor:
    return map_.sum(1, keepdim=True).expand_as(map_)


@changed("it is the maximum over the channels")
def channel_maximum(map_: Tensor) -> Tensor:
    return map_.amax(1, keepdim=True).expand_as(map_)


@changed("it is the absolute maximum over the channels")
def channel_absolute_maximum(map_: Tensor) -> Tensor:
    return map_.abs().amax(1, keepdim=True).expand_as(map_)


@changed("it is summed over the channels, which are gone")
def one_channel_sum(map_: Tensor) -> Tensor:
    return map_.sum(1, keepdim=True)


@changed("it is averaged over the channels, which are gone")
def one_channel_mean(map_: Tensor) -> Tensor:
    return map_.mean(1, keepdim=True)


@changed("it is the maximum over the channels, which are gone")
def one_channel_maximum(map_: Tensor) -> Tensor:
    return map_.amax(1, keepdim=True)


@changed("it is averaged over the images of the batch")
def batch_mean(map_: Tensor) -> Tensor:
    return map_.mean(0, keepdim=True).expand_as(map_)


@changed("it is summed over the images of the batch")
def batch_sum(map_: Tensor) -> Tensor:
    return map_.sum(0, keepdim=True).expand_as(map_)


# Values.


@changed("it is squared")
def squared(map_: Tensor) -> Tensor:
    return map_.square()


@changed_with("it is multiplied by the image")
def times_image(map_: Tensor, subject: Subject, world: World) -> Tensor | None:
    return map_ * world.x if map_.shape == world.x.shape else None


@changed_with("it is in normalised units (times std)")
def times_std(map_: Tensor, subject: Subject, world: World) -> Tensor:
    return map_ * world.std


@changed_with("it is divided by std once more")
def over_std(map_: Tensor, subject: Subject, world: World) -> Tensor:
    return map_ / world.std


@changed("it is rounded to half precision")
def half_precision(map_: Tensor) -> Tensor:
    return map_.half().double()


@changed("it is the answer for the images in reverse order")
def images_reversed(map_: Tensor) -> Tensor:
    return map_.flip(0)
