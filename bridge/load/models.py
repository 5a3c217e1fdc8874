"""Models from a short source string: `zoo:fashion_cnn`, `torchvision:resnet18`, `timm:NAME`, `hf:NAME`, `python:...`."""

from __future__ import annotations

import importlib
import importlib.resources
import importlib.util
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bridge.model import ModelAdapter, wrap
from bridge.state import seeded
from bridge.zoo import ZOO, weights_file


def load_model(
    source: str,
    *,
    weights: str | Path | None = None,
    pretrained: bool = True,
    device: str | torch.device = "cpu",
    **wrapping: Any,
) -> ModelAdapter:
    """A wrapped classifier in evaluation mode, with the source's own preprocessing and class names.

    Sources: `zoo:{fashion_cnn,fashion_alexnet,digits_cnn}`, `torchvision:NAME`, `timm:NAME`, `hf:NAME_OR_FOLDER`,
    `python:PACKAGE.MODULE:FACTORY` or `python:FILE.py:FACTORY` (a function without arguments that returns a module).
    `weights` is a .safetensors file, or a .pt/.pth file of plain tensors (a pickle that needs more is refused); with it, or
    with `pretrained=False`, nothing is downloaded. `mean`, `std`, `layer`, `bounds`, `class_names` go to `wrap` and take
    precedence. Raises ValueError for an unknown source or weights that do not fit.
    """
    scheme, _, name = source.partition(":")
    if scheme not in SCHEMES or not name:
        raise ValueError(f"unknown model source {source!r}: expected one of {', '.join(s + ':NAME' for s in SCHEMES)}")
    module, defaults = SCHEMES[scheme](name, pretrained and weights is None)
    if weights is not None:
        load_weights(module, weights)
    if isinstance(module, ModelAdapter):  # a factory that wraps its own model
        if wrapping:
            raise ValueError(f"{source} is wrapped already: {', '.join(wrapping)} cannot be given as well")
        return module.eval().to(device)
    return wrap(module.eval().to(device), **{"name": source, **defaults, **wrapping})


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Load a state dict into a module, every key and shape matching; a leading `module.` of DataParallel is dropped.

    Raises ValueError for a missing or corrupt file, a pickle that holds more than tensors, and for keys that do not fit.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"there is no weight file {path}")
    state = _read_state(path)
    if state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    target = module.module if isinstance(module, ModelAdapter) else module
    try:
        target.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit this model: {error}") from error


def _read_state(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise ValueError(f"{path} is not a readable safetensors file ({error})") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors, and loading it could run any code: it is refused; save "
            "model.state_dict() as .safetensors instead"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a readable weight file ({error})") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict (names to tensors)")
    return state


Loaded = tuple[nn.Module, dict[str, Any]]


def _zoo(name: str, pretrained: bool) -> Loaded:
    if name not in ZOO:
        raise ValueError(f"unknown zoo model {name!r}: expected one of {', '.join(ZOO)}")
    entry = ZOO[name]
    wrapping = {"mean": entry.mean, "std": entry.std, "layer": entry.layer, "class_names": entry.class_names}
    with seeded(0):
        module = entry.module()
        if pretrained and name == "digits_cnn":
            _train_digits(module, entry.mean[0], entry.std[0])
        elif pretrained:
            with importlib.resources.as_file(weights_file(name)) as path:
                load_weights(module, path)
    return module, wrapping


def _train_digits(module: nn.Module, mean: float, std: float) -> None:
    """Two seconds of training on scikit-learn's digits, the same every time."""
    from bridge.load.data import load_batch
    from bridge.zoo.train import train

    x, labels = load_batch("sklearn:digits", n=None, split="train")
    train(module, (x - mean) / std, labels, epochs=8, learning_rate=1e-2, batch=64)


def _torchvision(name: str, pretrained: bool) -> Loaded:
    from torchvision import models

    try:
        weights = models.get_model_weights(name).DEFAULT
    except ValueError as error:
        raise ValueError(f"torchvision has no classifier {name!r}: see torchvision.models.list_models()") from error
    classes = weights.meta.get("categories")
    extra = {"transform_input": False} if name in ("googlenet", "inception_v3") else {}
    if not pretrained:
        extra |= {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    module = models.get_model(name, weights=weights if pretrained else None, **extra)
    preset = weights.transforms()
    return module, {"mean": preset.mean, "std": preset.std, "class_names": classes}


def _timm(name: str, pretrained: bool) -> Loaded:
    timm = _extra("timm")
    try:
        module = timm.create_model(name, pretrained=pretrained)
    except RuntimeError as error:
        raise ValueError(f"timm cannot build {name!r}: {error}") from error
    config = timm.data.resolve_model_data_config(module)
    return module, {"mean": config["mean"], "std": config["std"]}


def _hugging_face(name: str, pretrained: bool) -> Loaded:
    transformers = _extra("transformers", "hf")
    try:
        config = transformers.AutoConfig.from_pretrained(name)
        if pretrained:
            module = transformers.AutoModelForImageClassification.from_pretrained(name, use_safetensors=True)
        else:
            module = transformers.AutoModelForImageClassification.from_config(config)
    except (OSError, ValueError) as error:
        raise ValueError(f"Hugging Face cannot load {name!r} as an image classifier: {error}") from error
    labels = [config.id2label[index] for index in sorted(config.id2label)]
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(name)
    except (OSError, ValueError, ImportError):
        mean, std = None, None
    else:
        normalises = getattr(processor, "do_normalize", True)
        mean, std = (processor.image_mean, processor.image_std) if normalises else (None, None)
    return module, {"mean": mean, "std": std, "class_names": labels}


def _python(name: str, pretrained: bool) -> Loaded:
    made = load_object(name)
    module = made() if callable(made) and not isinstance(made, nn.Module) else made
    if not isinstance(module, nn.Module):
        raise ValueError(f"{name} gave a {type(module).__name__}, expected a torch.nn.Module or a function that returns one")
    return module, {}


def load_object(name: str) -> Any:
    """The object behind `package.module:name` or `file.py:name`. Raises ValueError where there is none."""
    where, _, attribute = name.rpartition(":")
    if not where or not attribute:
        raise ValueError(f"{name!r} should be PACKAGE.MODULE:NAME or FILE.py:NAME")
    if where.endswith(".py"):
        path = Path(where).expanduser().resolve()
        if not path.is_file():
            raise ValueError(f"there is no file {path}")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:  # not for a .py file, but the type checker cannot know
            raise ValueError(f"{path} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.path.insert(0, str(path.parent))  # the file may import its neighbours
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(path.parent))
    else:
        try:
            module = importlib.import_module(where)
        except ModuleNotFoundError as error:
            raise ValueError(f"there is no module {where!r} ({error})") from error
    if not hasattr(module, attribute):
        raise ValueError(f"{where} has no {attribute!r}")
    return getattr(module, attribute)


def _extra(package: str, extra: str | None = None) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ValueError(f'{package} is not installed: pip install "gradbridge[{extra or package}]"') from error


SCHEMES: dict[str, Callable[[str, bool], Loaded]] = {
    "zoo": _zoo, "torchvision": _torchvision, "timm": _timm, "hf": _hugging_face, "python": _python,
}  # fmt: skip
