"""What code asks the model about in its own way is put in place of what the method would ask.

Its random numbers, and what it covers windows with: read off its questions and said in words, so
that everything else can be explained exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from bridge.conformance.headed import fed
from bridge.conformance.subject import Subject
from bridge.conformance.watching import SEED, Watched, watch
from bridge.conformance.worlds import World

SAME = 1e-9
NEAR = 1e-5  # of code that works in float32
MARK = 7.0  # a baseline that no pixel has: where it stands, the code's own cover goes
LARGEST = 15  # pixels, of the means that blurred copies are recognised by
Box = tuple[int, int, int, int]


def replayed(
    subject: Subject, watched: Sequence[Watched]
) -> tuple[list[str], list[Watched]] | None:
    """What it does in its own way, in sentences, and the calls with that in their worlds.

    None where there is nothing to be put in place of ours.
    """
    return _with_its_noise(subject, watched) or _with_its_covers(subject, watched)


# Random numbers.


def _with_its_noise(
    subject: Subject, watched: Sequence[Watched]
) -> tuple[list[str], list[Watched]] | None:
    replays = subject.method.tags.replayed
    if replays is None or subject.accepts("noise"):
        return None
    found = []
    for call in watched:
        told = replays(call.asked, call.world.x, **subject.settings(call.world))
        if told is None:
            return None
        found.append(replace(call, world=replace(call.world, drawn=told)))
    return list(law(subject, watched[0].world)), found


def law(subject: Subject, world: World) -> Iterator[str]:
    """How the noise that code draws deviates from the method's, on images of half the contrast.

    There what is relative to an image's own range is told from what is not.
    """
    said = subject.method.tags.law
    if said is None:
        return
    low, high = world.model.bounds
    place = replace(world, x=(low + high) / 2 + (world.x - (low + high) / 2) / 2)
    call = watch(subject, place)
    if call is not None and call.asked:
        yield from said(call.asked, place.x, place.model.bounds, **subject.settings(place))


# Covers.


def _with_its_covers(
    subject: Subject, watched: Sequence[Watched]
) -> tuple[list[str], list[Watched]] | None:
    observed = subject.method.tags.observed
    if observed is None or "baseline" not in subject.method.defaults:
        return None
    first = watched[0]
    seen = observed(first.asked, first.looked, first.world.x, first.output)
    if "window" not in seen or "baseline" in seen:
        return None
    said = _cover(subject, first)
    if not said:
        return None
    calls = [replace(c, world=_covered_so(c), asked=(), looked=()) for c in watched]
    return [said], calls


def _boxes(call: Watched) -> list[tuple[Box, Tensor]]:
    """Where each question differs from the images, and the question."""
    found = []
    for question in (*call.looked, *call.asked):
        changed = (question != call.world.x).any(1).any(0)
        if bool(changed.any()):
            found.append((_box(changed), question))
    return found


def _box(changed: Tensor) -> Box:
    rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _cover(subject: Subject, call: Watched) -> str:
    """What windows are covered with, in words; "" for one value a channel, which variants say."""
    x, boxes = call.world.x, _boxes(call)
    near = NEAR if subject.single else SAME
    cover, known = x.clone(), torch.zeros_like(x, dtype=torch.bool)
    one_each = consistent = True
    for (top, bottom, left, right), question in boxes:
        area = (..., slice(top, bottom), slice(left, right))
        inside, before = question[area], cover[area]
        consistent &= bool(((inside - before).abs()[known[area]] < near).all())
        means = x[area].mean((2, 3), keepdim=True).expand_as(inside)
        one_each &= bool(torch.allclose(inside, means, atol=near, rtol=0))
        cover[area], known[area] = inside, True
    if one_each:
        return "it covers each window with its own mean, channel by channel"
    if not consistent:
        return _of_no_image(subject, call)
    if _flat(cover, known, near):
        return ""
    for size in range(3, LARGEST + 1, 2):
        for pad in (True, False):
            blurred = F.avg_pool2d(x, size, 1, size // 2, count_include_pad=pad)
            if torch.allclose(blurred[known], cover[known], atol=near, rtol=0):
                return f"it covers with a blurred copy of the image (means of {size} x {size})"
    if _drawn_anew(subject, call):
        return "it covers with random values, not with one value"
    smooth = _roughness(cover) < _roughness(x) / 2
    return f"it covers with {'a blurred copy of the image' if smooth else 'an image of its own'}"


def _of_no_image(subject: Subject, call: Watched) -> str:
    if _drawn_anew(subject, call):
        return "it covers with random values, other ones in each window"
    return "it covers each window with values of its own, not with one value"


def _drawn_anew(subject: Subject, call: Watched) -> bool:
    """Whether another seed covers otherwise."""
    other = watch(subject, call.world, seed=SEED + 1)
    if other is None:
        return False
    pairs = zip(_boxes(call), _boxes(other), strict=False)
    return any(not torch.equal(one, two) for (_, one), (_, two) in pairs)


def _flat(cover: Tensor, known: Tensor, near: float) -> bool:
    """Whether it is one value in each channel of each image."""
    values = cover.masked_fill(~known, math.nan).flatten(2)
    spread = values.nan_to_num(-math.inf).amax(2) - values.nan_to_num(math.inf).amin(2)
    return bool((spread < near).all())


def _roughness(images: Tensor) -> float:
    """How much neighbours differ."""
    return float(images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean())


def _covered_so(call: Watched) -> World:
    """The world whose model is asked about the code's own covers wherever ours is marked."""
    theirs = dict(_boxes(call))
    x = call.world.x

    def swapped(images: Tensor) -> Tensor:
        found = []
        for part in images.split(len(x)):
            if part.shape != x.shape:
                raise LookupError("other images are asked about")
            marked = (part == MARK).any(1).any(0)
            if torch.equal(part, x):
                found.append(part)
                continue
            question = theirs.get(_box(marked)) if bool(marked.any()) else None
            if question is None or not torch.equal(part != x, part == MARK):
                raise LookupError("the code asks about no such images")
            found.append(question.to(part))
        return torch.cat(found)

    return replace(fed(call.world, swapped), drawn={"baseline": MARK})
