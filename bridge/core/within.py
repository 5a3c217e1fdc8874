"""A model that sees changes within a mask only: what an attack on some pixels attacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bridge.core.model import ModelAdapter, wrap
from bridge.core.output import as_one, together
from bridge.core.types import Run, Unsupported


class SomeImages(Unsupported):
    """An attack showed the model some of the images, and nobody knows which."""


class Within(nn.Module):
    """f(z where the mask is, x elsewhere): no gradient, and no change, comes from outside.

    It is asked about copies of its images, one after another in one batch: (k n, c, h, w).
    """

    x: Tensor
    mask: Tensor

    def __init__(self, model: ModelAdapter, x: Tensor, mask: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("x", x, persistent=False)
        self.register_buffer("mask", mask[:, None], persistent=False)
        self.training = model.training

    def forward(self, z: Tensor) -> Tensor:
        """The logits (k n, classes)."""
        copies, rest = divmod(len(z), len(self.x))
        if rest:
            raise SomeImages(f"{len(z)} images of the {len(self.x)} that the mask is for")
        mask, x = (each.repeat(copies, 1, 1, 1) for each in (self.mask, self.x))
        seen: Tensor = self.model(torch.where(mask, z, x))
        return seen


def within(model: ModelAdapter, x: Tensor, mask: Tensor) -> ModelAdapter:
    """The model as a function of the masked pixels of images x (n, c, h, w) alone.

    Whatever attacks it attacks those: a gradient is 0 elsewhere. `mask` (n, h, w) is True where
    pixels may change.

    >>> module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    >>> x, mask = torch.zeros(1, 1, 2, 2), torch.tensor([[[True, False], [False, False]]])
    >>> outside = torch.tensor([[[[0.0, 1.0], [1.0, 1.0]]]])
    >>> model = within(wrap(module), x, mask)
    >>> torch.equal(model(outside), model(x))
    True
    """
    restricted = wrap(
        Within(model, x, mask), bounds=model.bounds, class_names=model.class_names, name=model.name
    )
    restricted.resizing = model.resizing
    return restricted


def attacked(
    call: Callable[..., Run],
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    mask: Tensor,
    alone: bool = False,
) -> Run:
    """An attack within a mask: of all images at once, or of each alone.

    `call(model, x, labels)` runs it. Our own and the libraries' show the model all images each
    time, or fewer (then each is attacked alone). Of a user's function nobody knows which ones it
    shows: `alone`.
    """
    n = len(x)

    def attack(first: int, last: int) -> Run:
        part = slice(first, last)
        return call(within(model, x[part], mask[part]), x[part], labels[part])

    try:
        runs = [attack(i, i + 1) for i in range(n)] if alone else [attack(0, n)]
    except SomeImages:
        runs = [attack(i, i + 1) for i in range(n)]
    # What a random start left outside was seen by no model.
    output = torch.cat([run.output for run in runs], -4)
    return as_one(
        runs,
        torch.where(mask[:, None], output, x),
        params={**runs[0].params, "mask": mask},
        details=runs[0].details if len(runs) == 1 else together([run.details for run in runs]),
    )


def checked_mask(mask: Any, x: Tensor, name: str = "mask") -> Tensor:
    """A mask (n, h, w) of True and False, on the images' device; `name` is how errors call it.

    Raises TypeError for what is no such tensor, ValueError for another shape.
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        came = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"{name} must be a torch.Tensor of True and False (n, h, w), got {came}")
    expected = (len(x), *x.shape[2:])
    if tuple(mask.shape) != expected:
        raise ValueError(f"{name}: the shape is {tuple(mask.shape)}, expected {expected}")
    return mask.to(x.device)
