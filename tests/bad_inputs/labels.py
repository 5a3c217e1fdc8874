"""Labels and targets: of another type, count or range than the images' and the model's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tests.bad_inputs._entries import ENTRIES, attack, comparison, drawn, explain, many, network
from tests.bad_inputs._expectations import Case, Error, Expectation, Right, Wrong
from tests.networks import images


def same_map(run: Any) -> None:
    """The map of classes 0, 1 and 2."""
    assert torch.equal(run.output, explain(images()).output)


LABELS: list[tuple[str, Any, Expectation]] = [
    ("None", None, Error(TypeError, "integers")),
    ("floats", [0.0, 1.0, 2.0], Error(TypeError, "float", "integers")),
    ("a float tensor", torch.tensor([0.0, 1.0, 2.0]), Error(TypeError, "float32", "integers")),
    ("NaN", [float("nan")] * 3, Error(TypeError, "integers")),
    ("booleans", [True, False, True], Error(TypeError, "bool", "integers")),
    ("one boolean", True, Error(TypeError, "integers")),
    ("complex numbers", torch.tensor([0j, 1j, 2j]), Error(TypeError, "integers")),
    ("names", ["cat", "dog", "cat"], Error(TypeError, "integers")),
    ("one name", "cat", Error(TypeError, "integers")),
    ("numbers as text", ["0", "1", "2"], Error(TypeError, "integers")),
    ("bytes", b"\x00\x01\x02", Error(TypeError, "integers")),
    ("dates", np.array(["2020-01-01"] * 3, dtype="datetime64"), Error(TypeError, "integers")),
    ("objects", np.array([0, None, 2], dtype=object), Error(TypeError, "integers")),
    ("a dictionary", {0: 0, 1: 1, 2: 2}, Error(TypeError, "integers")),
    ("a set", {0, 1, 2}, Error(TypeError, "integers")),
    ("a function", len, Error(TypeError, "integers")),
    ("lists of other lengths", [[0], [1, 2], [2]], Error(TypeError, "integers")),
    ("no label", [], Error(Wrong, "3 images|integers")),
    ("too few", [0, 1], Error(ValueError, r"\(2,\)", "3 images")),
    ("too many", [0, 1, 2, 3], Error(ValueError, r"\(4,\)", "3 images")),
    ("one for three images", 0, Error(ValueError, "3 images")),
    ("one in a list", [0], Error(ValueError, "3 images")),
    ("a column", [[0], [1], [2]], Error(ValueError, r"\(3, 1\)", "one an image")),
    ("a row", [[0, 1, 2]], Error(ValueError, r"\(1, 3\)", "one an image")),
    ("one-hot integers", np.eye(4, dtype=int)[:3], Error(ValueError, r"\(3, 4\)", "one an image")),
    ("one-hot floats", torch.eye(4)[:3], Error(TypeError, "integers")),
    ("one too high", [0, 1, 4], Error(ValueError, "4 classes", "0 to 3")),
    ("numbered from 1", [1, 2, 4], Error(ValueError, "4 classes", "0 to 3")),
    ("negative", [0, -1, 2], Error(ValueError, "-1", "0 to 3")),
    ("the usual ignored class", [0, -100, 2], Error(ValueError, "-100", "0 to 3")),
    ("of ImageNet", [0, 1, 999], Error(ValueError, "999", "4 classes")),
    ("beyond int64", [0, 1, 10**30], Error(Wrong, "integers|4 classes")),
    ("beyond int64, unsigned", np.array([0, 1, 2**63], np.uint64), Error(Wrong, "4 classes")),
    ("on the device meta", torch.tensor([0, 1, 2], device="meta"), Error(Wrong, "meta")),
    ("sparse", torch.tensor([0, 1, 2]).to_sparse(), Error(Wrong, "sparse|dense|integers")),
    ("a tuple", (0, 1, 2), Right(same_map)),
    ("a range", range(3), Right(same_map)),
    ("a Series", pd.Series([0, 1, 2], index=[7, 8, 9]), Right(same_map)),
    ("8-bit", torch.tensor([0, 1, 2], dtype=torch.uint8), Right(same_map)),
    ("int32 with strides", torch.tensor([0, 9, 1, 9, 2, 9], dtype=torch.int32)[::2],
        Right(same_map)),
    ("NumPy scalars", [np.int64(0), np.int8(1), np.uint16(2)], Right(same_map)),
]  # fmt: skip

EVERYWHERE: list[tuple[str, Any, Expectation]] = [
    ("None", None, Error(TypeError, "integers")),
    ("floats", [0.0, 1.0, 2.0], Error(TypeError, "integers")),
    ("names", ["cat", "dog", "cat"], Error(TypeError, "integers")),
    ("too few", [0, 1], Error(ValueError, "3 images")),
    ("one too high", [0, 1, 4], Error(ValueError, "4 classes")),
]

TARGETS: list[tuple[str, Any, Expectation]] = [
    ("floats", [0.5, 1.5, 2.5], Error(TypeError, "target", "integers")),
    ("too few", [0, 1], Error(ValueError, "target", "3 images")),
    ("one too high", [0, 1, 4], Error(ValueError, "target", "4 classes")),
    ("negative", [0, 1, -1], Error(ValueError, "target", "4 classes")),
    ("an unknown word", "predicte", Error(Wrong, "target", "predicted")),
]


def class_one(found: Any) -> None:
    """One image of class 1."""
    assert found.targets.tolist() == [1]


# Classes to draw: one, or a list of any length.
DRAWN: list[tuple[str, Any, Expectation]] = [
    ("none", None, Error(ValueError, "target", "layer=")),
    ("no class", [], Error(ValueError, "target|class", "empty|at least|no class|nothing")),
    ("a float", 1.5, Error(TypeError, "target", "integer")),
    ("floats", [0.0, 1.0], Error(TypeError, "target", "integer")),
    ("a boolean", True, Error(TypeError, "target", "integer")),
    ("a name", "cat", Error(TypeError, "target", "integer")),
    ("too high", 4, Error(ValueError, "target", "0 to 3")),
    ("negative", -1, Error(ValueError, "target", "0 to 3")),
    ("a table", torch.zeros(2, 2, dtype=torch.int64), Error(Wrong, "target")),
    ("a NumPy integer", np.int64(1), Right(class_one)),
]


def explained(labels: Any, place: Path) -> Any:
    return explain(images(), labels)


def entered(entry: Callable[..., Any], labels: Any, place: Path) -> Any:
    return entry(images(), labels)


def targeted(target: Any, place: Path) -> Any:
    return comparison(target=target)


def targeted_in_a_plan(target: Any, place: Path) -> Any:
    return many(images(), target, labels=[0, 1, 2])


def class_drawn(target: Any, place: Path) -> Any:
    return drawn(target=target)


def reached(place: Path) -> Any:
    """An attack that shall reach a class that is not there."""
    return attack(images(), [0, 1, 9], targeted=True)


def stay(place: Path) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.tensor([0, 1, 2])
    before = labels.clone()
    attack(images(), labels)
    return before, labels


def untouched(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """The caller's labels are what they were."""
    assert torch.equal(*pair)


def unlabelled(place: Path) -> Any:
    return comparison(labels=None)


def of_its_predictions(found: Any) -> None:
    """The model's own predictions are explained, and it says so."""
    assert found.outputs
    assert "predict" in str(found)


def of_one_image(place: Path) -> Any:
    return explain(images(1), np.int64(2), model=network())


def one_map(run: Any) -> None:
    """A map of one image."""
    assert len(run.output) == 1


CASES = [
    *(Case(f"run: {name}", partial(explained, labels), must) for name, labels, must in LABELS),
    *(
        Case(f"{way}: {name}", partial(entered, entry, labels), must)
        for way, entry in ENTRIES.items()
        for name, labels, must in EVERYWHERE
        if (way, labels) != ("compare", None)
    ),
    Case("compare: no labels", unlabelled, Right(of_its_predictions)),
    *(Case(f"target: {name}", partial(targeted, target), must) for name, target, must in TARGETS),
    *(
        Case(f"run_many's target: {name}", partial(targeted_in_a_plan, target), must)
        for name, target, must in TARGETS[:4]
    ),
    *(
        Case(f"class_image: {name}", partial(class_drawn, given), must)
        for name, given, must in DRAWN
    ),
    Case("a class to reach that is not there", reached, Error(ValueError, "4 classes")),
    Case("the caller's labels", stay, Right(untouched)),
    Case("one number for one image", of_one_image, Right(one_map)),
]
