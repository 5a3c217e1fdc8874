"""Tensors as they are kept: as they are, or narrower, and back."""

from __future__ import annotations

import torch
from torch import Tensor


def narrowed(name: str, values: Tensor, how: str) -> dict[str, Tensor]:
    """Tensors (n, ...) as they are kept: as they are, as float16, or in 8 bits.

    8 bits: v = scale * q + shift of each image, of its least and largest value.
    """
    if how == "float16":
        return {name: values.half()}
    if how != "uint8":
        return {name: values.contiguous()}
    flat = torch.nan_to_num(values).flatten(1)
    low, high = flat.amin(1), flat.amax(1)
    scale = ((high - low) / 255).clamp(min=torch.finfo(torch.float32).tiny)
    ones = [1] * (values.ndim - 1)
    coded = ((values - low.view(-1, *ones)) / scale.view(-1, *ones)).round().nan_to_num()
    return {name: coded.to(torch.uint8), f"{name}/scale": scale, f"{name}/shift": low}


def widened(tensors: dict[str, Tensor], name: str, place: int) -> Tensor:
    """One of the tensors that `narrowed` made, as float32."""
    value = tensors[name][place].float()
    if f"{name}/scale" in tensors:
        value = value * tensors[f"{name}/scale"][place] + tensors[f"{name}/shift"][place]
    return value
