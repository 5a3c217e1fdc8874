"""CP-LRP: conservative propagation, where attention weights and normalisation are constants."""

from __future__ import annotations

from torch import Tensor

from bridge.attributions._attention import one_gradient
from bridge.attributions._lrp import Relevance, modified_gradient, register_deviations
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


register_deviations(cp_lrp, constant=True)
