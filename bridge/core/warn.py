"""Warnings that point at the user's own line."""

from __future__ import annotations

import sys
import warnings

from bridge.core.types import BridgeWarning

# Frames that are not the user's; torch's decorators stand between them and bridge.run.
OURS = ("bridge.", "torch.utils._contextlib", "contextlib")


def warn(message: str) -> None:
    """Warn at the first line outside of bridge, so that the user sees their own call."""
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(OURS):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, BridgeWarning, stacklevel=depth + 1)
