"""What the tables say of each image: numbers of its maps, and of what an attack made of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.core.norms import l2_norm, linf_norm
from bridge.core.wide import wide
from bridge.metrics import similarity
from bridge.metrics.attack import defects


@dataclass(frozen=True)
class MapRow:
    """Numbers of one map: its sum, its largest absolute value, and how sparse it is."""

    total: float
    largest: float
    gini: float


def map_rows(maps: Tensor) -> list[MapRow | None]:
    """Of each map (n, c, h, w) its numbers; None of one that is not finite."""
    exact = wide(maps.detach())
    flat = exact.flatten(1).cpu()
    finite = flat.isfinite().all(1).tolist()
    totals, largest = flat.sum(1).tolist(), flat.abs().amax(1).tolist()
    sparse = gini(exact.abs().sum(1).flatten(1).cpu()).tolist()
    numbers = zip(finite, totals, largest, sparse, strict=True)
    return [MapRow(*rest) if good else None for good, *rest in numbers]


def gini(values: Tensor) -> Tensor:
    """The Gini index of each row of values >= 0 (n, m), (n,).

    0 where all are the same, (m - 1) / m of one spike:
    sum_k (2 k - m - 1) v_k / (m sum v), v sorted, k from 1; 0 of a row of zeros.

    >>> gini(torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 2.0], [0.0, 0.0, 0.0, 0.0]]))
    tensor([0.0000, 0.7500, 0.0000])
    """
    count = values.shape[1]
    weights = 2 * torch.arange(1, count + 1, dtype=values.dtype) - count - 1
    total = values.sum(1)
    found = (values.sort(1).values * weights).sum(1) / (count * total.clamp(min=1e-300))
    return torch.where(total > 0, found, torch.zeros_like(found))


def correlations(
    maps: Mapping[str, Tensor], size: tuple[int, int]
) -> dict[tuple[str, str], Tensor]:
    """The rank correlation (n,) of each pair of attributions, of maps (n, c, h', w') by method.

    As the table of similarities has it; NaN where a map is constant or not finite.
    """
    ranked = {}
    for name, found in maps.items():
        good = found.isfinite().flatten(1).all(1).cpu()
        seen = similarity.importance(torch.nan_to_num(found), size)
        ranks = similarity.ranks(seen)
        ranks[~good] = torch.nan
        ranked[name] = ranks
    return {
        (a, b): similarity.spearman(ranked[a], ranked[b])
        for a, b in itertools.combinations(ranked, 2)
    }


@dataclass(frozen=True)
class Looked:
    """An attack's images (n, ...) looked at again: what the model says, and what is wrong."""

    predicted: list[int]
    confidence: list[float]
    fooled: list[bool]
    linf: list[float]
    l2: list[float]
    problems: list[str]


@torch.no_grad()
def looked_at(
    model: ModelAdapter,
    x: Tensor,
    clean: Tensor,
    labels: Tensor,
    adversarial: Tensor,
    epsilon: float | None,
    norm: str | None,
    *,
    targeted: bool,
) -> Looked:
    """Audit the images that an attack returned, all (n, c, h, w), in one batch of their own.

    `clean` (n,) are the classes of the clean images `x`. Fooled is who was right and now is not
    (targeted: who was elsewhere and now is there), by an image that is finite, within the bounds
    and in the ball. What is not finite is no prediction: -1.
    """
    problems = defects(x, adversarial, model.bounds, epsilon, norm)
    valid = ~torch.stack(list(problems.values())).any(0)
    finite = ~problems["not finite"]
    logits = model(torch.where(finite.view(-1, 1, 1, 1), adversarial, x))
    known = finite & logits.isfinite().all(1)
    predicted = torch.where(known, logits.argmax(1), -1)
    sure = wide(logits).softmax(1).amax(1)
    confidence = torch.where(known.to(sure.device), sure, torch.nan)
    if targeted:
        fooled = (clean != labels) & (predicted == labels)
    else:
        fooled = (clean == labels) & known & (predicted != labels)
    delta = wide(adversarial - x)
    bad = {name: flags.tolist() for name, flags in problems.items()}
    return Looked(
        predicted.tolist(),
        confidence.tolist(),
        (fooled & valid).tolist(),
        linf_norm(delta).tolist(),
        l2_norm(delta).tolist(),
        [", ".join(n for n, flags in bad.items() if flags[k]) for k in range(len(x))],
    )
