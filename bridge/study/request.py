"""What a comparison is asked to run, checked before anything runs."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from bridge.calling import Called, Refused, is_asked, understand
from bridge.core.budget import check_budget
from bridge.core.method import Method, name_of, several, sizes
from bridge.core.model import ModelAdapter
from bridge.core.preflight import without_attention
from bridge.core.registry import get
from bridge.core.registry import methods as all_methods
from bridge.core.tags import Function
from bridge.metrics.registry import get as metric_of

# Sizes that attacks are compared at: in Linf 2 and the usual 8 of 255 steps, in L2 half and twice
# the usual 0.5. In another norm an attack runs at its default.
EPSILONS: dict[str, tuple[float, ...]] = {"linf": (2 / 255, 8 / 255), "l2": (0.25, 1.0)}

Functions = Mapping[str, Function | Sequence[Function]]
Params = Mapping[str, Mapping[str, Any]]
Epsilons = Sequence[float] | Mapping[str, Sequence[float]]
Metrics = Sequence[str] | Params


@dataclass(frozen=True)
class Request:
    """Methods in order; of each its functions by name, its parameters and its epsilons.

    An epsilon is None for an attribution, and for an attack that looks for the smallest by itself.
    """

    methods: tuple[Method, ...]
    implementations: tuple[str, ...]
    functions: Mapping[str, Sequence[Function]]
    params: Params
    epsilons: Mapping[str, Sequence[float | None]]

    def by_name(self, method: Method) -> dict[str, Function]:
        """The implementations of a method: its own that were asked for, then the user's."""
        found = {
            name: method.function(name)
            for name in method.implementations()
            if name in self.implementations
        }
        return found | _named(self.functions.get(method.name, ()), taken=found)

    def given(self, method: Method) -> Iterator[dict[str, Any]]:
        """All parameters of a method, once for each epsilon."""
        for epsilon in self.epsilons[method.name]:
            size = {"epsilon": epsilon} if method.kind == "attack" else {}
            yield {**self.params[method.name], **size}

    def whole(self, method: Method) -> dict[str, Any]:
        """The parameters of a method, with all its epsilons as one list."""
        stated = [epsilon for epsilon in self.epsilons[method.name] if epsilon is not None]
        return {**self.params[method.name], **({"epsilon": stated} if stated else {})}

    def at_once(self) -> dict[str, dict[str, Any]]:
        """The same of each fused method."""
        return {m.name: self.whole(m) for m in self.methods if m.fast is not None}

    def described(self) -> dict[str, Any]:
        """The request for the manifest."""
        return {
            "methods": {
                m.name: {"epsilons": self.epsilons[m.name], "params": self.params[m.name]}
                for m in self.methods
            },
            "implementations": sorted(self.implementations),
            "functions": {k: [name_of(f) for f in v] for k, v in self.functions.items()},
            "called": [str(f) for v in self.functions.values() for f in v if isinstance(f, Called)],
        }


def checked(
    model: ModelAdapter,
    x: Tensor,
    methods: Sequence[str] | None,
    implementations: Sequence[str] | None,
    functions: Functions | None,
    params: Params | None,
    epsilons: Epsilons | None,
) -> Request:
    """The request, of what the arguments of `compare` say about a model and its images `x`.

    Without `methods` all of them, but for those that look at attention where the model has none.

    Raises KeyError for a name that does not exist, with the nearest that do, TypeError for an
    unknown parameter, TypeError or ValueError for parameters and epsilons that make no sense.
    """
    chosen = known_methods(methods)
    if methods is None:
        named = {*(functions or ()), *(params or ())}
        chosen = tuple(m for m in chosen if m.name in named or not without_attention(m, model, x))
    wanted = known_implementations(implementations)
    for what, given in (("functions", functions), ("params", params)):
        if given is not None and not isinstance(given, Mapping):
            kind = type(given).__name__
            raise TypeError(f"{what} are given by the name of their method, {{...}}, got a {kind}")
    own = {name: _functions(f, name) for name, f in (functions or {}).items()}
    names = [method.name for method in chosen]
    for name in (*own, *(params or {})):
        expect_known(name, names, "among the methods that are compared")
    for name, given in (params or {}).items():
        if not isinstance(given, Mapping):
            raise TypeError(f"params[{name!r}] is {given!r}, expected a parameter's values by name")
    by_name = _by_name(epsilons)
    attacks = [m for m in chosen if m.kind == "attack"]
    keys = [*EPSILONS, *(m.norm for m in attacks if m.norm), *(m.name for m in attacks)]
    for name in by_name:
        expect_known(name, keys, "a norm, or an attack that is compared")
    stated = {m.name: (params or {}).get(m.name, {}) for m in chosen}
    _refuse_unused(by_name, attacks, stated)
    bound = {m.name: m.bind(stated[m.name]) for m in chosen}
    request = Request(
        chosen,
        wanted,
        own,
        bound,
        {m.name: _epsilons(m, stated[m.name], by_name) for m in chosen},
    )
    if not any(request.by_name(method) for method in chosen):
        there = "; ".join(f"{m.name}: {', '.join(m.implementations())}" for m in chosen)
        raise ValueError(f"none is implemented by {', '.join(wanted)}: there are {there}")
    for method in chosen:
        # A method whose own defaults do not fit these images is no mistake of the caller's.
        if stated[method.name] or (method.kind == "attack" and by_name):
            for given in request.given(method):
                method.check(x, given)
                check_budget(method, given.get("epsilon"), x, model.bounds)
    return request


def known_methods(names: Sequence[str] | None) -> tuple[Method, ...]:
    """The methods of these names, all for None. Raises KeyError with the nearest names."""
    there = all_methods()
    chosen = there if names is None else _unique(names, "methods")
    for name in chosen:
        expect_known(name, there, "a method")
    return tuple(map(get, chosen))


def known_implementations(names: Sequence[str] | None) -> tuple[str, ...]:
    """Implementations by name, all for None. Raises KeyError with the nearest names."""
    there = sorted(
        {name for method in map(get, all_methods()) for name in method.implementations()}
    )
    chosen = tuple(there) if names is None else _unique(names, "implementations")
    for name in chosen:
        expect_known(name, there, "an implementation")
    return chosen


def _unique(names: Sequence[str], what: str) -> tuple[str, ...]:
    if isinstance(names, str):
        raise TypeError(f"expected a list of names, got the string {names!r}: pass [{names!r}]")
    if not len(names):
        raise ValueError(f"{what} is an empty list: name some, or leave it out for all")
    return tuple(dict.fromkeys(names))


def _functions(given: Function | Sequence[Function], method: str) -> list[Function]:
    listed = list(given) if isinstance(given, Sequence) else [given]
    for each in listed:
        if not callable(each) and not is_asked(each):
            kind = type(each).__name__
            raise TypeError(f"functions[{method!r}] has {each!r} ({kind}), expected a function")
    return listed


def understood(request: Request, model: ModelAdapter, x: Tensor, classes: Tensor) -> Request:
    """The request with the users' functions called as they want to be, tried on two images.

    What cannot be called says so where it runs: it becomes a failure, as all else that raises.
    """
    found = {}
    for name, functions in request.functions.items():
        method, params = get(name), {**request.params[name]}
        if method.kind == "attack" and request.epsilons[name]:
            params["epsilon"] = request.epsilons[name][-1]
        place = model, x[:2], classes[:2], params
        found[name] = [_callable(function, method, *place) for function in functions]
    return replace(request, functions=found)


def _callable(function: Any, method: Method, *place: Any) -> Function:
    try:
        return understand(function, method, *place)
    except Refused as error:
        return _refusing(name_of(function), error)


def _refusing(name: str, error: Refused) -> Function:
    """What stands in for code that cannot be called."""

    def refuse(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
        raise error

    refuse.__name__ = name
    return refuse


def _refuse_unused(by_name: Mapping[str, Any], attacks: Sequence[Method], stated: Params) -> None:
    """Raise ValueError for sizes that nothing would run at."""
    sized = [m for m in attacks if "epsilon" not in stated[m.name]]
    used = {m.name for m in sized}
    used |= {m.norm or "linf" for m in sized if m.name not in by_name and not m.minimal}
    for name in by_name:
        if name not in used:
            raise ValueError(
                f"epsilons for {name} are given, and no attack that is compared takes them"
                + (": those of other attacks are named by norm, linf or l2" if attacks else "")
            )


def known_metrics(metrics: Metrics | None) -> Params:
    """The metrics by name, with their parameters over the defaults.

    Raises KeyError for an unknown one, TypeError and ValueError for parameters that make no sense.
    """
    if isinstance(metrics, str):
        raise TypeError(f"metrics are a list of names, got the text {metrics!r}")
    given = metrics if isinstance(metrics, Mapping) else {name: {} for name in metrics or ()}
    for name, params in given.items():
        metric = metric_of(name)
        what_maps_bring = {"explain": None} if "explain" in metric.needs else {}
        metric.bind({**what_maps_bring, **params})
    return given


def expect_known(name: str, known: Iterable[str], what: str) -> None:
    """Raise KeyError for a name that is not known, with the nearest ones or all there are."""
    listed = list(dict.fromkeys(known))
    if name not in listed:
        near = difflib.get_close_matches(str(name), listed)
        hint = f"did you mean {' or '.join(near)}?" if near else f"expected: {', '.join(listed)}"
        raise KeyError(f"{name!r} is not {what}: {hint}")


def _by_name(epsilons: Epsilons | None) -> dict[str, list[float]]:
    """The sizes by norm or method; a plain list is for the Linf attacks."""
    if epsilons is None:
        return {}
    named = epsilons if isinstance(epsilons, Mapping) else {"linf": epsilons}
    return {name: list(dict.fromkeys(sizes(values))) for name, values in named.items()}


def _epsilons(
    method: Method, stated: Mapping[str, Any], by_name: Mapping[str, list[float]]
) -> list[float | None]:
    """The sizes to run at: stated for this method, for its norm, or the usual ones."""
    if method.kind == "attribution":
        return [None]
    if "epsilon" in stated:
        given = stated["epsilon"]
        return list(dict.fromkeys(sizes(given))) if several(given) else [given]
    if method.name in by_name:
        return list(by_name[method.name])
    if method.minimal:
        return [None]
    norm = method.norm or "linf"
    return list(by_name.get(norm) or EPSILONS.get(norm) or (method.defaults["epsilon"],))


def _named(functions: Iterable[Function], taken: Iterable[str]) -> dict[str, Function]:
    """The user's functions by their names, numbered where two have the same."""
    named: dict[str, Function] = {}
    for function in functions:
        name = base = name_of(function)
        for number in itertools.count(2):
            if name not in named and name not in taken:
                break
            name = f"{base}_{number}"
        named[name] = function
    return named
