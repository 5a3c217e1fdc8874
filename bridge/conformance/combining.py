"""Several deviations of an attribution at once: what is explained, how, and what is done after.

A quantity, a variant of the method, then changes of the map in the order in which people make them.
A variant that asks the model about other images than the code did is dropped before it is combined.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from bridge.conformance.attribution_causes import QUANTITIES, possible
from bridge.conformance.map_changes import (
    CHANNELS,
    SCALES,
    SIGNS,
    SIZES,
    VALUES,
    Change,
    for_display,
)
from bridge.conformance.map_factors import factors
from bridge.conformance.subject import Predict, Subject, deviating
from bridge.conformance.watching import Watched
from bridge.conformance.worlds import World
from bridge.metrics import agreement

CLOSE = 8e-6
SINGLE = 2e-4
MOST = 4  # parts of one explanation
SECONDS = 5.0  # of this process, after which the search ends with what is nearest
PRICE = 0.02  # of the answer, that each further part must explain to be nearer
TELLING = 3  # calls by which variants are told apart
DIGITS = 4  # of the sums by which images are known again

Part = tuple[str, Change]
Chain = tuple[Part, ...]


@dataclass(frozen=True)
class Root:
    """A map before anything is done to it: its sentences, and how it is computed."""

    sentences: tuple[str, ...]
    predict: Predict


@dataclass
class Search:
    """The calls to explain, and the maps that were computed for them already."""

    subject: Subject
    calls: Sequence[Watched]
    known: dict[tuple[int, int, tuple[str, ...]], Tensor | None] = field(default_factory=dict)
    groups: list[list[Part]] = field(default_factory=list)
    scales: list[Part] = field(default_factory=list)
    finite: list[Tensor] = field(
        default_factory=list
    )  # images whose answer is: 0 / 0 tells nothing

    def __post_init__(self) -> None:
        self.finite = [c.output.flatten(1).isfinite().all(1) for c in self.calls]
        self.groups = [VALUES, CHANNELS, SIZES, SIGNS]
        displays = for_display(self.calls[0].output)
        self.groups += [displays] if displays else []
        self.scales = [*SCALES, *factors(self.subject)]

    def map(self, root: Root, index: int, chain: Chain) -> Tensor | None:
        """The map of a call after these changes; None where they make no sense."""
        key = id(root), index, tuple(text for text, _ in chain)
        if key not in self.known:
            world = self.calls[index].world
            if not chain:
                found = possible(root.predict, self.subject, world)
            else:
                before = self.map(root, index, chain[:-1])
                found = None
                if before is not None:
                    change = partial(_changed, before, chain[-1][1])
                    found = possible(change, self.subject, world)
            self.known[key] = found
        return self.known[key]

    def chains(self, root: Root, count: int, begun: Chain = (), group: int = 0) -> Iterator[Chain]:
        """So many changes, of different groups, in the groups' order; none that changes nothing."""
        if count <= 0:
            yield from [begun] if count == 0 else []
            return
        before = self.map(root, 0, begun)
        if before is None:
            return
        for place in range(group, len(self.groups) - count + 1):
            for part in self.groups[place]:
                chain = (*begun, part)
                after = self.map(root, 0, chain)
                if after is not None and not torch.equal(after, before):
                    yield from self.chains(root, count - 1, chain, place + 1)

    def whole(self, root: Root, count: int) -> Iterator[Chain]:
        """So many changes that may lead to the answer; a scale, where one is among them, last.

        A scale leaves a map affine to what it was, image by image: others need not be tried.
        """
        yield from (c for c in self.chains(root, count) if self.affine(root, c))
        for chain in self.chains(root, count - 1):
            if self.affine(root, chain):
                yield from ((*chain, scale) for scale in self.scales)

    def affine(self, root: Root, chain: Chain) -> bool:
        """Whether each image's map is the first call's answer but for a factor and a constant."""
        found, output = self.both(root, 0, chain)
        if found is None:
            return False
        one, other = (t.flatten(1) - t.flatten(1).mean(1, keepdim=True) for t in (found, output))
        sizes = one.norm(dim=1) * other.norm(dim=1)
        near = 1e-3 if self.subject.single else 1e-8
        return bool(((one * other).sum(1).abs() >= (1 - near) * sizes).all())

    def explains(self, root: Root, chain: Chain) -> bool:
        """Whether it gives what the code gave, in every call."""
        return all(
            found is not None and self._close(found, output)
            for found, output in (self.both(root, i, chain) for i in range(len(self.calls)))
        )

    def both(self, root: Root, index: int, chain: Chain) -> tuple[Tensor | None, Tensor]:
        """The map of a call and its answer, of the images whose answer is finite."""
        found, output, finite = self.map(root, index, chain), *self._seen(index)
        if found is None or found.shape != output.shape:
            return None, output[finite]
        return (found[finite] if bool(found[finite].isfinite().all()) else None), output[finite]

    def _seen(self, index: int) -> tuple[Tensor, Tensor]:
        return self.calls[index].output, self.finite[index]

    def left(self, root: Root, chain: Chain) -> float:
        """The share of the first call's answer that it does not explain."""
        found, output = self.both(root, 0, chain)
        if found is None:
            return 1.0
        return float((output - found).abs().sum() / output.abs().sum().clamp(min=1e-300))

    def _close(self, found: Tensor, output: Tensor) -> bool:
        gaps = agreement.gaps(output, found, self.subject.scale(found))
        return float(gaps.max()) <= (SINGLE if self.subject.single else CLOSE)


def _changed(map_: Tensor, change: Change, subject: Subject, world: World) -> Tensor | None:
    return change(map_, subject, world)


def combined(subject: Subject, watched: Sequence[Watched]) -> tuple[list[str], float] | None:
    """The sentences that explain all calls, and 0; or the nearest, and what share they leave."""
    calls = [w for w in watched if bool(w.output.nan_to_num(0, 0, 0).any())]
    if not calls:
        return None
    search = Search(subject, calls)
    nearest: tuple[float, list[str]] = (1.0, [])
    end = time.process_time() + SECONDS
    roots = _roots(search)
    for count, root in itertools.product(range(MOST + 1), roots):
        for chain in search.whole(root, count - len(root.sentences)):
            sentences = [*root.sentences, *(text for text, _ in chain)]
            if search.explains(root, chain):
                return sentences, 0.0
            left = search.left(root, chain)
            if left < nearest[0] - PRICE * count:
                nearest = left, sentences
        if time.process_time() > end:
            break
    return nearest[1], nearest[0]


def _roots(search: Search) -> list[Root]:
    """The method, what it may explain instead, its variants that ask the same, and both at once.

    Those of fewer deviations first.
    """
    subject = search.subject
    heads = [("", _itself), *QUANTITIES]
    found = []
    for base in _bases(subject):
        bodies: list[tuple[str, Predict]] = [("", _reference)]
        bodies += _asking_the_same(search, base)
        for (of, quantity), (how, body) in itertools.product(heads, bodies):
            sentences = tuple(text for text in (of, how) if text)
            found.append(Root(sentences, partial(_of, quantity, body, base)))
    return sorted(found, key=lambda root: len(root.sentences))


def _asking_the_same(search: Search, base: Subject) -> list[tuple[str, Predict]]:
    """The variants that ask about the images that the code asked about, none twice."""
    telling = [search.calls[0], *(c for c in search.calls if c.world.varied)][:TELLING]
    asked = [_sums((*call.asked, *call.looked), call.world) for call in telling]
    found: list[tuple[str, Predict]] = []
    seen: list[list[Tensor]] = []
    others: set[str] = set()  # that ask otherwise
    for variant in base.method.variants:
        if variant.asks in others:
            continue
        body, maps = partial(deviating, variant), []
        for call, sums in zip(telling, asked, strict=True):
            map_ = _if_asking(base, body, call.world, sums)
            if map_ is None:
                others |= {variant.asks} - {""}
                break
            maps.append(map_)
        if len(maps) < len(telling) or any(all(map(_same, maps, other)) for other in seen):
            continue
        seen.append(maps)
        found.append((variant.sentence, body))
    return found


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(torch.equal(one, other))


def _itself(world: World) -> World:
    return world


def _reference(subject: Subject, world: World) -> Tensor:
    return subject.reference(world)


def _of(quantity: object, body: Predict, base: Subject, subject: Subject, world: World) -> Tensor:
    found = body(base, quantity(world))  # type: ignore[operator]
    if found is None:
        raise ValueError("it makes no sense here")
    return found


def _bases(subject: Subject) -> list[Subject]:
    """The subject, and without what was found to be switched on: it may come at another place."""
    flags = [name for name, value in subject.own.items() if value is True]
    found = []
    for count in range(len(flags) + 1):
        for off in itertools.combinations(flags, count):
            own = {name: value for name, value in subject.own.items() if name not in off}
            found.append(replace(subject, own=own))
    return found


def _if_asking(
    subject: Subject, body: Predict, world: World, asked: frozenset[float]
) -> Tensor | None:
    """A variant's map, where it asks the model about these images; none asked: whatever it asks."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].detach().double())

    handle = world.model.register_forward_pre_hook(keep)
    try:
        found = possible(body, subject, world)
    finally:
        handle.remove()
    return found if not asked or _sums(seen, world) == asked else None


def _sums(images: Sequence[Tensor], world: World) -> frozenset[float]:
    """What images are known again by, each alone; the clean ones say nothing."""
    weights = torch.linspace(0.5, 1.5, world.x[0].numel(), dtype=torch.float64)
    clean = {_rounded(v) for v in world.x.double().flatten(1) @ weights}
    found = {_rounded(v) for each in images for v in each.flatten(1) @ weights}
    return frozenset(found - clean)


def _rounded(value: Tensor) -> float:
    return round(float(value), DIGITS)
