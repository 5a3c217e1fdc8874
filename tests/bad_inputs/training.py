"""Probes of training, films and class images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from bridge.training import Probe, files
from tests.bad_inputs._entries import (
    LABELS,
    drawn,
    network,
    probe,
)
from tests.bad_inputs._expectations import (
    Case,
    Either,
    Error,
    Right,
    Warns,
    Wrong,
    anything,
)
from tests.bad_inputs.requests import INF, NAN, Options, WrongName
from tests.networks import images


def broken_sink(record: Any) -> None:
    raise OSError("no space left on device")


PROBES: Options = [
    ("every 0", {"every": 0}, Error(ValueError, "every", "at least 1|1 or more")),
    ("every -1", {"every": -1}, Error(ValueError, "every", "at least 1|1 or more")),
    ("every 1.5", {"every": 1.5}, Error(TypeError, "every", "whole|integer")),
    ("every as text", {"every": "2"}, Error(TypeError, "every", "whole|integer")),
    ("methods as text", {"methods": "saliency"},
        Error(TypeError, "methods", "list|names", "saliency")),
    ("an unknown method", {"methods": ["nonsense"]}, Error(KeyError, "nonsense", "saliency")),
    ("an unknown parameter", {"methods": {"pgd": {"stepz": 3}}},
        Error(TypeError, "stepz", "steps=")),
    ("a parameter outside", {"methods": {"pgd": {"steps": 0}}},
        Error(ValueError, "steps", "1 or more")),
    ("parameters of None", {"methods": {"saliency": None}}, Error(TypeError, "saliency", "param")),
    ("a method that is a number", {"methods": [3]}, Error(WrongName, "method", "name|saliency")),
    ("a margin of NaN", {"margin": NAN}, Error(ValueError, "margin")),
    ("a negative margin", {"margin": -1.0}, Error(ValueError, "margin")),
    ("a margin as text", {"margin": "0.5"}, Error(TypeError, "margin", "number")),
    ("a push of NaN", {"margin": 1.0, "push": NAN}, Error(ValueError, "push")),
    ("a negative push", {"margin": 1.0, "push": -1.0}, Error(ValueError, "push")),
    ("a sink that is no function", {"sinks": ["probes"]},
        Error(TypeError, "sink", "function|call")),
    ("a sink not in a list", {"sinks": print}, Error(TypeError, "sinks", "list")),
    ("a sink that raises", {"sinks": [broken_sink]},
        Warns("broken_sink", "no space left", "training")),
    ("a seed as text", {"seed": "0"}, Error(TypeError, "seed")),
]  # fmt: skip


def probed(options: dict[str, Any], place: Path) -> Any:
    return probe(**options)


def a_film(method: str, ending: str, fps: Any, place: Path) -> Any:
    return probe().film(method, place / f"film{ending}", fps=fps)


def a_film_too_early(place: Path) -> Any:
    return Probe(network(), images(), LABELS, every=1).film("saliency", place / "film.gif")


def a_sheet(method: str, name: str, place: Path) -> Any:
    return probe().contact_sheet(method, place / name)


def a_film_nowhere(place: Path) -> Any:
    return probe().film("saliency", place / "no" / "such" / "film.gif")


def files_in_a_file(place: Path) -> Any:
    (place / "taken").write_text("mine")
    return files(place / "taken")


def resumed(state: Any, place: Path) -> Any:
    return probe().load_state_dict(state)


def of_other_images(place: Path) -> Any:
    other = probe(images(3, (3, 8, 8)))
    return probe().load_state_dict(other.state_dict())


def step_of(step: Any, place: Path) -> Any:
    return probe().step(step)


def diverged(place: Path) -> Any:
    """A step at which the weights have become NaN: told, and the training goes on."""
    looking = Probe(network(), images(), LABELS, every=1, integrate=True, margin=1.0)
    with torch.no_grad():
        next(looking.model.parameters()).fill_(torch.nan)
    return looking.step()


WHILE_TRAINING = [
    Case("weights that become NaN", diverged, Warns("logits", "finite")),
    Case("a film of an unknown method", partial(a_film, "nonsense", ".gif", 8),
        Error((KeyError, ValueError), "nonsense", "saliency")),
    Case("a film of another kind", partial(a_film, "saliency", ".avi", 8),
        Error(ValueError, r"\.avi", r"\.gif")),
    Case("a film without an ending", partial(a_film, "saliency", "", 8),
        Error(ValueError, r"\.gif")),
    Case("a film of 0 frames a second", partial(a_film, "saliency", ".gif", 0),
        Error(ValueError, "fps", "at least|positive|more")),
    Case("a film of negative frames", partial(a_film, "saliency", ".gif", -1),
        Error(ValueError, "fps", "at least|positive|more")),
    Case("a film of no record", a_film_too_early, Error(ValueError, "no record")),
    Case("a film into no folder", a_film_nowhere,
        Either(Right(anything), Error((ValueError, OSError), "such"))),
    Case("a sheet of an unknown method", partial(a_sheet, "nonsense", "a.png"),
        Error((KeyError, ValueError), "nonsense", "saliency")),
    Case("a sheet of another kind", partial(a_sheet, "saliency", "a.xyz"),
        Error(ValueError, r"\.xyz|png", "png")),
    Case("files in a file", files_in_a_file, Error((ValueError, OSError), "taken",
        "folder|exists|directory")),
    Case("a state without parts", partial(resumed, {}),
        Error(ValueError, "state", "integrated|state_dict")),
    Case("a state that is None", partial(resumed, None), Error(Wrong, "state")),
    Case("a state of other images", of_other_images, Error(ValueError, "of images", "8, 8")),
    Case("a step as text", partial(step_of, "3"), Error(TypeError, "step", "whole|integer")),
    Case("a step of 1.5", partial(step_of, 1.5), Error(TypeError, "step", "whole|integer")),
]  # fmt: skip


CLASS_IMAGES: Options = [
    ("no channels", {"shape": (8, 8)}, Error(ValueError, "shape", r"\(c, h, w\)")),
    ("a batch", {"shape": (1, 3, 8, 8)}, Error(ValueError, "shape", r"\(c, h, w\)")),
    ("a side of 0", {"shape": (3, 0, 8)}, Error(ValueError, "shape|nothing|empty")),
    ("a negative side", {"shape": (3, -8, 8)}, Error(ValueError, "shape")),
    ("a side of 8.5", {"shape": (3, 8.5, 8)}, Error(Wrong, "shape", "whole|integer")),
    ("a shape as text", {"shape": "3x8x8"}, Error(Wrong, "shape", r"\(c, h, w\)")),
    ("one side", {"shape": 8}, Error(Wrong, "shape", r"\(c, h, w\)")),
    ("one channel of three", {"shape": (1, 8, 8)}, Error(ValueError, "channels|shape")),
    ("no shape", {"shape": None}, Error(ValueError, "shape=", "start=")),
    ("a shape and a start", {"start": images(), "shape": (3, 12, 12)},
        Error(ValueError, "shape=", "start=")),
    ("an unknown preset", {"preset": "yosinsky"}, Error(ValueError, "yosinsky", "yosinski")),
    ("a preset of None", {"preset": None}, Error(Wrong, "preset", "multiscale")),
    ("no steps", {"steps": 0}, Error(ValueError, "steps", "at least 1|1 or more")),
    ("half a step", {"steps": 1.5}, Error(Wrong, "steps", "whole|integer")),
    ("steps as text", {"steps": "8"}, Error(TypeError, "steps", "whole|integer|number")),
    ("a rate of 0", {"rate": 0.0}, Error(ValueError, "rate", "positive")),
    ("a rate of NaN", {"rate": NAN}, Error(ValueError, "rate", "positive|finite")),
    ("an infinite rate", {"rate": INF}, Error(ValueError, "rate", "positive|finite")),
    ("no seeds", {"n": 0}, Error(ValueError, r"\bn\b", "at least 1|1 or more")),
    ("half a seed", {"n": 1.5}, Error(Wrong, r"\bn\b", "whole|integer")),
    ("an unknown prior", {"jiter": 0.1}, Error(TypeError, "jiter", "jitter")),
    ("negative blur", {"blur": -1.0}, Error(ValueError, "blur")),
    ("blur of NaN", {"blur": NAN}, Error(ValueError, "blur")),
    ("blur as text", {"blur": "0.5"}, Error(Wrong, "blur", "number")),
    ("blur every 0 steps", {"blur": 0.5, "blur_every": 0}, Error(ValueError, "blur_every")),
    ("negative jitter", {"jitter": -0.1}, Error(ValueError, "jitter")),
    ("a penalty of NaN", {"tv": NAN}, Error(ValueError, "tv")),
    ("an unknown gradient", {"gradient": "signed"}, Error(ValueError, "signed", "sign")),
    ("no octaves", {"octaves": 0}, Error(ValueError, "octaves", "at least 1|1 or more")),
    ("an octave scale of 0", {"octaves": 2, "octave_scale": 0.0},
        Error(ValueError, "octave_scale")),
    ("an unknown layer", {"layer": "layer4"}, Error(ValueError, "layer4", "its layers are")),
    ("a channel that is not there", {"layer": "0", "channel": 6},
        Error(ValueError, "channel 6", "6 channels")),
    ("a negative channel", {"layer": "0", "channel": -1},
        Error(ValueError, "channel -1", "6 channels")),
    ("a channel without a layer", {"channel": 1}, Error(ValueError, "channel", "layer")),
    ("a neuron without a layer", {"neuron": (1, 1)}, Error(ValueError, "neuron", "layer")),
    ("a neuron that is not there", {"layer": "0", "neuron": (99, 0)},
        Error(ValueError, "neuron", "99")),
    ("a neuron of one number", {"layer": "0", "neuron": 3}, Error(Wrong, "neuron", r"\(y, x\)")),
    ("a neuron of a flat layer", {"layer": "9", "neuron": (0, 0)},
        Error(ValueError, "neuron", "layer")),
    ("negative frames", {"frames_every": -1}, Error(ValueError, "frames_every")),
    ("frames every 1.5", {"frames_every": 1.5}, Error(TypeError, "frames_every", "whole|integer")),
    ("a seed as text", {"seed": "0"}, Error(TypeError, "seed")),
]  # fmt: skip


def class_drawn(options: dict[str, Any], place: Path) -> Any:
    return drawn(**{"target": 1, **options})


def no_frames(place: Path) -> Any:
    return drawn(target=1).film(place / "film.gif")


CASES = [
    *(Case(f"Probe: {name}", partial(probed, given), must) for name, given, must in PROBES),
    *(Case(f"Probe: {case.name}", case.call, case.expected) for case in WHILE_TRAINING),
    *(
        Case(f"class_image: {name}", partial(class_drawn, given), must)
        for name, given, must in CLASS_IMAGES
    ),
    Case("class_image: a film without frames", no_frames, Error(ValueError, "frames_every=")),
]  # fmt: skip
