"""AttnLRP: relevance through attention's queries and keys as well as its values."""

from __future__ import annotations

from torch import Tensor

from bridge.attributions._lrp import relevance
from bridge.core.model import ModelAdapter
from bridge.core.registry import attribution


@attribution(
    "attn_lrp", paper="arXiv:2402.05602", needs=("attention",), axioms=("dummy", "linearity")
)
def attn_lrp(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """x * d logit_t / d x, products halved, norms and f(x) / x constant: same shape as x.

    Both factors of a product of activations (queries and keys, weights and values, a gate and what
    it gates) get half of the relevance R; the softmax s of scores z passes z (R - s sum R), which
    is its own gradient; sigma of layer norm and the share f(x) / x of GELU and SiLU are constants.
    Relevance sums to the logit less what comes from biases, class token, positions, and the softmax
    (its linear term keeps R only about 0). x is in pixel units, and subtracting the mean is a bias.
    Achtibat et al. 2024, with the epsilon rule at epsilon 0. Raises ValueError where the model's
    logits change when it is computed so.
    """
    return relevance(model, x, target, constant=False)
