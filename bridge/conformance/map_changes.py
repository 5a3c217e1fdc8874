"""What people do to a map after it was computed, each with the sentence that diagnosis says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.nn import functional as F

from bridge.conformance.subject import Subject
from bridge.conformance.worlds import World

# The changed map; None where the change makes no sense.
Change = Callable[[Tensor, Subject, World], Tensor | None]
Plain = Callable[[Tensor], Tensor]
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


# What people do one after another: the names of CHANGES in the order in which they do them. Each
# group also has what is done in pairs alone, and is too rare for a cause by itself.
VALUES: list[tuple[str, Change]] = []
CHANNELS: list[tuple[str, Change]] = []
SIZES: list[tuple[str, Change]] = []
SIGNS: list[tuple[str, Change]] = []
SCALES: list[tuple[str, Change]] = []


def grouped(group: list[tuple[str, Change]], sentence: str = "") -> Callable[[Plain], Plain]:
    """Put a change (n, c, h, w) into a group too; with a sentence it is in the group alone."""

    def register(change: Plain) -> Plain:
        text = sentence or next(t for t, c in CHANGES if _function(c) is change)
        group.append((text, partial(_alone, change)))
        return change

    return register


def plain(change: Change) -> object:
    """The function that changes the map, whose code says how."""
    return _function(change)


def _function(change: Change) -> object:
    return change.args[0] if isinstance(change, partial) else change


# Signs.


@grouped(SIGNS)
@grouped(VALUES)
@changed("it has the opposite sign")
def negated(map_: Tensor) -> Tensor:
    return -map_


@grouped(SIGNS)
@grouped(VALUES)
@changed("it takes the absolute value")
def absolute(map_: Tensor) -> Tensor:
    return map_.abs()


@grouped(SIGNS)
@grouped(VALUES)
@changed("it keeps the positive part only (ReLU)")
def positive(map_: Tensor) -> Tensor:
    return map_.relu()


@grouped(VALUES)
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


@grouped(SCALES)
@changed("it is divided by each image's maximum")
def over_own_maximum(map_: Tensor) -> Tensor:
    return _over(map_, map_.abs().amax(PIXELS, keepdim=True))


@grouped(SCALES)
@changed("it is divided by each image's largest value")
def over_own_largest(map_: Tensor) -> Tensor:
    return _over(map_, map_.amax(PIXELS, keepdim=True))


@grouped(SCALES)
@changed("it is divided by each image's sum")
def over_own_sum(map_: Tensor) -> Tensor:
    return _over(map_, map_.abs().sum(PIXELS, keepdim=True))


@grouped(SCALES)
@changed("it is divided by each image's L2 norm")
def over_own_norm(map_: Tensor) -> Tensor:
    return map_ / map_.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


@grouped(SCALES)
@changed("it is scaled to [0, 1] per image (min-max)")
def own_minmax(map_: Tensor) -> Tensor:
    return _minmax(map_, PIXELS)


@grouped(SCALES)
@changed("it is divided by the batch's maximum")
def over_maximum(map_: Tensor) -> Tensor:
    return map_ / map_.abs().max()


@grouped(SCALES)
@changed("it is divided by the batch's sum")
def over_sum(map_: Tensor) -> Tensor:
    return map_ / map_.abs().sum()


@grouped(SCALES)
@changed("it is divided by the batch's L2 norm")
def over_norm(map_: Tensor) -> Tensor:
    return map_ / map_.norm()


@grouped(SCALES)
@changed("it is scaled to [0, 1] over the batch (min-max)")
def minmax(map_: Tensor) -> Tensor:
    return _minmax(map_, BATCH)


@grouped(SCALES)
@changed("it is centred per image")
def centred(map_: Tensor) -> Tensor:
    return map_ - map_.mean(PIXELS, keepdim=True)


def _over(map_: Tensor, size: Tensor) -> Tensor:
    """map / size, and 0 where an image's map is all zero."""
    return map_ / size.masked_fill(size == 0, 1)


def _minmax(map_: Tensor, dims: tuple[int, ...]) -> Tensor:
    low, high = map_.amin(dims, keepdim=True), map_.amax(dims, keepdim=True)
    return _over(map_ - low, high - low)


# Channels and images taken together.


@grouped(CHANNELS)
@changed("it is averaged over the channels")
def channel_mean(map_: Tensor) -> Tensor:
    return map_.mean(1, keepdim=True).expand_as(map_)


@grouped(CHANNELS)
@changed("it is summed over the channels")
def channel_sum(map_: Tensor) -> Tensor:
    return map_.sum(1, keepdim=True).expand_as(map_)


@grouped(CHANNELS)
@changed("it is the maximum over the channels")
def channel_maximum(map_: Tensor) -> Tensor:
    return map_.amax(1, keepdim=True).expand_as(map_)


@changed("it is the absolute maximum over the channels")
def channel_absolute_maximum(map_: Tensor) -> Tensor:
    return map_.abs().amax(1, keepdim=True).expand_as(map_)


@grouped(CHANNELS)
@changed("it is summed over the channels, which are gone")
def one_channel_sum(map_: Tensor) -> Tensor:
    return map_.sum(1, keepdim=True)


@grouped(CHANNELS)
@changed("it is averaged over the channels, which are gone")
def one_channel_mean(map_: Tensor) -> Tensor:
    return map_.mean(1, keepdim=True)


@grouped(CHANNELS)
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


@grouped(VALUES)
@changed("it is squared")
def squared(map_: Tensor) -> Tensor:
    return map_.square()


@changed_with("it is multiplied by the image")
def times_image(map_: Tensor, subject: Subject, world: World) -> Tensor | None:
    return map_ * world.x if map_.shape == world.x.shape else None


VALUES.append(("it is multiplied by the image", times_image))


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


# In groups alone.


@grouped(CHANNELS, "it is the L2 norm over the channels, which are gone")
def one_channel_norm(map_: Tensor) -> Tensor:
    return map_.norm(dim=1, keepdim=True)


@grouped(CHANNELS, "it is the first channel alone")
def first_channel(map_: Tensor) -> Tensor:
    return map_[:, :1]


@grouped(SCALES, "it is divided by the batch's largest value")
def over_largest(map_: Tensor) -> Tensor:
    return map_ / map_.max()


@grouped(SCALES, "it is divided by each image's signed sum")
def over_signed_sum(map_: Tensor) -> Tensor:
    return map_ / map_.sum(PIXELS, keepdim=True)


@grouped(SCALES, "it is standardised per image: less its mean, over its standard deviation")
def standardised(map_: Tensor) -> Tensor:
    return (map_ - map_.mean(PIXELS, keepdim=True)) / map_.std(PIXELS, keepdim=True)


@grouped(SCALES, "it is standardised over the batch: less its mean, over its standard deviation")
def batch_standardised(map_: Tensor) -> Tensor:
    return (map_ - map_.mean()) / map_.std()


# Made to be looked at, and clipped: searched where the answer looks so, as the last change.
DISPLAYS: list[tuple[str, Change]] = []
MIDDLE = 0.1  # how far from 0.5 the mean of what was standardised is, once it is clipped


def for_display(output: Tensor) -> list[tuple[str, Change]]:
    """The changes that may have led to this answer."""
    if float(output.min()) < 0 or float(output.max()) > 1:
        return []
    centred = abs(float(output.mean()) - 0.5) < MIDDLE
    reaches = bool((output.amax(PIXELS) == 1).all()) and bool((output.amin(PIXELS) == 0).all())
    return DISPLAYS if centred or reaches else []


def _displayed(dims: tuple[int, ...], tiny: float, map_: Tensor) -> Tensor:
    centred = map_ - map_.mean(dims, keepdim=True)
    return (0.1 * centred / (map_.std(dims, keepdim=True) + tiny) + 0.5).clamp(0, 1)


for _whose, _dims in (("per image", PIXELS), ("over the batch", BATCH)):
    for _tiny in (1e-5, 1e-7, 1e-8, 0.0):
        _small = f" (+ {_tiny:g})" if _tiny else ""
        grouped(
            DISPLAYS,
            f"it is standardised for display {_whose}, to mean 0.5 and standard deviation "
            f"0.1{_small}, and clipped to [0, 1] (as Keras' deprocess_image)",
        )(partial(_displayed, _dims, _tiny))


@grouped(DISPLAYS, "it is clipped at its 99th percentile and scaled to [0, 1] per image")
def at_percentile(map_: Tensor) -> Tensor:
    top = map_.flatten(1).quantile(0.99, 1).view(-1, 1, 1, 1)
    low = map_.amin(PIXELS, keepdim=True)
    return _over(map_ - low, top - low).clamp(0, 1)


def _resized(map_: Tensor, world: World, **how: object) -> Tensor | None:
    """As large as the image; None where it is already."""
    size = world.x.shape[2:]
    return None if map_.shape[2:] == size else F.interpolate(map_, size, **how)  # type: ignore[arg-type]


def resizing(sentence: str, **how: object) -> None:
    """A way of making a map as large as the image."""

    def resize(map_: Tensor, subject: Subject, world: World) -> Tensor | None:
        return _resized(map_, world, **how)

    SIZES.append((sentence, resize))


resizing("it upsamples to the image's size", mode="bilinear", align_corners=False)
resizing("it upsamples by nearest instead of bilinear", mode="nearest")
resizing("it upsamples with align_corners=True", mode="bilinear", align_corners=True)
resizing("it upsamples bicubically", mode="bicubic", align_corners=False)
