"""Where models and images come from: `load_model`, `load_batch`, `load_data`.

A new source is one file: of models in `model_sources`, registered with `model_source`; of images in
`data_sources`, registered with `data_source`.
"""

from bridge.load.data import (
    ImageData,
    Request,
    data_source,
    first_of,
    load_batch,
    load_data,
)
from bridge.load.fitting import at_own_size, channels_of, fitted, warn_of_other_classes
from bridge.load.images import Unreadable
from bridge.load.models import load_model, model_source
from bridge.load.objects import load_object
from bridge.load.weights import load_weights

__all__ = [
    "ImageData",
    "Request",
    "Unreadable",
    "at_own_size",
    "channels_of",
    "data_source",
    "first_of",
    "fitted",
    "load_batch",
    "load_data",
    "load_model",
    "load_object",
    "load_weights",
    "model_source",
    "warn_of_other_classes",
]
