"""How alike two maps of one image are, for tests of sanity."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor

from bridge.core.parameters import Domain
from bridge.metrics.similarity import cosine, importance, ranks, spearman, ssim

Kind = Literal["spearman", "ssim", "cosine"]
Alike = Annotated[Kind, Domain(choices=("spearman", "ssim", "cosine"))]


def alike(a: Tensor, b: Tensor, size: tuple[int, int], kind: Kind) -> Tensor:
    """Rank correlation or SSIM of what both call important, or the signed cosine, (n,)."""
    if kind == "cosine":
        return cosine(a, b)
    a, b = importance(a, size), importance(b, size)
    return ssim(a, b) if kind == "ssim" else spearman(ranks(a), ranks(b))
