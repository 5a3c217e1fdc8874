"""Methods and twins that are registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import bridge
from bridge.core import registry
from tests.bad_inputs._entries import (
    plain_saliency,
)
from tests.bad_inputs._expectations import (
    Case,
    Error,
    Expectation,
    Wrong,
)


@contextmanager
def scratch_registry() -> Iterator[None]:
    """What is registered inside is forgotten afterwards."""
    bridge.methods()
    before = dict(registry._METHODS)
    try:
        yield
    finally:
        registry._METHODS.clear()
        registry._METHODS.update(before)


def a_map(model: Any, x: Any, target: Any) -> Any:
    """|x|, as a map."""
    return x.abs()


def without_target(model: Any, x: Any) -> Any:
    """A map of nothing in particular."""
    return x


def without_epsilon(model: Any, x: Any, labels: Any) -> Any:
    """An attack that has no size."""
    return x


def with_epsilon(model: Any, x: Any, labels: Any, *, epsilon: float) -> Any:
    """An attack that does nothing."""
    return x


def registered(
    decorate: Callable[..., Any], name: Any, function: Any, options: dict[str, Any], place: Path
) -> Any:
    with scratch_registry():
        return decorate(name, **options)(function)


REGISTERED: list[tuple[str, Any, Any, Any, dict[str, Any], Expectation]] = [
    ("a name that is taken", bridge.attribution, "saliency", a_map, {},
        Error(ValueError, "saliency", "registered already")),
    ("no name", bridge.attribution, "", a_map, {}, Error(ValueError, "name")),
    ("a name that is None", bridge.attribution, None, a_map, {}, Error(TypeError, "name")),
    ("a name that is a function", bridge.attribution, a_map, a_map, {}, Error(TypeError, "name")),
    ("a name with a slash", bridge.attribution, "mine/own", a_map, {},
        Error(ValueError, "mine/own", "name|letters")),
    ("a name with a dot", bridge.attribution, "mine.own", a_map, {},
        Error(ValueError, r"mine\.own", "name|letters")),
    ("a name with a comma", bridge.attack, "a,b", with_epsilon, {"norm": "linf"},
        Error(ValueError, "a,b", "name|letters")),
    ("no function", bridge.attribution, "mine", None, {},
        Error(TypeError, "mine|function", "None")),
    ("a function without a target", bridge.attribution, "mine", without_target, {},
        Error(TypeError, "mine|without_target", "model, x, target")),
    ("an attack without a size", bridge.attack, "mine", without_epsilon, {"norm": "linf"},
        Error(TypeError, "mine|without_epsilon", "epsilon")),
    ("an unknown norm", bridge.attack, "mine", with_epsilon, {"norm": "l7"},
        Error(ValueError, "l7", "linf", "l2")),
    ("an unknown need", bridge.attribution, "mine", a_map, {"needs": ["layr"]},
        Error(ValueError, "layr", "layer")),
    ("a need as text", bridge.attribution, "mine", a_map, {"needs": "layer"},
        Error(Wrong, "needs|layer", "list|layer")),
    ("an unknown axiom", bridge.attribution, "mine", a_map, {"axioms": ["completness"]},
        Error(ValueError, "completness", "completeness")),
    ("an unknown tag", bridge.attribution, "mine", a_map, {"kwick": {}}, Error(TypeError, "kwick")),
    ("small parameters that it lacks", bridge.attribution, "mine", a_map, {"quick": {"steps": 2}},
        Error((TypeError, ValueError), "steps", "mine|parameter")),
]  # fmt: skip


def a_twin(library: Any, function: Any, place: Path) -> Any:
    with scratch_registry():
        method = bridge.attribution("mine")(a_map)
        method.twin("theirs")(a_map)
        return method.twin(library)(function)


def a_fused(need: Any, place: Path) -> Any:
    with scratch_registry():
        return bridge.attribution("mine")(a_map).fused(need)(a_map)


CASES = [
    *(
        Case(f"register: {name}", partial(registered, how, called, function, options), must)
        for name, how, called, function, options, must in REGISTERED
    ),
    Case("register: a library twice", partial(a_twin, "theirs", plain_saliency),
        Error(ValueError, "theirs", "already")),
    Case("register: a twin called reference", partial(a_twin, "reference", a_map),
        Error(ValueError, "reference")),
    Case("register: a twin called fused", partial(a_twin, "fused", a_map),
        Error(ValueError, "fused")),
    Case("register: a twin without a name", partial(a_twin, "", a_map), Error(ValueError, "name")),
    Case("register: a twin that is none", partial(a_twin, "others", None),
        Error(TypeError, "function", "None")),
    Case("register: an unknown shared pass", partial(a_fused, "logit"),
        Error(ValueError, "logit", "logits")),
]  # fmt: skip
