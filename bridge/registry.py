"""The methods: one file and one registration each, found here by name.

    @attribution("saliency", paper="arXiv:1312.6034")
    def saliency(model, x, target):
        "|d logit_t / d x|, same shape as x."
        return input_gradient(model, x, target).abs()

    @saliency.twin("captum")
    def _(model, x, target): ...

The decorated function becomes a `Method` and is its reference; calling the method calls the reference.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Literal

from torch import Tensor

from bridge.model import ModelAdapter
from bridge.shared import Need, Shared

Function = Callable[..., Any]
Kind = Literal["attribution", "attack"]
Requirement = Literal["layer", "relu"]


@dataclass(frozen=True)
class Twin:
    """A library's implementation of a method, called with every default spelled out.

    `differs` says, for a twin known to be wrong somewhere, where and who is right; it is shown beside the disagreement.
    """

    library: str
    function: Function
    differs: str = ""


@dataclass(frozen=True)
class Fused:
    """The fast implementation of a method: `function(shared, **params)`, with what it needs of the shared passes.

    `needs(**params)` names them; `passes(x, **params)` is what it spends besides, as images forwards and backwards for each
    image (and each epsilon) of the batch, at most.
    """

    function: Function
    needs: Callable[..., tuple[Need, ...]]
    passes: Callable[..., tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Method:
    """A definition: its name, its paper, our reference of it, and the libraries' twins.

    `norm` is an attack's ball ("linf", "l2" or None); `needs` names what the model must have; `draw` gives a random
    method's random numbers as parameters, so that two implementations can start from the same tensor.
    """

    name: str
    kind: Kind
    reference: Function
    paper: str
    norm: str | None = None
    needs: frozenset[Requirement] = frozenset()
    draw: Function | None = None
    twins: dict[str, Twin] = field(default_factory=dict)
    fast: list[Fused] = field(default_factory=list)  # one or none

    def __call__(self, *args: Any, **params: Any) -> Any:
        return self.reference(*args, **params)

    @property
    def defaults(self) -> dict[str, Any]:
        """The method's parameters with their default values, from the signature of the reference."""
        return {
            name: None if parameter.default is inspect.Parameter.empty else parameter.default
            for name, parameter in list(inspect.signature(self.reference).parameters.items())[3:]
        }

    @property
    def summary(self) -> str:
        """The first line of the reference's docstring: its equation."""
        return (inspect.getdoc(self.reference) or "").partition("\n")[0]

    @property
    def targetable(self) -> bool:
        """Whether the attack can aim at a class."""
        return "targeted" in self.defaults

    @property
    def minimal(self) -> bool:
        """Whether the attack looks for a small perturbation by itself: its epsilon may be None."""
        return self.kind == "attack" and self.defaults.get("epsilon", 0) is None

    def twin(self, library: str, *, differs: str = "") -> Callable[[Function], Function]:
        """Register a library's implementation: a function with the reference's signature."""

        def register(function: Function) -> Function:
            self.twins[library] = Twin(library, function, differs)
            return function

        return register

    def fused(
        self, *needs: Need, when: Callable[..., bool] | None = None, passes: Callable[..., tuple[int, int]] | None = None
    ) -> Callable[[Function], Function]:
        """Register the fast implementation: `function(shared, **params)` with every parameter of the reference.

        It needs `needs` of the shared passes (where `when(**params)` is true), and spends `passes(x, **params)` besides.
        """

        def register(function: Function) -> Function:
            self.fast[:] = [Fused(
                function, lambda **params: needs if when is None or when(**params) else (), passes or (lambda x, **_: (0, 0))
            )]  # fmt: skip
            return function

        return register

    def implementations(self) -> tuple[str, ...]:
        """ "reference", "fused" where there is a fast one, and the libraries that have a twin."""
        return ("reference", *["fused"] * len(self.fast), *self.twins)

    def function(self, implementation: str) -> Function:
        """The code of an implementation. Raises KeyError naming those that exist."""
        if implementation == "reference":
            return self.reference
        if implementation == "fused" and self.fast:
            return self._alone
        if implementation not in self.twins:
            raise KeyError(f"{self.name} has no implementation {implementation!r}, only {list(self.implementations())}")
        return self.twins[implementation].function

    def _alone(self, model: ModelAdapter, x: Tensor, target: Tensor, /, **params: Any) -> Any:
        """The fast implementation for this method only: it makes the shared passes for itself."""
        bound = self.bind(params)
        shared = Shared(model, x, self.fast[0].needs(**bound)).differentiate(target, target)
        return self.fast[0].function(shared, **bound)

    def bind(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters of the method: the given ones over the defaults. Raises TypeError for an unknown one."""
        defaults = self.defaults
        unknown = [name for name in params if name not in defaults]
        if unknown:
            known = ", ".join(f"{k}={v!r}" for k, v in defaults.items()) or "none"
            raise TypeError(f"{self.name} has no parameter {unknown[0]!r}; its parameters are: {known}")
        return {**defaults, **params}


_METHODS: dict[str, Method] = {}
_loaded = False


def attribution(
    name: str, *, paper: str = "", needs: tuple[Requirement, ...] = (), draw: Function | None = None
) -> Callable[[Function], Method]:
    """Register `f(model, x, target, **params) -> tensor` as the reference of a new attribution."""
    return _register(name, "attribution", paper, None, needs, draw)


def attack(
    name: str, *, paper: str = "", norm: str | None = None, needs: tuple[Requirement, ...] = (), draw: Function | None = None
) -> Callable[[Function], Method]:
    """Register `f(model, x, labels, *, epsilon, **params) -> images` as the reference of a new attack."""
    return _register(name, "attack", paper, norm, needs, draw)


def _register(
    name: str, kind: Kind, paper: str, norm: str | None, needs: tuple[Requirement, ...], draw: Function | None
) -> Callable[[Function], Method]:
    def register(function: Function) -> Method:
        known = _METHODS.get(name)
        # The same function again is a notebook cell run twice, or a reload; another one is a clash of names.
        if known and (known.reference.__module__, known.reference.__qualname__) != (
            function.__module__,
            function.__qualname__,
        ):
            raise ValueError(f"a method {name!r} is registered already, by {known.reference.__module__}")
        _METHODS[name] = Method(name, kind, function, paper, norm, frozenset(needs), draw)
        return _METHODS[name]

    return register


def _load() -> None:
    """Import our own method files and the plug-ins of the entry point `bridge.methods`, once."""
    global _loaded
    if _loaded:
        return
    _loaded = True
    for package_name in ("bridge.attributions", "bridge.attacks"):
        package = importlib.import_module(package_name)
        for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
            if not module.startswith("_"):
                importlib.import_module(f"{package_name}.{module}")
    for plugin in entry_points(group="bridge.methods"):
        try:
            plugin.load()
        except Exception as error:  # a broken plug-in must not take our own methods with it
            import warnings

            warnings.warn(f"the plug-in {plugin.name} ({plugin.value}) cannot be loaded: {error!r}", stacklevel=3)


def get(name: str) -> Method:
    """The method of this name. Raises KeyError with the names that exist."""
    _load()
    if name not in _METHODS:
        raise KeyError(f"no method {name!r}; there are: {', '.join(sorted(_METHODS))}")
    return _METHODS[name]


def methods(kind: Kind | None = None) -> tuple[str, ...]:
    """The names of all methods, attributions before attacks, or of one kind."""
    _load()
    found = [m.name for m in _METHODS.values() if kind in (None, m.kind)]
    return tuple(sorted(found, key=lambda name: (_METHODS[name].kind == "attack", name)))
