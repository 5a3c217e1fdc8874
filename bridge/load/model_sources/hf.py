"""`hf:NAME_OR_FOLDER`: image classifiers of Hugging Face's transformers (extra `hf`)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bridge.core.resizing import Resizing
from bridge.load.images import to_tensor
from bridge.load.models import Loaded, downloading, missing, model_source, quiet_hub

SHAPE = (300, 400)  # of the picture that a processor is shown
LARGE = 384
LEVELS = 3 / 255  # it resizes tensors, and we Pillow's images: they round pixels differently


@model_source("hf")
def hf(name: str, pretrained: bool) -> Loaded:
    """An image classifier of transformers, with its processor's preprocessing and its classes."""
    try:
        import transformers
    except ImportError as error:
        raise missing("transformers", "hf") from error
    classifier = transformers.AutoModelForImageClassification
    try:
        with quiet_hub():
            config = transformers.AutoConfig.from_pretrained(name)
            if pretrained:
                module = classifier.from_pretrained(name, use_safetensors=True)
            else:
                module = classifier.from_config(config)
    except Exception as error:  # a file of any form may be behind a name
        if "connect" in str(error).lower() or isinstance(error, ConnectionError):
            instead = "the folder of a model that save_pretrained wrote, hf:FOLDER"
            raise downloading(f"hf:{name}", error, instead) from error
        text = " ".join(str(error).split())
        raise ValueError(
            f"Hugging Face cannot load {name!r} as an image classifier: {text}"
        ) from error
    wrapping: dict[str, Any] = {
        "class_names": [config.id2label[index] for index in sorted(config.id2label)]
    }
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(name)
        return module, wrapping | preprocessing(processor, f"hf:{name}")
    except Exception as error:
        warnings.warn(
            f"hf:{name} comes without a processor that can be read ({type(error).__name__}), so "
            "pixels are not normalised: pass mean= and std=",
            stacklevel=2,
        )
        return module, wrapping


def preprocessing(processor: Any, name: str) -> dict[str, Any]:
    """What an image processor does, as `mean`, `std` and `resizing`: seen, not believed.

    A black and a white picture show how it rescales and normalises, whatever its flags are called
    (EfficientNet's divides by its std twice); a picture of ramps, whether it resizes and crops as
    its settings say.
    """
    black, white = (_seen(processor, np.full((3, *SHAPE), v, np.uint8)) for v in (0, 255))
    middle = tuple(side // 2 for side in black.shape[1:])  # what is beside may be a border
    low, high = (picture[:, *middle].astype(np.float64) for picture in (black, white))
    std = _as_written(1 / (high - low), getattr(processor, "image_std", None))
    mean = _as_written((0 - low) / (high - low), getattr(processor, "image_mean", None))
    try:
        resizing = _stated(processor)
    except (KeyError, TypeError, ValueError):  # settings of another kind
        resizing = None
    down, right = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    ramps = np.stack([down / SHAPE[0], right / SHAPE[1], (down + right) / sum(SHAPE)])
    pixels = (255 * ramps).astype(np.uint8)
    seen = _seen(processor, pixels) * np.reshape(std, (-1, 1, 1)) + np.reshape(mean, (-1, 1, 1))
    ours = to_tensor(pixels, resizing).numpy()
    if ours.shape != seen.shape or float(np.abs(ours - seen).max()) > LEVELS:
        warnings.warn(
            f"the processor of {name}, {type(processor).__name__}, changes the size of images or "
            "the order of their colours in a way of its own: give the images as it would, with "
            "size= or --size",
            stacklevel=3,
        )
        resizing = None
    return {"mean": mean, "std": std, "resizing": resizing}


def _seen(processor: Any, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What the model would see of an image (c, h, w)."""
    given = processor(pixels, return_tensors="np", input_data_format="channels_first")
    return np.asarray(given["pixel_values"][0], dtype=np.float32)


def _as_written(values: npt.NDArray[np.float64], stated: Any) -> list[float]:
    """What was seen in float32: the settings' own digits where these are meant, else six."""
    if stated is not None and np.shape(stated) == values.shape and np.allclose(stated, values):
        return [float(value) for value in stated]
    return [float(f"{value:.6g}") for value in values]


def _stated(processor: Any) -> Resizing | None:
    """How images are resized and cropped by a processor's settings."""
    size = dict(processor.size or {}) if getattr(processor, "do_resize", False) else {}
    cropped = getattr(processor, "do_center_crop", False) and dict(processor.crop_size)
    crop = (cropped["height"], cropped["width"]) if cropped else None
    how = getattr(processor, "resample", None)
    filter_ = "bilinear" if how is None else Image.Resampling(how).name.lower()
    side, share = size.get("shortest_edge"), getattr(processor, "crop_pct", None)
    if side and share:  # ConvNeXt's: small ones are cropped, large ones squashed
        squashed = side >= LARGE
        return Resizing((side, side) if squashed else int(side / share), (side, side), filter_)
    resize = side or ((size["height"], size["width"]) if size.get("height") else None)
    return Resizing(resize, crop, filter_) if resize or crop else None
