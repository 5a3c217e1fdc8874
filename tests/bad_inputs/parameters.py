"""Parameters: outside their domains, for every method and every implementation of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

import bridge
from bridge.core.model import ModelAdapter
from bridge.core.parameters import Domain
from bridge.registry import Method
from tests.bad_inputs._entries import LABELS, attack, explain, wrapped
from tests.bad_inputs._expectations import Case, Error, Expectation, Right, Wrong, text_of
from tests.networks import images


def outside(domain: Domain) -> Iterator[tuple[str, Any]]:
    """Values that are not in a domain, each with a name; read from the domain alone."""
    if domain.choices:
        yield "another choice", "no such choice"
        yield "a tensor", torch.ones(3)
    elif not domain.number:
        yield "a number", 0.5
        yield "NaN", torch.full(images().shape, torch.nan)
    else:
        if domain.low > -math.inf:
            yield "too low", type(domain.low)(domain.low - 1)
        if domain.high < math.inf:
            yield "too high", domain.high + 1
        yield "NaN", math.nan
        yield "infinity", math.inf
        if domain.whole:
            yield "a fraction", 2.5
        if domain.pair:
            yield "three numbers", (1, 2, 3)
            yield "a pair with text", (2, "2")
        if domain.tensor:
            yield "a tensor with NaN", torch.full(images().shape, torch.nan)
        yield "a boolean", True
    yield "a text", "0.1"
    yield "a dictionary", {"value": 1}
    if not domain.optional:
        yield "None", None


class Refused:
    """Every implementation refuses, and says which parameter and what was expected."""

    def __init__(self, parameter: str) -> None:
        self.parameter = parameter

    def __call__(self, errors: dict[str, BaseException | None]) -> None:
        for implementation, error in errors.items():
            assert isinstance(error, Wrong), f"{implementation}: {error!r}"
            text = text_of(error)
            assert self.parameter in text, f"{implementation}: {text}"
            assert any(word in text for word in ("must be", "expected", "contains", "is one")), text


@functools.cache
def model() -> ModelAdapter:
    """One for all, which nothing here changes."""
    return wrapped()


def by_all(method: Method, params: dict[str, Any], place: Path) -> dict[str, BaseException | None]:
    """What each implementation of a method raises, None where it runs."""

    def mine(model: Any, x: Any, target: Any, **given: Any) -> Any:
        return method.reference(model, x, target, **given)

    errors: dict[str, BaseException | None] = {}
    for implementation in (*method.implementations(), mine):
        try:
            bridge.run(
                method.name, model(), images(), LABELS, implementation=implementation, **params
            )
        except Exception as error:
            errors[str(implementation)] = error
        else:
            errors[str(implementation)] = None
    return errors


def _domains() -> Iterator[Case]:
    for method in map(bridge.registry.get, bridge.methods()):
        for parameter, domain in method.domains.items():
            for name, value in outside(domain):
                yield Case(
                    f"{method.name}: {parameter} is {name}",
                    partial(by_all, method, {parameter: value}),
                    Right(Refused(parameter)),
                )


def _unknown() -> Iterator[Case]:
    for method in map(bridge.registry.get, bridge.methods()):
        words = [method.name, "no parameter", "parameters are"]
        yield Case(
            f"{method.name}: an unknown parameter",
            partial(one, method.name, {"no_such_parameter": 1}),
            Error(TypeError, *words),
        )
        if method.defaults:
            last = list(method.defaults)[-1]
            yield Case(
                f"{method.name}: a parameter misspelled",
                partial(one, method.name, {f"{last}s": 1}),
                Error(TypeError, *words, last),
            )


def one(name: Any, params: dict[str, Any], place: Path) -> Any:
    return bridge.run(name, model(), images(), LABELS, **params)


def clean(run: Any) -> None:
    """Images that are not changed at all."""
    assert torch.equal(run.output, images())


SHAPE = tuple(images().shape)

# Relations between parameters, and with the images (3, 3, 12, 12).
RELATIONS: list[tuple[str, str, dict[str, Any], Expectation]] = [
    ("a stride beyond its window", "occlusion", {"window": 3, "stride": 4},
        Error(ValueError, "stride", "window")),
    ("a stride beyond, one axis", "occlusion", {"window": (3, 4), "stride": (3, 5)},
        Error(ValueError, "stride", "window")),
    ("a window beyond the images", "occlusion", {"window": 13}, Error(ValueError, "window", "12")),
    ("a window beyond, one axis", "occlusion", {"window": (12, 13)},
        Error(ValueError, "window", "12")),
    ("its composite too", "occlusion_x_gradient", {"window": 13},
        Error(ValueError, "window", "12")),
    ("a baseline of another shape", "integrated_gradients", {"baseline": torch.zeros(3, 5, 5)},
        Error(ValueError, "baseline", "shape")),
    ("a baseline of other channels", "integrated_gradients",
        {"baseline": torch.zeros(1, 2, 12, 12)}, Error(ValueError, "baseline", "shape")),
    ("baselines of other images", "integrated_gradients", {"baseline": torch.zeros(2, 3, 12, 12)},
        Error(ValueError, "baseline", "shape")),
    ("a baseline on another device", "integrated_gradients",
        {"baseline": torch.zeros(SHAPE, device="meta")}, Error(ValueError, "baseline", "meta")),
    ("a baseline that is no number", "integrated_gradients", {"baseline": [0.5] * 3},
        Error(TypeError, "baseline")),
    ("a covering of another shape", "occlusion", {"window": 4, "baseline": torch.zeros(3, 5, 5)},
        Error(ValueError, "baseline", "shape")),
    ("two ends of one point", "integrated_gradients", {"method": "riemann_trapezoid", "n_steps": 1},
        Error(ValueError, "n_steps", "2|two")),
    ("restarts that start the same", "pgd", {"random_start": False, "restarts": 2},
        Error(ValueError, "restarts", "random_start")),
    ("a start of another shape", "pgd", {"start": torch.zeros(1)},
        Error(ValueError, "start", "shape")),
    ("a start of two images", "pgd", {"start": torch.zeros(2, 3, 12, 12)},
        Error(ValueError, "start", "shape")),
    ("a start on another device", "pgd", {"start": torch.zeros(SHAPE, device="meta")},
        Error(ValueError, "start", "meta")),
    ("a start of booleans", "pgd", {"start": torch.zeros(SHAPE) > 0},
        Error(Wrong, "start", "float")),
    ("noise of another shape", "uniform_noise_linf", {"noise": torch.zeros(1)},
        Error(ValueError, "noise", "shape")),
    ("noise of NaN", "uniform_noise_linf", {"noise": torch.full(SHAPE, torch.nan)},
        Error(ValueError, "noise", "NaN|finite")),
]  # fmt: skip

EPSILONS: list[tuple[str, Any, Expectation]] = [
    ("no size", [], Error(ValueError, "epsilon", "empty")),
    ("no size in a tensor", torch.tensor([]), Error(ValueError, "epsilon", "empty")),
    ("one of two negative", [0.1, -0.1], Error(ValueError, "epsilon", "0 or more")),
    ("one of two NaN", [0.1, math.nan], Error(ValueError, "epsilon", "finite")),
    ("texts", ["2/255", "8/255"], Error(TypeError, "epsilon", "number")),
    ("numbers as texts", ["0.1"], Error(TypeError, "epsilon", "number")),
    ("booleans", [True], Error(TypeError, "epsilon", "number")),
    ("None among them", [0.1, None], Error(TypeError, "epsilon", "number")),
    ("lists of lists", [[0.1], [0.2]], Error(TypeError, "epsilon", "number|list")),
    ("a table", torch.full((2, 2), 0.1), Error(Wrong, "epsilon", "number|list|shape")),
    ("a set", {0.1, 0.2}, Error(TypeError, "epsilon", "number|list")),
    ("8 of 255", 8, Error(ValueError, "epsilon", r"8 ?/ ?255|8/255", r"\[0, 1\]")),
    ("one of two beyond the range", [0.1, 8.0], Error(ValueError, "epsilon", r"\[0, 1\]")),
    ("beyond the range by a little", 1.5, Error(ValueError, "epsilon", r"\[0, 1\]")),
    ("zero", 0, Right(clean)),
    ("a tensor of one number", torch.tensor(0.0), Right(clean)),
]


def sized(epsilon: Any, place: Path) -> Any:
    return attack(images(), epsilon=epsilon)


def of_bytes(place: Path) -> Any:
    """8 is right where pixels go from 0 to 255."""
    return attack(images() * 255, model=wrapped(bounds=(0, 255)), epsilon=8)


def moved_by_eight(run: Any) -> None:
    """Images within 8 of 255, and most pixels moved by that."""
    moved = (run.output - images() * 255).abs()
    assert 7.9 < float(moved.max()) < 8.001


def of_l2(place: Path) -> Any:
    return bridge.run("fgm_l2", wrapped(), images(), LABELS, epsilon=1e6)


def seeds(seed: Any, place: Path) -> Any:
    return bridge.run("smooth_grad", wrapped(), images(), LABELS, seed=seed, n_samples=2)


SEEDS: list[tuple[str, Any, Expectation]] = [
    ("None", None, Error(TypeError, "seed")),
    ("a fraction", 0.5, Error(TypeError, "seed", "whole|integer")),
    ("NaN", math.nan, Error(Wrong, "seed")),
    ("a text", "0", Error(TypeError, "seed", "whole|integer")),
    ("beyond 64 bits", 2**70, Error(ValueError, "seed")),
    ("a list", [0], Error(TypeError, "seed", "whole|integer")),
]

NAMES: list[tuple[str, Any, Expectation]] = [
    ("unknown", "nonsense", Error(KeyError, "nonsense", "saliency")),
    ("misspelled", "salincy", Error(KeyError, "salincy", "did you mean", "saliency")),
    ("upper case", "PGD", Error(KeyError, "PGD", "did you mean", "pgd")),
    ("with a hyphen", "guided-backprop", Error(KeyError, "did you mean", "guided_backprop")),
    ("empty", "", Error(KeyError, "saliency")),
    ("None", None, Error((TypeError, KeyError), "method", "saliency|name")),
    ("a list", ["saliency"], Error((TypeError, KeyError), "method", "name|saliency")),
    ("a number", 3, Error((TypeError, KeyError), "method", "saliency|name")),
    ("a function", len, Error((TypeError, KeyError), "method", "saliency|name")),
]

IMPLEMENTATIONS: list[tuple[str, Any, Expectation]] = [
    ("unknown", "nonsense", Error(KeyError, "nonsense", "captum", "reference")),
    ("misspelled", "captm", Error(KeyError, "captm", "captum")),
    ("of another method", "foolbox", Error(KeyError, "foolbox", "captum")),
    ("empty", "", Error(KeyError, "captum")),
    ("None", None, Error((TypeError, KeyError), "implementation", "function|name|captum")),
    ("a number", 3, Error((TypeError, KeyError), "implementation", "function|name|captum")),
    ("a list", ["captum"], Error((TypeError, KeyError), "implementation", "function|name|captum")),
    ("a place", "mine.py:f", Error(KeyError, "mine.py:f", "captum")),
]  # fmt: skip


def by(implementation: Any, place: Path) -> Any:
    return explain(images(), implementation=implementation)


def swapped(place: Path) -> Any:
    return bridge.run(wrapped(), "saliency", images(), LABELS)  # type: ignore[arg-type]


CASES = [
    *_domains(),
    *_unknown(),
    *(Case(name, partial(one, method, given), must) for name, method, given, must in RELATIONS),
    *(Case(f"epsilon: {name}", partial(sized, size), must) for name, size, must in EPSILONS),
    *(Case(f"seed: {name}", partial(seeds, seed), must) for name, seed, must in SEEDS),
    *(Case(f"method: {name}", partial(one, value, {}), must) for name, value, must in NAMES),
    *(
        Case(f"implementation: {name}", partial(by, value), must)
        for name, value, must in IMPLEMENTATIONS
    ),
    Case("epsilon of 8 for pixels to 255", of_bytes, Right(moved_by_eight)),
    Case("an L2 size beyond every image", of_l2, Error(ValueError, "epsilon", "L2", r"\[0, 1\]")),
    Case("method and model swapped", swapped, Error((TypeError, KeyError), "method", "name")),
]
