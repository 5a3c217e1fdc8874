"""What a method is: its definition, its implementations, and what everything else needs to know.

A method carries its own tags, as scikit-learn's estimators do: the checker, the doctor, the tests
and the plan read them, and never ask for a method by its name.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal

from torch import Tensor

from bridge.core.edits import Edit, equation, returned
from bridge.core.model import ModelAdapter
from bridge.core.parameters import Domain, domains
from bridge.core.registration import check_function, check_twin
from bridge.core.shared import NEEDS, Clean, Need, Shared
from bridge.core.tags import Cases, Function, Kind, Requirement, Tags


@dataclass(frozen=True)
class Twin:
    """A library's implementation of a method, called with every default spelled out.

    `differs` says, for a twin known to be wrong somewhere, where and who is right; it is shown
    beside a disagreement where `instead(model, x, target, **params)`, what it computes instead,
    gives the twin's own output. `everywhere`: it differs on any network, not only where `differs`
    says.
    `leaves` names what a call without our protection leaves on the model or the output
    ("gradients", "graph"); the checker reports exactly that.
    """

    library: str
    function: Function
    differs: str = ""
    everywhere: bool = False
    leaves: str = ""
    instead: Function | None = None


@dataclass(frozen=True)
class Variant:
    """A known deviation: what it does, in words, and an implementation that does it.

    `function(model, x, target, **params)` has the reference's signature. Diagnosis names a variant
    where it explains everything. A `rare` one is looked for only among several deviations at once;
    those of one text `asks` ask the model about the same images. `edit()` says what to change: it
    reads code, which takes a while.
    """

    sentence: str
    function: Function
    rare: bool = False
    asks: str = ""
    edit: Callable[[], Edit] | None = None


@dataclass(frozen=True)
class Fused:
    """The fast implementation of a method: `function(shared, **params)`.

    `needs(**params)` names what it needs of the shared passes; `passes(x, **params)` is what it
    spends besides, as images forwards and backwards for each image (and each epsilon) of the batch,
    at most; `note` says more in the plan; `share` is the share of their time that it takes, as a
    rule. Called like any implementation, it makes the shared
    passes for itself alone; `on` uses those that are there.
    """

    function: Function
    needs: Callable[..., tuple[Need, ...]]
    passes: Callable[..., tuple[int, int]]
    note: str = ""
    share: float = 1.0

    takes_several = True  # epsilons, in one batch

    def __call__(self, model: ModelAdapter, x: Tensor, target: Tensor, /, **params: Any) -> Any:
        shared = Clean(model, x, self.needs(**params)).differentiate(target, target)
        return self.function(shared, **params)

    def on(self, shared: Shared) -> Served:
        """The implementation on shared passes that were made already."""
        return Served(self, shared)


@dataclass(frozen=True)
class Served:
    """A fast implementation whose shared passes are at hand; called like any implementation."""

    fused: Fused
    shared: Shared

    takes_several = True

    def __call__(self, model: ModelAdapter, x: Tensor, target: Tensor, /, **params: Any) -> Any:
        return self.fused.function(self.shared, **params)


@dataclass(eq=False)
class Method:
    """A definition with its reference, its fast implementation, its twins and its tags.

    It looks like its reference: same name, docstring and signature, and calling it calls the
    reference. `norm` is an attack's ball ("linf", "l2" or None); `needs` names what the model must
    have; `draw(x, **params)` gives its random numbers as parameters, so that two implementations
    can start from the same tensor; `requires(x, **params)` raises ValueError where parameters make
    no sense together or with these images. `cases`, which its file may set, are its test vectors.
    """

    name: str
    kind: Kind
    reference: Function
    paper: str = ""
    norm: str | None = None
    needs: frozenset[Requirement] = frozenset()
    draw: Function | None = None
    requires: Function | None = None
    tags: Tags = field(default_factory=Tags)
    twins: dict[str, Twin] = field(default_factory=dict)
    fast: Fused | None = None
    variants: list[Variant] = field(default_factory=list)
    cases: Cases | None = None

    def __post_init__(self) -> None:
        functools.update_wrapper(self, self.reference)
        self.defaults: dict[str, Any] = {
            name: None if parameter.default is inspect.Parameter.empty else parameter.default
            for name, parameter in list(inspect.signature(self.reference).parameters.items())[3:]
        }
        self.domains: dict[str, Domain] = domains(self.reference)

    def __call__(self, *args: Any, **params: Any) -> Any:
        return self.reference(*args, **params)

    def __reduce__(self) -> tuple[Function, tuple[str]]:
        from bridge.core.registry import get

        return get, (self.name,)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}: {', '.join(self.implementations())}>"

    @property
    def summary(self) -> str:
        """The first line of the reference's docstring: its equation."""
        return (inspect.getdoc(self.reference) or "").partition("\n")[0]

    @property
    def random(self) -> bool:
        """Whether it draws random numbers."""
        return self.tags.random or self.draw is not None

    @property
    def targetable(self) -> bool:
        """Whether the attack can aim at a class."""
        return "targeted" in self.defaults

    @property
    def minimal(self) -> bool:
        """Whether the attack looks for a small perturbation by itself: its epsilon may be None."""
        return self.kind == "attack" and self.defaults.get("epsilon", 0) is None

    def small(self, size: Literal["quick", "quickest", "tiny"], side: int) -> dict[str, Any]:
        """Small parameters by the tags, for images whose shorter side is `side` pixels."""
        under = self.tags.quick if size == "tiny" else {}
        tagged: Mapping[str, Any] = {**under, **getattr(self.tags, size)}
        return {name: value(side) if callable(value) else value for name, value in tagged.items()}

    def implementations(self) -> tuple[str, ...]:
        """ "reference", "fused" where there is a fast one, and the libraries that have a twin."""
        return ("reference", *(["fused"] if self.fast else []), *self.twins)

    def function(self, implementation: str) -> Function:
        """The code of an implementation. Raises KeyError naming those that exist."""
        if implementation == "reference":
            return self.reference
        if implementation == "fused" and self.fast:
            return self.fast
        if implementation not in self.twins:
            known = list(self.implementations())
            raise KeyError(f"{self.name} has no implementation {implementation!r}, only {known}")
        return self.twins[implementation].function

    def bind(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters: the given ones over the defaults. Raises TypeError for an unknown one."""
        unknown = [name for name in params if name not in self.defaults]
        if unknown:
            known = ", ".join(f"{k}={v!r}" for k, v in self.defaults.items()) or "none"
            raise TypeError(
                f"{self.name} has no parameter {unknown[0]!r}; its parameters are: {known}"
            )
        return {**self.defaults, **params}

    def check(self, x: Tensor, params: Mapping[str, Any]) -> None:
        """Raise ValueError or TypeError for parameters that make no sense: for all implementations.

        `params` are all of the method's; `epsilon` may be a list of sizes.
        """
        self.check_values(params)
        if self.requires is not None:
            self.requires(x, **params)

    def check_values(self, params: Mapping[str, Any]) -> None:
        """Raise ValueError or TypeError for a value outside its own parameter's domain."""
        for name, value in params.items():
            domain = self.domains.get(name)
            if domain is None:
                continue
            for each in sizes(value) if name == "epsilon" else [value]:
                domain.check(name, each)

    # How a method's own file adds to it.

    def twin(
        self,
        library: str,
        *,
        differs: str = "",
        everywhere: bool = False,
        leaves: str = "",
        instead: Function | None = None,
    ) -> Callable[[Function], Function]:
        """Register a library's implementation: a function with the reference's signature."""

        def register(function: Function) -> Function:
            known = self.twins.get(library)
            # The same function again is a reload.
            again = known is not None and name_of(known.function) == name_of(function)
            check_twin(library, function, self.name, () if again else self.twins)
            self.twins[library] = Twin(library, function, differs, everywhere, leaves, instead)
            return function

        return register

    def fused(
        self,
        *needs: Need,
        when: Callable[..., bool] | None = None,
        passes: Callable[..., tuple[int, int]] | None = None,
        note: str = "",
        share: float = 1.0,
    ) -> Callable[[Function], Function]:
        """Register the fast implementation: `function(shared, **params)`, all parameters given.

        It needs `needs` of the shared passes (where `when(**params)` is true), and spends
        `passes(x, **params)` besides.
        """

        for need in needs:
            if need not in NEEDS:
                listed = ", ".join(NEEDS)
                raise ValueError(f"{self.name} needs {need!r}: the shared passes give {listed}")

        def register(function: Function) -> Function:
            check_function(function, f"the fused {self.name}")

            def needed(**params: Any) -> tuple[Need, ...]:
                return needs if when is None or when(**params) else ()

            self.fast = Fused(function, needed, passes or _no_passes, note, share)
            return function

        return register

    @property
    def quickest(self) -> str:
        """Which of our implementations takes the fewest passes: "fused" where there is one."""
        return "fused" if self.fast else "reference"

    def variant(
        self,
        sentence: str,
        *,
        rare: bool = False,
        asks: str = "",
        yours: Any = None,
        ours: Any = None,
        **changes: Any,
    ) -> Callable[[Function], Function]:
        """Register a known deviation: a function with the reference's signature.

        It is called with all parameters, and with `changes` over them. `yours` and `ours` are the
        equations that differ, in words or as the functions that compute them; by default the whole
        function against the method's summary.
        """

        def register(function: Function) -> Function:
            changed = functools.partial(_changed, function, changes) if changes else function
            edit = functools.partial(self._edit, sentence, function, changes, yours, ours)
            self.variants.append(Variant(sentence, changed, rare, asks, edit))
            return function

        return register

    def _edit(
        self, sentence: str, function: Function, changes: Mapping[str, Any], yours: Any, ours: Any
    ) -> Edit:
        """What a deviation computes, and the method."""
        if changes and function is self.reference and yours is None:
            told = ", ".join(f"{name}={value!r}" for name, value in changes.items())
            asked = ", ".join(changes)
            return Edit(told, f"{asked} as asked", f"use the caller's {asked}")
        theirs = returned(function) if yours is None else equation(yours)
        return Edit(theirs or sentence, equation(ours) or self.summary.rstrip("."))


def _changed(
    function: Function,
    changes: Mapping[str, Any],
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    **params: Any,
) -> Any:
    return function(model, x, target, **{**params, **changes})


def _no_passes(x: Tensor, **params: Any) -> tuple[int, int]:
    return 0, 0


def several(epsilon: Any) -> bool:
    """Whether an attack's `epsilon` is a list of sizes (also of one), not a size."""
    return isinstance(epsilon, list | tuple) or getattr(epsilon, "ndim", 0) > 0


def sizes(epsilon: Any) -> list[Any]:
    """The sizes in an attack's `epsilon`. Raises ValueError for an empty list, TypeError for a set.

    A set has no order, and outputs are in that of the sizes.
    """
    if isinstance(epsilon, Set | Mapping):
        kind = type(epsilon).__name__
        raise TypeError(f"epsilon must be a number, or a list of numbers, got the {kind} {epsilon}")
    if not several(epsilon):
        return [epsilon]
    if not len(epsilon):
        raise ValueError("epsilon is an empty list: pass one size, or several")
    return [_size(each) for each in epsilon]


def _size(epsilon: Any) -> float:
    """One of several sizes. Raises TypeError for what is no number, and never reads a text."""
    plain = getattr(epsilon, "ndim", None) == 0
    if isinstance(epsilon, bool) or not (plain or isinstance(epsilon, Real)):
        raise TypeError(f"epsilon must be a number, or a list of numbers, got {epsilon!r} in one")
    return float(epsilon)


def name_of(function: Function) -> str:
    """How a user's function is called in tables."""
    return getattr(function, "__name__", type(function).__name__)


def accepts(function: Function, parameter: str) -> bool:
    """Whether a function can be called with this keyword."""
    if isinstance(function, Fused | Served):  # whatever the method has; a signature takes 30 us
        return True
    try:
        known = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # builtins and some callables hide their signature
        return True
    return any(p.name == parameter or p.kind is inspect.Parameter.VAR_KEYWORD for p in known)
