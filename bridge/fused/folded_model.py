"""A copy of a model with its batch norms in the convolutions before them, and the proof of it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn

from bridge.core.gradients import input_gradient
from bridge.core.model import ModelAdapter
from bridge.core.state import frozen
from bridge.fused.folding import foldable, folded
from bridge.fused.incremental import traced
from bridge.fused.layers import Untraceable

# Of the largest logit and the largest gradient on the images at hand. Folding rounds otherwise: in
# float32 that moves logits by 1e-6, and gradients by as much as a ReLU that flips; a wrong trace
# moves both by far more.
LOGITS = {torch.float64: 1e-9, torch.float32: 1e-4}
GRADIENTS = {torch.float64: 1e-9, torch.float32: 0.05}


def folded_model(model: ModelAdapter, x: Tensor) -> ModelAdapter:
    """The same function of one image (to rounding) with fewer operations; the user's is untouched.

    Weights are shared but for those that a batch norm went into. The layer that Grad-CAM explains
    is the same one, or none where it was folded away. Raises ValueError, saying why, where it
    cannot be proved to be the same: a model that torch.fx cannot trace, has hooks inside, depends
    on more than the image, computes in 16 bits, or gives other logits or gradients on images `x`.
    """
    if depends := model.habits(x).depends_on:
        raise _refused(model, f"it is no function of one image: {depends}")
    if model.facts(x).half:
        raise _refused(model, "it computes in 16 bits, which would hide a wrong trace")
    try:
        layer = model.layer or model.cam_layer_name(x)
    except ValueError:  # it has none
        layer = None
    with frozen(model):
        try:
            module = _folded(model.module)
        except Untraceable as error:
            raise _refused(model, str(error)) from error
    name = f"{model.name}+fold"
    how = layer, model.bounds, model.class_names, name, model.reshape
    fast = ModelAdapter(module, model.mean, model.std, *how)
    _check_same(model, fast, x)
    return fast


def _folded(module: nn.Module) -> nn.Module:
    """The traced module, its convolutions with the batch norms in them under new names."""
    graph, modules = traced(module), dict(module.named_modules())
    norms = foldable(graph, modules)
    if not norms:
        raise Untraceable("no batch norm follows a convolution of its own")
    made = fx.GraphModule(module, graph)
    for number, (node, norm) in enumerate(norms.items()):
        convolution = modules[str(node.target)]
        assert isinstance(convolution, nn.Conv2d)  # what foldable gives
        fused = copy.copy(convolution)
        fused._parameters = dict(convolution._parameters)
        weight, bias = folded(convolution, norm)
        fused.weight = nn.Parameter(weight, convolution.weight.requires_grad)
        fused.bias = None if bias is None else nn.Parameter(bias, convolution.weight.requires_grad)
        # A name of its own: who asks for the convolution or the norm as a layer finds neither.
        made.add_submodule(f"folded_{number}", fused)
        node.target = f"folded_{number}"
        (after,) = node.users
        after.replace_all_uses_with(node)
        graph.erase_node(after)
    made.graph = graph
    made.delete_all_unused_submodules()
    return made.eval()


def _check_same(model: ModelAdapter, fast: ModelAdapter, x: Tensor) -> None:
    """Raise ValueError where logits or gradients differ, on these images and on their mirror."""
    low, high = model.bounds
    few = x[:4].detach()
    for images in (few, low + high - few):
        with torch.enable_grad(), frozen(model), frozen(fast):
            expected, found = model(images).detach(), fast(images).detach()
            target = expected.argmax(1)
            gradients = input_gradient(fast, images, target), input_gradient(model, images, target)
        for what, pair, limits in (
            ("logits", (found, expected), LOGITS),
            ("gradients", gradients, GRADIENTS),
        ):
            scale = pair[1].abs().max().clamp(min=torch.finfo(pair[1].dtype).tiny)
            gap = float((pair[0] - pair[1]).abs().max() / scale)
            if not gap <= limits.get(x.dtype, 0):
                raise _refused(model, f"the traced network's {what} are {gap:.1e} off its own")


def _refused(model: ModelAdapter, why: str) -> ValueError:
    return ValueError(
        f"the batch norms of {model.name} cannot be folded: {why}; run it without this acceleration"
    )
