"""Attributions: one file a method, our reference of the paper's equation and its twins."""
