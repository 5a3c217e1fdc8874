"""What a part still lacks, what is tried again of it, and in which order its rows stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bridge.fused.planning import Task
from bridge.study.whole.batch import run_batch
from bridge.study.whole.items import Item, item_of
from bridge.study.whole.parts import TABLES, Part, add
from bridge.study.whole.work import Work, batches_of


def missing(there: Iterable[int], indices: Iterable[int]) -> list[int]:
    """The indices that are not there."""
    done = set(there)
    return [int(index) for index in indices if int(index) not in done]


def without_lost(part: Part) -> Part:
    """The part without the failures of images that have no row: they are tried again."""
    known = {row[0] for row in part.rows["images"]}
    part.rows["failures"] = [row for row in part.rows["failures"] if row[0] in known]
    return part


def process(work: Work, items: Sequence[Item], tasks: Sequence[Task] | None = None) -> Part:
    """All rows of these images; one that could not be read is a failure."""
    found, lost = batches_of(items, work.model)
    part = Part()
    for batch in found:
        add(part, run_batch(work, batch, work.tasks if tasks is None else tasks))
    for item in lost:
        kind, text = item.error or ("", "")
        named = text if not item.source or item.source in text else f"{item.source}: {text}"
        part.rows["failures"].append((item.id, "", "read", kind, named))
    return part


def told_apart(items: Sequence[Item], seen: set[str]) -> list[Item]:
    """The items with their place behind the id of one whose pixels another one had before."""
    found = []
    for item in items:
        if item.id in seen:
            item = replace(item, id=f"{item.id}@{item.index}")
        seen.add(item.id)
        found.append(item)
    return found


def try_again(work: Work, data: Any, part: Part, batch_size: int) -> bool:
    """Run again what failed of images that have a row; whether that changed anything.

    Where an attribution succeeds now, all of that image run again, for their pairs.
    """
    failed: dict[str, set[str]] = {}
    for identity, method, *_ in part.rows["failures"]:
        failed.setdefault(identity, set()).add(method)
    places = {row[0]: row[1] for row in part.rows["images"]}
    again = {identity: methods for identity, methods in failed.items() if identity in places}
    if not again:
        return False
    names = set().union(*again.values())
    if names - {task.method.name for task in work.tasks}:  # a metric of a control's map
        names.add(work.attributions[0].method.name)
    tasks = [task for task in work.tasks if task.method.name in names]
    before = list(part.rows["failures"])
    found = _again(work, data, part, places, list(again), tasks, batch_size)
    replace_rows(part, found, list(again), names)
    still = {(row[0], row[1]) for row in part.rows["failures"]}
    kinds = {task.method.name for task in work.attributions}
    healed = [
        identity
        for identity, methods in again.items()
        if any(method in kinds and (identity, method) not in still for method in methods)
    ]
    if healed and len(kinds) > 1:
        found = _again(work, data, part, places, healed, work.attributions, batch_size)
        replace_rows(part, found, healed, kinds)
    return sorted(before) != sorted(part.rows["failures"])


def _again(
    work: Work,
    data: Any,
    part: Part,
    places: Mapping[str, int],
    identities: Sequence[str],
    tasks: Sequence[Task],
    batch_size: int,
) -> Part:
    found = Part()
    for first in range(0, len(identities), batch_size):
        some = identities[first : first + batch_size]
        items = [replace(item_of(data, places[identity]), id=identity) for identity in some]
        add(found, process(work, [item for item in items if item.image is not None], tasks))
    return found


def replace_rows(part: Part, found: Part, identities: Sequence[str], methods: set[str]) -> None:
    """Put the rows of these images by these methods in place of those that there were."""
    mine = {row[0] for row in found.rows["images"]} & set(identities)
    for name in ("attributions", "attacks", "failures"):
        kept = [row for row in part.rows[name] if row[0] not in mine or row[1] not in methods]
        part.rows[name] = kept + found.rows[name]
    measured = {row[:2] for row in found.rows["metrics"]}  # of controls too, which are no tasks
    part.rows["metrics"] = [
        row
        for row in part.rows["metrics"]
        if row[:2] not in measured and (row[0] not in mine or row[1] not in methods)
    ] + found.rows["metrics"]
    paired = {row[:3] for row in found.rows["pairs"]}
    part.rows["pairs"] = [row for row in part.rows["pairs"] if row[:3] not in paired]
    part.rows["pairs"] += found.rows["pairs"]
    for kind, tensors in found.tensors.items():
        there = part.tensors.setdefault(kind, {})
        for name in [name for name in tensors if f"{name}/index" in tensors]:
            _put(there, tensors, name)
    for name, value in found.spent.items():
        part.spent[name] = part.spent.get(name, 0) + value


def _put(there: dict[str, Tensor], tensors: Mapping[str, Tensor], name: str) -> None:
    """Put the tensors of some images in place of, or behind, those that there are."""
    names = [each for each in tensors if each == name or each.startswith(f"{name}/")]
    index = tensors[f"{name}/index"]
    if f"{name}/index" in there:
        stay = ~torch.isin(there[f"{name}/index"], index)
        for each in names:
            there[each] = torch.cat([there[each][stay], tensors[each]])
    else:
        there.update({each: tensors[each] for each in names})


def in_order(work: Work, part: Part) -> Part:
    """The same part in the order of the data, and of the methods that were asked for."""
    ranks = {task.method.name: rank for rank, task in reversed(list(enumerate(work.tasks)))}
    metrics = {name: rank for rank, name in enumerate(work.metrics)}
    places = {row[0]: row[1] for row in part.rows["images"]}

    def place(identity: str) -> int:
        if identity in places:
            return int(places[identity])
        number = identity.rpartition("@")[2]
        return int(number) if "@" in identity else -1

    def key(name: str, row: tuple[Any, ...]) -> tuple[Any, ...]:
        if name == "images":
            return (row[1],)
        if name == "metrics":
            return place(row[0]), ranks.get(row[1], len(ranks)), metrics[row[3]]
        if name == "pairs":
            return place(row[0]), ranks.get(row[1], -1), ranks.get(row[2], -1)
        return place(row[0]), ranks.get(row[1], -1)

    rows = {name: sorted(part.rows[name], key=lambda row: key(name, row)) for name in TABLES}
    tensors = {kind: _sorted(there) for kind, there in part.tensors.items()}
    return Part(rows, tensors, part.spent)


def _sorted(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name in sorted(tensors):
        base = next(each for each in (name, name.rpartition("/")[0]) if f"{each}/index" in tensors)
        found[name] = tensors[name][tensors[f"{base}/index"].argsort()].contiguous()
    return found
