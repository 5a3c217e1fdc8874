"""The proof of a study: a few of its images through all implementations, as `compare` does it."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bridge.core.registry import get
from bridge.study.compare import compare
from bridge.study.comparison import Comparison
from bridge.study.whole.items import Item, item_of
from bridge.study.whole.place import Folder, Place
from bridge.study.whole.setting import Asked

FOLDER = "proof"
CARD = f"{FOLDER}/run.json"
WRONG = ("differs", "failed")


def chosen(data: Any, places: Sequence[int], count: int, seed: int) -> list[Item]:
    """So many images, drawn over the whole set; one that cannot be read makes room for another."""
    found: list[Item] = []
    drawn = random.Random(seed).sample(range(len(places)), min(4 * count, len(places)))
    for number in drawn:
        item = item_of(data, int(places[number]))
        if item.image is not None and (not found or _alike(item, found[0])):
            found.append(item)
        if len(found) == count:
            break
    return found


def _alike(item: Item, first: Item) -> bool:
    return (
        item.image is not None
        and first.image is not None
        and (item.image.shape == first.image.shape)
    )


def prove(asked: Asked, items: Sequence[Item]) -> Comparison:
    """The comparison of these images; its report and verdicts say whether the numbers hold."""
    work, request = asked.work, asked.request
    model = work.model
    x = torch.stack([item.image for item in items if item.image is not None])
    x = x.to(model.device or x.device, model.dtype or x.dtype)
    labels = [item.label for item in items] if work.labelled else None
    target = [work.target] * len(x) if isinstance(work.target, int) else work.target
    methods = [method for method in request.methods if method.name not in asked.left_out]
    sized = {
        method.name: [size for size in request.epsilons[method.name] if size is not None]
        for method in methods
        if method.kind == "attack"
    }
    params = {
        method.name: {
            name: value
            for name, value in request.params[method.name].items()
            if name != "epsilon" or not sized.get(method.name)
        }
        for method in methods
    }
    return compare(
        model,
        x,
        labels,
        methods=[method.name for method in methods],
        target=target,
        params=params,
        epsilons={name: sizes for name, sizes in sized.items() if sizes},
        judged="all",
        repeats=1,
        timing_seconds=0,
        seed=work.seed,
        progress=False,
    )


def keep(place: Place, proof: Comparison) -> None:
    """Save the proof beside the parts; the card comes last."""
    if isinstance(place, Folder):
        proof.save(place.root / FOLDER)
        return
    with tempfile.TemporaryDirectory() as folder:
        saved = proof.save(Path(folder) / FOLDER)
        for file in sorted(saved.iterdir(), key=lambda each: each.name == "run.json"):
            place.write(f"{FOLDER}/{file.name}", file.read_bytes())


def kept(place: Place) -> Comparison | None:
    """The proof that stands there."""
    if isinstance(place, Folder):
        there = place.root / FOLDER
        return Comparison.load(there) if (there / "run.json").is_file() else None
    names = place.listed(FOLDER)
    if CARD not in names:
        return None
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            file = Path(folder) / name.rpartition("/")[2]
            file.write_bytes(place.read(name))
        return Comparison.load(folder)


def disagreements(proof: Comparison | None) -> list[str]:
    """What differs from the reference, in words; not what is known of a library."""
    if proof is None:
        return []
    found = []
    for row in proof.agreement.to_dict("records"):
        twin = get(row["method"]).twins.get(row["implementation"])
        known = twin is not None and twin.differs and row.get("cause") == twin.differs
        if row["verdict"] in WRONG and not known:
            cause = row.get("cause")
            said = f": {cause}" if isinstance(cause, str) and cause else ""
            found.append(f"{row['implementation']}'s {row['method']} {row['verdict']}{said}")
    return list(dict.fromkeys(found))
