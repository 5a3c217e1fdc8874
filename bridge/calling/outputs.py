"""Whatever somebody's code returns, as images or maps (n, channels, height, width)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor


def standard(returned: Any, x: Tensor, *, images: bool = False) -> Tensor:
    """The images or maps for x (n, c, h, w), detached; channels last, or none, are understood.

    Of several things that were returned it is the first that is as large as the images; where
    `images` are wanted, the one nearest to x, so that no perturbation is taken for them. Raises
    ValueError for what is none of these.
    """
    parts = list(returned) if isinstance(returned, tuple | list) else [returned]
    tensors = [_tensor(part) for part in parts]
    found = [t for t in tensors if t is not None]
    if len(found) > 1 and all(t.shape == x.shape[1:] for t in found) and len(found) == len(x):
        return torch.stack(found)  # a list of images
    fitting = [t for t in found if t.numel() == x.numel()] or found
    if not fitting:
        kind = type(returned).__name__
        raise ValueError(f"it returned {kind}, expected a tensor or an array")
    answers = [_four_axes(t.detach(), x) for t in fitting[: len(fitting) if images else 1]]
    return min(answers, key=partial(_away, x)) if len(answers) > 1 else answers[0]


def _away(x: Tensor, found: Tensor) -> float:
    """How far images are from x; x itself, handed back beside them, is no answer."""
    if found.shape != x.shape:
        return float("inf")
    return float((found - x).abs().mean()) or float("inf")


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value)) if value.ndim else None
    return value if isinstance(value, Tensor) else None


def _four_axes(out: Tensor, x: Tensor) -> Tensor:
    (n, c, h, w), shape = x.shape, tuple(out.shape)
    channels_last = len(shape) > 2 and shape[-1] in (1, c) and shape[-3:-1] == (h, w)
    if out.ndim == 4 and shape[0] == n:
        return out.permute(0, 3, 1, 2) if channels_last and shape[1] not in (1, c) else out
    if out.ndim == 3 and n > 1 and shape[0] == n:
        return out[:, None]
    if out.ndim == 3 and n == 1:
        return (out.permute(2, 0, 1) if channels_last and shape[0] not in (1, c) else out)[None]
    if out.ndim == 2 and n == 1:
        return out[None, None]
    raise ValueError(f"it returned shape {shape} for images {tuple(x.shape)}")
