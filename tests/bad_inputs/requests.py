"""What compare, run_many, minimal_epsilon, benchmark, check and report are asked for."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import bridge
from bridge.fused import run_many
from bridge.fused.chunks import chunk_size
from tests.bad_inputs._entries import (
    LABELS,
    comparison,
    network,
    plain_fgsm,
    plain_saliency,
    smallest,
    timed,
    wrapped,
)
from tests.bad_inputs._expectations import (
    Case,
    Either,
    Error,
    Expectation,
    Right,
    Wrong,
)
from tests.networks import images

WrongName = (KeyError, TypeError, ValueError)


NAN, INF = math.nan, math.inf


Options = list[tuple[str, dict[str, Any], Expectation]]


def one_row(found: Any) -> None:
    """No cell stands twice."""
    keys = list(
        zip(*(found.agreement[k] for k in ("method", "implementation", "epsilon")), strict=True)
    )
    assert len(keys) == len(set(map(str, keys))), keys


COMPARE: Options = [
    ("a method as text", {"methods": "saliency"},
        Error(TypeError, "list of names", r"\['saliency'\]")),
    ("no methods", {"methods": []}, Error(ValueError, "methods", "empty|at least one|no method")),
    ("an unknown method", {"methods": ["nonsense"]}, Error(KeyError, "nonsense", "saliency")),
    ("a misspelled method", {"methods": ["fgms"]}, Error(KeyError, "did you mean", "fgsm")),
    ("a method that is a number", {"methods": [3]}, Error(WrongName, "method", "name|saliency")),
    ("a method that is a function", {"methods": [plain_fgsm]},
        Error(WrongName, "method", "name|saliency|functions=")),
    ("a method twice", {"methods": ["saliency", "saliency"]}, Right(one_row)),
    ("an implementation as text", {"implementations": "captum"},
        Error(TypeError, "list of names", "captum")),
    ("no implementations", {"implementations": []},
        Error(ValueError, "implementations", "empty|at least one|no impl")),
    ("an unknown implementation", {"implementations": ["captm"]},
        Error(KeyError, "did you mean", "captum")),
    ("none that the method has", {"implementations": ["foolbox"]},
        Error((KeyError, ValueError), "foolbox", "saliency")),
    ("functions of an unknown method", {"functions": {"salency": plain_saliency}},
        Error(KeyError, "did you mean", "saliency")),
    ("functions of a method left out", {"functions": {"fgsm": plain_fgsm}},
        Error(KeyError, "fgsm", "compared")),
    ("a function alone", {"functions": plain_saliency}, Error(TypeError, "functions", "method")),
    ("functions in a list", {"functions": [plain_saliency]},
        Error(TypeError, "functions", "method")),
    ("a function by its place", {"functions": {"saliency": "mine.py:f"}},
        Error(TypeError, "function", r"str|mine\.py")),
    ("a function that is None", {"functions": {"saliency": None}},
        Error(TypeError, "function", "None")),
    ("a function that is a tensor", {"functions": {"saliency": torch.ones(3)}},
        Error(TypeError, "function", "Tensor")),
    ("what a function returned", {"functions": {"saliency": [3]}},
        Error(TypeError, "function", "int|3")),
    ("parameters of an unknown method", {"params": {"saliencey": {}}},
        Error(KeyError, "did you mean", "saliency")),
    ("parameters of a method left out", {"params": {"pgd": {"steps": 3}}},
        Error(KeyError, "pgd", "compared")),
    ("parameters not in a mapping", {"params": {"saliency": 3}},
        Error(TypeError, "saliency", "param")),
    ("parameters of no method", {"params": {"steps": 3}},
        Error((KeyError, TypeError), "steps", "compared|method")),
    ("parameters in a list", {"params": [("saliency", {})]}, Error(TypeError, "params", "method")),
    ("an unknown parameter", {"params": {"saliency": {"steps": 3}}},
        Error(TypeError, "steps", "parameters are")),
    ("a parameter outside", {"methods": ["pgd"], "params": {"pgd": {"steps": 0}}},
        Error(ValueError, "steps", "1 or more")),
    ("repeats of 0", {"repeats": 0}, Error(ValueError, "repeats", "at least 1|1 or more")),
    ("negative repeats", {"repeats": -1}, Error(ValueError, "repeats", "at least 1|1 or more")),
    ("half a repeat", {"repeats": 1.5}, Error(TypeError, "repeats", "whole|integer")),
    ("repeats as text", {"repeats": "3"}, Error(TypeError, "repeats", "whole|integer")),
    ("repeats of NaN", {"repeats": NAN}, Error(Wrong, "repeats")),
    ("negative seconds", {"timing_seconds": -1.0}, Error(ValueError, "timing_seconds")),
    ("seconds of NaN", {"timing_seconds": NAN}, Error(ValueError, "timing_seconds")),
    ("seconds as text", {"timing_seconds": "1"}, Error(TypeError, "timing_seconds")),
    ("a seed as text", {"seed": "0"}, Error(TypeError, "seed")),
    ("a seed of 0.5", {"seed": 0.5}, Error(TypeError, "seed")),
    ("a seed of None", {"seed": None}, Error(TypeError, "seed")),
    ("an unknown option", {"method": ["saliency"]}, Error(TypeError, "method")),
]  # fmt: skip


# With the methods saliency, fgsm and fgm_l2.
EPSILONS: list[tuple[str, Any, Expectation]] = [
    ("none", [], Error(ValueError, "epsilon", "empty")),
    ("none of a norm", {"linf": []}, Error(ValueError, "epsilon", "empty")),
    ("negative", [-0.1], Error(ValueError, "epsilon", "0 or more")),
    ("NaN", [NAN], Error(ValueError, "epsilon", "finite")),
    ("infinite", [INF], Error(ValueError, "epsilon", "finite")),
    ("a text", "8/255", Error(TypeError, "epsilon", "list|number")),
    ("texts", ["8/255"], Error(TypeError, "epsilon", "number")),
    ("texts of numbers", ["0.1"], Error(TypeError, "epsilon", "number")),
    ("None among them", [None], Error(TypeError, "epsilon", "number")),
    ("8 of 255", [8], Error(ValueError, "epsilon", r"8 ?/ ?255", r"\[0, 1\]")),
    ("one beyond the range", {"linf": [0.1, 2.0]}, Error(ValueError, "epsilon", r"\[0, 1\]")),
    ("an L2 size beyond", {"l2": [1e6]}, Error(ValueError, "epsilon", "L2", r"\[0, 1\]")),
    ("a misspelled method", {"fgms": [0.1]}, Error(KeyError, "fgms", "did you mean", "fgsm")),
    ("a misspelled norm", {"l_inf": [0.1]}, Error(KeyError, "did you mean", "linf")),
    ("another norm", {"l1": [0.1]}, Error(KeyError, "l1", "linf", "l2|norm")),
    ("an attribution", {"saliency": [0.1]}, Error(KeyError, "saliency", "attack")),
    ("an attack left out", {"pgd": [0.1]}, Error(KeyError, "pgd", "compared")),
    ("by a number", {0.1: [0.1]}, Error((KeyError, TypeError), "0.1", "norm|linf")),
    ("in a table", torch.full((2, 2), 0.1), Error(Wrong, "epsilon", "list|number|shape")),
    ("in a set", {0.1, 0.2}, Error(TypeError, "epsilon", "list|number")),
    ("one twice", [0.1, 0.1], Either(Right(one_row), Error(ValueError, "epsilon", "twice"))),
]  # fmt: skip


def compared(options: dict[str, Any], place: Path) -> Any:
    return comparison(**options)


def sized(epsilons: Any, place: Path) -> Any:
    return comparison(methods=["saliency", "fgsm", "fgm_l2"], epsilons=epsilons)


def nothing(found: Any) -> None:
    """No method, no answer."""
    assert not found.runs


PLANS: list[tuple[str, Any, Expectation]] = [
    ("a method as text", "saliency", Error(TypeError, "methods", "mapping|dict")),
    ("names in a list", ["saliency"], Error(TypeError, "methods", "mapping|dict")),
    ("nothing", {}, Right(nothing)),
    ("None", None, Error(TypeError, "methods", "mapping|dict")),
    ("an unknown method", {"nonsense": {}}, Error(KeyError, "nonsense", "saliency")),
    ("a misspelled method", {"fgms": {}}, Error(KeyError, "did you mean", "fgsm")),
    ("parameters of None", {"saliency": None}, Error(TypeError, "saliency", "param")),
    ("an unknown parameter", {"pgd": {"stepz": 3}}, Error(TypeError, "stepz", "steps=")),
    ("a parameter outside", {"pgd": {"steps": 0}}, Error(ValueError, "steps", "1 or more")),
    ("an epsilon beyond the range", {"pgd": {"epsilon": 8}}, Error(ValueError, r"\[0, 1\]")),
    ("no epsilon", {"fgsm": {"epsilon": []}}, Error(ValueError, "epsilon", "empty")),
    ("texts as epsilons", {"fgsm": {"epsilon": ["0.1"]}}, Error(TypeError, "epsilon", "number")),
]  # fmt: skip


def planned(methods: Any, place: Path) -> Any:
    return run_many(wrapped(), images(), LABELS, methods)


SMALLEST: Options = [
    ("an unknown norm", {"norm": "l1"}, Error(ValueError, "norm", "linf", "l2")),
    ("a norm by its number", {"norm": 2}, Error(Wrong, "norm", "linf", "l2")),
    ("largest of 0", {"largest": 0}, Error(ValueError, "largest")),
    ("negative largest", {"largest": -0.5}, Error(ValueError, "largest")),
    ("largest of NaN", {"largest": NAN}, Error(ValueError, "largest")),
    ("infinite largest", {"largest": INF}, Error(ValueError, "largest")),
    ("largest beyond the range", {"largest": 8.0},
        Error(ValueError, "largest|epsilon", r"\[0, 1\]")),
    ("largest as text", {"largest": "0.5"}, Error(TypeError, "largest", "number")),
    ("tolerance of 0", {"tolerance": 0}, Error(ValueError, "tolerance")),
    ("tolerance beyond largest", {"largest": 0.1, "tolerance": 0.2},
        Error(ValueError, "tolerance", "largest")),
    ("tolerance of NaN", {"tolerance": NAN}, Error(ValueError, "tolerance")),
    ("no steps", {"steps": 0}, Error(ValueError, "steps", "at least 1|1 or more")),
    ("half a step", {"steps": 1.5}, Error(Wrong, "steps", "whole|integer")),
    ("steps of NaN", {"steps": NAN}, Error(Wrong, "steps")),
    ("a step share of 0", {"step_share": 0.0}, Error(ValueError, "step_share")),
    ("a negative step share", {"step_share": -1.0}, Error(ValueError, "step_share")),
    ("a step share of NaN", {"step_share": NAN}, Error(ValueError, "step_share")),
    ("a seed as text", {"seed": "0"}, Error(TypeError, "seed")),
]  # fmt: skip


def searched(options: dict[str, Any], place: Path) -> Any:
    return smallest(images(), **options)


BENCHMARK: Options = [
    ("rounds of 0", {"rounds": 0}, Error(ValueError, "rounds", "at least 1|1 or more")),
    ("half a round", {"rounds": 1.5}, Error(TypeError, "rounds", "whole|integer")),
    ("a method as text", {"methods": "saliency"},
        Error(TypeError, "list of names|methods", "saliency")),
    ("no methods", {"methods": []}, Error(ValueError, "methods", "empty|at least one|no method")),
    ("a misspelled method", {"methods": ["salincy"]}, Error(KeyError, "did you mean", "saliency")),
    ("a misspelled implementation", {"implementations": ["captm"]},
        Error(KeyError, "did you mean", "captum")),
    ("no implementations", {"implementations": []},
        Error(ValueError, "implementations", "empty|at least one|no impl")),
    ("functions of a method left out", {"functions": {"pgd": [plain_fgsm]}},
        Error(KeyError, "pgd")),
    ("a function that is None", {"functions": {"saliency": [None]}},
        Error(TypeError, "function", "None")),
    ("an unknown parameter", {"params": {"saliency": {"steps": 2}}},
        Error(TypeError, "steps", "parameters are")),
    ("parameters of a method left out", {"params": {"pgd": {"steps": 2}}}, Error(KeyError, "pgd")),
    ("no batches", {"batches": []}, Error(ValueError, "batches", "empty|at least one|no batch")),
    ("a batch of 0", {"batches": [0]}, Error(ValueError, "batch", "at least 1|1 or more")),
    ("a negative batch", {"batches": [-2]}, Error(ValueError, "batch", "at least 1|1 or more")),
    ("half an image", {"batches": [1.5]}, Error(Wrong, "batch", "whole|integer")),
    ("a batch, not in a list", {"batches": 3}, Error(TypeError, "batches", "list")),
    ("an unknown acceleration", {"accelerations": ["bf17"]},
        Error((ValueError, KeyError), "bf17", "bf16")),
    ("a seed as text", {"seed": "0"}, Error(TypeError, "seed")),
]  # fmt: skip


def benchmarked(options: dict[str, Any], place: Path) -> Any:
    return timed(images(), **options)


def _nothing(name: str, n: int) -> None:
    return None


def _raising(name: str, n: int) -> Any:
    raise KeyError("boom")


def _fewer(name: str, n: int) -> Any:
    return images(n)[:1], LABELS[:1]


WORLDS: list[tuple[str, Any, Any, Expectation]] = [
    ("no models", {}, _fewer, Error(ValueError, "models", "empty|at least one|no model")),
    ("models in a list", [network()], _fewer, Error(TypeError, "models", "mapping|dict|name")),
    ("one model", network(), _fewer, Error(TypeError, "models", "mapping|dict|name")),
    ("a model that is None", {"a": None}, _fewer, Error(TypeError, r"torch\.nn\.Module")),
    ("images, not a function", {"a": network()}, images(),
        Error(TypeError, "images", "function|call")),
    ("images that are None", {"a": network()}, None, Error(TypeError, "images", "function|call")),
    ("a function that returns None", {"a": network()}, _nothing,
        Error(TypeError, "images", "labels")),
    ("a function that raises", {"a": network()}, _raising, Error((ValueError, KeyError), "boom")),
]  # fmt: skip


def a_world(models: Any, given: Any, place: Path) -> Any:
    options = {"methods": ["saliency"], "batches": [2], "rounds": 1, "progress": False}
    return bridge.benchmark(models, given, **options)


CHUNKS: list[tuple[str, Any, Expectation]] = [
    ("0", 0, Error(ValueError, "at least 1|1 or more")),
    ("-1", -1, Error(ValueError, "at least 1|1 or more")),
    ("half an image", 1.5, Error(TypeError, "whole|integer")),
    ("NaN", NAN, Error(Wrong, "whole|integer|at least")),
    ("None", None, Error(TypeError, "whole|integer|number")),
    ("a text", "8", Error(TypeError, "whole|integer|number")),
    ("a boolean", True, Error(TypeError, "whole|integer|number")),
]


def chunked(size: Any, place: Path) -> Any:
    with chunk_size(size):
        return bridge.run("smooth_grad", wrapped(), images(), LABELS, implementation="fused")


def reported(options: dict[str, Any], ending: str, place: Path) -> Any:
    return comparison().report(place / f"report{ending}", **options)


CASES = [
    *(Case(f"compare: {name}", partial(compared, given), must) for name, given, must in COMPARE),
    *(Case(f"epsilons: {name}", partial(sized, given), must) for name, given, must in EPSILONS),
    *(Case(f"run_many: {name}", partial(planned, given), must) for name, given, must in PLANS),
    *(
        Case(f"minimal_epsilon: {name}", partial(searched, given), must)
        for name, given, must in SMALLEST
    ),
    *(
        Case(f"benchmark: {name}", partial(benchmarked, given), must)
        for name, given, must in BENCHMARK
    ),
    *(
        Case(f"benchmark: {name}", partial(a_world, models, given), must)
        for name, models, given, must in WORLDS
    ),
    *(Case(f"chunk_size: {name}", partial(chunked, size), must) for name, size, must in CHUNKS),
    Case("report: an unknown ending", partial(reported, {}, ".docx"),
        Error(ValueError, r"\.docx", r"\.html")),
    Case("report: metrics in a list", partial(reported, {"metrics": [1]}, ".html"),
        Error(TypeError, "metrics", "DataFrame|mapping|dict|name")),
    Case("report: metrics that are no table", partial(reported, {"metrics": {"a": 1}}, ".html"),
        Error(TypeError, "metrics|'a'", "DataFrame")),
    Case("report: metrics of another's name",
        partial(reported, {"metrics": {"runtime": pd.DataFrame()}}, ""),
        Error(ValueError, "runtime", "metrics|already|table")),
    Case("report: an unknown option", partial(reported, {"titel": "x"}, ".html"),
        Error(TypeError, "titel")),
]  # fmt: skip
