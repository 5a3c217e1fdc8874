"""Is a model a function of one image, and do gradients reach it? What else does it do in a pass?

Where it is no such function, no two implementations can agree, and none of them is to blame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bridge.core.alone import wrong_gradient
from bridge.core.layers.paths import leaves
from bridge.core.state import Still, hooked
from bridge.core.watch import watched

Model = Callable[[Tensor], Tensor]

# Kernels for another batch size round in another order: 1e-6 of the largest logit in float32 on a
# CPU, 1e-3 where a GPU multiplies in TF32, 1e-2 in 16 bits. Statistics of a batch, dropout and
# noise move logits by more.
EXACT = {torch.float64: 1e-9, torch.float32: 1e-4}
COARSE = 0.03

CHANGING = (
    "the same images get other logits each time (by {:.0e} of the largest): noise, dropout that "
    "stays on, or a count of calls"
)
OF_OTHERS = (
    "an image's logits depend on the other images of its batch (by {:.0e} of the largest): "
    "statistics of the batch, images that are mixed, or their places"
)


@dataclass(frozen=True)
class Habits:
    """What a few small passes tell about a model.

    `depends_on`: what an image's logits, or gradients, depend on besides the image, in words; "" on
    nothing.
    `writes`: the parameters and buffers that a forward pass changes. `differentiable`: whether
    gradients reach the images. `batch`: the only number of images that it takes, None for any.
    `tidy`: whether a pass was seen to leave nothing behind: no notes, no hooks, no gradients, and
    no random numbers drawn. `aside`: whether nn.ReLU modules run, and none of them on the images'
    way to the logits, as in the position biases of Swin v2.
    """

    depends_on: str = ""
    writes: tuple[str, ...] = ()
    differentiable: bool = True
    batch: int | None = None
    tidy: bool = False
    aside: bool = False


def habits(
    model: Model, module: nn.Module, x: Tensor, bounds: tuple[float, float], *, half: bool
) -> Habits:
    """The habits of `model`, shown images `x` (n, c, h, w), in a few passes of at most four images.

    Three images after another one, there and back; then the three without it, in another order;
    where that changes their logits, the first batch once more, else one image alone, there and
    back. `half`: it computes in 16 bits. What
    it writes into `module` is put back. Call it frozen and seeded.
    """
    still = Still(module)
    reached: list[bool] = []
    with watched(module) as written:
        found = _seen(model, _with_graph(model, module, reached), x.detach(), bounds, half)
        tidy = still.holds()
    aside = found.differentiable and bool(reached) and not any(reached)
    return replace(found, writes=tuple(written), tidy=tidy and not written, aside=aside)


def _with_graph(model: Model, module: nn.Module, reached: list[bool]) -> Model:
    """The model, with its graph, that notes whether the images reach any of the ReLUs that run."""
    relus = [part for part in module.modules() if isinstance(part, nn.ReLU)]

    def logits_of(x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        with (
            torch.enable_grad(),
            hooked(relus, lambda part, inputs, output: outputs.append(output)),
        ):
            logits = model(x)
        if outputs:
            reached.append(any(leaf is x for output in outputs for leaf in leaves(output)))
        return logits

    return logits_of


def _seen(
    model: Model, with_graph: Model, x: Tensor, bounds: tuple[float, float], half: bool
) -> Habits:
    mixed = torch.cat([_moved(x[:1], bounds), x[:3]])
    leaf = mixed.clone().requires_grad_()
    try:
        logits = with_graph(leaf)
    except Exception:
        if _logits(model, mixed) is not None or _logits(model, x) is None:
            return Habits()
        return _of_one_size(model, with_graph, x, mixed[:1], half)
    gradient, expected = _gradient(logits, leaf), logits.detach()
    differentiable = gradient is not None
    alone = _logits(model, mixed[1:].flip(0))
    if alone is None:
        only = _logits(model, mixed) is not None  # and not a model that broke
        return Habits(differentiable=differentiable, batch=len(mixed) if only else None)
    gap = _gap(alone.flip(0), expected[1:])
    limit = COARSE if half or x.device.type != "cpu" else EXACT.get(expected.dtype, COARSE)
    if gap <= limit:
        fault = "" if gradient is None else wrong_gradient(model, x[:1], gradient[1:2], bounds)
        return Habits(fault, differentiable=differentiable)
    again = _logits(model, mixed)
    if again is not None and _gap(again, expected) > limit:
        on = CHANGING.format(_gap(again, expected))
    else:
        on = OF_OTHERS.format(gap)
    return Habits(on, differentiable=differentiable)


def _of_one_size(model: Model, with_graph: Model, x: Tensor, other: Tensor, half: bool) -> Habits:
    """The habits of a model that takes as many images as `x` only: again, and beside `other`."""
    leaf = x.clone().requires_grad_()
    logits = with_graph(leaf)
    found = Habits(differentiable=_gradient(logits, leaf) is not None, batch=len(x))
    expected = logits.detach()
    limit = COARSE if half or x.device.type != "cpu" else EXACT.get(expected.dtype, COARSE)
    again, beside = _logits(model, x), _logits(model, torch.cat([other, x[1:]]))
    if again is not None and (gap := _gap(again, expected)) > limit:
        return replace(found, depends_on=CHANGING.format(gap))
    if beside is not None and len(x) > 1 and (gap := _gap(beside[1:], expected[1:])) > limit:
        return replace(found, depends_on=OF_OTHERS.format(gap))
    return found


def _moved(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Other images within the bounds: every pixel half the range away, round the end."""
    low, high = bounds
    return low + (x - low + (high - low) / 2).remainder(high - low)


@torch.no_grad()
def _logits(model: Model, x: Tensor) -> Tensor | None:
    """One row an image; None where the model does not take so many images."""
    try:
        logits = model(x.clone())
    except Exception:
        return None
    return logits if len(logits) == len(x) else None


def _gap(logits: Tensor, expected: Tensor) -> float:
    """The largest difference as a share of the largest logit; 0 where one is not finite."""
    scale = expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
    return float(((logits - expected).abs().max() / scale).nan_to_num(nan=0.0, posinf=0.0))


def _gradient(logits: Tensor, leaf: Tensor) -> Tensor | None:
    """The gradient of the summed logits, None where none reaches the images."""
    try:
        (gradient,) = torch.autograd.grad(logits.sum(), leaf, allow_unused=True)
    except Exception:
        return None
    return gradient
