"""Run many methods, each by many implementations, on one batch: agreement, similarity, runtime, attacks, failures."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from bridge import manifest, store, tables
from bridge.cells import Book
from bridge.preflight import check_labels, check_needs, preflight
from bridge.registry import Function, Method, get
from bridge.registry import methods as all_methods
from bridge.run import name_of
from bridge.types import Failure
from bridge.visualize.panels import panels

# Sizes that attacks are compared at: in Linf 2 and the usual 8 of 255 steps, in L2 half and twice the usual 0.5.
EPSILONS: dict[str, tuple[float, ...]] = {"linf": (2 / 255, 8 / 255), "l2": (0.25, 1.0)}


@dataclass(frozen=True)
class Comparison:
    """What `compare` found: seven tables, the outputs they were computed from, and how to do it again.

    `agreement`: one row a method, implementation and epsilon (see `bridge.types.Agreement`). `similarity`: pairs of
    attributions by the reference. `runtime`: medians in seconds, ratio to the reference, images through the model forwards
    and backwards. `attacks`: audited success and norms (see `bridge.types.Score`). `predictions`: a row an image, clean
    (method "clean") and after each attack. `shift`: how alike an attribution is before and after each attack's largest epsilon.
    `failures`: what could not be had, and why. `outputs[method, implementation,
    epsilon]` are tensors on the CPU, epsilon None for attributions.
    """

    agreement: pd.DataFrame
    similarity: pd.DataFrame
    runtime: pd.DataFrame
    attacks: pd.DataFrame
    predictions: pd.DataFrame
    shift: pd.DataFrame
    failures: pd.DataFrame
    x: Tensor
    labels: Tensor
    outputs: dict[tuple[str, str, float | None], Tensor]
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The seven tables by name."""
        return {name: getattr(self, name) for name in tables.COLUMNS}

    def verdicts(self) -> pd.DataFrame:
        """Methods x implementations: the worst verdict over epsilons in float64, "" where there is no such twin."""
        return tables.verdict_matrix(self.agreement, self.failures)

    def save(self, folder: str | Path) -> Path:
        """Write the run directory: `run.json`, the tables as Parquet, the tensors as safetensors. Returns its path."""
        tensors = {"x": self.x, "labels": self.labels}
        tensors |= {store.tensor_name(*key): output for key, output in self.outputs.items()}
        return store.write(folder, self.manifest, self.tables, tensors)

    def figure(self, path: str | Path, *, dpi: int = 100) -> Path:
        """Write a PNG or SVG: images, the reference's attributions, at each attack's largest epsilon its images and changes."""
        names = self.manifest["model"]["class_names"]

        def called(label: int) -> str:
            return names[label] if names and 0 <= label < len(names) else str(label)

        largest: dict[str, tuple[str, str, float | None]] = {}
        for key in self.outputs:
            if key[0] not in largest or (key[1] == largest[key[0]][1] and (key[2] or 0) > (largest[key[0]][2] or 0)):
                largest[key[0]] = key
        attacks = set(self.attacks["method"])
        captions: dict[str, list[str]] = {}
        adversarials: dict[str, Tensor] = {}
        for method, implementation, epsilon in (largest[name] for name in largest if name in attacks):
            norm = self.attacks.loc[self.attacks["method"] == method, "norm"].iloc[0]
            rows = self.predictions.query("method == @method and implementation == @implementation")
            if epsilon is not None:
                rows = rows[rows["epsilon"] == epsilon]
            title = f"{method} {tables.epsilon_text(epsilon, norm)}"
            adversarials[title] = self.outputs[method, implementation, epsilon]
            captions[title] = [
                called(int(p)) if p != label else "" for p, label in zip(rows["predicted"], rows["label"], strict=True)
            ]
        maps = {name: self.outputs[key] for name, key in largest.items() if name not in attacks and self.outputs[key].ndim == 4}
        return panels(
            path, self.x, [called(int(label)) for label in self.labels], maps, adversarials, captions=captions,
            bounds=tuple(self.manifest["model"]["bounds"]), dpi=dpi,
        )  # fmt: skip

    def report(self, path: str | Path = "report.html", **options: Any) -> Path:
        """Write a report to send on: `.html`, `.md`, `.tex`, `.pdf`, or a folder with everything. See `bridge.report`."""
        # Looked up by name, since reports stand above comparisons.
        written: Path = importlib.import_module("bridge.report").report(self, path, **options)
        return written

    def _repr_html_(self) -> str:
        """The verdict and the matrix, in a notebook."""
        shown: str = importlib.import_module("bridge.report").fragment(self)
        return shown

    @classmethod
    def load(cls, folder: str | Path) -> Comparison:
        """Read a run directory that `save` wrote. Raises ValueError where one of its files is missing or corrupt."""
        recorded, frames, tensors = store.read(folder, tuple(tables.COLUMNS))
        x, labels = tensors.pop("x"), tensors.pop("labels")
        outputs = {store.tensor_key(name): tensor for name, tensor in tensors.items()}
        return cls(**frames, x=x, labels=labels, outputs=outputs, manifest=recorded)

    def __str__(self) -> str:
        return tables.summary(self.tables, self.manifest.get("together") or {})


@torch.inference_mode(False)
def compare(
    model: nn.Module,
    x: Tensor,
    labels: Any,
    *,
    methods: Sequence[str] | None = None,
    implementations: Sequence[str] | None = None,
    functions: Mapping[str, Function | Sequence[Function]] | None = None,
    target: Any = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    epsilons: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
    repeats: int = 3,
    timing_seconds: float = float("inf"),
    seed: int = 0,
    progress: bool = True,
) -> Comparison:
    """Every method by every implementation on one batch: a `Comparison` with seven tables.

    `methods` and `implementations` default to all there are; `functions={"fgsm": mine}` adds your own. Attributions
    explain `target` (default: `labels`), attacks start from `labels`. `params={"pgd": {"steps": 10}}` changes parameters.
    `epsilons` is a list for the Linf attacks or {"linf": [...], "l2": [...], "pgd": [...]} by norm or method. Times are
    medians of `repeats`, interleaved between implementations, after a warm-up of each; an implementation is not timed again
    once its timed runs of a cell have taken `timing_seconds`, nor at all where its warm-up took three times that. What raises
    becomes a row of `failures`; Ctrl-C keeps what is there. Raises KeyError, TypeError or ValueError for a request that makes
    no sense.
    """
    adapter, images, classes = preflight(model, x, labels)
    explained = classes if target is None else check_labels(target, images, adapter.facts(images).logits.shape[1], "target")
    chosen = [get(name) for name in _unique(methods or all_methods())]
    known = {i for m in map(get, all_methods()) for i in m.implementations()}
    wanted = tuple(known if implementations is None else _unique(implementations))
    for name in wanted:
        if name not in known:
            raise KeyError(f"no implementation {name!r}; there are: {', '.join(sorted(known))}")
    own = {name: list(f) if isinstance(f, Sequence) else [f] for name, f in (functions or {}).items()}
    params = params or {}
    for name in (*own, *params):
        if name not in {m.name for m in chosen}:
            raise KeyError(f"{name!r} is not among the methods that are compared: {[m.name for m in chosen]}")
    bound = {m.name: m.bind(params.get(m.name, {})) for m in chosen}
    budgets = {m.name: _epsilons(m, bound[m.name], epsilons) for m in chosen}
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")

    book = Book(adapter, images, classes, explained, seed, repeats, timing_seconds)
    bar = tqdm(chosen, file=sys.stderr, disable=None if progress else True, unit="method", leave=False)
    try:
        for method in bar:
            bar.set_description(method.name)
            by_name: dict[str, Function] = {i: method.function(i) for i in method.implementations() if i in wanted}
            by_name |= _named(own.get(method.name, []), taken=by_name)
            try:
                check_needs(method, adapter, images)
            except ValueError as error:
                for name in by_name:
                    book.failed(method, name, "preflight", error)
                continue
            for epsilon in budgets[method.name]:
                given = bound[method.name] | ({"epsilon": epsilon} if method.kind == "attack" else {})
                book.compare(method, by_name, given, epsilon)
        book.similarities([m for m in chosen if m.kind == "attribution"])
        book.shifts([m for m in chosen if m.kind == "attribution"], [m for m in chosen if m.kind == "attack"])
        if "fused" in wanted:
            book.together({m.name: bound[m.name] | _all(budgets[m.name]) for m in chosen if m.fast})
    except KeyboardInterrupt:
        book.failures.append(Failure("", "", "compare", "KeyboardInterrupt", "interrupted: what follows was not run"))
    finally:
        bar.close()
    recorded = manifest.describe(adapter, images) | {
        "methods": {m.name: {"epsilons": budgets[m.name], "params": bound[m.name]} for m in chosen},
        "implementations": sorted(wanted), "functions": {k: [name_of(f) for f in v] for k, v in own.items()},
        "seed": seed, "repeats": repeats, "target": "labels" if target is None else "given", "together": book.plan,
    }  # fmt: skip
    return Comparison(
        **{name: pd.DataFrame(rows, columns=tables.COLUMNS[name]) for name, rows in book.rows().items()},
        x=images.cpu(), labels=classes.cpu(), outputs=book.outputs, manifest=manifest.plain(recorded),
    )  # fmt: skip


def _all(epsilons: list[float | None]) -> dict[str, Any]:
    """The epsilons of an attack as one parameter."""
    sizes = [e for e in epsilons if e is not None]
    return {"epsilon": sizes} if sizes else {}


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise TypeError(f"expected a list of names, got the string {names!r}: pass [{names!r}]")
    return tuple(dict.fromkeys(names))


def _named(functions: Iterable[Function], taken: Iterable[str]) -> dict[str, Function]:
    """The user's functions by their names, numbered where two have the same."""
    named: dict[str, Function] = {}
    for function in functions:
        name = base = name_of(function)
        for number in itertools.count(2):
            if name not in named and name not in taken:
                break
            name = f"{base}_{number}"
        named[name] = function
    return named


def _epsilons(
    method: Method, bound: Mapping[str, Any], epsilons: Sequence[float] | Mapping[str, Sequence[float]] | None
) -> list[float | None]:
    """The sizes to run an attack at; [None] for an attribution, and for an attack that looks for the smallest by itself."""
    if method.kind == "attribution":
        return [None]
    given = bound["epsilon"]
    if given != method.defaults["epsilon"]:  # stated in params for this method
        return [float(e) for e in given] if isinstance(given, Sequence) else [given]
    by_name = epsilons if isinstance(epsilons, Mapping) else {} if epsilons is None else {"linf": epsilons}
    if method.name in by_name:
        return [float(e) for e in by_name[method.name]]
    if method.minimal:
        return [None]
    return [float(e) for e in by_name.get(method.norm or "linf", EPSILONS[method.norm or "linf"])]
