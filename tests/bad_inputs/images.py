"""Images: of another type, shape, device or range than the model's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import bridge
from tests.bad_inputs._entries import ENTRIES, LABELS, attack, drawn, explain, network, wrapped
from tests.bad_inputs._expectations import Case, Either, Error, Expectation, Right, Warns, Wrong
from tests.networks import images


def spoiled(value: float) -> Callable[[Tensor], Tensor]:
    """One pixel of the second image replaced."""

    def spoil(x: Tensor) -> Tensor:
        x[1, 0, 2, 2] = value
        return x

    return spoil


def quantised(x: Tensor) -> Tensor:
    return torch.quantize_per_tensor(x, 0.01, 0, torch.quint8)


def in_inference_mode(x: Tensor) -> Tensor:
    with torch.inference_mode():
        return x * 1.0


def flipped_memory(x: Tensor) -> Tensor:
    """The same values, the last axis first in memory."""
    return x.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1)


def inside_a_larger_one(x: Tensor) -> Tensor:
    larger = torch.full((6, 3, 20, 20), torch.nan)
    larger[1:4, :, 4:16, 4:16] = x
    return larger[1:4, :, 4:16, 4:16]


def same_map(run: Any) -> None:
    """The map is that of plain images, without a graph."""
    assert torch.equal(run.output, explain(images()).output)
    assert not run.output.requires_grad


# Refused, or right, by `bridge.run`.
IMAGES: list[tuple[str, Callable[[Tensor], Any], Expectation]] = [
    ("None", lambda x: None, Error(TypeError, r"torch\.Tensor", "NoneType")),
    ("a NumPy array", Tensor.numpy, Error(TypeError, r"torch\.Tensor", "ndarray")),
    ("lists of numbers", Tensor.tolist, Error(TypeError, r"torch\.Tensor")),
    ("a list of tensors", list, Error(TypeError, r"torch\.Tensor", "list")),
    ("a tuple of images and labels", lambda x: (x, LABELS), Error(TypeError, r"torch\.Tensor")),
    ("a dictionary", lambda x: {"pixel_values": x}, Error(TypeError, r"torch\.Tensor", "dict")),
    ("a path", lambda x: "photos/cat.png", Error(TypeError, r"torch\.Tensor", "str")),
    ("a Pillow image", lambda x: Image.new("RGB", (12, 12)), Error(TypeError, r"torch\.Tensor")),
    ("8-bit", lambda x: (x * 255).byte(), Error(TypeError, "uint8", "/ 255")),
    ("int64", lambda x: (x * 255).long(), Error(TypeError, "int64", "floating")),
    ("booleans", lambda x: x > 0.5, Error(TypeError, "bool", "floating")),
    ("complex numbers", lambda x: x + 0j, Error(TypeError, "complex", "floating")),
    ("float64 for a float32 model", Tensor.double, Error(ValueError, "float64", r"x\.to\(.*32")),
    ("float16 for a float32 model", Tensor.half, Error(ValueError, "float16", r"x\.to\(.*32")),
    ("bfloat16 for float32", Tensor.bfloat16, Error(ValueError, "bfloat16", r"x\.to\(.*32")),
    ("quantised", quantised, Error(Wrong, "float|quanti")),
    ("sparse", Tensor.to_sparse, Error(Wrong, "sparse|dense")),
    ("nested", lambda x: torch.nested.nested_tensor(list(x)), Error(Wrong, "nested|dense")),
    ("of the device meta", lambda x: x.to("meta"), Error(ValueError, "meta")),
    ("one image without a batch", lambda x: x[0], Error(ValueError, r"x\[None\]")),
    ("gray without channels", lambda x: x[0, 0], Error(ValueError, r"\(n, c, h, w\)")),
    ("a film", lambda x: x[None], Error(ValueError, r"\(n, c, h, w\)")),
    ("a number", lambda x: x[0, 0, 0, 0], Error(ValueError, r"\(n, c, h, w\)")),
    ("flat", lambda x: x.flatten(1), Error(ValueError, r"\(n, c, h, w\)")),
    ("no image", lambda x: x[:0], Error(ValueError, "nothing|empty|no image")),
    ("no channel", lambda x: x[:, :0], Error(ValueError, "nothing|empty|channel")),
    ("no row", lambda x: x[:, :, :0], Error(ValueError, "nothing|empty")),
    ("no column", lambda x: x[..., :0], Error(ValueError, "nothing|empty")),
    ("one channel of three", lambda x: x[:, :1], Error(ValueError, "channels", "3")),
    ("four channels", lambda x: x[:, [0, 1, 2, 0]], Error(ValueError, "channels", "3")),
    ("channels last", lambda x: x.permute(0, 2, 3, 1), Error(ValueError, "channels|n, c, h, w")),
    ("too small for the model", lambda x: x[..., :1, :1], Error(ValueError, "shape.*1, 1")),
    ("NaN", spoiled(float("nan")), Error(ValueError, r"\[1\]", "NaN")),
    ("infinity", spoiled(float("inf")), Error(ValueError, r"\[1\]", "infinity")),
    ("minus infinity", spoiled(-float("inf")), Error(ValueError, r"\[1\]", "infinity")),
    ("0 to 255", lambda x: x * 255, Error(ValueError, "/ 255", r"\[0, 1\]")),
    ("normalised", lambda x: (x - 0.5) / 0.25, Error(ValueError, "normalis", "mean=")),
    ("-1 to 1", lambda x: 2 * x - 1, Error(ValueError, "mean=|bounds=")),
    ("one pixel of 1.01", spoiled(1.01), Error(ValueError, r"\[0, 1\]", "bounds")),
    ("one pixel of -0.01", spoiled(-0.01), Error(ValueError, r"\[0, 1\]", "bounds")),
    ("one pixel of 1e30", spoiled(1e30), Error(ValueError, r"\[0, 1\]", "bounds")),
    ("tracks gradients, computed", lambda x: x.requires_grad_() * 1, Warns("detach")),
    ("tracks gradients", Tensor.requires_grad_, Right(same_map)),
    ("a parameter", torch.nn.Parameter, Right(same_map)),
    ("made in inference mode", in_inference_mode, Right(same_map)),
    ("not contiguous", flipped_memory, Right(same_map)),
    ("channels_last", lambda x: x.to(memory_format=torch.channels_last), Right(same_map)),
    ("part of a larger tensor", inside_a_larger_one, Right(same_map)),
]

# By every other way in, what matters most.
EVERYWHERE: list[tuple[str, Callable[[Tensor], Any], Expectation]] = [
    ("a NumPy array", Tensor.numpy, Error(TypeError, r"torch\.Tensor")),
    ("8-bit", lambda x: (x * 255).byte(), Error(TypeError, "/ 255")),
    ("one image without a batch", lambda x: x[0], Error(ValueError, r"x\[None\]")),
    ("no image", lambda x: x[:0], Error(ValueError, "nothing|empty|no image")),
    ("NaN", spoiled(float("nan")), Error(ValueError, r"\[1\]", "NaN")),
    ("0 to 255", lambda x: x * 255, Error(ValueError, "/ 255")),
    ("one channel of three", lambda x: x[:, :1], Error(ValueError, "channels")),
]


def explained(change: Callable[[Tensor], Any], place: Path) -> Any:
    return explain(change(images()))


def entered(entry: Callable[[Any], Any], change: Callable[[Tensor], Any], place: Path) -> Any:
    return entry(change(images()))


def images_stay(place: Path) -> tuple[Tensor, Tensor]:
    """Images of one stride 0, and what is left of them after an attack."""
    x = images(1).expand(3, -1, -1, -1)
    before = x.clone()
    attack(x)
    return before, x


def untouched(pair: tuple[Tensor, Tensor]) -> None:
    """The caller's images are what they were."""
    assert torch.equal(*pair)


def beyond_by_rounding(place: Path) -> Any:
    x = images()
    x[0, 0, 0, 0] = 1 + 1.2e-7
    return attack(x)


def within_bounds(run: Any) -> None:
    """What comes back is within [0, 1]."""
    assert float(run.output.min()) >= 0
    assert float(run.output.max()) <= 1


def leaves_no_gradient(place: Path) -> Tensor:
    x = images().requires_grad_()
    attack(x)
    return x


def no_gradient(x: Tensor) -> None:
    """The caller's images have no gradient, and still ask for one."""
    assert x.grad is None
    assert x.requires_grad


def under_autocast(place: Path) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        return explain(images())


def finite_map(run: Any) -> None:
    """A finite map of the images' shape."""
    assert run.output.shape == images().shape
    assert bool(run.output.isfinite().all())


def occluded_under_autocast(place: Path) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        runs = [
            bridge.run("occlusion", wrapped(), images(), LABELS, implementation=by, window=4)
            for by in ("reference", "fused")
        ]
    return [run.output.float() for run in runs]


def alike(pair: list[Tensor]) -> None:
    """Both maps are finite and differ by bfloat16's rounding at most."""
    first, second = pair
    assert bool(first.isfinite().all())
    assert float((first - second).abs().max()) <= 0.05 * float(first.abs().max()) + 0.01


def two_means(place: Path) -> Any:
    return explain(images(), model=wrapped(mean=(0.5, 0.5), std=(0.2, 0.2)))


def under_no_grad(place: Path) -> Any:
    with torch.no_grad():
        return explain(images())


def under_inference_mode(place: Path) -> Any:
    model = wrapped()
    with torch.inference_mode():
        return explain(images(), model=model)


def weights_of_inference_mode(place: Path) -> Any:
    with torch.inference_mode():
        model = wrapped()
    return explain(images(), model=model)


def on_another_device(place: Path) -> Any:
    return explain(images(), model=bridge.wrap(network().to("meta")))


def of_other_bounds(place: Path) -> Any:
    return explain(images(), model=wrapped(bounds=(0, 0.5)))


OTHERS: list[Case] = [
    Case("rounding beyond the bounds", beyond_by_rounding, Right(within_bounds)),
    Case("one image expanded to three", images_stay, Right(untouched)),
    Case("gradients of the caller's images", leaves_no_gradient, Right(no_gradient)),
    Case("under autocast", under_autocast, Right(finite_map)),
    Case("occlusion under autocast", occluded_under_autocast, Right(alike)),
    Case("under no_grad", under_no_grad, Right(same_map)),
    Case("under inference_mode", under_inference_mode, Right(same_map)),
    Case(
        "weights made in inference mode",
        weights_of_inference_mode,
        Either(
            Right(same_map),
            Error(ValueError, "inference"),
        ),
    ),
    Case("another number of means", two_means, Error(ValueError, "channels", "mean and std")),
    Case("a model on the device meta", on_another_device, Error(ValueError, "meta", "weights")),
    Case("beyond stated bounds", of_other_bounds, Error(ValueError, r"\[0, 0\.5\]", "bounds=")),
]


def _class_images(change: Callable[[Tensor], Any], place: Path) -> Any:
    return drawn(change(images()))


CASES = [
    *(Case(f"run: {name}", partial(explained, change), must) for name, change, must in IMAGES),
    *(
        Case(f"{way}: {name}", partial(entered, entry, change), must)
        for way, entry in ENTRIES.items()
        for name, change, must in EVERYWHERE
    ),
    *(
        Case(f"class_image: {name}", partial(_class_images, change), must)
        for name, change, must in EVERYWHERE
    ),
    *OTHERS,
]
