"""AttnLRP: relevance through attention's queries and keys as well as its values."""

from __future__ import annotations

from torch import Tensor

from bridge.attributions._attention import one_gradient
from bridge.attributions._lrp import Relevance, modified_gradient, register_deviations
from bridge.core.model import ModelAdapter
from bridge.core.registry import attribution, get


@attribution(
    "attn_lrp",
    paper="arXiv:2402.05602",
    needs=("attention",),
    axioms=("dummy", "linearity"),
    typical=one_gradient,
)
def attn_lrp(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """x * d logit_t / d x, products halved, norms and f(x) / x constant: same shape as x.

    Both factors of a product of activations (queries and keys, weights and values, a gate and what
    it gates, QuickGELU written out) get half of the relevance R; the softmax s of scores z passes
    z (R - s sum R), which is its own gradient; sigma of layer norm and the share f(x) / x of GELU
    and SiLU are constants. Relevance sums to the logit less what comes from biases, class token,
    positions, and the softmax (which is not linear in its scores). x is in pixel units, and
    subtracting the mean is a bias. Achtibat et al. 2024, with the epsilon rule at epsilon 0. Raises
    ValueError where the model's logits change when it is computed so.
    """
    return x * modified_gradient(model, x, target, Relevance(constant=False))


@attn_lrp.variant("attention weights are constants (CP-LRP)")
def other(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    return get("cp_lrp")(model, x, target)


register_deviations(attn_lrp, constant=False)


@attn_lrp.variant("products of activations are not halved")
def not_halved(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    mode = Relevance(constant=False, halved=False)
    return x * modified_gradient(model, x, target, mode)
