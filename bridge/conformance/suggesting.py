"""What to change in the code, cause by cause: read beside the cause, wherever that is written."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bridge.conformance.attribution_causes import QUANTITIES
from bridge.conformance.loop_deviations import CLIPS, LOOPS
from bridge.conformance.map_changes import (
    CHANGES,
    CHANNELS,
    DISPLAYS,
    SCALES,
    SIGNS,
    SIZES,
    VALUES,
    plain,
)
from bridge.conformance.map_factors import factors
from bridge.conformance.recipe import Deviation, standard
from bridge.conformance.starting import edit_of_start
from bridge.conformance.step_deviations import DIRECTIONS, LOSSES
from bridge.conformance.step_deviations import SIZES as STEPS
from bridge.conformance.subject import SENSELESS, Subject
from bridge.conformance.worlds import World
from bridge.core.edits import Edit, equation

EVIDENCE = r" \((explains|on average) .*$"


def suggested(subject: Subject, cause: str, world: World) -> tuple[Edit, ...]:
    """An edit for each sentence of the cause that has one; none where it is a guess."""
    if "not recognised" in cause or "something else" in cause:
        return ()
    said = re.sub(EVIDENCE, "", cause.partition("; if that is meant")[0])
    if said == cause:  # without evidence it is no cause of this kind
        return ()
    edits = (_edit(subject, sentence, world) for sentence in said.split("; and "))
    return tuple(dict.fromkeys(edits))


def _edit(subject: Subject, sentence: str, world: World) -> Edit:
    """What is said beside the cause; else the cause and the method, side by side."""
    known = (edit for edit in _edits(subject, sentence, world) if edit is not None)
    return next(known, Edit(sentence, subject.method.summary.rstrip(".")))


def _edits(subject: Subject, sentence: str, world: World) -> Iterator[Edit | None]:
    """What is said of the sentence beside it: by the method, by its recipe, by what is general."""
    for variant in subject.method.variants:
        if variant.sentence == sentence and variant.edit is not None:
            yield variant.edit()
    for deviation in (*LOSSES, *CLIPS, *LOOPS, *STEPS, *DIRECTIONS):
        if deviation.sentence == sentence:
            yield _of_recipe(subject, deviation, world)
    yield edit_of_start(subject, sentence)
    for text, quantity in QUANTITIES:
        if text == sentence:
            yield _changed(equation(quantity), "logit_t", "differentiate logits[i, target[i]]")
    for text, change in (
        *CHANGES,
        *VALUES,
        *CHANNELS,
        *SIZES,
        *SIGNS,
        *DISPLAYS,
        *SCALES,
        *factors(subject),
    ):
        if text == sentence:
            made = equation(plain(change)).replace("map_", "m") or sentence
            yield Edit(made, "m, the map as it is", "return m: leave this out")


def _changed(yours: str, ours: str, change: str) -> Edit | None:
    return Edit(yours, ours, change) if yours else None


def _of_recipe(subject: Subject, deviation: Deviation, world: World) -> Edit | None:
    """The lines of the loop that differ."""
    try:
        recipe = standard(subject, world)
        changed = deviation.change(recipe, world)
    except SENSELESS:
        return None
    if changed is None:
        return None
    ours, theirs = recipe.lines(), changed.lines()
    differing = [name for name in ours if ours[name][0] != theirs[name][0]]
    if not differing:
        return None
    yours, methods = ("; ".join(lines[name][0] for name in differing) for lines in (theirs, ours))
    return Edit(yours, methods, "; ".join(ours[name][1] for name in differing))
