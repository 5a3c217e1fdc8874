"""The recognisable ways in which an attribution goes wrong: another quantity is explained, or the map is changed after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bridge.conformance.attribution_variants import SPECIAL, Predict, layer_of, number, positions
from bridge.conformance.subject import Subject
from bridge.conformance.worlds import World
from bridge.model import ModelAdapter
from bridge.state import frozen


class Headed(nn.Module):
    """The model with something done to its logits; explains like the model itself."""

    def __init__(self, inner: ModelAdapter, head: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.head = inner, head
        self.bounds = inner.bounds

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x))

    def cam_layer(self, x: Tensor) -> nn.Module:
        return self.inner.cam_layer(x)


def _in(world: World, model: Any = None, target: Tensor | None = None, x: Tensor | None = None) -> World:
    return World(
        world.name, model or world.model, world.x if x is None else x, world.target if target is None else target, world.params
    )


def _head(head: Callable[[Tensor], Tensor]) -> Predict:
    return lambda s, w: s.reference(_in(w, Headed(w.model, head)))


def _predicted(world: World) -> Tensor:
    with torch.no_grad(), frozen(world.model):
        return world.model(world.x).argmax(1)


# Another quantity is explained.
BEFORE: list[tuple[str, Predict]] = [
    ("", lambda s, w: s.reference(w)),
    ("it explains the softmax probability instead of the logit", _head(lambda z: z.softmax(1))),
    ("it explains the loss (log-softmax) instead of the logit", _head(lambda z: z.log_softmax(1))),
    ("it explains the predicted class instead of the target", lambda s, w: s.reference(_in(w, target=_predicted(w)))),
    (
        "it explains the first image's target for all images",
        lambda s, w: s.reference(_in(w, target=w.target[:1].expand_as(w.target))),
    ),
    (
        "it explains the last image's target for all images",
        lambda s, w: s.reference(_in(w, target=w.target[-1:].expand_as(w.target))),
    ),
    ("it explains class 0 whatever the target", lambda s, w: s.reference(_in(w, target=torch.zeros_like(w.target)))),
    ("it explains the sum of all logits", _head(lambda z: z.sum(1, keepdim=True).expand_as(z))),
    ("it explains the mean of all logits", _head(lambda z: z.mean(1, keepdim=True).expand_as(z))),
    ("it explains the squared logit", _head(lambda z: z.square())),
    ("it explains the logit minus the mean of the logits", _head(lambda z: z - z.mean(1, keepdim=True))),
    (
        "it explains the targets of the images in reverse order",
        lambda s, w: s.reference(_in(w, target=w.target.flip(0))),
    ),
]


def _std(world: World) -> Tensor | None:
    return world.model.std


# The map is changed after it was computed.
AFTER: list[tuple[str, Callable[[Tensor, Subject, World], Tensor | None]]] = [
    ("", lambda r, s, w: r),
    ("it has the opposite sign", lambda r, s, w: -r),
    ("it takes the absolute value", lambda r, s, w: r.abs()),
    ("it keeps the positive part only (ReLU)", lambda r, s, w: r.relu()),
    ("it keeps the negative part only", lambda r, s, w: r.clamp(max=0)),
    ("it reverses the channels (BGR instead of RGB)", lambda r, s, w: r.flip(1)),
    ("it swaps height and width", lambda r, s, w: r.transpose(2, 3)),
    ("it swaps height and width in memory", lambda r, s, w: r.transpose(2, 3).reshape(r.shape)),
    ("it mirrors the map left to right", lambda r, s, w: r.flip(3)),
    ("it mirrors the map upside down", lambda r, s, w: r.flip(2)),
    ("it is shifted by one pixel to the right", lambda r, s, w: r.roll(1, 3)),
    ("it is shifted by one pixel to the left", lambda r, s, w: r.roll(-1, 3)),
    ("it is shifted by one pixel downwards", lambda r, s, w: r.roll(1, 2)),
    ("it is shifted by one pixel upwards", lambda r, s, w: r.roll(-1, 2)),
    ("it is shifted by one pixel down and right", lambda r, s, w: r.roll((1, 1), (2, 3))),
    ("it is divided by each image's maximum", lambda r, s, w: _over(r, r.abs().amax((1, 2, 3), keepdim=True))),
    ("it is divided by each image's largest value", lambda r, s, w: _over(r, r.amax((1, 2, 3), keepdim=True))),
    ("it is divided by each image's sum", lambda r, s, w: _over(r, r.abs().sum((1, 2, 3), keepdim=True))),
    ("it is divided by each image's L2 norm", lambda r, s, w: r / r.flatten(1).norm(dim=1).view(-1, 1, 1, 1)),
    ("it is scaled to [0, 1] per image (min-max)", lambda r, s, w: _minmax(r, (1, 2, 3))),
    ("it is divided by the batch's maximum", lambda r, s, w: r / r.abs().max()),
    ("it is divided by the batch's sum", lambda r, s, w: r / r.abs().sum()),
    ("it is divided by the batch's L2 norm", lambda r, s, w: r / r.norm()),
    ("it is scaled to [0, 1] over the batch (min-max)", lambda r, s, w: _minmax(r, (0, 1, 2, 3))),
    ("it is centred per image", lambda r, s, w: r - r.mean((1, 2, 3), keepdim=True)),
    ("it is averaged over the channels", lambda r, s, w: r.mean(1, keepdim=True).expand_as(r)),
    ("it is summed over the channels", lambda r, s, w: r.sum(1, keepdim=True).expand_as(r)),
    ("it is the maximum over the channels", lambda r, s, w: r.amax(1, keepdim=True).expand_as(r)),
    ("it is the absolute maximum over the channels", lambda r, s, w: r.abs().amax(1, keepdim=True).expand_as(r)),
    ("it is summed over the channels, which are gone", lambda r, s, w: r.sum(1, keepdim=True)),
    ("it is averaged over the channels, which are gone", lambda r, s, w: r.mean(1, keepdim=True)),
    ("it is the maximum over the channels, which are gone", lambda r, s, w: r.amax(1, keepdim=True)),
    ("it is averaged over the images of the batch", lambda r, s, w: r.mean(0, keepdim=True).expand_as(r)),
    ("it is summed over the images of the batch", lambda r, s, w: r.sum(0, keepdim=True).expand_as(r)),
    ("it is squared", lambda r, s, w: r.square()),
    ("it is multiplied by the image", lambda r, s, w: r * w.x if r.shape == w.x.shape else None),
    ("it is in normalised units (times std)", lambda r, s, w: None if _std(w) is None else r * _std(w)),
    ("it is divided by std once more", lambda r, s, w: None if _std(w) is None else r / _std(w)),
    ("it is rounded to half precision", lambda r, s, w: r.half().double()),
    ("it is the answer for the images in reverse order", lambda r, s, w: r.flip(0)),
]  # fmt: skip


def _over(r: Tensor, size: Tensor) -> Tensor:
    """r / size, and 0 where an image's map is all zero."""
    return r / size.masked_fill(size == 0, 1)


def _minmax(r: Tensor, dims: tuple[int, ...]) -> Tensor:
    low, high = r.amin(dims, keepdim=True), r.amax(dims, keepdim=True)
    return (r - low) / (high - low)


# A constant factor, by the name of what it is.
FACTORS: list[tuple[str, Callable[[Subject, World], float]]] = [
    ("it is divided by the batch size (a mean over the batch was differentiated)", lambda s, w: 1 / len(w.x)),
    ("it is multiplied by the batch size", lambda s, w: len(w.x)),
    ("its weights sum to (n - 1) / n of n_steps", lambda s, w: 1 - 1 / number(s, w, "n_steps")),
    ("its weights sum to (n + 1) / n of n_steps", lambda s, w: 1 + 1 / number(s, w, "n_steps")),
    ("its weights sum to n / (n + 1) of n_steps", lambda s, w: 1 / (1 + 1 / number(s, w, "n_steps"))),
    ("it is a sum over n_steps, not a mean", lambda s, w: number(s, w, "n_steps")),
    ("it is divided by n_steps once too often", lambda s, w: 1 / number(s, w, "n_steps")),
    ("it is a sum over n_samples, not a mean", lambda s, w: number(s, w, "n_samples")),
    ("it is divided by n_samples once too often", lambda s, w: 1 / number(s, w, "n_samples")),
    ("it is divided by the number of channels", lambda s, w: 1 / w.x.shape[1]),
    ("it is multiplied by the number of channels", lambda s, w: w.x.shape[1]),
    ("it is divided by the number of pixels", lambda s, w: 1 / w.x[0].numel()),
    ("it is divided by the number of positions", lambda s, w: 1 / w.x[0, 0].numel()),
    ("it sums the gradient over the layer's positions instead of averaging", lambda s, w: positions(s, w)),
    ("it divides by the layer's positions once too often", lambda s, w: 1 / positions(s, w)),
    ("it averages over the layer's channels instead of summing", lambda s, w: 1 / layer_of(w)[0].shape[1]),
    ("it is multiplied by 255 (8-bit units)", lambda s, w: 255),
    ("it is divided by 255 (8-bit units)", lambda s, w: 1 / 255),
]


def _own_factor(right: Predict) -> Predict:
    """The reference times the output's own constant factor to it, the same for all images."""

    def predict(s: Subject, w: World) -> Tensor | None:
        r, output = right(s, w), s(w).detach().double()
        if r is None or output.shape != r.shape:
            return None
        return r * (output * r).sum() / r.square().sum().clamp(min=1e-300)

    return predict


def causes(subject: Subject) -> Iterator[tuple[str, Predict]]:
    """Candidate explanations, the simplest first."""
    special = [(text, _once(before)) for text, before in SPECIAL.get(subject.method.name, [])]
    others = [(text, _once(before)) for text, before in BEFORE[1:]]
    right = _once(BEFORE[0][1])
    yield from [*special, *others]
    for text, after in AFTER[1:]:
        yield text, _then(right, after)
    for text, factor in FACTORS:
        yield text, _times(right, factor)
    yield "it is a constant factor times the reference", _own_factor(right)
    for text, before in [*special, *others]:
        for more, after in AFTER[1:]:
            yield f"{text}; and {more}", _then(before, after)
        for more, factor in FACTORS:
            yield f"{text}; and {more}", _times(before, factor)


def _once(before: Predict) -> Predict:
    """The same, computed once a world: pairs of causes ask for it again and again."""
    known: dict[int, tuple[World, Tensor | None]] = {}  # the world is kept, so that its id stays its own

    def predict(s: Subject, w: World) -> Tensor | None:
        if id(w) not in known:
            known[id(w)] = (w, before(s, w))
        return known[id(w)][1]

    return predict


def _then(before: Predict, after: Callable[[Tensor, Subject, World], Tensor | None]) -> Predict:
    def predict(s: Subject, w: World) -> Tensor | None:
        r = before(s, w)
        return None if r is None else after(r, s, w)

    return predict


def _times(before: Predict, factor: Callable[[Subject, World], float]) -> Predict:
    def predict(s: Subject, w: World) -> Tensor | None:
        r = before(s, w)
        value = factor(s, w)
        return None if r is None or value in (0.0, 1.0) else r * value

    return predict
