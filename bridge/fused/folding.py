"""Batch norms that go into the weights of the convolution before them."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, fx, nn


def followable(module: nn.Module | None) -> bool:
    """Whether it is a convolution that can be followed: its border is zeros, of stated size."""
    return (
        type(module) is nn.Conv2d
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def foldable(graph: fx.Graph, modules: dict[str, nn.Module]) -> dict[fx.Node, nn.BatchNorm2d]:
    """Of each convolution's node the batch norm that alone takes its output, with fixed statistics.

    Not where the convolution is called several times: its weights are then not this norm's alone.
    """
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    found = {}
    for node in graph.nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        norm = modules[str(node.target)]
        if (
            type(norm) is nn.BatchNorm2d
            and norm.running_mean is not None
            and not norm.training
            and followable(modules[str(before.target)])
            and len(before.users) == 1
            and calls[before.target] == 1
        ):
            found[before] = norm
    return found


def folded(module: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias with the batch norm in them; in float64, so that they are rounded once."""
    weight, bias = module.weight.detach(), None if module.bias is None else module.bias.detach()
    if norm is None or norm.running_mean is None or norm.running_var is None:
        return weight, bias
    wide = weight.dtype if weight.device.type == "mps" else torch.float64
    mean, variance = norm.running_mean.to(wide), norm.running_var.to(wide)
    gamma = torch.ones_like(mean) if norm.weight is None else norm.weight.detach().to(wide)
    beta = torch.zeros_like(mean) if norm.bias is None else norm.bias.detach().to(wide)
    scale = gamma / (variance + norm.eps).sqrt()
    shifted = beta + ((0 if bias is None else bias.to(wide)) - mean) * scale
    return (weight.to(wide) * scale.view(-1, 1, 1, 1)).to(weight), shifted.to(weight)
