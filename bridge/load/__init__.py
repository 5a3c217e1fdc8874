"""Where models and images come from: `load_model`, `load_batch`, `load_data`."""

from bridge.load.data import ImageData, load_batch, load_data
from bridge.load.models import load_model

__all__ = ["ImageData", "load_batch", "load_data", "load_model"]
