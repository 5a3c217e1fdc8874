"""Attacks on explanations: images that look the same and are classified the same, with other maps.

Not the label but the map is attacked. What survives it is an explanation that one can rely on.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from bridge.attributions._path import quadrature
from bridge.core.engine import session
from bridge.core.gradients import predict, target_logits
from bridge.core.model import ModelAdapter
from bridge.core.norms import per_image, project_linf
from bridge.core.parameters import Domain, check_positive, check_seed, check_whole
from bridge.core.preflight import preflight
from bridge.core.state import seeded
from bridge.core.turns import turn
from bridge.metrics.similarity import centre, ranks, spearman, top_k

Goal = Literal["top_k", "mass_centre", "target_map", "random_sign"]
BETA = 30.0  # of softplus: its kink is as wide as a thirtieth, and it has a second derivative


@dataclass(frozen=True)
class ExplanationAttack:
    """Images (n, c, h, w) whose maps were attacked, and how far those moved, (n,) each.

    `before` and `after` are the maps (n, h, w), each summing to 1. `top_k` is the share of the `k`
    most important pixels that stayed among them, `spearman` the rank correlation, `centre` how many
    pixels the centre of mass moved. Every image is classified as before.
    """

    images: Tensor
    before: Tensor
    after: Tensor
    k: int
    top_k: Tensor
    spearman: Tensor
    centre: Tensor


@torch.inference_mode(False)
def attack_explanation(
    model: nn.Module,
    x: Tensor,
    target: Any,
    *,
    goal: Goal = "top_k",
    epsilon: float = 8 / 255,
    steps: int = 50,
    step_size: float | None = None,
    share: float = 0.02,
    towards: Tensor | None = None,
    beta: float = BETA,
    n_steps: int | None = None,
    seed: int = 0,
) -> ExplanationAttack:
    """max D(map(x + d)) over |d|_inf <= epsilon with the predicted class unchanged.

    The map is |d logit_t / d x| summed over channels and scaled to sum 1; with `n_steps` it is that
    of integrated gradients from black with so many Gauss-Legendre steps, each of which takes a pass
    and its memory. D by `goal`: "top_k",
    minus its sum over the `share` most important pixels; "mass_centre", how far its centre moves
    (both Ghorbani et al. 2019, arXiv:1710.10547); "target_map", minus its squared distance to the
    map `towards` (n, h, w) (Dombrowski et al. 2019, arXiv:1906.07983). "random_sign", noise of the
    same size, is the control. `steps` of `step_size` (default: epsilon / 10) by the sign of D's
    gradient, on a copy with softplus(`beta`) in place of nn.ReLU, which has no second derivative;
    what counts, and which iterate is the best, is seen on the model itself.

    Model, images and random state are left as they were. Raises ValueError for a request that makes
    no sense, and for a model whose ReLUs are functional calls.
    """
    if goal not in get_args(Goal):
        raise ValueError(f"unknown goal {goal!r}: expected one of {', '.join(get_args(Goal))}")
    if (towards is None) == (goal == "target_map"):
        raise ValueError('towards (n, h, w) is the map to reach: give it with goal="target_map"')
    check_whole("steps", steps, 1)
    if n_steps is not None:
        check_whole("n_steps", n_steps, 1)
    check_positive("beta", beta)
    Domain(low=0, high=1).check("share", share)
    Domain(low=0).check("epsilon", epsilon)
    check_seed(seed)
    size = epsilon / 10 if step_size is None else check_positive("step_size", step_size)
    with turn():
        adapter, images, classes = preflight(model, x, target, what="target")
        if towards is not None and tuple(towards.shape) != (len(images), *images.shape[2:]):
            shape = (len(images), *images.shape[2:])
            raise ValueError(f"towards has shape {tuple(towards.shape)}, expected {shape}")
        with seeded(seed), session(adapter):
            best = _attacked(
                adapter, images, classes, goal, epsilon, steps, size, share, towards, beta, n_steps
            )
            before, after = (_map(adapter, each, classes, n_steps) for each in (images, best))
    k = max(1, round(share * before[0].numel()))
    return ExplanationAttack(
        best,
        before,
        after,
        k,
        (top_k(before, k) & top_k(after, k)).sum(1).double() / k,
        spearman(ranks(before), ranks(after)),
        (centre(before) - centre(after)).norm(dim=1).double(),
    )


def _attacked(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    goal: Goal,
    epsilon: float,
    steps: int,
    size: float,
    share: float,
    towards: Tensor | None,
    beta: float,
    n_steps: int | None,
) -> Tensor:
    """Of all iterates that keep their class the one whose map moved the most, image by image."""
    low, high = model.bounds
    before, predicted = _map(model, x, target, n_steps), predict(model, x)
    most = top_k(before, max(1, round(share * before[0].numel())))

    def moved(map_: Tensor) -> Tensor:
        if goal == "mass_centre":
            return (centre(map_) - centre(before)).norm(dim=1)
        if goal == "target_map" and towards is not None:
            wanted = towards.to(map_) / towards.to(map_).sum((1, 2), keepdim=True)
            return -(map_ - wanted).square().sum((1, 2))
        return -(map_.flatten(1) * most).sum(1)

    smooth = _softened(model, x, beta)
    best, score = x.clone(), moved(before)
    current = x.clone()
    for _ in range(1 if goal == "random_sign" else steps):
        if goal == "random_sign":
            current = x + epsilon * torch.randn_like(x).sign()
        else:
            # The centre has no gradient where it stands still: a first step of noise moves it.
            if torch.equal(current, x):
                current = (x + size * torch.randn_like(x).sign()).clamp(low, high)
            direction = _gradient(smooth, current, target, moved, n_steps).sign()
            current = current + size * direction
        current = project_linf(current, x, epsilon).clamp(low, high)
        now = moved(_map(model, current, target, n_steps))
        kept = predict(model, current) == predicted
        better = kept & ((now > score) | (goal == "random_sign"))
        best = torch.where(per_image(better, x), current, best)
        score = torch.where(better, now, score)
    return best


def _map(model: ModelAdapter, x: Tensor, target: Tensor, n_steps: int | None) -> Tensor:
    """|attribution| summed over channels, (n, h, w), scaled to sum 1 (0 stays 0)."""
    return _scaled(_attribution(model, x.detach().requires_grad_(), target, n_steps).detach())


def _attribution(
    model: ModelAdapter, x: Tensor, target: Tensor, n_steps: int | None, *, again: bool = False
) -> Tensor:
    """d logit_t / d x, or integrated gradients from 0; with `again` it has a gradient itself."""

    def gradient(images: Tensor) -> Tensor:
        chosen = target_logits(model(images), target).sum()
        return torch.autograd.grad(chosen, images, create_graph=again)[0]

    if n_steps is None:
        return gradient(x)
    points, weights = quadrature("gausslegendre", n_steps)
    total = sum(w * gradient(p * x) for p, w in zip(points, weights, strict=True))
    return x * total


def _scaled(attribution: Tensor) -> Tensor:
    summed = attribution.abs().sum(1)
    total = summed.sum((1, 2), keepdim=True)
    return summed / torch.where(total > 0, total, 1.0)


def _gradient(
    smooth: ModelAdapter, x: Tensor, target: Tensor, moved: Any, n_steps: int | None
) -> Tensor:
    """d D / d x by two backward passes; 0 where the map is the same everywhere (a linear model)."""
    x = x.detach().requires_grad_()
    first = _attribution(smooth, x, target, n_steps, again=True)
    if not first.requires_grad:
        return torch.zeros_like(x)
    (second,) = torch.autograd.grad(moved(_scaled(first)).sum(), x, allow_unused=True)
    return torch.zeros_like(x) if second is None else second


def _softened(model: ModelAdapter, x: Tensor, beta: float) -> ModelAdapter:
    """A copy with softplus in place of nn.ReLU. Raises ValueError where ReLUs are functional calls.

    They would stay, and a map that cannot be moved for want of a second derivative looks robust.
    """
    facts = model.facts(x)
    functional = facts.relu_operations - facts.relu_calls
    if functional > 0:
        raise ValueError(
            f"{functional} ReLUs of {model.name} are functional calls, which have no second "
            "derivative and cannot be softened: use nn.ReLU modules"
        )
    smooth = copy.deepcopy(model)
    for parent in list(smooth.module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.Softplus(beta))
    if isinstance(smooth.module, nn.ReLU):
        smooth.module = nn.Softplus(beta)
    return smooth
