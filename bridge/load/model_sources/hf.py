"""`hf:NAME_OR_FOLDER`: image classifiers of Hugging Face's transformers (extra `hf`)."""

from __future__ import annotations

import warnings
from typing import Any

from bridge.load.models import Loaded, downloading, model_source


@model_source("hf")
def hf(name: str, pretrained: bool) -> Loaded:
    """An image classifier of transformers, with its processor's preprocessing and its classes."""
    try:
        import transformers
    except ImportError as error:
        raise ValueError('transformers is not installed: pip install "gradbridge[hf]"') from error
    classifier = transformers.AutoModelForImageClassification
    try:
        config = transformers.AutoConfig.from_pretrained(name)
        if pretrained:
            module = classifier.from_pretrained(name, use_safetensors=True)
        else:
            module = classifier.from_config(config)
    except Exception as error:  # a file of any form may be behind a name
        if "connect" in str(error).lower() or isinstance(error, ConnectionError):
            raise downloading(f"hf:{name}", error) from error
        text = " ".join(str(error).split())
        raise ValueError(
            f"Hugging Face cannot load {name!r} as an image classifier: {text}"
        ) from error
    wrapping: dict[str, Any] = {
        "class_names": [config.id2label[index] for index in sorted(config.id2label)]
    }
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(name)
    except Exception as error:
        warnings.warn(
            f"hf:{name} comes without a processor that can be read ({type(error).__name__}), so "
            "pixels are not normalised: pass mean= and std=",
            stacklevel=2,
        )
        return module, wrapping
    if getattr(processor, "do_normalize", True):
        wrapping |= {"mean": processor.image_mean, "std": processor.image_std}
    return module, wrapping
