"""One forward pass of a batch and one backward pass for each thing asked of it, kept for every method that needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridge.gradients import target_logits
from bridge.model import ModelAdapter
from bridge.relu import deconvolution_gradient, guided_gradient

# What can be shared: the clean logits; d logit_t / d x; the Grad-CAM layer's activations and d logit_t / d A; the input
# gradients with other rules at the ReLUs; d CE / d x.
Need = Literal["logits", "logit_gradient", "layer", "guided_gradient", "deconvolution_gradient", "loss_gradient"]
NEEDS: tuple[Need, ...] = get_args(Need)
Inputs = tuple[Tensor | None, ...]


class Shared:
    """What the clean batch gives: the forward pass is made at once, the backward passes by `differentiate`.

    `shared[need]` is a detached tensor, bit-equal to what the reference computes for itself, since it comes from the user's
    own kernels on the same batch. It raises KeyError for what was not asked for, and what computing it raised.
    `shared.activations` belongs to "layer". "logit_gradient" and "layer" are one backward pass.
    """

    def __init__(self, model: ModelAdapter, x: Tensor, needs: Iterable[Need] = ()) -> None:
        self.model, self.x, self.needs = model, x, frozenset(needs)
        self._found: dict[str, Tensor | Exception] = {}
        self._relus: list[torch.autograd.graph.Node | None] = []
        self._layer: Tensor | None = None
        self._inputs = x.detach().requires_grad_(bool(self.needs - {"logits"}))
        self._logits: Tensor | None = None
        if self.needs:
            with torch.set_grad_enabled(self._inputs.requires_grad):
                self._logits = self._forward()
            self._found["logits"] = self._logits.detach()

    def __getitem__(self, need: Need) -> Tensor:
        found = self._found[need]
        if isinstance(found, Exception):
            raise found
        return found

    @property
    def activations(self) -> Tensor:
        """The Grad-CAM layer's output on the clean batch."""
        if self._layer is None:
            raise KeyError("layer")
        return self._layer.detach()

    def differentiate(self, target: Tensor, labels: Tensor) -> Shared:
        """The backward passes: of the logit of `target` and of the loss of `labels`; then the graph is let go."""
        self.target, self.labels = target, labels
        if self._logits is None or not self._inputs.requires_grad:
            return self
        logits = self._logits
        chosen = target_logits(logits, target).sum()
        jobs: list[tuple[tuple[Need, ...], Callable[[bool], Sequence[Tensor]]]] = []
        wanted: dict[Need, Tensor] = {"logit_gradient": self._inputs} if "logit_gradient" in self.needs else {}
        if "layer" in self.needs and self._layer is not None:
            wanted["layer"] = self._layer
        if wanted:
            jobs.append((tuple(wanted), lambda keep: torch.autograd.grad(chosen, list(wanted.values()), retain_graph=keep)))
        for need in self.needs & RULES.keys():
            jobs.append(((need,), partial(self._by_rule, need, chosen)))
        if "loss_gradient" in self.needs:
            loss = F.cross_entropy(logits, labels, reduction="sum")
            jobs.append((("loss_gradient",), lambda keep: torch.autograd.grad(loss, self._inputs, retain_graph=keep)))
        for index, (needs, compute) in enumerate(jobs):
            # One thing that cannot be had must not take the others with it: it is raised when it is asked for. The last
            # pass lets the graph go as it walks, so that its memory is used again while it is still in the caches.
            try:
                self._found.update(zip(needs, compute(index + 1 < len(jobs)), strict=True))
            except Exception as error:
                self._found.update(dict.fromkeys(needs, error))
        if self._layer is not None:
            self._layer = self._layer.detach()
        self._inputs, self._logits, self._relus = self.x, None, []
        return self

    def _forward(self) -> Tensor:
        """The logits with their graph; on the way the Grad-CAM layer's output and the ReLUs' places in the graph."""
        handles = []
        if self.needs & {"guided_gradient", "deconvolution_gradient"}:
            for module in self.model.modules():
                if isinstance(module, nn.ReLU):
                    handles.append(module.register_forward_hook(lambda m, _, output: self._relus.append(output.grad_fn)))
        try:
            if self.model.knows(self.x) or "layer" not in self.needs:
                return self._forward_keeping_layer()
            # The first time, the layers are found in this very pass; a layer overwritten in place has to be kept in another.
            logits, outputs = self.model.observe(self._inputs)
            try:
                layer = self.model.cam_layer_name(self.x)
            except ValueError as error:
                self._found["layer"] = error
                return logits
            if layer in outputs:
                self._layer = outputs[layer]
                return logits
            self._relus.clear()
            return self._forward_keeping_layer()
        finally:
            for handle in handles:
                handle.remove()

    def _forward_keeping_layer(self) -> Tensor:
        if "layer" not in self.needs:
            return self.model(self._inputs) if self.model.knows(self.x) else self.model.observe(self._inputs)[0]

        def keep(layer: nn.Module, inputs: object, output: Tensor) -> Tensor:
            self._layer = output
            return output.clone()  # what follows may work in place; our copy must stay what the layer gave

        try:
            handle = self.model.cam_layer(self.x).register_forward_hook(keep)
        except ValueError as error:
            self._found["layer"] = error
            return self.model(self._inputs)
        try:
            return self.model(self._inputs)
        finally:
            handle.remove()

    def _by_rule(self, need: Need, chosen: Tensor, keep: bool) -> list[Tensor]:
        """The input gradient through the same graph with another rule at every ReLU module's node."""
        rule, alone = RULES[need]
        nodes = [node for node in self._relus if node is not None]
        if any(node.name() != "ReluBackward0" for node in nodes):  # a subclass of nn.ReLU that does it its own way
            return [alone(self.model, self.x, self.target)]
        handles = [node.register_hook(rule) for node in nodes]
        try:
            return [torch.autograd.grad(chosen, self._inputs, retain_graph=keep)[0]]
        finally:
            for handle in handles:
                handle.remove()


def _active_and_positive(inputs: Inputs, outputs: Inputs) -> Inputs:
    """Guided backprop: of g * (x > 0), which the node gives, what is positive."""
    return tuple(None if g is None else g * (g > 0) for g in inputs)


def _positive(inputs: Inputs, outputs: Inputs) -> Inputs:
    """Deconvolution: of g, which came to the node, what is positive."""
    return tuple(None if g is None else g * (g > 0) for g in outputs)


# Of each modified gradient the rule at a ReLU's node, and the reference's way, which makes its own forward pass.
Rule = Callable[[Inputs, Inputs], Inputs]
RULES: dict[str, tuple[Rule, Callable[[ModelAdapter, Tensor, Tensor], Tensor]]] = {
    "guided_gradient": (_active_and_positive, guided_gradient),
    "deconvolution_gradient": (_positive, deconvolution_gradient),
}
