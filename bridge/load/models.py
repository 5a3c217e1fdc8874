"""Models from a short source string: `zoo:fashion_cnn`, `torchvision:resnet18`, `python:...`.

A source is one file in `bridge/load/model_sources` with one registration, found by being there.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import logging
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bridge.core.kinds import is_exported
from bridge.core.model import ModelAdapter, wrap
from bridge.load.weights import load_weights

# A module, and what `wrap` is told of it: mean, std, layer, class_names; with "resizing", what its
# own transform does to the size of images.
Loaded = tuple[nn.Module, dict[str, Any]]
Source = Callable[[str, bool], Loaded]

FROM_FILE = "a file that you have, weights=FILE or --weights FILE"

_SOURCES: dict[str, Source] = {}


def model_source(scheme: str) -> Callable[[Source], Source]:
    """Register `source(name, pretrained)` for `scheme:name`; with `pretrained` it brings weights.

    It returns the module and what `wrap` is told of it, and raises ValueError for an unknown name.
    """

    def register(source: Source) -> Source:
        _SOURCES[scheme] = source
        return source

    return register


@functools.cache
def model_sources() -> dict[str, Source]:
    """The sources by their schemes.

    >>> list(model_sources())
    ['export', 'hf', 'lightning', 'python', 'timm', 'torchscript', 'torchvision', 'zoo']
    """
    package = importlib.import_module("bridge.load.model_sources")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_SOURCES.items()))


def load_model(
    source: str,
    *,
    weights: str | Path | None = None,
    pretrained: bool = True,
    device: str | torch.device = "cpu",
    **wrapping: Any,
) -> ModelAdapter:
    """A wrapped classifier in evaluation mode, with its source's preprocessing and class names.

    Sources: `zoo:{fashion_cnn,fashion_alexnet,digits_cnn}`, `torchvision:NAME` or
    `torchvision:NAME@WEIGHTS`, `timm:NAME`, `hf:NAME_OR_FOLDER`, `python:PACKAGE.MODULE:FACTORY` or
    `python:FILE.py:FACTORY` (a function without arguments that returns a module),
    `lightning:FILE.py:CLASS@CHECKPOINT`, `export:FILE.pt2`, `torchscript:FILE.pt`. `weights` is a
    .safetensors file, or a .pt or .pth file of plain tensors (a pickle that needs more is refused);
    with it, or with `pretrained=False`, nothing is downloaded. `mean`, `std`, `layer`, `bounds`,
    `class_names` go to `wrap` and take precedence. Its `resizing` is what the source's own
    transform does to the size of images: `load_batch(..., size=model.resizing)`.

    Raises ValueError for an unknown source, weights that do not fit or a device that is not there,
    ConnectionError where weights cannot be downloaded.

    >>> model = load_model("zoo:fashion_cnn")
    >>> model.layer, model.class_names[9]
    ('features.conv5', 'Ankle boot')
    """
    if not isinstance(source, str):
        hint = ": wrap a module with bridge.wrap" if isinstance(source, nn.Module) else ""
        kind = type(source).__name__
        raise TypeError(f"source is a string such as 'zoo:fashion_cnn', got a {kind}{hint}")
    device = check_device(device)
    scheme, _, name = source.partition(":")
    known = model_sources()
    if scheme not in known or not name:
        expected = ", ".join(f"{each}:NAME" for each in known)
        raise ValueError(f"unknown model source {source!r}: expected one of {expected}")
    module, defaults = known[scheme](name, pretrained and weights is None)
    if weights is not None:
        load_weights(module, weights)
    if isinstance(module, ModelAdapter):  # a factory that wraps its own model
        if wrapping:
            given = ", ".join(wrapping)
            raise ValueError(f"{source} is wrapped already: {given} cannot be given as well")
        return module.eval().to(device)
    resizing = defaults.pop("resizing", None)
    model = wrap(in_evaluation(module).to(device), **{"name": source, **defaults, **wrapping})
    model.resizing = resizing
    return model


def in_evaluation(module: nn.Module) -> nn.Module:
    """The module in evaluation mode; an exported program is in the mode that it was made in."""
    return module if is_exported(module) else module.eval()


def check_device(device: Any) -> torch.device:
    """The device of this name. Raises ValueError where there is none such here."""
    try:
        found = torch.device(device)
        if found.type == "meta":
            raise ValueError("it holds no numbers")
        torch.zeros(1, device=found)
    except Exception as error:  # each backend has its own kinds
        there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        there += ["mps"] if torch.backends.mps.is_available() else []
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(
            f"device {device!r} cannot be used ({reason}): there are {', '.join(there)} here, and "
            "names are such as cpu, cuda, cuda:1 or mps"
        ) from error
    return found


def nearest(name: str, known: list[str]) -> str:
    """What to say of a name that is not known: the nearest ones, "" where none is near."""
    near = difflib.get_close_matches(name, known)
    return f": did you mean {' or '.join(near)}?" if near else ""


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Inside, the hub tells of no request that failed: what it raises in the end says that."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def missing(package: str, extra: str) -> ValueError:
    """The error of a package that is not installed, and the command that installs it."""
    return ValueError(f'{package} is not installed: pip install "gradbridge[{extra}]"')


def downloading(source: str, error: BaseException, instead: str = FROM_FILE) -> ConnectionError:
    """The error of weights that are not here and cannot be had; `instead` is what helps."""
    text = " ".join(str(error).split())[:200]
    return ConnectionError(
        f"the weights of {source} are not on this machine and cannot be downloaded "
        f"({type(error).__name__}: {text}): pass {instead}"
    )
