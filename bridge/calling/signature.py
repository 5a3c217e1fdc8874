"""The parameters of somebody's callable, each with its role, and the arguments to call it with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from bridge.calling.words import PLACES, SHORT, roles

EMPTY = inspect.Parameter.empty
OUR_NAMES = ("model", "m"), ("x",), ("target", "labels", "t", "y")
STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Refused(TypeError):
    """Somebody's code cannot be called; the text says why, and what to do."""


@dataclass(frozen=True)
class Slot:
    """One parameter, and the role that its name gives it, "" for none."""

    parameter: inspect.Parameter
    role: str

    @property
    def name(self) -> str:
        return self.parameter.name

    @property
    def required(self) -> bool:
        return self.parameter.default is EMPTY


def read(function: Callable[..., Any], parameters: Sequence[str]) -> tuple[Slot, ...]:
    """The parameters of a callable with their roles: by name, else by place.

    `parameters` are the method's own. Raises Refused where there is no signature.
    """
    try:
        given = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise Refused(
            "its signature cannot be read: wrap it in a function f(model, x, target, ...)"
        ) from None
    placed = [p for p in given if p.kind not in STARRED]
    optional = {p.name for p in placed if p.default is not EMPTY}
    found = roles([p.name for p in placed], parameters, optional)
    for index, p in enumerate([p for p in placed if p.default is EMPTY][: len(PLACES)]):
        place = PLACES[index]
        letter = len(p.name) == 1 and found.get(p.name) not in PLACES  # m is a model here, no count
        left = [each for each in PLACES if each not in found.values()]
        unsaid = p.name not in found and (len(p.name) <= SHORT or left == [place])
        if (letter or unsaid) and place in left:
            found[p.name] = place
    return tuple(Slot(p, found.get(p.name, "")) for p in placed)


def arguments(
    slots: Sequence[Slot], values: Mapping[str, Any], where: str
) -> tuple[list[Any], dict[str, Any]]:
    """Positional and named arguments for what each role is given.

    Raises Refused, naming it, for a required parameter without a value.
    """
    placed: list[Any] = []
    named: dict[str, Any] = {}
    for slot in slots:
        if slot.role in values:
            value = values[slot.role]
            value = value.fitting(slot) if hasattr(value, "fitting") else value
            if slot.parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                placed.append(value)
            else:
                named[slot.name] = value
        elif slot.required:
            raise Refused(
                f"{where} requires `{slot.name}`, whose name says nothing here: give it a default, "
                "or wrap the code in f(model, x, target, *, ...)"
            )
    return placed, named


def ours(function: Any, parameters: Sequence[str]) -> bool:
    """Whether it is written as our own implementations are: f(model, x, target, *, name=...).

    Three places first, by our names of them; then nothing but names of the method's, which it can
    be told. Such code is held to the whole contract.
    """
    if inspect.isclass(function) or isinstance(function, nn.Module):
        return False
    try:
        given = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # builtins and some callables hide their signature
        return True
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in given):
        return inspect.isroutine(function)
    named = [p for p in given if p.kind is not inspect.Parameter.VAR_KEYWORD]
    first, rest = named[: len(PLACES)], named[len(PLACES) :]
    return (
        len(first) == len(PLACES)
        and all(p.default is EMPTY and p.kind is not p.KEYWORD_ONLY for p in first)
        and all(p.name in names for p, names in zip(first, OUR_NAMES, strict=True))
        and all(p.name in parameters and p.kind is not p.POSITIONAL_ONLY for p in rest)
    )
