"""The two gradients that everything here is made of, and predictions; weights get no gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Model = Callable[[Tensor], Tensor]


def target_logits(logits: Tensor, target: Tensor) -> Tensor:
    """logits[i, target[i]], shape (n,).

    >>> target_logits(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 0]))
    tensor([2., 3.])
    """
    return logits.gather(1, target[:, None])[:, 0]


def input_gradient(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """d logit_t / d x, same shape as x (Simonyan et al. 2013, arXiv:1312.6034)."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(target_logits(model(x), target).sum(), x)
    return gradient


def loss_gradient(model: Model, x: Tensor, labels: Tensor) -> Tensor:
    """d CE(logits, label) / d x, same shape as x.

    The loss is summed, so no image's gradient depends on the batch.
    """
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)
    return gradient


@torch.no_grad()
def predict(model: Model, x: Tensor) -> Tensor:
    """The class that the model gives each image, (n,) int64; -1 where a logit is not finite."""
    return predicted(model(x))


def predicted(logits: Tensor) -> Tensor:
    """The class with the largest logit of (n, classes), (n,) int64; -1 where one is not finite.

    >>> predicted(torch.tensor([[1.0, 2.0], [3.0, float("nan")]]))
    tensor([ 1, -1])
    """
    return torch.where(logits.isfinite().all(1), logits.argmax(1), -1)
