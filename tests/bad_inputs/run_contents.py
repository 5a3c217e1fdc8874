"""Run folders: tensors and tables that are not what they should be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from tests.bad_inputs._expectations import Case, Error, Right
from tests.bad_inputs.runs import opened, same_run

# The tensors.


def tensors(change: Callable[[dict[str, torch.Tensor]], Any], folder: Path) -> None:
    path = folder / "tensors.safetensors"
    read = {name: value.clone() for name, value in load_file(path).items()}
    change(read)
    save_file({name: value.contiguous() for name, value in read.items()}, path)


def tensor(name: str, change: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], None]:
    def changed(read: dict[str, Any]) -> None:
        read[name] = change(read[name])

    return changed


def renamed(one: str, other: str) -> Callable[[dict[str, Any]], None]:
    def changed(read: dict[str, Any]) -> None:
        read[other] = read.pop(one)

    return changed


def _without(name: str) -> Callable[[dict[str, Any]], None]:
    def changed(read: dict[str, Any]) -> None:
        del read[name]

    return changed


MAP = "saliency/reference"


IMAGES = "fgsm/reference/0.1"


TENSORS: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("no images", _without("x"), "x"),
    ("no labels", _without("labels"), "labels"),
    ("nothing at all", dict.clear, "x"),
    ("one image", tensor("x", lambda x: x[0]), "x"),
    ("images of integers", tensor("x", lambda x: (x * 255).byte()), "x"),
    ("images of NaN", tensor("x", lambda x: x * torch.nan), "x"),
    ("images out of bounds", tensor("x", lambda x: x * 255), "x"),
    ("no image", tensor("x", lambda x: x[:0]), "x"),
    ("labels of floats", tensor("labels", torch.Tensor.float), "labels"),
    ("labels too few", tensor("labels", lambda y: y[:2]), "labels"),
    ("labels in a column", tensor("labels", lambda y: y[:, None]), "labels"),
    ("negative labels", tensor("labels", lambda y: y - 5), "labels"),
    ("a map of fewer images", tensor(MAP, lambda m: m[:1]), "saliency"),
    ("a map of integers", tensor(MAP, torch.Tensor.long), "saliency"),
    ("a map that is flat", tensor(MAP, lambda m: m.flatten(1)), "saliency"),
    ("attacked images of another shape", tensor(IMAGES, lambda m: m[..., :5]), "fgsm"),
    ("an output without an implementation", renamed(MAP, "saliency"), "saliency"),
    ("an output with too many parts", renamed(IMAGES, "fgsm/reference/0.1/2/3"), "fgsm"),
    ("an epsilon that is no number", renamed(IMAGES, "fgsm/reference/much"), "fgsm"),
    ("an epsilon of NaN", renamed(IMAGES, "fgsm/reference/nan"), "fgsm"),
    ("an epsilon that did not run", renamed(IMAGES, "fgsm/reference/0.7"), "fgsm"),
    ("a method without a name", renamed(MAP, "/reference"), "/reference"),
]  # fmt: skip


# The tables.


def table(name: str, change: Callable[[pd.DataFrame], pd.DataFrame], folder: Path) -> None:
    path = folder / f"{name}.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def column(name: str, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def changed(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{name: value})

    return changed


TABLES: list[tuple[str, str, Callable[[pd.DataFrame], pd.DataFrame], tuple[str, ...]]] = [
    ("an unknown verdict", "agreement", column("verdict", "perfect"),
        ("agreement", "verdict", "perfect")),
    ("a verdict of numbers", "agreement", column("verdict", 1.0), ("agreement", "verdict")),
    ("no verdict", "agreement", column("verdict", None), ("agreement", "verdict")),
    ("a gap of text", "agreement", column("gap", "small"), ("agreement", "gap")),
    ("a negative gap", "agreement", column("gap", -1.0), ("agreement", "gap")),
    ("an epsilon of text", "agreement", column("epsilon", "much"), ("agreement", "epsilon")),
    ("a negative epsilon", "agreement", column("epsilon", -0.1), ("agreement", "epsilon")),
    ("a method of numbers", "agreement", column("method", 3), ("agreement", "method")),
    ("no method", "agreement", column("method", None), ("agreement", "method")),
    ("negative seconds", "runtime", column("seconds", -1.0), ("runtime", "seconds")),
    ("seconds of text", "runtime", column("seconds", "fast"), ("runtime", "seconds")),
    ("a success of 7", "attacks", column("success", 7.0), ("attacks", "success")),
    ("a success of text", "attacks", column("success", "all"), ("attacks", "success")),
    ("a norm of text", "attacks", column("linf", "small"), ("attacks", "linf")),
    ("a similarity of text", "similarity", column("cosine", "alike"), ("similarity", "cosine")),
    ("predictions of text", "predictions", column("predicted", "cat"),
        ("predictions", "predicted")),
    ("a nested table", "agreement", lambda frame: frame.assign(gap=[[1.0]] * len(frame)),
        ("agreement", "gap")),
]  # fmt: skip


def without_a_column(name: str, gone: str, folder: Path) -> None:
    table(name, lambda frame: frame.drop(columns=gone), folder)


CASES = [
    *(
        Case(f"tensors: {name}", partial(opened, partial(tensors, change)),
            Error(ValueError, r"tensors\.safetensors", word))
        for name, change, word in TENSORS
    ),
    *(
        Case(f"table: {name}", partial(opened, partial(table, which, change)),
            Error(ValueError, *words))
        for name, which, change, words in TABLES
    ),
    Case("a column that an older version lacks",
        partial(opened, partial(without_a_column, "runtime", "warm_up")), Right(same_run)),
    Case("a column that every version has", partial(opened,
        partial(without_a_column, "agreement", "verdict")),
        Error(ValueError, "agreement", "verdict")),
]  # fmt: skip
