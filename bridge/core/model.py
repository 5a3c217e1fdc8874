"""Wrap any image classifier once: pixels in, logits out, one module that every library can take."""

from __future__ import annotations

import copy
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bridge.core.facts import Facts, observe
from bridge.core.habits import Habits, habits
from bridge.core.kinds import eagerly, kind_of
from bridge.core.layers import GridLayer, NoGrid, Reshape, find, look, stated
from bridge.core.resizing import Resizing
from bridge.core.skeleton import Kept
from bridge.core.state import frozen, seeded
from bridge.core.tokens import Tokens, find_tokens
from bridge.core.turns import turn
from bridge.core.warn import warn
from bridge.core.watch import watched
from bridge.core.wide import wide, wide_device
from bridge.core.wrapping import (
    check_module,
    checked_reshape,
    layer_name,
    names_of_classes,
    normalisation,
    pixel_bounds,
)

Known = TypeVar("Known")
KINDS = 8  # of how many kinds of images a model's facts are kept


def logits_of(output: Any) -> Tensor:
    """The logits in what a classifier returned: a tensor, or something with `.logits`.

    Hugging Face and torchvision return such things. Raises TypeError for anything else.
    """
    if isinstance(output, Tensor):
        return output
    logits = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    kind = type(output).__name__
    length = f" of {len(output)}" if isinstance(output, tuple | list) else ""
    raise TypeError(
        f"the model returned a {kind}{length}, expected a tensor (n, classes) of logits or an "
        "object with .logits: wrap a module whose forward returns the logits alone"
    )


class ModelAdapter(nn.Module):
    """pixels -> logits: normalises inside, then calls the user's own module.

    That stays `adapter.module`, untouched. The same object is what Captum hooks and what
    `foolbox.PyTorchModel(..., preprocessing=None)` takes, so that nothing is ever normalised twice.
    Build it with `wrap`.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        module: nn.Module,
        mean: Tensor | None,
        std: Tensor | None,
        layer: str | None,
        bounds: tuple[float, float],
        class_names: tuple[str, ...] | None,
        name: str,
        reshape: Reshape | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.layer = layer
        self.reshape = reshape
        self.bounds = bounds
        self.class_names = class_names
        self.name = name
        self.resizing: Resizing | None = None  # what its source does to images before it
        self.training = getattr(module, "training", False)  # frozen scripts have no mode
        # By kind of images, as long as the model consists of these parts.
        self._facts: dict[Any, Facts] = {}
        self._habits: dict[Any, Habits] = {}
        self._grids: dict[Any, GridLayer | _Refused] = {}
        self._tokens: dict[Any, Tokens] = {}
        self.kept = Kept()  # holds the parts, and what else is known of the module's insides
        self._parts: list[nn.Module] = []

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) pixels within `bounds` -> (n, classes) logits."""
        return logits_of(self.module(self.normalised(x)))

    def normalised(self, x: Tensor) -> Tensor:
        """(x - mean) / std, what the user's module sees.

        Never x itself, since a first operation may work in place.
        """
        if self.mean is None or self.std is None:
            return x.clone()
        return (x - self.mean.to(x)) / self.std.to(x)

    @property
    def dtype(self) -> torch.dtype | None:
        """The dtype of the weights, or None for a model without any."""
        return next((p.dtype for p in self.module.parameters() if p.is_floating_point()), None)

    @property
    def device(self) -> torch.device | None:
        """The device of the weights, or None for a model without any."""
        return next((p.device for p in self.module.parameters()), None)

    def astype(self, dtype: torch.dtype) -> ModelAdapter:
        """The same model in another dtype, on a copy: agreement is judged in float64.

        On the CPU where its device has no such numbers.
        """
        with torch.no_grad():  # else the copies of a script's weights are no leaves
            module = copy.deepcopy(self.module)
            if dtype == torch.float64 and self.device and wide_device(self.device) != self.device:
                module = module.to(wide_device(self.device))
            module = module.to(dtype)
        change = wide if dtype == torch.float64 else partial(torch.Tensor.to, dtype=dtype)
        mean, std = (None if t is None else change(t) for t in (self.mean, self.std))
        told = self.layer, self.bounds, self.class_names, self.name, self.reshape
        adapter = ModelAdapter(module, mean, std, *told)
        adapter.resizing = self.resizing
        adapter._parts, adapter._grids = adapter.parts(), dict(self._grids)  # the same layer
        return adapter

    def knows(self, x: Tensor) -> bool:
        """Whether `facts` of images of this shape are at hand, without a forward pass."""
        with turn():
            return self._key(x) in self._facts

    def facts(self, x: Tensor) -> Facts:
        """What one forward pass of at most four images tells; kept for images of this shape.

        Of all images where the model takes no four.
        """
        with turn():
            key = self._key(x)
            if key not in self._facts:
                with torch.no_grad(), seeded(0), frozen(self), watched(self.module):
                    self._observe_few(x.detach())
            return self._facts[key]

    def _observe_few(self, x: Tensor) -> None:
        """Observe four images, or all where it takes no four. Raises what the four raise."""
        try:
            self.observe(x[:4].clone())
        except Exception as error:
            try:
                self.observe(x.clone())
            except Exception:
                raise error from None

    def forget(self) -> None:
        """Find out facts, habits and the layer of Grad-CAM anew the next time."""
        self._facts.clear()
        self._habits.clear()
        self._grids.clear()
        self._tokens.clear()

    def habits(self, x: Tensor) -> Habits:
        """What a few more such passes tell; kept likewise. See `bridge.core.habits`."""
        with turn():
            key = self._key(x)
            if key not in self._habits:
                half = self.facts(x).half
                with seeded(0), frozen(self):
                    found = habits(self, self.module, x, self.bounds, half=half)
                _keep(self._habits, key, found)
            return self._habits[key]

    def tokens(self, x: Tensor) -> Tokens:
        """The tokens that its attention runs over; found once, kept likewise.

        Raises ValueError where there are none that are cells of the image: see `find_tokens`.
        """
        with turn():
            key = self._key(x)
            if not self.facts(x).attentions:
                raise ValueError(f"{self.name} has no attention that runs")
            if key not in self._tokens:
                with seeded(0), frozen(self), eagerly(self.module), watched(self.module):
                    found = find_tokens(self, self.module, x, self.bounds)
                _keep(self._tokens, key, found)
            return self._tokens[key]

    @property
    def writes(self) -> bool:
        """Whether its own forward pass is known to write into its weights or buffers."""
        return any(each.writes for each in self._habits.values())

    def known(self, x: Tensor) -> Habits | None:
        """The `habits` with images of this shape where they are at hand, without a forward pass."""
        with turn():
            return self._habits.get(self._key(x))

    def observe(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """A forward pass that leaves its `facts`: the logits, and each layer's last output by name.

        Call it frozen. See `bridge.core.facts.observe`.
        """
        facts, logits, outputs = observe(self, self.module, x)
        _keep(self._facts, self._key(x), facts)
        return logits, outputs

    def parts(self) -> list[nn.Module]:
        """The user's module and all in it, each once."""
        return self.kept.modules(self.module)

    def _key(self, x: Tensor) -> Any:
        """The kind of images; what is known is forgotten where a submodule was replaced."""
        parts = self.parts()
        if parts is not self._parts:
            if len(parts) != len(self._parts) or not all(map(operator.is_, parts, self._parts)):
                self.forget()
            self._parts = parts
        kind = x.device.type  # under autocast the model is another one
        autocast = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind)
        return tuple(x.shape[1:]), x.dtype, x.device, autocast

    def grid_layer(self, x: Tensor) -> GridLayer:
        """The layer that Grad-CAM explains, and its output as a grid; found once a kind of images.

        The one stated in `wrap`, else the last that all of the image goes through (see
        `bridge.core.layers`). Warns where only a convolution's grid speaks for it. Raises
        ValueError, saying why and what to do, where the stated layer runs several times in a
        forward pass (only the last call would be seen) or no grid can be told.
        """
        with turn():
            self._key(x)  # other parts are another model
            kind = tuple(x.shape[1:])
            known = self._grids.get(kind)
            if not isinstance(known, GridLayer):
                weights = sum(p._version for p in self.module.parameters())
                if known is not None and known.weights == weights:
                    raise NoGrid(known.why)
                try:
                    known = self._find_grid(x.detach())
                except ValueError as error:
                    _keep(self._grids, kind, _Refused(str(error), weights))
                    raise
                _keep(self._grids, kind, known)
                if known.proof == "unproven":
                    warn(f"Grad-CAM of {self.name} explains {known}: look whether it fits")
            return known

    def _find_grid(self, x: Tensor) -> GridLayer:
        facts = None if self.layer is None else self.facts(x)
        try:
            with torch.enable_grad(), seeded(0), frozen(self), watched(self.module), eagerly(self):
                looking = partial(look, self, self.module, x, self.bounds)
                if self.layer is None or facts is None:
                    return find(looking())
                size = int(x.shape[2]), int(x.shape[3])
                return stated(self.layer, self.reshape, facts, size, looking)
        except NoGrid as error:
            kind = kind_of(self.module)
            hint = f" (of {kind}: pass the module that it was made of)" if kind else ""
            raise NoGrid(f"{error}{hint}") from None

    def cam_layer(self, x: Tensor) -> nn.Module:
        """The module of `grid_layer`. Raises what that raises."""
        return self.module.get_submodule(self.cam_layer_name(x))

    def cam_layer_name(self, x: Tensor) -> str:
        """Its dotted name. Raises what that raises."""
        return self.grid_layer(x).name


@dataclass(frozen=True)
class _Refused:
    """Why no grid was found, with weights as they were then."""

    why: str
    weights: int


def _keep(known: dict[Any, Known], key: Any, value: Known) -> None:
    """Keep a value, and the last few besides."""
    while len(known) >= KINDS:
        known.pop(next(iter(known)))
    known[key] = value


def wrap(
    module: nn.Module,
    *,
    mean: float | Sequence[float] | Tensor | None = None,
    std: float | Sequence[float] | Tensor | None = None,
    layer: str | nn.Module | None = None,
    reshape: Reshape | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    class_names: Sequence[str] | None = None,
    name: str | None = None,
) -> ModelAdapter:
    """A classifier of pixels within `bounds`: (x - mean) / std, then `module`.

    `mean` and `std` have one value a channel, in pixel units. `layer` (dotted name or module) is
    what Grad-CAM explains; without it the last layer that all of the image goes through is found.
    Where that layer gives tokens, or channels last, in a way that is not recognised, `reshape`
    makes (n, c, h, w) of its output, by leaving numbers out and ordering the others. `class_names`
    and `name` are for tables and pictures. The module is not changed, copied or moved.

    Raises TypeError for something that is not a torch module or is wrapped already, TypeError or
    ValueError for bounds, mean, std, layer or class names that make no sense.

    >>> module = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
    >>> model = wrap(module, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), name="tiny")
    >>> model(torch.rand(2, 3, 2, 2)).shape
    torch.Size([2, 3])
    >>> model.module is module
    True
    """
    if isinstance(module, ModelAdapter):
        raise TypeError(
            "this model is wrapped already: wrapping it again would normalise twice; "
            "wrap model.module"
        )
    check_module(module)
    low, high = pixel_bounds(bounds)
    mean_, std_ = normalisation(mean, std, low, high)
    if mean_ is not None and std_ is not None:
        parameter = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
        mean_, std_ = mean_.to(parameter), std_.to(parameter)
    return ModelAdapter(
        module,
        mean_,
        std_,
        layer_name(module, layer),
        (low, high),
        names_of_classes(class_names),
        name or type(module).__name__,
        checked_reshape(reshape, layer),
    )
