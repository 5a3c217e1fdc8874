"""What is often taken for a part of a gradient attack: for variants and for diagnosis."""

from __future__ import annotations

import torch
from torch import Tensor

from bridge.core.gradients import target_logits
from bridge.core.recipe import cross_entropy


def negative_logit(logits: Tensor, labels: Tensor) -> Tensor:
    """-logit of the label, (n,): what nll_loss gives on raw logits."""
    return -target_logits(logits, labels)


def softmax_twice(logits: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of probabilities, taken for logits, (n,)."""
    return cross_entropy(logits.softmax(1), labels)


def sign_or_up(g: Tensor) -> Tensor:
    """The sign of the gradient, with sign(0) = 1."""
    return torch.where(g >= 0, 1.0, -1.0).to(g)


def unchanged(g: Tensor) -> Tensor:
    """g itself."""
    return g
