"""Attacks: one file a method, with our reference of the paper's equation and the libraries' twins."""
