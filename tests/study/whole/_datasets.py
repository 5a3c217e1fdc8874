"""Small data for studies, and how two studies are compared."""

from __future__ import annotations

import functools
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

import bridge
from bridge.core.model import ModelAdapter
from bridge.study.whole.parts import TABLES

# Cheap methods of every kind: with shared passes, with own random numbers, with several epsilons.
METHODS = [
    *("saliency", "input_x_gradient", "layer_gradcam", "smooth_grad", "expected_gradients"),
    *("fgsm", "pgd", "pgd_l2", "uniform_noise_linf"),
]
SMALL = {
    "smooth_grad": {"n_samples": 3},
    "expected_gradients": {"n_samples": 3},
    "pgd": {"steps": 3, "restarts": 2},
    "pgd_l2": {"steps": 3},
}
ASKED: dict[str, Any] = {
    "methods": METHODS,
    "params": SMALL,
    "epsilons": {"linf": [0.1, 0.2], "l2": [0.5]},
    "judged": 0,
    "progress": False,
}
CHEAP: dict[str, Any] = {
    "methods": ["saliency", "input_x_gradient", "fgsm"],
    "epsilons": [0.1],
    "judged": 0,
    "progress": False,
}


class Digits(Dataset[tuple[Tensor, int]]):
    """Some of the digits, in any order; a place in `broken` cannot be read."""

    def __init__(self, order: list[int], broken: tuple[int, ...] = ()) -> None:
        self.data, self.order, self.broken = bridge.load_data("sklearn:digits"), order, broken

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index in self.broken:
            raise OSError(f"image {index} is broken")
        image, label = self.data[self.order[index]]
        assert label is not None
        return image, label


def digits(count: int, **more: Any) -> Digits:
    return Digits(list(range(count)), **more)


@functools.cache
def network(dtype: torch.dtype = torch.float64) -> ModelAdapter:
    return bridge.load_model("zoo:digits_cnn").astype(dtype)


def tables(study: Any) -> dict[str, pd.DataFrame]:
    """Every table, in an order that does not depend on that of the data."""
    found = {}
    for name in TABLES:
        frame = getattr(study, name)
        keys = [
            key for key in ("id", "method", "a", "b", "metric", "epsilon", "stage") if key in frame
        ]
        found[name] = frame.sort_values(keys, kind="stable").reset_index(drop=True)
    return found


def same(one: Any, other: Any, *, without: tuple[str, ...] = (), tolerance: float = 0.0) -> None:
    """Assert that two studies hold the same rows."""
    first, second = tables(one), tables(other)
    for name, frame in first.items():
        drop = [column for column in without if column in frame]
        pd.testing.assert_frame_equal(
            frame.drop(columns=drop),
            second[name].drop(columns=drop),
            check_exact=not tolerance,
            rtol=tolerance,
            atol=tolerance,
        )
