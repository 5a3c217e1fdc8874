"""A part of a study: its tables as Parquet, its tensors as safetensors, and a sidecar.

The files are written first, under names that nothing else has; the sidecar, which states their row
counts and hashes, comes last, and makes the part count. A part that is written again (failed rows
were tried again) gets new files, and its sidecar changes from the old to the new in one step: at no
moment is there less than before. So it works on an object store too, which cannot rename.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import torch
from pyarrow import parquet
from safetensors.torch import load, save
from torch import Tensor

from bridge.study.whole.place import Place, sha256

SIDECARS = "parts"
TABLES: dict[str, pa.Schema] = {
    "images": pa.schema(
        [
            ("id", pa.string()),
            ("index", pa.int64()),
            ("label", pa.int64()),
            ("predicted", pa.int64()),
            ("confidence", pa.float64()),
            ("right", pa.bool_()),
            ("source", pa.string()),
        ]
    ),
    "attributions": pa.schema(
        [
            ("id", pa.string()),
            ("method", pa.string()),
            ("target", pa.int64()),
            ("total", pa.float64()),
            ("largest", pa.float64()),
            ("gini", pa.float64()),
        ]
    ),
    "pairs": pa.schema(
        [
            ("id", pa.string()),
            ("a", pa.string()),
            ("b", pa.string()),
            ("spearman", pa.float64()),
        ]
    ),
    "attacks": pa.schema(
        [
            ("id", pa.string()),
            ("method", pa.string()),
            ("norm", pa.string()),
            ("epsilon", pa.float64()),
            ("predicted", pa.int64()),
            ("confidence", pa.float64()),
            ("fooled", pa.bool_()),
            ("linf", pa.float64()),
            ("l2", pa.float64()),
            ("forwards", pa.float64()),
            ("backwards", pa.float64()),
            # Of a second model, null where there is none.
            ("transfer_right", pa.bool_()),
            ("transfer_predicted", pa.int64()),
            ("transfer_confidence", pa.float64()),
            ("transferred", pa.bool_()),
        ]
    ),
    "metrics": pa.schema(
        [
            ("id", pa.string()),
            ("method", pa.string()),
            ("control", pa.bool_()),
            ("metric", pa.string()),
            ("value", pa.float64()),
        ]
    ),
    "failures": pa.schema(
        [
            ("id", pa.string()),
            ("method", pa.string()),
            ("stage", pa.string()),
            ("error", pa.string()),
            ("message", pa.string()),
        ]
    ),
}
OPTIONAL = ("metrics",)  # tables that have a file only where they have rows
TENSORS = ("maps", "adversarials")

Row = tuple[Any, ...]


class Corrupt(ValueError):
    """A file of a part is not what its sidecar says."""


@dataclass
class Part:
    """The rows of each table, and tensors (m, ...) by kind and name; `spent` is what they took."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in TABLES})
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)


def add(whole: Part, part: Part) -> None:
    """Put the rows and tensors of a part behind those of another; what they took is summed."""
    for name, rows in part.rows.items():
        whole.rows[name] += rows
    for kind, tensors in part.tensors.items():
        kept = whole.tensors.setdefault(kind, {})
        for name, tensor in tensors.items():
            kept[name] = torch.cat([kept[name], tensor]) if name in kept else tensor
    for name, value in part.spent.items():
        whole.spent[name] = whole.spent.get(name, 0) + value


def stem(number: int) -> str:
    """How the files of a part begin."""
    return f"{number:05}"


def sidecars(place: Place) -> dict[int, dict[str, Any]]:
    """What the sidecar of each part says, by the part's number, in order."""
    found = {}
    for name in place.listed(SIDECARS):
        match = re.fullmatch(rf"{SIDECARS}/(\d{{5,}})\.json", name)
        if match:
            try:
                found[int(match[1])] = json.loads(place.read(name))
            except (ValueError, FileNotFoundError):
                continue  # a sidecar that cannot be read makes nothing count
    return dict(sorted(found.items()))


def write(
    place: Place,
    number: int,
    part: Part,
    said: Mapping[str, Any],
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a part, in place of the one whose sidecar is `before`; returns the new sidecar."""
    generation = 0 if before is None else int(before["generation"]) + 1
    base = stem(number) + (f"-{generation}" if generation else "")
    files = {}
    for kind, (rows, suffix, data) in encoded_files(part).items():
        name = f"{kind}/{base}.{suffix}"
        place.write(name, data)
        files[kind] = {"name": name, "rows": rows, "bytes": len(data), "sha256": sha256(data)}
    card = {"part": number, "generation": generation, **said, "files": files, "spent": part.spent}
    place.write(f"{SIDECARS}/{stem(number)}.json", json.dumps(card, indent=1).encode())
    for old in (before or {}).get("files", {}).values():
        place.remove(old["name"])
    return card


def encoded_files(part: Part) -> dict[str, tuple[int, str, bytes]]:
    """Of each kind of file its rows, its suffix and its bytes."""
    found = {}
    for name, schema in TABLES.items():
        if name in OPTIONAL and not part.rows[name]:
            continue
        found[name] = len(part.rows[name]), "parquet", encoded(part.rows[name], schema)
    for kind, tensors in part.tensors.items():
        if tensors:
            count = max(len(tensor) for tensor in tensors.values())
            found[kind] = count, "safetensors", save(tensors)
    return found


def encoded(rows: Sequence[Row], schema: pa.Schema) -> bytes:
    """Rows as the bytes of a Parquet file: the same for the same rows."""
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(values, each.type) for values, each in zip(columns, schema, strict=True)]
    buffer = io.BytesIO()
    parquet.write_table(pa.table(arrays, schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def check(place: Place, card: Mapping[str, Any], kinds: Iterable[str] | None = None) -> None:
    """Raise Corrupt where a file of a part is missing or is not what its sidecar says."""
    for kind, said in card["files"].items():
        if kinds is None or kind in kinds:
            contents(place, said)


def contents(place: Place, said: Mapping[str, Any]) -> bytes:
    """The bytes of a file that a sidecar names. Raises Corrupt."""
    try:
        data = place.read(said["name"])
    except FileNotFoundError:
        raise Corrupt(f"{place}/{said['name']} is missing, though its sidecar stands") from None
    if len(data) != said["bytes"] or sha256(data) != said["sha256"]:
        raise Corrupt(f"{place}/{said['name']} is not what its sidecar says: it was changed")
    return data


def table(place: Place, card: Mapping[str, Any], name: str) -> pa.Table:
    """A table of a part."""
    if name in OPTIONAL and name not in card["files"]:
        return TABLES[name].empty_table()
    data = contents(place, card["files"][name])
    return parquet.read_table(io.BytesIO(data), schema=TABLES[name])


def tensors(place: Place, card: Mapping[str, Any], kind: str) -> dict[str, Tensor]:
    """The tensors of a kind, by name; none where none were kept."""
    said = card["files"].get(kind)
    return load(contents(place, said)) if said else {}


def read(place: Place, card: Mapping[str, Any]) -> Part:
    """A part as it was written."""
    rows = {}
    for name in TABLES:
        found = table(place, card, name)
        rows[name] = list(zip(*(column.to_pylist() for column in found.columns), strict=True))
    kept = {kind: tensors(place, card, kind) for kind in TENSORS if kind in card["files"]}
    return Part(rows, kept, dict(card.get("spent", {})))


def orphans(place: Place, cards: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Files that belong to no part: what killed writers left."""
    known = {said["name"] for card in cards.values() for said in card["files"].values()}
    return [
        name for kind in (*TABLES, *TENSORS) for name in place.listed(kind) if name not in known
    ]
