"""The checker: functions that do not behave, and what cannot be checked."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import bridge
from bridge.core.model import ModelAdapter
from tests.bad_inputs._entries import LABELS, network, plain_saliency
from tests.bad_inputs._expectations import Case, Error, Expectation, Right, Wrong, missing
from tests.bad_inputs.functions import (
    Attack,
    Nasty,
    NotAnException,
    asynchronous,
    from_a_dictionary,
    leaving,
    raising,
    returning,
    two_arguments,
)
from tests.bad_inputs.traces import (
    add_to_buffers,
    add_to_weights,
    break_x,
    doing,
    leave_gradients,
    leave_hook,
    seed_all,
    train,
)
from tests.networks import images

# The checker is told what is wrong, in words.
CHECKED: list[tuple[str, Attack, tuple[str, ...]]] = [
    ("returns None", returning(lambda x: None), ("NoneType", "Tensor")),
    ("returns an array", returning(Tensor.numpy), ("ndarray", "Tensor")),
    ("returns fewer images", returning(lambda x: x[:1]), ("shape",)),
    ("returns float16", returning(Tensor.half), ("float16",)),
    ("returns NaN", returning(lambda x: x * torch.nan), ("NaN",)),
    ("raises KeyError", returning(from_a_dictionary), ("KeyError", "alpha")),
    ("calls sys.exit", leaving(sys.exit), (r"sys\.exit",)),
    ("raises no exception", raising(NotAnException("boom")), ("NotAnException", "boom")),
    ("raises what cannot be printed", raising(Nasty()), ("Nasty",)),
    ("writes into the images", doing(break_x), ("images", "in place")),
    ("writes into the weights", doing(add_to_weights), ("weights",)),
    ("writes into the buffers", doing(add_to_buffers), ("buffers",)),
    ("leaves gradients", doing(leave_gradients), ("gradients",)),
    ("leaves a hook", doing(leave_hook), ("hooks",)),
    ("sets training mode", doing(train), ("training modes",)),
    ("seeds the generators", doing(seed_all), ("seed",)),
    ("two arguments", two_arguments, ("two_arguments",)),
    ("a coroutine", asynchronous, ("coroutine",)),
]


def checked(function: Any, place: Path) -> Any:
    return bridge.check(function, "fgsm")


def sleeping(model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float) -> Tensor:
    while True:
        time.sleep(0.01)


def stubborn(model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float) -> Tensor:
    """Goes on after every Exception."""
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            continue


def checked_for_a_moment(function: Any, place: Path) -> Any:
    return bridge.check(function, "fgsm", limit_seconds=0.2)


@dataclass(frozen=True)
class FailedCheck:
    """A report that did not pass, and says why."""

    words: tuple[str, ...]

    def __call__(self, report: Any) -> None:
        assert not report.passed
        assert not missing(self.words, str(report)), str(report)[:500]


# What cannot be checked at all.
ASKED: list[tuple[str, dict[str, Any], Expectation]] = [
    ("an unknown method", {"method": "nonsense"}, Error(KeyError, "nonsense", "saliency")),
    ("a misspelled method", {"method": "salincy"}, Error(KeyError, "did you mean", "saliency")),
    ("no function", {"function": None}, Error(TypeError, "function", "NoneType")),
    ("a name", {"function": "mine.py:f"}, Error(TypeError, "function", "str")),
    ("what a function returned", {"function": torch.ones(3)},
        Error(TypeError, "function", "Tensor")),
    ("an unknown parameter", {"params": {"steps": 3}}, Error(TypeError, "steps", "parameters are")),
    ("a parameter outside", {"method": "integrated_gradients", "params": {"n_steps": 0}},
        Error(ValueError, "n_steps", "1 or more")),
    ("a parameter of text", {"method": "integrated_gradients", "params": {"n_steps": "50"}},
        Error(TypeError, "n_steps", "whole")),
    ("parameters in a list", {"params": [("n_steps", 3)]},
        Error(TypeError, "params", "mapping|dict|parameter")),
    ("a model without a batch", {"model": network()}, Error(TypeError, "batch", "neither")),
    ("a batch without a model", {"batch": (images(), LABELS)},
        Error(TypeError, "model", "neither")),
    ("a batch of images alone", {"model": network(), "batch": images()},
        Error(Wrong, "batch", r"\(x, classes\)|x, classes")),
    ("a batch of three", {"model": network(), "batch": (1, 2, 3)},
        Error(Wrong, "batch", r"x, classes")),
    ("a model that is none", {"model": len, "batch": (images(), LABELS)},
        Error(TypeError, r"torch\.nn\.Module")),
    ("an unknown check to fail", {"expected_failures": {"agrement": "why"}},
        Error(KeyError, "agrement", "agreement")),
    ("failures in a list", {"expected_failures": ["agreement"]},
        Error((TypeError, KeyError), "expected_failures", "reason|mapping|dict")),
    ("a seed as text", {"seed": "0"}, Error(TypeError, "seed")),
    ("a seed of 0.5", {"seed": 0.5}, Error(TypeError, "seed")),
    ("no seconds", {"limit_seconds": 0}, Error(ValueError, "limit_seconds",
        "positive|more than 0")),
    ("negative seconds", {"limit_seconds": -1},
        Error(ValueError, "limit_seconds", "positive|more than 0")),
    ("seconds of NaN", {"limit_seconds": math.nan}, Error(ValueError, "limit_seconds")),
    ("seconds as text", {"limit_seconds": "10"}, Error(TypeError, "limit_seconds", "number")),
    ("another way to fail", {"on_fail": "rise"}, Error(ValueError, "on_fail", "raise", "return")),
]  # fmt: skip


def asked(options: dict[str, Any], place: Path) -> Any:
    given = {"function": plain_saliency, "method": "saliency", **options}
    return bridge.check(given.pop("function"), given.pop("method"), **given)


CASES = [
    *(Case(f"asked for {name}", partial(asked, given), must) for name, given, must in ASKED),
    *(
        Case(f"check: {name}", partial(checked, function), Right(FailedCheck(words)))
        for name, function, words in CHECKED
    ),
    *(
        Case(
            f"check: {name}",
            partial(checked_for_a_moment, function),
            Right(FailedCheck(("did not return within 0.2 s",))),
        )
        for name, function in [("never returns", sleeping), ("never gives up", stubborn)]
    ),
]  # fmt: skip
