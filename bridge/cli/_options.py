"""Options in groups: a command gets one object a group, and shares groups with other commands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import click

from bridge.cli._parse import Parameter, by_method, names, numbers, parameter, place
from bridge.cli._terminal import tell

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.core.model import ModelAdapter
    from bridge.load import ImageData

Command = Callable[..., Any]


def option(*flags: str, **settings: Any) -> Any:
    """A field of a group, and the option that fills it; as `click.option`."""
    return field(metadata={"flags": flags, "settings": settings})


def methods_option() -> Any:
    """`--methods`, of the commands that run several."""
    return option(
        "--methods",
        type=names,
        metavar="NAMES",
        help="Comma-separated [default: all; see `gradbridge methods`].",
    )


def param_option() -> Any:
    """`--param`, a parameter of one of them."""
    return option(
        "--param",
        type=parameter,
        multiple=True,
        metavar="METHOD.NAME=VALUE",
        help="A method's parameter. Repeatable.",
    )


def device_option() -> Any:
    """`--device`, where the model runs."""
    return option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 or mps.")


def size_option() -> Any:
    """`--size`, of images."""
    return option(
        "--size",
        type=int,
        help="Resize the shorter side to this and crop the centre [default: what the model's own "
        "transform does].",
    )


def gather(**groups: type) -> Callable[[Command], Command]:
    """Give a command the options of these groups, and each group to it as one object.

    `@gather(model=ModelChoice)` adds a command line option for each field of ModelChoice, and the
    command is called with `model=ModelChoice(...)`.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gathered(**values: Any) -> Any:
            chosen = {
                name: group(**{f.name: values.pop(f"{name}_{f.name}") for f in fields(group)})
                for name, group in groups.items()
            }
            return command(**chosen, **values)

        for name, group in reversed(groups.items()):  # as decorators do: the last comes first
            for f in reversed(fields(group)):
                flags, settings = f.metadata["flags"], f.metadata["settings"]
                click.option(*flags, f"{name}_{f.name}", **settings)(gathered)
        return gathered

    return decorate


@dataclass(frozen=True)
class ModelChoice:
    """Which model, how it is wrapped, and where it runs."""

    source: str = option(
        "--model",
        default="zoo:fashion_cnn",
        show_default=True,
        metavar="SOURCE",
        help="zoo:NAME, torchvision:NAME[@WEIGHTS], timm:NAME, hf:NAME_OR_FOLDER, "
        "python:FILE_OR_MODULE:FACTORY, lightning:FILE_OR_MODULE:CLASS@CHECKPOINT, "
        "export:FILE.pt2 or torchscript:FILE.pt.",
    )
    weights: str | None = option(
        "--weights",
        type=click.Path(dir_okay=False),
        help="A .safetensors file for the model; nothing is downloaded.",
    )
    mean: tuple[float, ...] | None = option(
        "--mean",
        type=numbers,
        help="Per-channel mean in pixel units, for example 0.485,0.456,0.406.",
    )
    std: tuple[float, ...] | None = option(
        "--std", type=numbers, help="Per-channel standard deviation in pixel units."
    )
    layer: str | None = option(
        "--layer",
        help="The layer that Grad-CAM explains [default: found, and proved].",
    )
    device: str = device_option()
    dtype: str = option(
        "--dtype",
        type=click.Choice(["float32", "float64", "float16", "bfloat16"]),
        default="float32",
        show_default=True,
        help="Of weights and images; 16 bits are judged by rank and cosine.",
    )

    def load(self, pretrained: bool = True) -> ModelAdapter:
        """The wrapped model on its device and in its dtype."""
        import torch

        from bridge.load import load_model

        wrapping: dict[str, Any] = {"mean": self.mean, "std": self.std, "layer": self.layer}
        given = {name: value for name, value in wrapping.items() if value is not None}
        model = load_model(
            self.source,
            weights=self.weights,
            pretrained=pretrained,
            device=self.device,
            **given,
        )
        dtype = getattr(torch, self.dtype)
        return model if model.dtype in (dtype, None) else model.astype(dtype)


@dataclass(frozen=True)
class ImageChoice:
    """Which images, and how many."""

    source: str | None = option(
        "--data",
        metavar="SOURCE",
        help="samples:NAME, folder:PATH, file:PATH, csv:FILE, npz:FILE, torchvision:NAME or "
        "sklearn:digits [default: fits the model].",
    )
    count: int = option("-n", "--images", default=16, show_default=True, help="How many images.")
    size: int | None = size_option()

    def load(
        self, model: ModelChoice, adapter: ModelAdapter
    ) -> tuple[dict[str, Any], Tensor, Tensor | None]:
        """Where they are from, and the images with their labels, for this model."""
        import torch

        source = self.source or fitting_images(model.source)
        data = fitting(adapter, source, self.size)
        x, labels = some_of(data, self.count, adapter)
        card = {"source": source, "images": len(x), "size": (data.loading or {}).get("size")}
        return card, x.to(model.device, getattr(torch, model.dtype)), labels


@dataclass(frozen=True)
class MethodChoice:
    """Which methods, by which implementations, with which parameters."""

    chosen: tuple[str, ...] | None = methods_option()
    implementations: tuple[str, ...] | None = option(
        "--implementations",
        type=names,
        metavar="NAMES",
        help="Comma-separated: reference, fused, captum, foolbox [default: all].",
    )
    places: tuple[tuple[str, str], ...] = option(
        "--function",
        type=place,
        multiple=True,
        metavar="METHOD=FILE.py:NAME",
        help="Your own implementation of a method too. Repeatable.",
    )
    parameters: tuple[Parameter, ...] = param_option()

    @property
    def params(self) -> dict[str, dict[str, Any]]:
        """Of each method its parameters."""
        return by_method(self.parameters)

    def functions(self) -> dict[str, list[Any]]:
        """Of each method the user's functions; runs their files."""
        from bridge.load import load_object

        found: dict[str, list[Any]] = {}
        for method, where in self.places:
            found.setdefault(method, []).append(load_object(where))
        return found


@dataclass(frozen=True)
class MetricChoice:
    """Which metrics of the maps."""

    chosen: tuple[str, ...] | None = option(
        "--metrics",
        type=names,
        metavar="NAMES",
        help="Measure the attributions' maps too, comma-separated: deletion,insertion,... "
        "[default: none; see `gradbridge metrics`].",
    )
    parameters: tuple[Parameter, ...] = option(
        "--metric-param",
        type=parameter,
        multiple=True,
        metavar="METRIC.NAME=VALUE",
        help="A metric's parameter. Repeatable.",
    )

    @property
    def params(self) -> dict[str, dict[str, Any]]:
        """The metrics by name, with their parameters. Raises KeyError for one not asked for."""
        given = by_method(self.parameters)
        for name in given:
            if name not in (self.chosen or ()):
                raise KeyError(f"--metric-param is for {name!r}, which --metrics does not name")
        return {name: given.get(name, {}) for name in self.chosen or ()}


@dataclass(frozen=True)
class AttackSizes:
    """The epsilons of the attacks, by norm."""

    linf: tuple[float, ...] | None = option(
        "--epsilons",
        type=numbers,
        metavar="SIZES",
        help="Sizes of the Linf attacks [default: 2/255,8/255].",
    )
    l2: tuple[float, ...] | None = option(
        "--epsilons-l2",
        type=numbers,
        metavar="SIZES",
        help="Sizes of the L2 attacks [default: 0.25,1].",
    )

    @property
    def given(self) -> dict[str, tuple[float, ...]]:
        """By norm, those that were given."""
        return {name: sizes for name, sizes in vars(self).items() if sizes}


def fitting(adapter: ModelAdapter, source: str, size: int | None, split: str = "test") -> ImageData:
    """The images of a source as the model takes them, with its own numbers as labels.

    Says how they are resized where nobody told it.
    """
    from bridge.load import fitted

    data, done = fitted(adapter, source, size, split)
    if done:
        tell(f"{source}: {done}")
    return data


def some_of(data: ImageData, count: int, adapter: ModelAdapter) -> tuple[Tensor, Tensor | None]:
    """So many of the images, with their labels; warns where these may mean other classes."""
    from bridge.load import first_of, warn_of_other_classes

    x, labels = first_of(data, count)
    if adapter.class_names is None and labels is not None:
        warn_of_other_classes(adapter, x, data.class_names, data.source)
    return x, labels


def fitting_images(model: str) -> str:
    """The source of images that fit the model of a source."""
    from bridge.zoo import ZOO

    scheme, _, name = model.partition(":")
    return ZOO[name].samples if scheme == "zoo" and name in ZOO else "samples:imagenet"
