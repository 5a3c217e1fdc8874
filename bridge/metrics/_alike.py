"""How alike two maps of one image are, for tests of sanity."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor

from bridge.core.parameters import Domain
from bridge.metrics.similarity import cosine, importance, ranks, spearman, ssim

Kind = Literal["spearman", "ssim", "cosine"]
Alike = Annotated[Kind, Domain(choices=("spearman", "ssim", "cosine"))]


def alike(a: Tensor, b: Tensor, x: Tensor, kind: Kind) -> Tensor:
    """Rank correlation or SSIM of what both call important of images x, or the signed cosine."""
    if kind == "cosine":
        return cosine(a, b)
    size = int(x.shape[2]), int(x.shape[3])
    a, b = importance(a, size), importance(b, size)
    return ssim(a, b) if kind == "ssim" else spearman(ranks(a), ranks(b))
