"""The worlds that an implementation is checked in: tiny float64 networks and images by a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from bridge.conformance.transformers import Averaged, ClassToken, Distilled
from bridge.core.method import Method
from bridge.core.model import ModelAdapter, wrap
from bridge.core.state import frozen, seeded

CLASSES = 4
SIDE = 8  # the shorter side of our images


@dataclass(frozen=True)
class World:
    """A model in float64, images, a class for each, and the parameters that are set in this world.

    `varied` names the parameter that is away from its usual value here, "" for none. `drawn` are
    the random numbers of code that was watched, as parameters that the method alone is told.
    """

    name: str
    model: ModelAdapter
    x: Tensor
    target: Tensor
    params: dict[str, Any] = field(default_factory=dict)
    varied: str = ""
    drawn: Mapping[str, Any] = field(default_factory=dict)

    def single(self) -> World:
        """The same world in float32: where the reference's own rounding is measured."""
        return replace(self, model=self.model.astype(torch.float32), x=self.x.float())

    def with_param(self, name: str, value: Any) -> World:
        """The same world with another value of one parameter."""
        params = {**self.params, name: value}
        shown = f"a tensor of {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        return replace(self, name=f"{name}={shown}", params=params, varied=name)

    def predicted(self) -> Tensor:
        """The model's own classes, (n,)."""
        with torch.no_grad(), frozen(self.model):
            return self.model(self.x).argmax(1)

    @property
    def std(self) -> Tensor | float:
        """What the model divides pixels by."""
        return 1.0 if self.model.std is None else self.model.std


def base(method: Method, side: int = SIDE) -> dict[str, Any]:
    """Small loops that still go round several times; used where the function can be told."""
    found = method.small("tiny", side)
    # On somebody's own large images a tiny window would mean thousands.
    return found if side <= 2 * SIDE else {**found, **method.small("quickest", side)}


class _Plain(nn.Module):
    """Batch norm, in-place ReLU, max-pooling, dropout: what most classifiers are made of."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Sequential(nn.Dropout(0.4), nn.Flatten(), nn.LazyLinear(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


class _Residual(nn.Module):
    """h + f(relu(h)): the ReLU's input is used a second time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 6, 3, padding=1)
        self.relu = nn.ReLU()
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        logits: Tensor = self.head(h + self.second(self.relu(h)))
        return logits


class _Reused(nn.Module):
    """One ReLU module at two places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, 6, 3), nn.Conv2d(6, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.relu(self.second(self.relu(self.first(x)))))
        return logits


BLIND = "gradients that are exactly zero in places"


class _Blind(nn.Module):
    """Sees nothing of the last three columns: the gradient there is exactly zero."""

    kind: type[nn.Module] = _Plain

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = self.kind(channels)

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.cat([x[..., :-3], torch.zeros_like(x[..., -3:])], 3)
        logits: Tensor = self.inner(seen)
        return logits


class _BlindTransformer(_Blind):
    kind = ClassToken


def build(kind: type[nn.Module], x: Tensor, *, scale: float = 3.0, **wrapping: Any) -> ModelAdapter:
    """A float64 network with random weights and statistics; its logits on x scatter by `scale`."""
    network = kind(x.shape[1]).double()
    wrapped = wrap(network, **wrapping)
    with torch.no_grad():
        wrapped(x)  # lazy layers take their shape
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
        network.eval()
        last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
        logits = wrapped(x)
        last.weight.mul_(scale / logits.std())
        last.bias.sub_(last.bias)
        # Every class should be somebody's prediction: centre the logits over the batch.
        last.bias.sub_(wrapped(x).mean(0))
    return wrap(network.eval(), **wrapping)


def classes_for(model: ModelAdapter, x: Tensor) -> Tensor:
    """Distinct classes, of which the first is the predicted one and the second is not."""
    with torch.no_grad():
        predicted = model(x).argmax(1)
    classes = (torch.arange(len(x)) * 2 + 1) % CLASSES
    classes[0] = predicted[0]
    if len(x) > 1:
        classes[1] = (predicted[1] + 1) % CLASSES
    if len(x) > 2:
        classes[2] = predicted[2]
    return classes


def image_batch(n: int, channels: int, height: int, width: int) -> Tensor:
    """Random images; some pixels at the bounds exactly, as in real ones."""
    x = torch.rand(n, channels, height, width, dtype=torch.float64)
    extreme = torch.rand_like(x)
    return x.masked_fill(extreme < 0.1, 0.0).masked_fill(extreme > 0.9, 1.0)


def worlds(method: Method, params: dict[str, Any], seed: int) -> list[World]:
    """All worlds that a method can be checked in, with these parameters.

    The first is the richest; parameters are varied there.
    """
    with seeded(seed):
        if method.needs & {"attention", "tokens"}:
            found = _with_attention(method)
        else:
            found = _with_convolutions(method)
    return [replace(world, params=dict(params)) for world in found]


def _with_convolutions(method: Method) -> list[World]:
    x = image_batch(5, 3, 10, SIDE)
    plain = build(_Plain, x, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), layer="features")
    gray = image_batch(1, 1, SIDE, 10)
    one = build(_Plain, gray, layer="features")
    first = one(gray).argmax(1)
    skip, reused = build(_Residual, x), build(_Reused, x)
    blind = build(_Blind, x, layer="inner.features")
    sure = build(_Plain, x, scale=8.0, layer="features")
    found = [
        World(
            "batch norm, in-place ReLU, dropout; five images of 3x10x8, distinct classes",
            plain,
            x,
            classes_for(plain, x),
        ),
        World(
            "one image of one channel",
            one,
            gray,
            (first + (method.kind == "attribution")) % CLASSES,
        ),
        World(
            "a residual network whose ReLU's input is used twice",
            skip,
            x[:3],
            classes_for(skip, x[:3]),
        ),
        World(
            "a ReLU module that runs twice, all classes alike",
            reused,
            x[:3],
            torch.full((3,), 2),
        ),
        World(BLIND, blind, x[:3], classes_for(blind, x[:3])),
        World("a saturated softmax", sure, x[:3], classes_for(sure, x[:3])),
    ]
    if not method.needs:
        flat = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), CLASSES, bias=False))
        flat.double().eval()[1].weight.data.mul_(3)  # type: ignore[operator]
        linear = wrap(flat)
        found.append(World("a linear model", linear, x[:3], classes_for(linear, x[:3])))
    return found


def _with_attention(method: Method) -> list[World]:
    x = image_batch(5, 3, 10, SIDE)
    first = build(ClassToken, x, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    gray = image_batch(1, 1, SIDE, 10)
    one, three = build(Averaged, gray), x[:3]
    distilled, sure = build(Distilled, x), build(ClassToken, x, scale=8.0)
    found = [
        World(
            "a transformer whose class token is read; five images of 3x10x8, distinct classes",
            first,
            x,
            classes_for(first, x),
        ),
        World(
            "patches averaged, fused attention; one image of one channel",
            one,
            gray,
            (one(gray).argmax(1) + 1) % CLASSES,
        ),
        World(
            "attention written out, two of three prefix tokens read, all classes alike",
            distilled,
            three,
            torch.full((3,), 2),
        ),
        World("a saturated softmax", sure, three, classes_for(sure, three)),
    ]
    if "tokens" not in method.needs:  # a token that nobody sees cannot be found in the image
        blind = build(_BlindTransformer, x)
        found.append(World(BLIND, blind, three, classes_for(blind, three)))
    return found
