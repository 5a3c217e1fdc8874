"""The test vectors as files: an index, networks, images, and a pair of files a method."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

from bridge.core.method import Method
from bridge.core.tags import Trap
from bridge.vectors import blocks
from bridge.vectors.case import Case, LeftOut, make
from bridge.vectors.modules import weights
from bridge.vectors.networks import NETWORKS, images
from bridge.vectors.prints import DEFINITION, FACTORS
from bridge.vectors.words import CONDITIONS, HOW, OPERATIONS, TOLERANCES, TRAPS

FORMAT = 1  # how to read the files
# Of what is in them. Patch: wording. Minor: cases added; an id is never used again. Major: an
# answer or a definition changed, and the changelog says which and who was wrong.
VERSION = "1.0.0"
LICENCE = "CC0-1.0: copy them into any project"
INDEX = "index.json"


def write(folder: str | os.PathLike[str], methods: Iterable[str] | None = None) -> Path:
    """Write the test vectors into a folder: the same bytes every time. About a minute, a few MB.

    `methods` are names of methods or of "logits", "gradient", "loss_gradient"; by default all that
    bring cases. Vectors that are in the folder are replaced. Returns the folder. Raises ValueError
    for a folder that holds anything else, KeyError for an unknown method, TypeError for a name that
    is not in a list.
    """
    path = Path(folder)
    old = _replaceable(path)
    made = files(methods)
    path.mkdir(parents=True, exist_ok=True)
    for name in old - set(made):
        (path / name).unlink(missing_ok=True)
    for name, data in made.items():
        (path / name).write_bytes(data)
    return path


def _replaceable(path: Path) -> set[str]:
    """The files of vectors that are there already. Raises ValueError for anything else."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file, expected a folder")
    there = {each.name for each in path.iterdir()} if path.exists() else set()
    if not there:
        return set()
    try:
        known = {INDEX, *json.loads((path / INDEX).read_text())["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        known = set()
    if not there <= known:
        other = sorted(there - known)[0]
        raise ValueError(f"{path} holds {other}, which is no test vector: choose another folder")
    return known


def files(methods: Iterable[str] | None = None) -> dict[str, bytes]:
    """The files by name, as `write` writes them."""
    if isinstance(methods, str):
        raise TypeError(f"methods is the text {methods!r}, expected several: pass [{methods!r}]")
    chosen = [blocks.find(name) for name in (blocks.names() if methods is None else methods)]
    made: dict[str, bytes] = {
        "networks.json": _json({name: net.described() for name, net in NETWORKS.items()}),
        "images.safetensors": save({name: images(name) for name in NETWORKS}),
    }
    left_out: dict[str, str] = {}
    counts, traps = {}, {**TRAPS, **CONDITIONS}
    with _steady():
        made["networks.safetensors"] = save(
            {f"{name}/{key}": v for name in NETWORKS for key, v in weights(name).items()}
        )
        for method in chosen:
            reason = blocks.uncovered(method)
            if reason:
                left_out[method.name] = reason
                continue
            found = list(_cases(method, left_out))
            counts[method.name] = len(found)
            made |= _pair(method, found)
            traps |= _own(method)
    index = {
        "format": FORMAT,
        "version": VERSION,
        "licence": LICENCE,
        "how": HOW,
        "operations": OPERATIONS,
        "definitions": {m.name: m.cases.definition for m in chosen if m.cases},
        "tolerances": TOLERANCES,
        "traps": {
            name: {"text": trap.text, "mistakes": list(trap.mistakes)}
            for name, trap in traps.items()
        },
        "prints": {"factors": FACTORS, "definition": DEFINITION},
        "cases": counts,
        "left_out": left_out,
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, data in sorted(made.items())
        },
    }
    return {**made, INDEX: _json(index)}


@contextmanager
def _steady() -> Iterator[None]:
    """Sums in one order: one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_num_threads(threads)


def _cases(method: Method, left_out: dict[str, str]) -> Iterator[Case]:
    """Its first parameters on every network, the others on every second one: a minute for all."""
    assert method.cases is not None
    for turn, (name, network) in enumerate(NETWORKS.items()):
        ops = {layer["op"] for layer in network.layers}
        if "layer" in method.needs and network.cam_layer is None:
            continue
        if "relu" in method.needs and "relu" not in ops:
            continue
        for number, params in enumerate(method.cases.params):
            if number and (turn + number) % 2:
                continue
            try:
                yield make(method, name, number, params)
            except LeftOut as reason:
                case, _, why = str(reason).partition(": ")
                left_out[case] = why


def _own(method: Method) -> Mapping[str, Trap]:
    return method.cases.traps if method.cases else {}


def _pair(method: Method, cases: list[Case]) -> dict[str, bytes]:
    """The two files of a method."""
    mistakes = sorted({sentence for case in cases for sentence in case.wrong})
    place = {sentence: number for number, sentence in enumerate(mistakes)}
    tensors: dict[str, Any] = {}
    for case in cases:
        tensors |= {f"{case.id}/{key}": value for key, value in case.tensors.items()}
        prints = np.array(list(case.wrong.values()), dtype=np.float32).reshape(-1, len(FACTORS))
        tensors[f"{case.id}/wrong"] = prints
    described = {
        "method": method.name,
        "kind": "attack" if method.kind == "attack" else "map",
        "definition": method.cases.definition if method.cases else "",
        "mistakes": mistakes,
        "cases": [
            {
                "id": case.id,
                "network": case.network,
                "parameters": case.parameters,
                "tensors": sorted(case.tensors),
                "tolerance": case.tolerance,
                "traps": list(case.traps),
                "wrong": [place[sentence] for sentence in case.wrong],
            }
            for case in cases
        ],
    }
    return {f"{method.name}.json": _json(described), f"{method.name}.safetensors": save(tensors)}


def _json(value: Any) -> bytes:
    """Sorted, and a list of numbers or words on one line."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    return (re.sub(r"\[\n[^\[\]{}]*\n *\]", _on_one_line, text) + "\n").encode()


def _on_one_line(found: re.Match[str]) -> str:
    return "[" + " ".join(found[0][1:-1].split()) + "]"
