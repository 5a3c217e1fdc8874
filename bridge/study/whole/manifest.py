"""The manifest of a study: what decides its numbers, and how it is cut."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

from bridge.record import manifest
from bridge.study.whole.images import Images
from bridge.study.whole.place import Place
from bridge.study.whole.setting import Asked, differences, fingerprint

NAME = "manifest.json"
FORMAT = 1


def read(place: Place) -> dict[str, Any] | None:
    """What is written there; None where there is no study. Raises ValueError for another file."""
    try:
        text = place.read(NAME)
    except FileNotFoundError:
        return None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{place}/{NAME} is no manifest: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"{place}/{NAME} is of another format, this version reads {FORMAT}")
    return found


def settle(
    place: Place,
    configured: Mapping[str, Any],
    asked: Asked,
    images: Images,
) -> dict[str, Any]:
    """The manifest that stands there, or a new one.

    Raises ValueError where what stands there was made otherwise, and says in what.
    """
    mine = fingerprint(configured)
    before = read(place)
    if before is None:
        size = asked.part_size
        card = {
            "format": FORMAT,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "fingerprint": mine,
            "configuration": configured,
            "images": len(images.places),
            "data": images.loading,
            "parts": {"size": size, "count": -(-len(images.places) // size)},
            "batch_size": asked.batch_size,
            "left_out": dict(asked.left_out),
            "labels": "given" if asked.work.labelled else "predicted",
            "card": manifest.plain(manifest.describe(asked.work.model, images.x)),
            "plan": asked.plan.explain(),
        }
        place.write(NAME, (json.dumps(manifest.plain(card), indent=2) + "\n").encode())
        found: dict[str, Any] = manifest.plain(card)
        return found
    expect(place, before, configured)
    return before


def expect(place: Place, before: Mapping[str, Any], configured: Mapping[str, Any]) -> None:
    """Raise ValueError where the study that stands there was asked for otherwise."""
    if before["fingerprint"] != fingerprint(configured):
        listed = "; ".join(differences(before["configuration"], configured))
        raise ValueError(
            f"{place} holds a study that was asked for otherwise: {listed}. Ask for the same to go "
            "on with it, or choose another folder"
        )
