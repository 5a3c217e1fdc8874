"""CP-LRP: conservative propagation, where attention weights and normalisation are constants."""

from __future__ import annotations

from torch import Tensor

from bridge.attributions._attention import one_gradient
from bridge.attributions._lrp import ACTIVATIONS, NORMS, Relevance, modified_gradient
from bridge.core.model import ModelAdapter
from bridge.core.registry import attribution, get


@attribution(
    "cp_lrp",
    paper="arXiv:2202.07304",
    needs=("attention",),
    axioms=("dummy", "linearity"),
    typical=one_gradient,
)
def cp_lrp(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """x * d logit_t / d x, attention weights, norms and f(x) / x constant: same shape as x.

    Constant are the softmax of attention, sigma of layer norm and the share f(x) / x of GELU and
    SiLU; what is left is linear in x, so that relevance sums to the logit less what comes from
    biases, class token and positions. x is in pixel units, and subtracting the mean is a bias.
    Both factors of a product (a gate and what it gates, QuickGELU written out) get half. Ali et
    al. 2022, with the identity rule of Achtibat et al. 2024 for activations. Raises ValueError
    where the model's logits change when it is computed so.
    """
    return x * modified_gradient(model, x, target, Relevance(constant=True))


@cp_lrp.variant("it passes relevance through queries and keys too (AttnLRP)")
def other(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return get("attn_lrp")(model, x, target)


@cp_lrp.variant("it is the plain input x gradient")
def plain(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return get("input_x_gradient")(model, x, target)


@cp_lrp.variant("the factor x is missing")
def without_factor(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return modified_gradient(model, x, target, Relevance(constant=True))


@cp_lrp.variant("it multiplies by the normalised image instead of the pixels")
def times_normalised(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor | None:
    if model.mean is None or model.std is None:
        return None
    return (x - model.mean) / model.std * without_factor(model, x, target)


@cp_lrp.variant("layer norm's standard deviation is not constant")
def plain_norm(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return x * modified_gradient(model, x, target, Relevance(constant=True, leave=NORMS))


@cp_lrp.variant("activations have their own slope instead of f(x) / x")
def plain_activations(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    mode = Relevance(constant=True, leave=ACTIVATIONS)
    return x * modified_gradient(model, x, target, mode)
