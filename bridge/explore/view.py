"""A view: all that decides what is seen. The same view gives the same numbers, to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from numbers import Integral, Real
from typing import Any, Literal

from bridge.core.method import Method
from bridge.core.parameters import Domain, check_seed, check_whole
from bridge.core.registry import get, methods

Target = int | Literal["label", "predicted"]

USUAL = "linf"  # the norm of the attack that a page begins with


@dataclass(frozen=True)
class Cover:
    """A square of `size` pixels around a pixel, filled with `baseline` (in pixel units)."""

    row: int
    column: int
    size: int
    baseline: float = 0.0

    def __post_init__(self) -> None:
        for name, low in (("row", 0), ("column", 0), ("size", 1)):
            check_whole(name, getattr(self, name), low)
        Domain().check("baseline", self.baseline)

    def area(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the square, cut off at the border. Raises ValueError outside."""
        if self.row >= height or self.column >= width:
            raise ValueError(
                f"pixel ({self.row}, {self.column}) is outside of the image, which is "
                f"{height} x {width}"
            )
        top, left = self.row - self.size // 2, self.column - self.size // 2
        return (
            slice(max(0, top), max(0, min(height, top + self.size))),
            slice(max(0, left), max(0, min(width, left + self.size))),
        )


@dataclass(frozen=True)
class View:
    """Which model, which image, which methods with which parameters.

    `model` and `data` are names of what was opened. `target` is the class that is explained;
    an attack starts from the label, or, where there is none, from the class that is predicted, and
    aims at `reach` where its parameter `targeted` is set. `params` are by method.

    Raises KeyError, TypeError or ValueError for what makes no sense.
    """

    model: str
    data: str
    image: int
    attribution: str
    attack: str = ""
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    target: Target = "label"
    reach: int | None = None
    layer: str | None = None
    cover: Cover | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("model", "data"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be text, got {getattr(self, name)!r}")
        check_whole("image", self.image, 0)
        check_seed(self.seed)
        if self.layer is not None and not isinstance(self.layer, str):
            raise TypeError(f"layer must be a layer's name, got {self.layer!r}")
        if self.reach is not None:
            check_whole("reach", self.reach, 0)
        if isinstance(self.target, str):
            if self.target not in ("label", "predicted"):
                raise ValueError(
                    f"target is {self.target!r}: expected 'label', 'predicted' or a class's number"
                )
        else:
            check_whole("target", self.target, 0)
        _expect(self.explains, "attribution")
        if self.attack:
            _expect(self.attacks, "attack")
        for name, given in self.params.items():
            if not isinstance(given, Mapping):
                raise TypeError(f"params[{name!r}] is {given!r}, expected values by name")
            method = get(name)
            _one_size(method, given)
            method.check_values(method.bind(given))

    @classmethod
    def of(cls, given: Any) -> View:
        """A view out of JSON. Raises TypeError for what is none, and what View raises."""
        if not isinstance(given, Mapping):
            raise TypeError(f"a view is an object, got a {type(given).__name__}")
        unknown = [name for name in given if name not in cls.__dataclass_fields__]
        if unknown:
            raise TypeError(f"a view has no {unknown[0]!r}")
        lacking = [n for n in ("model", "data", "image", "attribution") if n not in given]
        if lacking:
            raise TypeError(f"the view lacks {lacking[0]!r}")
        cover, params = given.get("cover"), given.get("params", {})
        if cover is not None:
            known = isinstance(cover, Mapping) and set(cover) <= set(Cover.__dataclass_fields__)
            if not known or not {"row", "column", "size"} <= set(cover):
                raise TypeError(f"cover is {cover!r}: expected row, column, size and baseline")
            cover = Cover(**cover)
        if not isinstance(params, Mapping):
            raise TypeError(f"params is {params!r}, expected parameters by method")
        return cls(**{**given, "cover": cover, "params": params})

    @property
    def explains(self) -> Method:
        """The attribution."""
        return get(self.attribution)

    @property
    def attacks(self) -> Method:
        """The attack."""
        return get(self.attack)

    def given(self, method: str) -> dict[str, Any]:
        """The parameters of a method that are not its defaults; lists as the tuples they stand for.

        What is left out has its default, so that texts made of it are short.
        """
        defaults = get(method).defaults
        found = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.params.get(method, {}).items()
        }
        return {name: value for name, value in found.items() if not _same(value, defaults[name])}

    @property
    def aims(self) -> bool:
        """Whether the attack aims at a class."""
        return bool(self.attack) and bool(self.given(self.attack).get("targeted"))

    @property
    def plain(self) -> dict[str, Any]:
        """The same in JSON's types, with only the parameters that matter."""
        chosen = [name for name in (self.attribution, self.attack) if name]
        return {**asdict(self), "params": {name: self.given(name) for name in chosen}}


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def _expect(method: Method, kind: str) -> None:
    if method.kind != kind:
        raise ValueError(f"{method.name} is an {method.kind}, expected an {kind}")


def _one_size(method: Method, given: Mapping[str, Any]) -> None:
    """A view is of one size of an attack."""
    size = given.get("epsilon")
    if method.kind == "attack" and not (size is None or isinstance(size, Real)):
        raise TypeError(f"epsilon must be a number, got {size!r}")
    for name, value in given.items():
        plain = value is None or isinstance(value, bool | str | Real)
        pair = isinstance(value, list | tuple) and all(isinstance(v, Integral) for v in value)
        if not (plain or pair):
            raise TypeError(f"{method.name}.{name} is {value!r}, expected a number or a choice")


def beginning(model: str, data: str, x: Any, can: Mapping[str, str]) -> View:
    """The view that a page begins with: the attribution and the attack of the fewest passes.

    `can` says of each method why it cannot run, "" where it can. An attack that ignores the model
    shows nothing.
    """

    def passes(name: str) -> tuple[float, int]:
        """How dear it is; of equals those that more libraries know come first."""
        method = get(name)
        own = sum(method.fast.passes(x, **method.defaults)) if method.fast else float("inf")
        return own, -len(method.twins)

    able = [name for name in methods() if not can.get(name)]
    maps = [name for name in able if get(name).kind == "attribution"]
    attacks = [
        name
        for name in able
        if get(name).kind == "attack" and get(name).norm == USUAL and not get(name).tags.control
    ]
    if not maps:
        raise ValueError("no attribution can run on this model: gradbridge doctor says why")
    signed = [name for name in maps if not get(name).needs] or maps
    return View(
        model, data, 0, min(signed, key=passes), min(attacks, key=passes) if attacks else ""
    )
