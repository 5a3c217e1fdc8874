"""A gradient attack with every detail as a field: what the diagnosis changes, one or two at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bridge.conformance.subject import Subject
from bridge.conformance.worlds import World
from bridge.norms import TINY, linf_norm, per_image, unit_l2
from bridge.state import frozen


@dataclass(frozen=True)
class Recipe:
    """Everything that a gradient attack of this family decides. `epsilon` and `step` are per channel where they are not."""

    epsilon: Any
    step: Any
    steps: int
    start: Tensor
    direction: str  # sign, sign0, l2, max, raw, ...
    project: str  # linf, l2, none, end, batch
    targeted: bool
    loss: str = "ce"
    labels: str = "given"
    clip: tuple[Any, Any] | None = (0.0, 1.0)
    clip_when: str = "after"  # after the projection, before it, end
    stop: str = ""  # "", each, all
    keep: str = "last"  # last, best, delta
    momentum: float = 0.0
    frozen_gradient: bool = False


def standard(subject: Subject, world: World) -> Recipe:
    """The recipe of the method itself with this world's parameters."""
    settings, name = subject.settings(world), subject.method.name
    epsilon, x = settings["epsilon"], world.x
    targeted = bool(settings.get("targeted"))
    if name in ("fgsm", "fgm_l2", "fast_gradient_value"):
        direction = {"fgsm": "sign", "fgm_l2": "l2", "fast_gradient_value": "max"}[name]
        return Recipe(epsilon, epsilon, 1, x, direction, "l2" if name == "fgm_l2" else "none", targeted)
    share = {"bim": 0.2, "pgd": 0.01 / 0.3, "pgd_l2": 0.025}[name]
    step = settings["step_size"] if settings["step_size"] is not None else share * epsilon
    start = settings.get("start")
    start = x if start is None else start
    l2 = name == "pgd_l2"
    return Recipe(epsilon, step, settings["steps"], start.clamp(0, 1), "l2" if l2 else "sign", "l2" if l2 else "linf", targeted)


def follow(recipe: Recipe, world: World) -> Tensor:
    """What an attack of this recipe returns."""
    x, model = world.x, world.model
    with frozen(model), torch.enable_grad():
        labels = {
            "given": lambda: world.target, "predicted": lambda: model(x).argmax(1).detach(),
            "first": lambda: world.target[:1].expand_as(world.target), "reverse": lambda: world.target.flip(0),
        }[recipe.labels]()  # fmt: skip
        adversarial, best, best_loss, velocity, first = recipe.start, recipe.start, None, torch.zeros_like(x), None
        for _ in range(recipe.steps):
            leaf = adversarial.detach().requires_grad_()
            logits = model(leaf)
            loss = _loss(recipe.loss, logits, labels)
            (g,) = torch.autograd.grad(loss.sum(), leaf)
            first = g if first is None else first
            g = first if recipe.frozen_gradient else g
            fooled = (logits.argmax(1) == labels) == recipe.targeted
            if recipe.stop == "all" and bool(fooled.all()):
                break
            if recipe.momentum:
                velocity = recipe.momentum * velocity + g / g.abs().flatten(1).sum(1).clamp(min=TINY).view(-1, 1, 1, 1)
                g = velocity
            moved = adversarial + (-1.0 if recipe.targeted else 1.0) * recipe.step * _direct(recipe.direction, g)
            if recipe.clip and recipe.clip_when == "before":
                moved = moved.clamp(*recipe.clip)
            moved = _project(recipe.project, moved, x, recipe.epsilon, adversarial)
            if recipe.clip and recipe.clip_when == "after":
                moved = _clamp(moved, recipe.clip)
            moved = moved.detach()
            adversarial = torch.where(fooled.view(-1, 1, 1, 1), adversarial, moved) if recipe.stop == "each" else moved
            if recipe.keep == "best":
                with torch.no_grad():
                    now = (-1.0 if recipe.targeted else 1.0) * _loss(recipe.loss, model(adversarial), labels)
                better = torch.ones_like(fooled) if best_loss is None else now > best_loss
                best = torch.where(better.view(-1, 1, 1, 1), adversarial, best)
                best_loss = torch.where(better, now, now if best_loss is None else best_loss)
        adversarial = best if recipe.keep == "best" else adversarial
        if recipe.project == "end":
            adversarial = x + (adversarial - x).clamp(-recipe.epsilon, recipe.epsilon)
        if recipe.clip and recipe.clip_when == "end":
            adversarial = adversarial.clamp(*recipe.clip)
    return (adversarial - x if recipe.keep == "delta" else adversarial).detach()


def _clamp(x: Tensor, bounds: tuple[Any, Any]) -> Tensor:
    low, high = bounds
    if isinstance(low, Tensor):
        return torch.minimum(torch.maximum(x, low), high)
    return x.clamp(low, high)


def _loss(kind: str, logits: Tensor, labels: Tensor) -> Tensor:
    chosen = logits.gather(1, labels[:, None])[:, 0]
    if kind == "nll":
        return -chosen
    if kind == "softmax":
        return F.cross_entropy(logits.softmax(1), labels, reduction="none")
    if kind == "probability":
        return -logits.softmax(1).gather(1, labels[:, None])[:, 0]
    if kind == "margin":
        return logits.scatter(1, labels[:, None], -torch.inf).amax(1) - chosen
    if kind == "others":
        return logits.sum(1) - 2 * chosen
    return F.cross_entropy(logits, labels, reduction="none")


def _direct(kind: str, g: Tensor) -> Tensor:
    if kind == "sign":
        return g.sign()
    if kind == "sign0":
        return torch.where(g >= 0, 1.0, -1.0)
    if kind == "l2":
        return unit_l2(g)
    if kind == "l2 batch":
        return g / g.norm().clamp(min=TINY)
    if kind == "l2 channel":
        return g / g.norm(dim=(2, 3), keepdim=True).clamp(min=TINY)
    if kind == "l2 pixel":
        return g / g.norm(dim=1, keepdim=True).clamp(min=TINY)
    if kind == "l2 squared":
        return g / g.flatten(1).square().sum(1).clamp(min=TINY).view(-1, 1, 1, 1)
    if kind == "l1":
        return g / g.abs().flatten(1).sum(1).clamp(min=TINY).view(-1, 1, 1, 1)
    if kind == "max":
        return g / per_image(linf_norm(g).clamp(min=TINY), g)
    if kind == "signed max":
        return g / g.flatten(1).amax(1).view(-1, 1, 1, 1)
    if kind == "max batch":
        return g / g.abs().max().clamp(min=TINY)
    if kind == "max channel":
        return g / g.abs().amax((2, 3), keepdim=True).clamp(min=TINY)
    if kind == "mean":
        return g / g.abs().flatten(1).mean(1).clamp(min=TINY).view(-1, 1, 1, 1)
    return g


def _project(kind: str, moved: Tensor, x: Tensor, epsilon: Any, previous: Tensor) -> Tensor:
    center = previous if kind.endswith("previous") else x
    delta = moved - center
    if kind.startswith("linf"):
        return center + torch.maximum(torch.minimum(delta, _like(epsilon, delta)), -_like(epsilon, delta))
    if kind.startswith("l2 batch"):
        return center + delta * (epsilon / delta.norm().clamp(min=TINY)).clamp(max=1)
    if kind.startswith("l2 always"):
        return center + delta * per_image(epsilon / delta.flatten(1).norm(dim=1).clamp(min=TINY), delta)
    if kind.startswith("l2"):
        return center + delta * per_image((epsilon / delta.flatten(1).norm(dim=1).clamp(min=TINY)).clamp(max=1), delta)
    return moved


def _like(value: Any, like: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=like.dtype).expand_as(like)
