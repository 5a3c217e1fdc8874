"""Somebody's code with our signature: called as it wants to be, in the form that it takes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridge.calling.forms import Form
from bridge.calling.outputs import standard
from bridge.calling.signature import Refused, arguments
from bridge.calling.sources import Source
from bridge.calling.values import Extent, Layer
from bridge.core.method import Method
from bridge.core.model import ModelAdapter
from bridge.core.state import frozen

OURS = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_ONLY) for n in ("model", "x", "target")]
BITS = 255.0


@dataclass(frozen=True, eq=False)
class Called:
    """f(model, x, target, **params) by somebody's code.

    `tells` {our parameter: their name} is what it can be told; what it leaves on the model or the
    images is put back. What it raises is raised. With `spread` its one channel stands for all.
    """

    code: Any
    source: Source
    method: Method
    form: Form
    spread: bool = False

    @property
    def __name__(self) -> str:
        return self.source.name

    @property
    def __signature__(self) -> inspect.Signature:
        keywords = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY) for n in self.tells]
        return inspect.Signature([*OURS, *keywords])

    @property
    def tells(self) -> dict[str, str]:
        """By our name of a parameter: theirs."""
        slots = {s.role: s.name for s in self.source.slots if s.role in self.method.defaults}
        return {**slots, **self.source.attributes}

    @property
    def unit(self) -> float:
        """What sizes are multiplied by for it: 255 where its own epsilon is above 1."""
        epsilon = self.source.own.get("epsilon", 0)
        large = isinstance(epsilon, int | float) and epsilon > 1 and self.method.norm == "linf"
        return BITS if large else 1.0

    def __call__(self, model: ModelAdapter, x: Tensor, target: Tensor, /, **params: Any) -> Tensor:
        precision = self.form.precision
        if precision not in (None, x.dtype):
            model = model.astype(precision)
        with torch.enable_grad(), frozen(model):
            wanted = self.method.kind == "attack"
            parts = [
                standard(self._once(model, x[part], target[part], params), x[part], images=wanted)
                for part in self.form.parts(len(x))
            ]
        output = torch.cat(parts)
        if self.spread and output.shape[1] == 1:
            output = output.expand(-1, x.shape[1], -1, -1).contiguous()
        return output.to(x.dtype) if output.is_floating_point() else output

    def _once(
        self, model: ModelAdapter, x: Tensor, target: Tensor, params: Mapping[str, Any]
    ) -> Any:
        images = self.form.images(x)
        values = self._values(model, x, target, params)
        call = self.source.bind({**values, "x": images})
        if any(slot.role == "scores" for slot in self.source.calling):
            values["scores"] = model(self.form.precise(x))  # hooks are there by now
        placed, named = arguments(self.source.calling, {**values, "x": images}, self.source.name)
        returned = call(*placed, **named)
        return images if returned is None else returned  # it may have worked in place

    def _values(
        self, model: ModelAdapter, x: Tensor, target: Tensor, params: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What every role is given."""
        wanted = {slot.role for slot in self.source.slots}
        unset = {s.role for s in self.source.slots if s.required or s.parameter.default is None}
        values: dict[str, Any] = {"model": model, "y": self.form.labels(target)}
        values["loss"] = nn.CrossEntropyLoss()
        values["criterion"] = SimpleNamespace(labels=values["y"])
        for name, value in self._told(model, x, params).items():
            if name in ("epsilon", "step_size"):
                value = value * self.unit
            elif name in ("window", "stride"):
                value = Extent(value, x.shape[1])
            values[name] = value
        low, high = model.bounds
        bounds = {"low": low, "high": high, "range": (low, high)}
        values |= {role: value for role, value in bounds.items() if role in unset}
        if "layer" in wanted or "layer" in self.method.needs:
            name = model.cam_layer_name(x)
            values["layer"] = Layer(model.module.get_submodule(name), f"module.{name}")
        if "one-hot" in wanted:
            classes = model.facts(x).logits.shape[1]
            values["one-hot"] = F.one_hot(target, classes).to(x.dtype)
        if "gradient" in wanted:
            leaf = x.detach().clone().requires_grad_()
            loss = F.cross_entropy(model(leaf), target, reduction="sum")
            values["gradient"] = torch.autograd.grad(loss, leaf)[0]
        return values

    def _told(self, model: ModelAdapter, x: Tensor, params: Mapping[str, Any]) -> dict[str, Any]:
        """What it is told of our parameters: those that are set, and what it cannot do without."""
        everything = {**self.method.defaults, **params}
        recipe = self.method.tags.recipe
        if everything.get("step_size", 0) is None and recipe is not None:
            everything["step_size"] = recipe(x, model.bounds, **everything).step
        required = {slot.role for slot in self.source.slots if slot.required}
        wanted = {*params, "step_size"} | required
        return {k: v for k, v in everything.items() if k in wanted and v is not None}

    def __str__(self) -> str:
        """What was understood, in a sentence."""
        roles = {s.name: s.role for s in self.source.slots}
        built = f"({_listed(self.source.building)})" if self.source.building else ""
        name, _, entry = self.source.name.partition(".") if built else (self.source.name, "", "")
        call = f"{name}{built}{'.' + entry if entry else ''}({_listed(self.source.calling)})"
        named = {n: r for n, r in roles.items() if r in self.method.defaults and r != n}
        named |= {f".{n}": r for r, n in self.source.attributes.items() if r != n}
        said = ", ".join(f"`{n}` is the {r.replace('_', ' ')}" for n, r in named.items())
        units = "sizes in units of 255" if self.unit != 1 else ""
        channel = "its one channel stands for all" if self.spread else ""
        words = [f"called as {call}, {self.form}", said, self.source.note, units, channel]
        return "; ".join(word for word in words if word)


def _listed(slots: Any) -> str:
    return ", ".join(s.name for s in slots if s.role or s.required)


__all__ = ["Called", "Refused"]
