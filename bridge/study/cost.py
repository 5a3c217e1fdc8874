"""What a comparison will take, from the passes that it plans and a few that are timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from bridge.core.engine import session
from bridge.core.gradients import input_gradient
from bridge.core.method import Method
from bridge.core.state import seeded
from bridge.core.timer import synchronise
from bridge.study.measure import SHORT, Batch
from bridge.study.request import Request
from bridge.study.sample import alone

TRIES = 2  # the first call of a batch size sets up its kernels
# Of input numbers that go through at once while the pace is taken: three photographs of 3x224x224.
NUMBERS, IMAGES = 2**19, 16
# A library spends more than its passes (conversions, copies, looks at the result), an engine that
# calls from Python a few operations on the images besides.
BESIDES = 1.15
CALL = 0.003  # seconds around each call: frozen, checked, watched
LARGE = 64  # images that go through a model at once, at most
CHUNK = 8


@dataclass(frozen=True)
class Pace:
    """Seconds of a pass of a model: of a call, and of each image in it; with a gradient, too."""

    forward: tuple[float, float]
    gradient: tuple[float, float]

    def seconds(self, forwards: float, backwards: float, at_once: float) -> float:
        """Of so many images forwards and backwards, at so many at once."""
        plain = max(0.0, forwards - backwards)
        return plain * self._an_image(self.forward, at_once) + backwards * self._an_image(
            self.gradient, at_once
        )

    @staticmethod
    def _an_image(pace: tuple[float, float], at_once: float) -> float:
        call, image = pace
        return call / max(1.0, at_once) + image


def pace(batch: Batch) -> Pace:
    """The pace of a model on images like these, from a few timed passes of one and of several.

    None, no time at all, of a model that raises: whoever needs its passes says what is wrong.
    """
    try:
        return _pace(batch)
    except Exception:
        return Pace((0.0, 0.0), (0.0, 0.0))


def _pace(batch: Batch) -> Pace:
    only = batch.model.habits(batch.x).batch
    if only is not None:
        forward, gradient = (seconds / only for seconds in _timed(batch, only))
        return Pace((0.0, forward), (0.0, gradient))
    several = max(2, min(len(batch.x), IMAGES, NUMBERS // batch.x[0].numel()))
    few, many = _timed(batch, 1), _timed(batch, several)
    return Pace(*(_line(1, a, several, b) for a, b in zip(few, many, strict=True)))


def _timed(batch: Batch, images: int) -> tuple[float, float]:
    """Seconds of a forward pass, and of one with a gradient, the best of a few."""
    places = [k % len(batch.x) for k in range(images)]
    x, target = batch.x[places], batch.target[places]

    def forward() -> None:
        with torch.no_grad():
            batch.model(x)

    def gradient() -> None:
        input_gradient(batch.model, x, target)

    with seeded(0), session(batch.model):
        return _best(batch, forward), _best(batch, gradient)


def _best(batch: Batch, call: Callable[[], None]) -> float:
    seconds = []
    for _ in range(TRIES):
        start = time.perf_counter()
        call()
        synchronise(batch.x.device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _line(few: int, a: float, many: int, b: float) -> tuple[float, float]:
    """(seconds a call, seconds an image) of two batches; neither is below 0."""
    image = max(0.0, (b - a) / (many - few))
    return max(0.0, a - few * image), image or b / many


@dataclass(frozen=True)
class Cost:
    """Seconds that a comparison should take: of each method's results, and of its proof."""

    results: Mapping[str, float]
    proof: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.results.values()) + sum(self.proof.values())

    def __str__(self) -> str:
        """ "about 40 s: 12 for results, 28 for proof"."""
        results, proof = (sum(part.values()) for part in (self.results, self.proof))
        text = f"about {_text(results + proof)} s"
        if results and proof:
            text += f": {_text(results)} for results, {_text(proof)} for proof"
        return text


def _text(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 1 else f"{seconds:.1f}"


def cost(request: Request, batch: Batch, sample: Batch | None, wide: Batch | None) -> Cost:
    """What is expected: the `batch` by the quickest implementations, the `sample` by all.

    Either is None for what is not run; `wide` is what is judged in float64.
    """
    narrow = pace(batch)
    slow = pace(wide) if wide is not None and len(wide.x) else None
    results, proof = {}, {}
    for method in request.methods:
        if sample is not batch:
            results[method.name] = _results(request, method, batch, narrow)
        if sample is not None and len(sample.x):
            proof[method.name] = _proof(request, method, sample, narrow, slow)
    return Cost(results, proof)


def passes(request: Request, method: Method, batch: Batch) -> tuple[float, float]:
    """Forwards and backwards an image at all epsilons, as a rule."""
    if method.tags.typical is not None:
        classes = batch.model.facts(batch.x).logits.shape[1]
        forwards, backwards = method.tags.typical(batch.x, classes, **request.params[method.name])
        sizes = len(request.epsilons[method.name])
        return forwards * sizes, backwards * sizes
    return alone(request, method, batch.x).passes


def _results(request: Request, method: Method, batch: Batch, narrow: Pace) -> float:
    images = len(batch.x)
    forwards, backwards = passes(request, method, batch)
    at_once = min(images, LARGE) if method.kind == "attack" else CHUNK
    share = method.fast.share if method.fast else 1.0
    return CALL + share * narrow.seconds(forwards * images, backwards * images, at_once)


def _proof(
    request: Request, method: Method, sample: Batch, narrow: Pace, slow: Pace | None
) -> float:
    """Every implementation as it is, once more where that is short, and in float64."""
    images, names = len(sample.x), list(request.by_name(method))
    forwards, backwards = passes(request, method, sample)
    sizes = len(request.epsilons[method.name])
    total = 0.0
    for name in names:
        share = method.fast.share if method.fast and name == "fused" else BESIDES
        once = narrow.seconds(forwards * images, backwards * images, images) * share
        total += _with_repeats(once / sizes) * sizes
        if slow is not None:
            total += slow.seconds(forwards * images, backwards * images, images) * share
        total += 2 * sizes * CALL
    return total


def _with_repeats(seconds: float) -> float:
    """Of a cell that is timed again while it is short."""
    return seconds if seconds >= SHORT else min(4 * seconds, seconds + SHORT)
