"""DeepFool in L2: step after step to the nearest linearised decision boundary."""

from __future__ import annotations

from copy import copy
from typing import Annotated, Any

import torch
from torch import Tensor

from bridge.attacks._foolbox import run_foolbox
from bridge.core.gradients import target_logits
from bridge.core.model import ModelAdapter
from bridge.core.norms import l2_norm, per_image, project_l2
from bridge.core.parameters import Domain, SmallestSize, Steps
from bridge.core.registry import attack
from bridge.core.tags import Cases, Trap

# As in the authors' published code: every step goes this much further, so that it cannot stall on
# the boundary.
FURTHER = 1e-4
# Keeps the distance finite where a class has the same gradient as the predicted one.
TINY_NORM = 1e-8
OFTEN = 8  # steps after which most images have crossed the boundary

Overshoot = Annotated[float, Domain(low=0, others=(0.3,))]
Candidates = Annotated[int | None, Domain(low=2, whole=True, optional=True, others=(2,))]


def _typical(
    x: Tensor, classes: int, *, steps: int, candidates: int | None, **_: object
) -> tuple[float, float]:
    """A forward pass a step, and a backward one for each class but its own."""
    taken = min(steps, OFTEN)
    return taken + 1, taken * (min(candidates or classes, classes) - 1)


@attack(
    "deepfool_l2",
    paper="arXiv:1511.04599",
    norm="l2",
    quick={"steps": 4},
    quickest={"steps": 2, "candidates": 3},
    tiny={"steps": 50},  # it ends by itself, and whoever takes too few steps is found out
    typical=_typical,
)
def deepfool_l2(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: SmallestSize = None,
    steps: Steps = 50,
    overshoot: Overshoot = 0.02,
    candidates: Candidates = 10,
) -> Tensor:
    """clip(x + (1 + overshoot) * sum_i r_i), r_i the step to the nearest linearised boundary.

    r = |f_l| / norm2(w_l)^2 w_l with f_k = logit_k - logit_0, w_k = d f_k / d x and
    l = argmin |f_k| / norm2(w_k), over the `candidates` classes most likely on the clean image
    (None: all; 0 is the predicted one). An image leaves as soon as its overshot point is no longer
    classified as its label; a misclassified one comes back unchanged. With `epsilon` the
    perturbation is scaled down into that L2 ball; without (the default) it is as small as it was
    found (Moosavi-Dezfooli et al. 2016).
    """
    with torch.no_grad():
        classes = model(x).argsort(1).flip(1)[:, :candidates]
    adversarial, total = x.clone(), torch.zeros_like(x)
    active = torch.arange(len(x), device=x.device)
    for _ in range(steps):
        images = adversarial[active].detach().requires_grad_()
        logits = model(images)
        unfooled = logits.argmax(1) == labels[active]
        if not bool(unfooled.any()):
            break
        gaps, gradients = _boundaries(logits, images, classes[active])
        norms = l2_norm(gradients.flatten(0, 1)).view_as(gaps)
        distances = gaps.abs() / (norms + TINY_NORM)
        nearest = distances.argmin(1, keepdim=True)
        distance, norm = (t.gather(1, nearest)[:, 0] for t in (distances, norms))
        gradient = gradients[torch.arange(len(active), device=x.device), nearest[:, 0]]
        step = per_image((distance + FURTHER) / (norm + TINY_NORM), gradient) * gradient
        active, step = active[unfooled], step[unfooled]
        total[active] += step
        adversarial[active] = (x[active] + (1 + overshoot) * total[active]).clamp(*model.bounds)
    return adversarial if epsilon is None else project_l2(adversarial, x, epsilon)


def _boundaries(logits: Tensor, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """logit_k - logit_0 (n, k) and its gradient (n, k, c, h, w), candidates without the first."""
    gaps, gradients = [], []
    for k in range(1, classes.shape[1]):
        gap = target_logits(logits, classes[:, k]) - target_logits(logits, classes[:, 0])
        (gradient,) = torch.autograd.grad(gap.sum(), images, retain_graph=True)
        gaps.append(gap.detach())
        gradients.append(gradient)
    return torch.stack(gaps, 1), torch.stack(gradients, 1)


@deepfool_l2.twin("foolbox", leaves="gradients")
def foolbox(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: float | None,
    steps: int,
    overshoot: float,
    candidates: int | None,
) -> Tensor:
    from foolbox.attacks import L2DeepFoolAttack

    attack = L2DeepFoolAttack(
        steps=steps, candidates=candidates, overshoot=overshoot, loss="logits"
    )
    return run_foolbox(attack, model, x, labels, epsilon=epsilon, clipped=True)


for _sentence, _change in (
    ("it does not overshoot", {"overshoot": 0.0}),
    ("it takes one step only", {"steps": 1}),
    ("it looks at two classes only", {"candidates": 2}),
    ("its overshoot is always 0.02", {"overshoot": 0.02}),
    ("its overshoot is always 0.1", {"overshoot": 0.1}),
    ("its overshoot is always 0.5", {"overshoot": 0.5}),
    ("its overshoot is always 1", {"overshoot": 1.0}),
):
    deepfool_l2.variant(_sentence, **_change)(deepfool_l2.reference)


@deepfool_l2.variant("it does not clip to the bounds")
def unclipped(model: ModelAdapter, x: Tensor, labels: Tensor, **params: Any) -> Tensor:
    free = copy(model)  # the same weights, without bounds to clip to
    free.bounds = (-torch.inf, torch.inf)
    return deepfool_l2(free, x, labels, **params)


deepfool_l2.cases = Cases(
    "classes c_0, c_1, ... by falling logit of the clean image, `candidates` of them. While an "
    "image's argmax is its target, at most `steps` times: f_k = logit of c_k - logit of c_0, "
    "w_k = d f_k / d x; l = argmin over k > 0 of |f_k| / (norm2(w_k) + 1e-8); r grows by "
    "(|f_l| / (norm2(w_l) + 1e-8) + 1e-4) / (norm2(w_l) + 1e-8) * w_l; the image becomes "
    "clip(x + (1 + overshoot) * r) to [0, 1]. With an epsilon at last "
    "x + delta * min(1, epsilon / max(norm2(delta), 1e-12))",
    (
        {"steps": 20, "overshoot": 0.0625, "candidates": 4},
        {"steps": 2, "overshoot": 0.0, "candidates": 3, "epsilon": 0.25},
    ),
    traps={
        "overshoot": Trap("it goes (1 + overshoot) of the way", ("it does not overshoot",)),
        "nearest-boundary": Trap(
            "the nearest of all candidates, not the second class",
            ("it looks at two classes only",),
        ),
    },
)
