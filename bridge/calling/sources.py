"""Functions, classes and instances, each as something that gives a callable for a model."""

from __future__ import annotations

import copy
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import nn

from bridge.attacks._foolbox import run_foolbox
from bridge.calling.signature import Refused, Slot, arguments, read
from bridge.calling.words import roles

# How objects are asked for their answer, the likeliest first.
ENTRIES = "attribute perturb attack generate generate_cam explain saliency run __call__ forward"
NUMBERS = (bool, int, float)

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """Somebody's code: what builds it and what calls it, parameter by parameter.

    `attributes` {role: name} are set on a copy of an instance; `bind(values)` gives the callable
    for the values of the roles.
    """

    name: str
    calling: tuple[Slot, ...]
    bind: Callable[[Values], Callable[..., Any]]
    building: tuple[Slot, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    # Its own values, by role: defaults of parameters, and attributes.
    own: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def slots(self) -> tuple[Slot, ...]:
        return (*self.building, *self.calling)


def source(code: Any, parameters: Sequence[str]) -> Source:
    """What somebody's code is. Raises Refused, saying why and what to do."""
    found = _source(code, parameters)
    if "y" in {slot.role for slot in found.slots}:
        return found
    # As Foolbox's: the criterion holds the labels.
    calling = [replace(s, role="criterion") if s.name == "criterion" else s for s in found.calling]
    return replace(found, calling=tuple(calling))


def is_asked(code: Any) -> bool:
    """Whether an object is called, or has a method that is asked for its answer."""
    return callable(code) or any(hasattr(code, name) for name in ENTRIES.split())


def _source(code: Any, parameters: Sequence[str]) -> Source:
    if _is_foolbox(code):
        return _of_foolbox(code, parameters)
    if inspect.isclass(code):
        return _of_class(code, parameters)
    if inspect.isroutine(code) or isinstance(code, partial):
        return _of_function(code, parameters)
    return _of_instance(code, parameters)


def _defaults(slots: Sequence[Slot], parameters: Sequence[str]) -> dict[str, Any]:
    return {
        s.role: s.parameter.default
        for s in slots
        if s.role in parameters and not s.required and s.parameter.default is not None
    }


# Functions, also those that use a model of their surroundings.


def _of_function(code: Any, parameters: Sequence[str]) -> Source:
    slots = read(code, parameters)
    own, name = _defaults(slots, parameters), getattr(code, "__name__", "")
    name = name or getattr(getattr(code, "func", None), "__name__", type(code).__name__)
    if {"model", "gradient"} & {slot.role for slot in slots}:
        return Source(name, slots, lambda values: code, own=own)
    held = _surrounding(code)
    if len(held) != 1:
        raise Refused(
            f"{name} takes no model, and every check needs another network: let `model` be a "
            "parameter, as in f(model, x, target, *, ...)"
        )
    note = f"the model `{held[0]}` around it is replaced"
    return Source(name, slots, partial(_elsewhere, code, held[0]), own=own, note=note)


def _surrounding(code: Any) -> list[str]:
    """The names of models in a function's globals and closure."""
    if not inspect.isfunction(code):
        return []
    around = inspect.getclosurevars(code)
    return [name for name, v in {**around.globals, **around.nonlocals}.items() if _is_model(v)]


def _is_model(value: Any) -> bool:
    return isinstance(value, nn.Module) and any(True for _ in value.parameters())


def _elsewhere(code: Any, name: str, values: Values) -> Callable[..., Any]:
    """The function with another model in its globals, or in its closure."""
    cells = [
        types.CellType(values["model"]) if free == name else cell
        for free, cell in zip(code.__code__.co_freevars, code.__closure__ or (), strict=True)
    ]
    around = {**code.__globals__, name: values["model"]}
    moved = types.FunctionType(
        code.__code__, around, code.__name__, code.__defaults__, tuple(cells) or None
    )
    moved.__kwdefaults__ = code.__kwdefaults__
    return moved


# Classes and instances.


def _entry(cls: type, parameters: Sequence[str]) -> tuple[str, tuple[Slot, ...]]:
    """The method of a class that answers, and its parameters."""
    own = [n for n in ENTRIES.split() if any(n in vars(c) for c in cls.__mro__ if _is_theirs(c))]
    read_ = {n: read(types.MethodType(getattr(cls, n), object()), parameters) for n in own}
    for name, slots in read_.items():
        if any(slot.role in ("x", "gradient", "scores") for slot in slots):
            return name, slots
    listed = ", ".join(ENTRIES.split())
    raise Refused(
        f"{cls.__name__} has no method that takes images: name one of {listed}, and its images x, "
        "images or inputs"
    )


def _is_theirs(cls: type) -> bool:
    return cls.__module__.partition(".")[0] not in ("torch", "builtins")


def _of_class(cls: type, parameters: Sequence[str]) -> Source:
    building = _builder(cls, parameters)
    entry, calling = _entry(cls, parameters)
    if "model" not in {slot.role for slot in (*building, *calling)}:
        raise Refused(f"{cls.__name__} takes no model: let `model` be a parameter of its __init__")

    def bind(values: Values) -> Callable[..., Any]:
        placed, named = arguments(building, values, f"{cls.__name__}(...)")
        return getattr(cls(*placed, **named), entry)

    own = _defaults((*building, *calling), parameters)
    return Source(_shown(cls.__name__, entry), calling, bind, building, own=own)


def _builder(cls: type, parameters: Sequence[str]) -> tuple[Slot, ...]:
    """The parameters that build an object: images and classes are none of them."""
    found = read(cls, parameters)
    slots = [replace(s, role="") if s.role in ("x", "y") else s for s in found]
    if slots and not slots[0].role and slots[0].required and not _has(slots, "model"):
        slots[0] = replace(slots[0], role="model")  # what all is built on comes first
    return tuple(slots)


def _has(slots: Sequence[Slot], role: str) -> bool:
    return role in {slot.role for slot in slots}


def _adjustable(code: Any, parameters: Sequence[str]) -> dict[str, str]:
    """Attributes {role: name} that may be set: those that the constructor was told."""
    told = {name.strip("_") for name in inspect.signature(type(code)).parameters}
    names = [n for n in vars(code) if n.strip("_") in told]
    numbers = [n for n in names if isinstance(getattr(code, n), NUMBERS) or n == "abs_stepsize"]
    return {role: n for n, role in roles(numbers, parameters).items() if role in parameters}


def _shown(name: str, entry: str) -> str:
    return name if entry in ("__call__", "forward") else f"{name}.{entry}"


def _of_instance(code: Any, parameters: Sequence[str]) -> Source:
    cls = type(code)
    if not is_asked(code):
        raise Refused(
            f"expected a function, a class or an object that is called, got {cls.__name__}"
        )
    entry, calling = _entry(cls, parameters)
    held = [n for n, v in {**vars(code), **vars(code).get("_modules", {})}.items() if _is_model(v)]
    if not held and "model" not in {slot.role for slot in calling}:
        raise Refused(
            f"this {cls.__name__} holds no model that could be replaced: pass the class itself"
        )
    told = {slot.role for slot in calling}
    attributes = {r: n for r, n in _adjustable(code, parameters).items() if r not in told}
    own = {role: getattr(code, name) for role, name in attributes.items()}
    own |= _defaults(calling, parameters)
    bind = partial(_rebuilt, code, entry, held, attributes, parameters)
    note = "its own model is replaced" if held else ""
    return Source(_shown(cls.__name__, entry), calling, bind, (), attributes, own, note)


def _rebuilt(
    code: Any,
    entry: str,
    held: Sequence[str],
    attributes: Mapping[str, str],
    parameters: Sequence[str],
    values: Values,
) -> Callable[..., Any]:
    """The instance on another model: built anew where it kept all that built it, else a copy."""
    wanted = {name: values[role] for role, name in attributes.items() if role in values}
    building = _builder(type(code), parameters)
    kept = {**vars(code), **vars(code).get("_modules", {})}
    if building and all(s.role in ("model", "layer") or s.name in kept for s in building):
        placed, named = arguments(
            [s for s in building if s.role in ("model", "layer")], values, type(code).__name__
        )
        others = {s.name: kept[s.name] for s in building if s.role not in ("model", "layer")}
        fresh = type(code)(*placed, **{**others, **named})
    else:
        fresh = copy.copy(code)
        if "_modules" in vars(code):
            fresh.__dict__["_modules"] = dict(vars(code)["_modules"])
        for name in held:
            if "layer" in values and name in roles([name], ()) and "layer" in name:
                setattr(fresh, name, values["layer"].module)
            else:
                setattr(fresh, name, values["model"])
    for name, value in wanted.items():
        setattr(fresh, name, value)
    return getattr(fresh, entry)


# Foolbox: the criterion holds the labels, and the model must be Foolbox's.


def _is_foolbox(code: Any) -> bool:
    cls = code if inspect.isclass(code) else type(code)
    return any(c.__module__.startswith("foolbox.attacks") for c in cls.__mro__)


def _through_foolbox(
    attack: Any, model: Any, images: Any, labels: Any, *, epsilon: Any = None
) -> Any:
    return run_foolbox(attack, model, images, labels, epsilon=epsilon)


def _of_foolbox(code: Any, parameters: Sequence[str]) -> Source:
    cls = code if inspect.isclass(code) else type(code)
    calling = read(_through_foolbox, parameters)[1:]
    building = read(cls, parameters) if inspect.isclass(code) else ()
    numbers = [] if inspect.isclass(code) else [
        n for n, v in vars(code).items() if isinstance(v, NUMBERS) or n == "abs_stepsize"
    ]  # fmt: skip
    attributes = {r: n for n, r in roles(numbers, parameters).items() if r in parameters}

    def bind(values: Values) -> Callable[..., Any]:
        placed, named = arguments(building, values, f"{cls.__name__}(...)")
        attack = cls(*placed, **named) if inspect.isclass(code) else copy.copy(code)
        for role, name in attributes.items():
            if role in values:
                setattr(attack, name, values[role])
        return partial(_through_foolbox, attack)

    own = _defaults(building, parameters) | {r: getattr(code, n) for r, n in attributes.items()}
    return Source(cls.__name__, calling, bind, building, attributes, own, "by Foolbox's own model")
