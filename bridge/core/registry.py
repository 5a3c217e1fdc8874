"""The methods: one file and one registration each, found here by name.

    @attribution("saliency", paper="arXiv:1312.6034")
    def saliency(model, x, target):
        "|d logit_t / d x|, same shape as x."
        return input_gradient(model, x, target).abs()

    @saliency.twin("captum")
    def captum(model, x, target): ...

The decorated function becomes a `Method` and is its reference; calling the method calls it.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any

from bridge.core.method import Method
from bridge.core.registration import check_method, named, words
from bridge.core.tags import Axiom, Function, Kind, Requirement, Tags

# Every module of these registers a method; plug-ins come by the entry point `bridge.methods`.
PACKAGES = ("bridge.attributions", "bridge.attacks")

_METHODS: dict[str, Method] = {}
_loaded = False


def attribution(
    name: str,
    *,
    paper: str = "",
    needs: Iterable[Requirement] = (),
    draw: Function | None = None,
    requires: Function | None = None,
    random: bool = False,
    gradient: bool = True,
    axioms: Iterable[Axiom] = (),
    linear: Function | None = None,
    quick: Mapping[str, Any] | None = None,
    quickest: Mapping[str, Any] | None = None,
    tiny: Mapping[str, Any] | None = None,
    typical: Callable[..., tuple[float, float]] | None = None,
    observed: Function | None = None,
    may_miss: Callable[..., tuple[float, str]] | None = None,
    replayed: Function | None = None,
    law: Function | None = None,
) -> Callable[[Function], Method]:
    """Register `f(model, x, target, **params) -> tensor` as the reference of a new attribution.

    See `bridge.core.method.Method` for `needs`, `draw` and `requires`, `Tags` for what follows.
    """
    tags = Tags(
        random=random,
        gradient=gradient,
        axioms=words(axioms, "axioms"),
        linear=linear,
        quick=quick or {},
        quickest=quickest or quick or {},
        tiny=tiny or {},
        typical=typical,
        observed=observed,
        may_miss=may_miss,
        replayed=replayed,
        law=law,
    )
    return _register(
        name, "attribution", paper, norm=None, needs=needs, draw=draw, requires=requires, tags=tags
    )


def attack(
    name: str,
    *,
    paper: str = "",
    norm: str | None = None,
    needs: Iterable[Requirement] = (),
    draw: Function | None = None,
    requires: Function | None = None,
    random: bool = False,
    gradient: bool = True,
    control: bool = False,
    axioms: Iterable[Axiom] = (),
    quick: Mapping[str, Any] | None = None,
    quickest: Mapping[str, Any] | None = None,
    tiny: Mapping[str, Any] | None = None,
    typical: Callable[..., tuple[float, float]] | None = None,
    recipe: Function | None = None,
    observed: Function | None = None,
) -> Callable[[Function], Method]:
    """Register `f(model, x, labels, *, epsilon, **params) -> images` as a new attack's reference.

    `norm` is its ball, "linf" or "l2". See `Method` for `needs`, `draw` and `requires`, `Tags` for
    what follows.
    """
    tags = Tags(
        random=random,
        gradient=gradient and not control,
        control=control,
        axioms=words(axioms, "axioms"),
        quick=quick or {},
        quickest=quickest or quick or {},
        tiny=tiny or {},
        typical=typical,
        observed=observed,
        recipe=recipe,
    )
    return _register(
        name, "attack", paper, norm=norm, needs=needs, draw=draw, requires=requires, tags=tags
    )


def _register(
    name: str,
    kind: Kind,
    paper: str,
    *,
    norm: str | None,
    needs: Iterable[Requirement],
    draw: Function | None,
    requires: Function | None,
    tags: Tags,
) -> Callable[[Function], Method]:
    needed = words(needs, "needs")

    def register(function: Function) -> Method:
        check_method(name, kind, function, norm, needed, tags)
        known = _METHODS.get(name)
        # The same function again is a notebook cell run twice, or a reload; another is a clash.
        if known and _place(known.reference) != _place(function):
            raise ValueError(
                f"a method {name!r} is registered already, by {known.reference.__module__}"
            )
        _METHODS[name] = Method(name, kind, function, paper, norm, needed, draw, requires, tags)
        return _METHODS[name]

    return register


def _place(function: Function) -> tuple[str, str]:
    return function.__module__, function.__qualname__


def _load() -> None:
    """Import our own method files and the plug-ins of the entry point `bridge.methods`, once."""
    global _loaded
    if _loaded:
        return
    for package_name in PACKAGES:
        package = importlib.import_module(package_name)
        for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
            if not module.startswith("_"):
                importlib.import_module(f"{package_name}.{module}")
    for plugin in entry_points(group="bridge.methods"):
        try:
            plugin.load()
        except Exception as error:  # a broken plug-in must not take our own methods with it
            warnings.warn(
                f"the plug-in {plugin.name} ({plugin.value}) cannot be loaded: {error!r}",
                stacklevel=3,
            )
    # Only now: another thread that comes meanwhile imports too, and waits where Python makes it.
    _loaded = True


def get(name: str) -> Method:
    """The method of this name. Raises KeyError with the names that exist.

    >>> get("saliency").summary
    '|d logit_t / d x|, same shape as x (Simonyan et al. 2013).'
    """
    _load()
    return named(name, _METHODS, "method")


def methods(kind: Kind | None = None) -> tuple[str, ...]:
    """The names of all methods, attributions before attacks, or of one kind.

    >>> "pgd" in methods("attack")
    True
    """
    _load()
    found = [m.name for m in _METHODS.values() if kind in (None, m.kind)]
    return tuple(sorted(found, key=lambda name: (_METHODS[name].kind == "attack", name)))
