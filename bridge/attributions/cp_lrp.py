"""CP-LRP: conservative propagation, where attention weights and normalisation are constants."""

from __future__ import annotations

from torch import Tensor

from bridge.attributions._lrp import relevance
from bridge.core.model import ModelAdapter
from bridge.core.registry import attribution


@attribution(
    "cp_lrp", paper="arXiv:2202.07304", needs=("attention",), axioms=("dummy", "linearity")
)
def cp_lrp(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """x * d logit_t / d x, attention weights, norms and f(x) / x constant: same shape as x.

    Constant are the softmax of attention, sigma of layer norm and the share f(x) / x of GELU and
    SiLU; what is left is linear in x, so that relevance sums to the logit less what comes from
    biases, class token and positions. x is in pixel units, and subtracting the mean is a bias.
    Gated layers pass half to each factor. Ali et al. 2022, with the identity rule of Achtibat et
    al. 2024 for activations. Raises ValueError where the model's logits change when it is computed
    so.
    """
    return relevance(model, x, target, constant=True)
