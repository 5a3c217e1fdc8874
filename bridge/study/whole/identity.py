"""What things are, by their content: images and their random numbers, weights, listings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LENGTH = 20  # hexadecimal digits of an id: of 1e9 images no two are alike by chance
SEED_RULE = (
    "the first 8 bytes of sha256('SEED/ID'), shifted right by one bit, seed an image's random "
    "numbers: ID is the hash of its pixels, without its place"
)


def id_of(image: Tensor) -> str:
    """The hash of an image's pixels as they were loaded, and of their shape and dtype.

    >>> id_of(torch.zeros(1, 2, 2)) == id_of(torch.zeros(1, 2, 2)) != id_of(torch.ones(1, 2, 2))
    True
    """
    return _digest([(str(image.dtype), image)])[:LENGTH]


def seed_of(seed: int, identity: str) -> int:
    """The seed of one image's random numbers, from 0 to 2**63 - 1.

    >>> seed_of(0, "a") != seed_of(1, "a") != seed_of(1, "b")
    True
    """
    text = f"{seed}/{identity.partition('@')[0]}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def weights_of(module: nn.Module) -> str:
    """The hash of all parameters and buffers, by name."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return _digest(sorted(named, key=lambda pair: pair[0]))


def listing_of(texts: Iterable[str], images: Mapping[int, Tensor]) -> str:
    """The hash of what a data's listing says, and of a few of its images."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    digest.update(_digest([(str(index), image) for index, image in images.items()]).encode())
    return digest.hexdigest()


def stated(value: Any) -> Any:
    """A parameter's value in JSON's types; a tensor by its shape and hash."""
    if isinstance(value, Tensor):
        if value.ndim == 0:
            return value.item()
        return f"{value.dtype} {tuple(value.shape)} {_digest([('', value)])[:LENGTH]}"
    if isinstance(value, np.ndarray):
        return stated(torch.from_numpy(value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): stated(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [stated(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _digest(named: Sequence[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in named:
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name}/{plain.dtype}/{tuple(plain.shape)}/".encode())
        # Bytes whatever the dtype: NumPy has no bfloat16.
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
