"""One forward pass of a batch and one backward pass for each thing asked of it, for all methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn import functional as F

from bridge.core.gradients import target_logits
from bridge.core.kinds import eagerly
from bridge.core.model import ModelAdapter
from bridge.core.relu import (
    DECONVOLUTION,
    GUIDED,
    PLAIN_NODE,
    ReluRule,
    at_nodes,
    modified_gradient,
    relus,
)
from bridge.core.state import hooked

Need = Literal[
    "logits",  # of the clean images
    "logit_gradient",  # d logit_t / d x
    "layer",  # the Grad-CAM layer's activations A on their grid, and d logit_t / d A
    "guided_gradient",  # d logit_t / d x with another rule at the ReLUs
    "deconvolution_gradient",
    "loss_gradient",  # d CE / d x
]
NEEDS: tuple[Need, ...] = get_args(Need)
RULES: dict[Need, ReluRule] = {
    "guided_gradient": GUIDED,
    "deconvolution_gradient": DECONVOLUTION,
}


@dataclass(frozen=True)
class Shared:
    """What the clean batch gave to all methods: `shared[need]`, made by `Clean(...).differentiate`.

    Each is a detached tensor, bit-equal to what the reference computes for itself, since it comes
    from the user's own kernels on the same batch. `shared["layer"]` is d logit_t / d A,
    `shared.activations` A itself. Attributions explain `target` (n,), attacks start from `labels`.
    """

    model: ModelAdapter
    x: Tensor
    target: Tensor
    labels: Tensor
    found: Mapping[Need, Tensor | Exception]
    layer: Tensor | None = None

    def __getitem__(self, need: Need) -> Tensor:
        """Raises KeyError for what was not asked for, and whatever computing it raised."""
        found = self.found[need]
        if isinstance(found, Exception):
            raise found
        return found

    @property
    def activations(self) -> Tensor:
        """The Grad-CAM layer's output on the clean batch. Raises KeyError without one."""
        if self.layer is None:
            raise KeyError("layer")
        return self.layer


@dataclass(frozen=True)
class _Backward:
    """One backward pass: what it gives, of which number, with respect to what, by which rule."""

    needs: tuple[Need, ...]
    of: Tensor
    to: list[Tensor]
    rule: ReluRule | None = None


class Clean:
    """The forward pass of the clean batch, with its graph: made at once, where anything needs it.

    `x` (n, c, h, w) are checked images. The labels may come later, so that the first pass of a
    model that is not known yet also tells what they are checked against: see `differentiate`.
    """

    def __init__(self, model: ModelAdapter, x: Tensor, needs: Iterable[Need] = ()) -> None:
        self.model, self.x, self.needs = model, x, frozenset(needs)
        differentiable = bool(self.needs - {"logits"})
        self.inputs = x.detach().requires_grad_(differentiable)
        self.layer: Tensor | None = None  # the Grad-CAM layer's output, as the layer gave it
        self.relus: list[Node | None] = []  # the places of the ReLU modules in the graph
        self.missing: dict[Need, Exception] = {}
        self.logits: Tensor | None = None
        if self.needs:
            seen = relus(model) if self._rules else []
            hooks = bool(self._rules) or "layer" in self.needs
            with (
                torch.set_grad_enabled(differentiable),
                eagerly(model.module, when=hooks),
                hooked(seen, self._see_relu),
            ):
                self.logits = self._forward()

    @property
    def _rules(self) -> dict[Need, ReluRule]:
        return {need: rule for need, rule in RULES.items() if need in self.needs}

    def _forward(self) -> Tensor:
        """The logits; on the way the Grad-CAM layer's output is kept."""
        first = not self.model.knows(self.x)
        if first:  # this very pass tells which layers there are
            logits, outputs = self.model.observe(self.inputs)
        name = self._layer_name() if "layer" in self.needs else None
        if first and (name is None or name in outputs):
            self.layer = None if name is None else outputs[name]
            return logits
        # A layer that is overwritten in place has to be kept in another pass.
        self.relus.clear()
        layers = [] if name is None else [self.model.module.get_submodule(name)]
        with hooked(layers, self._keep_layer):
            return self.model(self.inputs)

    def _layer_name(self) -> str | None:
        try:
            return self.model.cam_layer_name(self.x)
        except Exception as error:
            self.missing["layer"] = error
            return None

    def _keep_layer(self, module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        self.layer = output
        return output.clone()  # what follows may work in place; ours stays as the layer gave it

    def _see_relu(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self.relus.append(output.grad_fn)

    def differentiate(self, target: Tensor, labels: Tensor) -> Shared:
        """The backward passes, of the logit of `target` (n,) and of the loss of `labels` (n,).

        They use the graph up: call it once.
        """
        found: dict[Need, Tensor | Exception] = dict(self.missing)
        if self.logits is not None:
            found["logits"] = self.logits.detach()
        jobs = self._jobs(target, labels)
        for job in jobs:
            # One thing that cannot be had must not take the others with it: it is raised when it is
            # asked for. The last pass lets the graph go as it walks, so that its memory is used
            # again while it is still in the caches.
            try:
                gradients = self._backward(job, target, keep=job is not jobs[-1])
                found.update(zip(job.needs, gradients, strict=True))
            except Exception as error:
                found.update(dict.fromkeys(job.needs, error))
        layer = None
        if self.layer is not None:
            grid = self.model.grid_layer(self.x).grid
            layer = grid(self.layer.detach())
            if isinstance(found["layer"], Tensor):
                found["layer"] = grid(found["layer"])
        return Shared(self.model, self.x, target, labels, found, layer)

    def _jobs(self, target: Tensor, labels: Tensor) -> list[_Backward]:
        """The backward passes in order. The input's and the layer's gradient are one pass."""
        if self.logits is None or not self.inputs.requires_grad:
            return []
        jobs = []
        chosen = target_logits(self.logits, target).sum()
        wanted: dict[Need, Tensor] = {}
        if "logit_gradient" in self.needs:
            wanted["logit_gradient"] = self.inputs
        if self.layer is not None:
            wanted["layer"] = self.layer
        if wanted:
            jobs.append(_Backward(tuple(wanted), chosen, list(wanted.values())))
        for need, rule in self._rules.items():
            jobs.append(_Backward((need,), chosen, [self.inputs], rule))
        if "loss_gradient" in self.needs:
            loss = F.cross_entropy(self.logits, labels, reduction="sum")
            jobs.append(_Backward(("loss_gradient",), loss, [self.inputs]))
        return jobs

    def _backward(self, job: _Backward, target: Tensor, *, keep: bool) -> Iterable[Tensor]:
        if job.rule is None:
            return torch.autograd.grad(job.of, job.to, retain_graph=keep)
        nodes = [node for node in self.relus if node is not None]
        if any(node.name() != PLAIN_NODE for node in nodes):
            # A subclass of nn.ReLU that does it its own way: as the reference, with its own pass.
            return [modified_gradient(self.model, self.x, target, job.rule)]
        with at_nodes(nodes, job.rule):
            return torch.autograd.grad(job.of, job.to, retain_graph=keep)
