"""The public door to the methods: `registry.get("pgd")`, and how a plug-in registers its own."""

from bridge.core.method import Method
from bridge.core.registry import attack, attribution, get, methods

__all__ = ["Method", "attack", "attribution", "get", "methods"]
