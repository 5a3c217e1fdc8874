"""Is the gradient of an image alone the one that it has beside others? Torch's own may be wrong."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Model = Callable[[Tensor], Tensor]

# Batches of another size round in another order, and a ReLU at 0 may flip; a wrong kernel is off by
# as much as the gradient itself.
SUSPICIOUS = 0.05
# Central differences over this share of the range of pixel values: below it float32 rounds more
# than it sees, above it the network bends.
SHARE = {torch.float64: 1e-6, torch.float32: 1e-3}
PART = 0.25  # of the difference, by which they may miss the right one
FAULT = (
    "the gradient of one image alone is not the one that it has beside others (by {:.0%} of it), "
    "and central differences say that the {} is wrong: a fault of torch, not of the model (its "
    "batch norm on a CPU is, where one image's gradient comes to it transposed)"
)


def wrong_gradient(model: Model, x: Tensor, beside: Tensor, bounds: tuple[float, float]) -> str:
    """Which gradient of the summed logits of image x (1, c, h, w) is wrong, in words; "" for none.

    `beside` is the gradient that x had in a batch. One pass there and back; where the two differ, a
    pass of two images along their difference says which is the derivative.
    """
    leaf = x.detach().clone().requires_grad_()
    try:
        with torch.enable_grad():
            (alone,) = torch.autograd.grad(model(leaf).sum(), leaf)
    except Exception:  # it takes no single image
        return ""
    difference = (alone - beside).double()
    size = float(difference.norm() / beside.double().norm().clamp(min=1e-300))
    share = SHARE.get(x.dtype)
    if not size > SUSPICIOUS or share is None:
        return ""
    way = difference / difference.abs().max()
    step = share * (bounds[1] - bounds[0])
    ends = torch.cat([x + step * way, x - step * way]).to(x)
    with torch.no_grad():
        up, down = model(ends).double().sum(1)
    slope, gap = float((up - down) / (2 * step)), float((way * difference).sum().abs())
    misses = [abs(slope - float((way * g).sum())) / gap for g in (alone.double(), beside.double())]
    if min(misses) > PART or max(misses) < 1 - PART:
        return ""  # rounding, or a kink: neither is proved to be right
    return FAULT.format(size, "single one" if misses[0] > misses[1] else "one in the batch")
