"""Tags: what a method says of itself, for everybody who would otherwise ask for it by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from bridge.core.recipe import Recipe

Function = Callable[..., Any]
Kind = Literal["attribution", "attack"]
Requirement = Literal[
    "layer",  # one with a spatial output
    "relu",  # nn.ReLU modules
    "attention",  # of any kind
    "tokens",  # attention over the same tokens in all layers, which are cells of the image
]
Axiom = Literal[
    "completeness",  # the map sums to logit(x) - logit(baseline)
    "dummy",  # pixels that the model does not see get nothing
    "implementation invariance",  # two networks of one function get one map
    "linearity",  # the map of a sum of logits is the sum of the maps
    "ascent",  # an attack: the loss does not fall on a linear model
]


AN_IMAGE = "an image"  # in the parameters of test vectors: images are drawn for it


@dataclass(frozen=True)
class Trap:
    """What test vectors catch many with: in words, and the wrong answers that show it."""

    text: str
    mistakes: tuple[str, ...]


@dataclass(frozen=True)
class Cases:
    """What a method's test vectors are made of (`bridge.vectors`).

    `definition` says all that an implementer needs who has never seen our code. `params` are the
    parameters of its cases, each of which is run on every network: few binary digits keep answers
    exact, and `AN_IMAGE` stands for images that are drawn. `draw(x, **params)` gives the method's
    random numbers where its own `draw` does not. `traps` are its own, by name.
    """

    definition: str
    params: tuple[Mapping[str, Any], ...] = ({},)
    draw: Function | None = None
    traps: Mapping[str, Trap] = field(default_factory=dict)


@dataclass(frozen=True)
class Tags:
    """What anyone needs to know of a method besides its code.

    `random`: it draws random numbers. `gradient`: it needs the gradient at the images. `control`:
    it ignores the model, and shows what an attack has to beat. `axioms`: what its answers obey; the
    checker asks for exactly these. `linear(w, x, **params)`: what it gives on logits = w x, w
    (n, c, h, w) the weights of each image's class.

    Small parameters: `quick` for short loops that still go round several times, `quickest` for
    networks whose one pass takes a tenth of a second, `tiny` for the checker's images of 10 x 8
    pixels (over `quick`). A value may be a function of the image's shorter side.

    `typical(x, classes, **params)`: passes an image as a rule, forwards and backwards, where a
    method has no fast implementation that says so, or stops by itself. Estimates rest on it.

    `observed(asked, looked, x, output)`: {parameter: values that it may have had} of code that was
    watched: the images that it asked the model about, with a gradient and without, and its answer.

    `may_miss(along, **params)`: of a method that sums up a path, by how much its rule may miss the
    integral of `along` over [0, 1], and why, in words. `along` takes points (k,) and gives (k, n).

    Of code that draws its own random numbers: `replayed(asked, x, **params)` are the parameters
    under which the method asks about the images that it asked about, None where there are none;
    `law(asked, x, bounds, **params)` says in sentences how it drew them otherwise than the method.

    `recipe(x, bounds, **params)`: a gradient attack as the recipe whose parts diagnosis changes.
    """

    random: bool = False
    gradient: bool = True
    control: bool = False
    axioms: frozenset[Axiom] = frozenset()
    linear: Function | None = None
    quick: Mapping[str, Any] = field(default_factory=dict)
    quickest: Mapping[str, Any] = field(default_factory=dict)
    tiny: Mapping[str, Any] = field(default_factory=dict)
    typical: Callable[..., tuple[float, float]] | None = None
    recipe: Callable[..., Recipe] | None = None
    observed: Callable[..., Mapping[str, Sequence[Any]]] | None = None
    may_miss: Callable[..., tuple[float, str]] | None = None
    replayed: Callable[..., Mapping[str, Any] | None] | None = None
    law: Callable[..., Iterable[str]] | None = None
