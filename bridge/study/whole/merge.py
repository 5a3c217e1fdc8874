"""Shards put together: hashes, gaps and doubles are looked for first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bridge.study.whole import manifest, parts
from bridge.study.whole.lock import locked
from bridge.study.whole.parts import Part
from bridge.study.whole.place import Place, place_of
from bridge.study.whole.proof import FOLDER
from bridge.study.whole.setting import differences
from bridge.study.whole.study import Study


def merge(out: str | Path, shards: Sequence[str | Path] = ()) -> Study:
    """The study of which these are shards, in `out`, which may hold some of it already.

    Every file is checked against its hash. Raises ValueError where shards were asked for
    differently (says in what), where two hold the same part with other numbers (doubles), where one
    is missing (gaps) or a file was changed; nothing is removed from the shards.
    """
    place = place_of(out)
    sources = [place_of(each) for each in shards]
    cards = _alike(place, sources)
    with locked(place):
        held: dict[int, tuple[Place, dict[str, Any]]] = {}
        for source in dict.fromkeys([*([place] if manifest.read(place) else []), *sources]):
            _take(held, source)
        _no_gaps(held, cards["parts"]["count"])
        there = parts.sidecars(place)
        for number, (source, card) in held.items():
            parts.check(source, card)
            if source != place:
                _copy(source, place, number, card, there.get(number))
        if manifest.read(place) is None:
            for source in sources:
                _copy_proof(source, place)
            place.write(manifest.NAME, sources[0].read(manifest.NAME))
        else:
            for source in sources:
                _copy_proof(source, place)
        tell_apart(place, Study.open(out).cards)
    return Study.open(out)


def _alike(place: Place, sources: Sequence[Place]) -> dict[str, Any]:
    """The manifest of all of them. Raises ValueError where they are not of one study."""
    first: tuple[Place, dict[str, Any]] | None = None
    for each in (place, *sources):
        card = manifest.read(each)
        if card is None:
            if each == place and sources:
                continue
            raise ValueError(f"{each} holds no study: {manifest.NAME} is missing")
        if first is None:
            first = each, card
        elif card["fingerprint"] != first[1]["fingerprint"]:
            listed = differences(first[1]["configuration"], card["configuration"])
            raise ValueError(
                f"{each} is no shard of the same study as {first[0]}: {'; '.join(listed)}"
            )
    if first is None:
        raise ValueError("there is nothing to merge: name some shards")
    return first[1]


def _take(held: dict[int, tuple[Place, dict[str, Any]]], source: Place) -> None:
    """The parts of a shard, the whole ones before the others."""
    fingerprint = (manifest.read(source) or {}).get("fingerprint")
    for number, card in parts.sidecars(source).items():
        if card.get("fingerprint") != fingerprint:
            continue
        if number not in held:
            held[number] = source, card
            continue
        other, there = held[number]
        if there["complete"] and card["complete"] and _contents(there) != _contents(card):
            raise ValueError(
                f"part {number} is in {other} and in {source}, with other rows: run one of the two "
                "shards anew in an empty folder, or leave it out"
            )
        if card["complete"] and not there["complete"]:
            held[number] = source, card


def _contents(card: Mapping[str, Any]) -> dict[str, str]:
    return {kind: said["sha256"] for kind, said in card["files"].items()}


def _no_gaps(held: Mapping[int, tuple[Place, Mapping[str, Any]]], count: int) -> None:
    lacking = [number for number in range(count) if number not in held]
    half = [number for number, (_, card) in held.items() if not card["complete"]]
    beyond = [number for number in held if number >= count]
    said = []
    if lacking:
        said.append(f"{len(lacking)} of {count} parts are missing ({_some(lacking)})")
    if half:
        said.append(f"{len(half)} parts are not whole ({_some(half)})")
    if beyond:
        said.append(f"there are parts beyond the last ({_some(beyond)})")
    if said:
        raise ValueError(f"{' and '.join(said)}: run their shards to the end, then merge again")


def _some(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return f"{shown}, ..." if len(numbers) > 8 else shown


def _copy(
    source: Place,
    place: Place,
    number: int,
    card: Mapping[str, Any],
    there: Mapping[str, Any] | None,
) -> None:
    said = {key: value for key, value in card.items() if key not in ("files", "spent")}
    parts.write(place, number, parts.read(source, card), said, before=there)


def _copy_proof(source: Place, place: Place) -> None:
    if source == place or f"{FOLDER}/run.json" in place.listed(FOLDER):
        return
    names = sorted(source.listed(FOLDER), key=lambda name: name.endswith("run.json"))
    for name in names:
        place.write(name, source.read(name))


def tell_apart(place: Place, cards: Mapping[int, dict[str, Any]]) -> None:
    """Give images whose pixels another part has before them their place behind the id."""
    seen: set[str] = set()
    for number, card in cards.items():
        images = parts.table(place, card, "images")
        identities = images["id"].to_pylist()
        twice = {identity for identity in identities if identity in seen}
        seen.update(identities)
        if twice:
            part = parts.read(place, card)
            index = dict(zip(identities, images["index"].to_pylist(), strict=True))
            new = {identity: f"{identity}@{index[identity]}" for identity in twice}
            said = {key: card[key] for key in card if key not in ("files", "spent")}
            parts.write(place, number, renamed(part, new), said, before=card)


def renamed(part: Part, new: Mapping[str, str]) -> Part:
    """The part with other ids."""
    rows = {
        name: [(new.get(row[0], row[0]), *row[1:]) for row in table]
        for name, table in part.rows.items()
    }
    return Part(rows, part.tensors, part.spent)
