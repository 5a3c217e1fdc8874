"""Wrapping: what is no model, and bounds, means, layers and names that do not fit it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

import bridge
from tests.bad_inputs._entries import (
    LABELS,
    explain,
    network,
    wrapped,
)
from tests.bad_inputs._expectations import Case, Either, Error, Expectation, Warns, Wrong
from tests.bad_inputs.models import scripted
from tests.networks import Functional, Reused, images, seeded


def grad_cam(model: Any, place: Path) -> Any:
    return bridge.run("layer_gradcam", model(), images(), LABELS)


def guided(model: Any, place: Path) -> Any:
    return bridge.run("guided_backprop", model(), images(), LABELS)


def linear() -> Any:
    return bridge.wrap(nn.Sequential(nn.Flatten(), nn.Linear(432, 4)).eval())


def twice() -> Any:
    return bridge.wrap(seeded(Reused), layer="relu")


def flat_layer() -> Any:
    return wrapped(layer="9")


def unused_layer() -> Any:
    class Spare(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[0](x)

    return bridge.wrap(Spare(network(), nn.Conv2d(3, 3, 1)).eval(), layer="1")


def scripted_layers() -> Any:
    return bridge.wrap(scripted())


def scripted_relus() -> Any:
    return bridge.wrap(scripted())


def functional() -> Any:
    return bridge.wrap(seeded(Functional))


def half_functional() -> Any:
    return bridge.wrap(seeded(Functional, mixed=True))


LAYERS: list[tuple[str, Callable[..., Any], Callable[[], Any], Expectation]] = [
    ("no spatial layer", grad_cam, linear, Error(ValueError, "layer=")),
    ("a layer that runs twice", grad_cam, twice, Error(ValueError, "2 times", "once")),
    ("a layer that is not spatial", grad_cam, flat_layer, Error(ValueError, r"\(n, c, h, w\)")),
    ("a layer that does not run", grad_cam, unused_layer, Error(ValueError, "did not run")),
    ("Grad-CAM of a scripted model", grad_cam, scripted_layers, Error(ValueError, "script")),
    ("guided backprop, scripted", guided, scripted_relus, Error(ValueError, "script")),
    ("no ReLU modules", guided, functional, Error(ValueError, r"nn\.ReLU")),
    ("some ReLUs functional", guided, half_functional, Warns(r"nn\.ReLU", "2 of the 3")),
]


def wrap(module: Any, options: dict[str, Any], place: Path) -> Any:
    return bridge.wrap(module() if callable(module) else module, **options)


def a_class() -> Any:
    return type(network())


def a_function() -> Any:
    return len


def wrapped_already() -> Any:
    return wrapped()


def its_weights() -> Any:
    return network().state_dict()


WRAPPED: list[tuple[str, Any, dict[str, Any], Expectation]] = [
    ("None", None, {}, Error(TypeError, r"torch\.nn\.Module", "NoneType")),
    ("a function", a_function, {}, Error(TypeError, r"torch\.nn\.Module")),
    ("a class, not a model", a_class, {}, Error(TypeError, r"torch\.nn\.Module",
        "instance|call|class")),
    ("a name", "resnet18", {}, Error(TypeError, r"torch\.nn\.Module", "load_model")),
    ("weights alone", its_weights, {}, Error(TypeError, r"torch\.nn\.Module",
        "state|weights|dict")),
    ("wrapped already", wrapped_already, {}, Error(TypeError, "normalise twice")),
    ("std of 0", network, {"std": 0.0}, Error(ValueError, "std", "positive")),
    ("negative std", network, {"std": (1, -1, 1)}, Error(ValueError, "std", "positive")),
    ("std of NaN", network, {"std": float("nan")}, Error(ValueError, "std", "finite")),
    ("infinite mean", network, {"mean": float("inf")}, Error(ValueError, "mean", "finite")),
    ("no mean", network, {"mean": ()}, Error(ValueError, "mean", "channel")),
    ("mean as text", network, {"mean": "imagenet"}, Error(Wrong, "mean", "numbers")),
    ("mean of names", network, {"mean": ["a", "b", "c"]}, Error(Wrong, "mean", "numbers")),
    ("mean of None", network, {"mean": [None] * 3}, Error(Wrong, "mean", "numbers")),
    ("mean and std of other lengths", network, {"mean": [0.5] * 3, "std": [0.2] * 2},
        Error(ValueError, "mean", "std")),
    ("mean of 0 to 255", network, {"mean": [124.0, 116.0, 104.0], "std": [58.0, 57.0, 57.0]},
        Either(Warns("mean", "bounds|/ 255"), Error(ValueError, "mean", "bounds|/ 255"))),
    ("bounds upside down", network, {"bounds": (1, 0)}, Error(ValueError, "bounds", "lowest")),
    ("bounds of one point", network, {"bounds": (0, 0)}, Error(ValueError, "bounds", "lowest")),
    ("bounds of NaN", network, {"bounds": (0, float("nan"))}, Error(ValueError, "bounds")),
    ("infinite bounds", network, {"bounds": (0, float("inf"))},
        Error(ValueError, "bounds", "finite")),
    ("one bound", network, {"bounds": 1}, Error(Wrong, "bounds", "lowest")),
    ("three bounds", network, {"bounds": (0, 0.5, 1)}, Error(ValueError, "bounds", "lowest")),
    ("bounds as text", network, {"bounds": "01"}, Error(Wrong, "bounds", "lowest|number")),
    ("no bounds", network, {"bounds": None}, Error(Wrong, "bounds", "lowest")),
    ("an unknown layer", network, {"layer": "layer4"},
        Error(ValueError, "layer4", "its layers are")),
    ("a layer by number", network, {"layer": 4}, Error(Wrong, "layer", "name")),
    ("a layer of another model", network, {"layer": nn.ReLU()},
        Error(ValueError, "not a submodule")),
    ("class names as a set", network, {"class_names": {"a", "b", "c", "d"}},
        Error(TypeError, "class_names", "list|sequence|order")),
    ("an unknown option", network, {"means": 0.5}, Error(TypeError, "means")),
]  # fmt: skip


def too_few_names(place: Path) -> Any:
    return explain(images(), model=wrapped(class_names=["cat", "dog"]))


def no_model(value: Any, place: Path) -> Any:
    return bridge.run("saliency", value, images(), LABELS)


CASES = [
    *(Case(name, partial(method, model), must) for name, method, model, must in LAYERS),
    *(
        Case(f"wrap: {name}", partial(wrap, module, options), must)
        for name, module, options, must in WRAPPED
    ),
    *(
        Case(f"run on {name}", partial(no_model, value), Error(TypeError, r"torch\.nn\.Module"))
        for name, value in [("None", None), ("a function", np.mean), ("a name", "zoo:fashion_cnn")]
    ),
    Case("fewer class names than classes", too_few_names, Either(
        Warns("class_names", "4 classes|4"), Error(ValueError, "class_names", "4 classes|4"),
    )),
]  # fmt: skip
