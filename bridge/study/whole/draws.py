"""Random numbers of each image by its own seed, so that they do not depend on its batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bridge.core.method import Method
from bridge.core.state import seeded


def drawn(
    method: Method, x: Tensor, params: Mapping[str, Any], seeds: Sequence[int]
) -> dict[str, Tensor]:
    """A method's random numbers for images x (n, c, h, w), each drawn alone, as its parameters.

    `seeds` (n,). Empty where it draws none with these parameters.
    """
    if method.draw is None:
        return {}
    each: list[dict[str, Tensor]] = []
    for k, seed in enumerate(seeds):
        with seeded(seed):
            each.append(method.draw(x[k : k + 1], **params))
    if len(each) == 1 or not each[0]:
        return each[0]
    with seeded(seeds[0]):  # what is longer for two images is their axis
        two = method.draw(x[:1].expand(2, *x.shape[1:]), **params)
    return {
        name: torch.cat([numbers[name] for numbers in each], axis_of(each[0][name], two[name]))
        for name in each[0]
    }


def axis_of(one: Tensor, two: Tensor) -> int:
    """The axis of the images: of what was drawn for one image, and for two.

    >>> axis_of(torch.zeros(3, 1, 8), torch.zeros(3, 2, 8))
    1
    """
    return next(axis for axis in range(one.ndim) if one.shape[axis] != two.shape[axis])
