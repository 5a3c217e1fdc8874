"""The layer of Grad-CAM by meaning: which one it is, how its output is a grid, and the proof."""

from bridge.core.layers.grid_layer import GridLayer, Reshape
from bridge.core.layers.rule import NoGrid, find, look
from bridge.core.layers.stated import stated

__all__ = ["GridLayer", "NoGrid", "Reshape", "find", "look", "stated"]
