"""The metrics: one file and one registration each, found here by name.

@metric("deletion", better="lower", paper="arXiv:1806.07421")
def deletion(model, x, target, maps, *, steps=28):
    "The area under the target's score while the pixels that the map calls important go."
    ...

@deletion.twin("library")
def library(model, x, target, maps, *, steps): ...
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from bridge.core.method import Variant
from bridge.core.parameters import domains
from bridge.core.registration import check_function, check_name, named, words
from bridge.core.tags import Function

Better = Literal["higher", "lower", "neither"]
# What a metric needs besides a model, images, classes and maps: `masks`, the truth of each image;
# `explain`, the method itself, to explain other images; `full`, a number for each channel;
# `shuffled`, a model that learnt shuffled labels.
Need = Literal["masks", "explain", "full", "shuffled"]

PIXELS = 224 * 224  # of an image, where a cost depends on them

_METRICS: dict[str, Metric] = {}


@dataclass(eq=False)
class Metric:
    """A number for each image that says how good its map is: a reference and its twins.

    It looks like its reference, and calling it calls that. `better` says which end is good;
    `random`: it draws random numbers; `passes(pixels, **params)` is how many images it shows the
    model for each one of so many pixels, and `explanations(**params)` how many it explains besides,
    by the method that the maps came from (NaN: it depends on the model).
    """

    name: str
    reference: Function
    better: Better
    paper: str = ""
    needs: frozenset[Need] = frozenset()
    random: bool = False
    passes: Callable[..., float] | None = None
    explanations: Callable[..., float] | None = None
    twins: dict[str, Function] = field(default_factory=dict)
    variants: list[Variant] = field(default_factory=list)

    def __post_init__(self) -> None:
        functools.update_wrapper(self, self.reference)
        taken = list(inspect.signature(self.reference).parameters.values())[4:]
        self.defaults = {p.name: p.default for p in taken if p.default is not p.empty}
        self.required = [p.name for p in taken if p.default is p.empty]
        self.domains = domains(self.reference)

    def __call__(self, *args: Any, **params: Any) -> Any:
        return self.reference(*args, **params)

    def __reduce__(self) -> tuple[Function, tuple[str]]:
        return get, (self.name,)

    def __repr__(self) -> str:
        return f"<metric {self.name}: {', '.join(self.implementations())}>"

    @property
    def summary(self) -> str:
        """The first line of the reference's docstring: its equation."""
        return (inspect.getdoc(self.reference) or "").partition("\n")[0]

    def cost(self, pixels: int = PIXELS) -> str:
        """What it costs an image by default, in words: passes, and explanations.

        >>> get("deletion").cost(), get("sparseness").cost()
        ('29 forwards', 'no passes')
        """
        counts = {
            "forward": self.passes(pixels) if self.passes else 0.0,
            "explanation": self.explanations() if self.explanations else 0.0,
        }
        found = [
            f"{what}s, as many as the model makes it"
            if math.isnan(count)
            else f"{count:g} {what}{'s' * (count != 1)}"
            for what, count in counts.items()
            if count
        ]
        return " and ".join(found) or "no passes"

    def implementations(self) -> tuple[str, ...]:
        """ "reference", and the libraries that have a twin."""
        return ("reference", *self.twins)

    def function(self, implementation: str) -> Function:
        """The code of an implementation. Raises KeyError naming those that exist."""
        if implementation == "reference":
            return self.reference
        if implementation not in self.twins:
            known = list(self.implementations())
            raise KeyError(f"{self.name} has no implementation {implementation!r}, only {known}")
        return self.twins[implementation]

    def bind(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters: the given ones over the defaults, each within its domain.

        Raises TypeError for an unknown one or one that is missing, ValueError for a wrong value.
        """
        known = [*self.required, *self.defaults]
        for name in params:
            if name not in known:
                listed = ", ".join(known) or "none"
                raise TypeError(f"{self.name} has no parameter {name!r}; its parameters: {listed}")
        for name in self.required:
            if name not in params:
                raise TypeError(f"{self.name} needs {name}=: {WHAT.get(name, 'see its help')}")
        bound = {**self.defaults, **params}
        for name, value in bound.items():
            if name in self.domains:
                self.domains[name].check(name, value)
        return bound

    def twin(self, library: str) -> Callable[[Function], Function]:
        """Register a library's implementation: a function with the reference's signature."""

        def register(function: Function) -> Function:
            check_name(library, f"a twin of {self.name}")
            check_function(function, f"{library}'s {self.name}")
            self.twins[library] = function
            return function

        return register

    def variant(self, sentence: str) -> Callable[[Function], Function]:
        """Register a known deviation: a function with the reference's signature."""

        def register(function: Function) -> Function:
            self.variants.append(Variant(sentence, function))
            return function

        return register


WHAT = {
    "masks": "where the truth lies, a tensor (n, h, w) of True and False",
    "explain": 'the method that the maps came from, explain="saliency", or f(model, x, target)',
    "shuffled": "the model trained on shuffled labels, see bridge.zoo.shuffled.shuffled_pair",
}


def metric(
    name: str,
    *,
    better: Better,
    paper: str = "",
    needs: Iterable[Need] = (),
    random: bool = False,
    passes: Callable[..., float] | None = None,
    explanations: Callable[..., float] | None = None,
) -> Callable[[Function], Metric]:
    """Register `f(model, x, target, maps, **params)` as the reference of a new metric.

    It gives one number an image, (n,), or a pair of them and a `Curve`. Raises TypeError or
    ValueError for a registration that could not be asked for.
    """

    def register(function: Function) -> Metric:
        check_name(name, "a metric")
        check_function(function, name)
        if better not in get_args(Better):
            raise ValueError(f"{name} has better={better!r}: expected of {get_args(Better)}")
        needed = words(needs, "needs")
        if not needed <= set(get_args(Need)):
            raise ValueError(f"{name} needs {sorted(needed)}: expected of {get_args(Need)}")
        known = _METRICS.get(name)
        if known is not None and known.reference.__module__ != function.__module__:
            where = known.reference.__module__
            raise ValueError(f"a metric {name!r} is registered already, by {where}")
        _METRICS[name] = Metric(name, function, better, paper, needed, random, passes, explanations)
        return _METRICS[name]

    return register


@functools.cache
def _load() -> None:
    package = importlib.import_module("bridge.metrics")
    for found in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        if not found.startswith("_"):
            importlib.import_module(f"bridge.metrics.{found}")


def get(name: str) -> Metric:
    """The metric of this name. Raises KeyError with the names that exist.

    >>> get("sparseness").better
    'higher'
    """
    _load()
    return named(name, _METRICS, "metric")


def metrics() -> tuple[str, ...]:
    """The names of all metrics.

    >>> "deletion" in metrics()
    True
    """
    _load()
    return tuple(sorted(_METRICS))
