"""Pictures: heatmaps, panels, films, figures for papers (matplotlib is imported to draw one)."""

from bridge.visualize.paper import figure

__all__ = ["figure"]
