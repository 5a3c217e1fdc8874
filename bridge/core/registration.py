"""What a registration must say, checked when it is made: a wrong word in a tag is silent later."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from bridge.core.tags import Axiom, Function, Kind, Requirement, Tags

Word = TypeVar("Word", bound=str)
Registered = TypeVar("Registered")

NORMS = ("linf", "l2")
OUR_NAMES = ("reference", "fused")
SIGNATURE = {
    "attribution": "f(model, x, target, **params)",
    "attack": "f(model, x, labels, *, epsilon, **params)",
}


def check_method(
    name: Any, kind: Kind, function: Any, norm: str | None, needs: Iterable[str], tags: Tags
) -> None:
    """Raise TypeError or ValueError for a method that could not be asked for, run or judged."""
    check_name(name, "a method")
    check_function(function, name)
    parameters = _parameters(function, name, kind)
    if norm is not None and norm not in NORMS:
        raise ValueError(f"{name} has the norm {norm!r}: expected linf or l2, or none for no ball")
    for each in needs:
        _expect(each, get_args(Requirement), f"{name} needs")
    for each in tags.axioms:
        _expect(each, get_args(Axiom), f"{name} has the axiom")
    for size in ("quick", "quickest", "tiny"):
        for each in getattr(tags, size):
            if each not in parameters:
                raise TypeError(f"{name} has no parameter {each!r}, which {size}= sets")


def check_twin(library: Any, function: Any, method: str, taken: Iterable[str]) -> None:
    """Raise TypeError or ValueError for a twin whose name cannot be asked for, or is taken."""
    check_name(library, f"a twin of {method}")
    check_function(function, f"{library}'s {method}")
    if library in OUR_NAMES:
        raise ValueError(f"a twin cannot be called {library!r}: that is our own implementation")
    if library in taken:
        raise ValueError(f"{method} has a twin {library!r} already")


def words(given: Iterable[Word], what: str) -> frozenset[Word]:
    """Several words of a tag. Raises TypeError for one alone, which would be its letters."""
    if isinstance(given, str):
        raise TypeError(f"{what} is the text {given!r}, expected several: pass ({given!r},)")
    return frozenset(given)


def check_name(name: Any, what: str) -> None:
    """Names stand in commands, files and tables: letters, digits, _, - and +."""
    if not isinstance(name, str):
        raise TypeError(f"the name of {what} must be text, got {name!r}: @attribution('name')")
    if not re.fullmatch(r"[\w+-]+", name):
        raise ValueError(f"the name of {what} must be letters, digits, _, - or +, got {name!r}")


def check_function(function: Any, name: str) -> None:
    """Raise TypeError for what cannot be called."""
    if not callable(function):
        raise TypeError(f"{name} must be a function, got {function!r}")


def _parameters(function: Function, name: str, kind: Kind) -> list[str]:
    """The names of what a reference takes after the classes."""
    found = list(inspect.signature(function).parameters.values())
    placed = [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names = [p.name for p in found[3:]]
    if len(placed) < 3 or (kind == "attack" and "epsilon" not in names):
        given = f"{name}{inspect.signature(function)}"
        raise TypeError(f"the reference of {name} must be {SIGNATURE[kind]}, got {given}")
    return names


def _expect(word: str, known: tuple[str, ...], what: str) -> None:
    if word not in known:
        listed = ", ".join(map(repr, known))
        raise ValueError(f"{what} {word!r}: expected of {listed}")


def named(name: Any, known: Mapping[str, Registered], what: str) -> Registered:
    """What is registered as a `what` under a name.

    Raises TypeError for what is no text, KeyError with the nearest names and all there are.

    >>> named("a", {"a": 1}, "method")
    1
    """
    listed = ", ".join(sorted(known))
    if not isinstance(name, str):
        kind = type(name).__name__
        raise TypeError(f"expected the name of a {what}, one of {listed}; got a {kind}")
    if name not in known:
        near = difflib.get_close_matches(name.lower().replace("-", "_"), known)
        hint = f"did you mean {' or '.join(near)}? There are" if near else "there are"
        raise KeyError(f"no {what} {name!r}; {hint}: {listed}")
    return known[name]
