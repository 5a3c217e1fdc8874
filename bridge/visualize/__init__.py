"""Pictures: heatmaps, panels, films (matplotlib is imported when one is drawn)."""
