"""A constant factor in a map, by the name of what it is: batch, pixels, what the method counts."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from bridge.conformance.map_changes import Change
from bridge.conformance.subject import Subject
from bridge.conformance.worlds import World

Of = Callable[[float], float]


def factors(subject: Subject) -> list[tuple[str, Change]]:
    """Each with its sentence; those of a count are named after the method's own parameters."""
    found = [
        of(
            "it is divided by the batch size (a mean over the batch was differentiated)", _per_image
        ),
        of("it is multiplied by the batch size", _images),
    ]
    for name, default in subject.method.defaults.items():
        if isinstance(default, int) and not isinstance(default, bool):
            found += [
                of_count(f"its weights sum to (n - 1) / n of {name}", name, _one_less),
                of_count(f"its weights sum to (n + 1) / n of {name}", name, _one_more),
                of_count(f"its weights sum to n / (n + 1) of {name}", name, _over_one_more),
                of_count(f"it is a sum over {name}, not a mean", name, _itself),
                of_count(f"it is divided by {name} once too often", name, _over_itself),
            ]
    return [
        *found,
        of("it is divided by the number of channels", _per_channel),
        of("it is multiplied by the number of channels", _channels),
        of("it is divided by the number of pixels", _per_value),
        of("it is divided by the number of positions", _per_position),
        of("it is multiplied by 255 (8-bit units)", _eight_bits),
        of("it is divided by 255 (8-bit units)", _over_eight_bits),
    ]


def of(sentence: str, value: Callable[[World], float]) -> tuple[str, Change]:
    """A factor that the world decides."""

    def times(map_: Tensor, subject: Subject, world: World) -> Tensor | None:
        return _times(map_, value(world))

    return sentence, times


def of_count(sentence: str, name: str, value: Of) -> tuple[str, Change]:
    """A factor that a whole-numbered parameter decides."""

    def times(map_: Tensor, subject: Subject, world: World) -> Tensor | None:
        return _times(map_, value(float(subject.settings(world)[name])))

    return sentence, times


def _times(map_: Tensor, factor: float) -> Tensor | None:
    return None if factor in (0.0, 1.0) else map_ * factor


def own_factor(map_: Tensor, subject: Subject, world: World) -> Tensor | None:
    """The output's own constant factor to the map, the same for all images."""
    output = subject(world).detach().double()
    if output.shape != map_.shape:
        return None
    return map_ * (output * map_).sum() / map_.square().sum().clamp(min=1e-300)


def _images(world: World) -> float:
    return len(world.x)


def _per_image(world: World) -> float:
    return 1 / len(world.x)


def _channels(world: World) -> float:
    return world.x.shape[1]


def _per_channel(world: World) -> float:
    return 1 / world.x.shape[1]


def _per_value(world: World) -> float:
    return 1 / world.x[0].numel()


def _per_position(world: World) -> float:
    return 1 / world.x[0, 0].numel()


def _eight_bits(world: World) -> float:
    return 255


def _over_eight_bits(world: World) -> float:
    return 1 / 255


def _one_less(n: float) -> float:
    return 1 - 1 / n


def _one_more(n: float) -> float:
    return 1 + 1 / n


def _over_one_more(n: float) -> float:
    return n / (n + 1)


def _itself(n: float) -> float:
    return n


def _over_itself(n: float) -> float:
    return 1 / n
