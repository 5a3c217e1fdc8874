"""Pictures: heatmaps and panels (matplotlib is imported when one is drawn)."""
