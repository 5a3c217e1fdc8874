"""How a Captum attribution is called where it would warn about what it does to its own inputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from bridge.core.gradients import input_gradient
from bridge.core.model import ModelAdapter
from bridge.core.relu import relus
from bridge.core.state import hooked
from bridge.core.tags import Trap

_NOTICES = (
    "Setting backward hooks on ReLU activations",
    "Input Tensor 0 did not already require gradients",
)
# Its integrated gradients put n_steps copies of the batch through the model at once. Above this
# many pixels (800 images of 28x28, 28 of 3x224x224) the twins let it work in chunks, which changes
# rounding only: the whole of it can be tens of gigabytes.
PIXELS_AT_ONCE = 2**22
NO_TRAPEZOID = (
    "Captum's riemann_trapezoid weights sum to (n - 1) / n = {:.3f}, not to 1: it is not the "
    "trapezoid rule that the reference follows"
)
# What its guided methods do differently.
SKIP = (
    "Captum clips the gradient of the ReLU's input tensor: where that tensor is also used "
    "elsewhere, as in h + f(relu(h)), the skip path's gradient is clipped too. The reference clips "
    "at the ReLU alone, as the paper and zennit do"
)
SKIP_PATH = {
    "skip-path": Trap(
        "h + f(relu(h)): only the ReLU's gradient is changed, not that of the skip path",
        (SKIP.partition(":")[0],),
    )
}


def quiet(attribute: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
    """attribute(...) without the notices that it sets hooks and `requires_grad` and undoes it."""
    with warnings.catch_warnings():
        for notice in _NOTICES:
            warnings.filterwarnings("ignore", message=notice)
        result: Tensor = attribute(*args, **kwargs)
    return result


def at_once(x: Tensor, n_steps: int) -> int | None:
    """How many images it puts through the model at once, None for all n_steps copies of them."""
    if x.numel() * n_steps <= PIXELS_AT_ONCE:
        return None
    return max(len(x), PIXELS_AT_ONCE // x[0].numel())


def as_baseline(baseline: float | Tensor, x: Tensor) -> float | Tensor:
    """A baseline as Captum takes it: a number, or a tensor of the images' shape."""
    return baseline.to(x).expand_as(x) if isinstance(baseline, Tensor) else baseline


@contextmanager
def grid_module(model: ModelAdapter, x: Tensor) -> Iterator[nn.Module]:
    """Inside, a module whose output is the grid that Grad-CAM explains, for who hooks modules.

    The layer itself where it gives (n, c, h, w). Else an identity that its output goes through as a
    grid: the network goes on with the numbers that come out, back in their places, so that a
    library's own gradient of this module is the network's.
    """
    found, layer = model.grid_layer(x), model.cam_layer(x)
    if found.plain:
        yield layer
        return
    identity = nn.Identity()

    def through(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        return found.put_back(identity(found.grid(output)), output)

    with hooked([layer], through):
        yield identity


def clipped_at_inputs(model: ModelAdapter, x: Tensor, target: Tensor, *, of_output: bool) -> Tensor:
    """The gradient as Captum's hooks change it: at a ReLU's input tensor, for all of its uses.

    Only the positive part passes there of what arrives, or (`of_output`, as in deconvolution) of
    what arrived at the ReLU's output.
    """

    def see(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        arrived: list[Tensor] = []

        def clip(gradient: Tensor) -> Tensor:
            return (arrived[-1] if of_output and arrived else gradient).relu()

        output.register_hook(arrived.append)
        inputs[0].register_hook(clip)

    with hooked(relus(model), see):
        return input_gradient(model, x, target)
