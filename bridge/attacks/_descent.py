"""Projected descent, shared by the iterated attacks: their parameters, their space, the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bridge.attacks._foolbox import run_foolbox, starting_at
from bridge.core.gradients import loss_gradient
from bridge.core.method import several, sizes
from bridge.core.model import ModelAdapter
from bridge.core.norms import (
    l2_norm,
    linf_norm,
    project_l2,
    project_linf,
    uniform,
    unit_ball,
    unit_l2,
)
from bridge.core.recipe import Recipe
from bridge.core.shared import Shared
from bridge.core.types import Unsupported
from bridge.fused.descent import descend, same_draws


@dataclass(frozen=True)
class Space:
    """What tells descents in Linf and in L2 apart: the step, the way back, a random point.

    `direction(g)` turns a gradient into a step of size 1, `project(x, center, epsilon)` gives the
    nearest point of the ball, `start(x, epsilon)` a random point of it.
    """

    direction: Callable[[Tensor], Tensor]
    project: Callable[[Tensor, Tensor, Any], Tensor]
    start: Callable[[Tensor, float], Tensor]


def uniform_start(x: Tensor, epsilon: float) -> Tensor:
    """x + uniform noise in [-epsilon, epsilon), drawn as x + (rand * 2 epsilon + -epsilon)."""
    return x + uniform(x, -epsilon, epsilon)


def ball_start(x: Tensor, epsilon: float) -> Tensor:
    """x + epsilon times a uniform point of the L2 unit ball."""
    return x + epsilon * unit_ball(x)


LINF = Space(torch.sign, project_linf, uniform_start)
L2 = Space(unit_l2, project_l2, ball_start)


@dataclass(frozen=True)
class Descent:
    """The parameters of a descent, written once: what every iterated attack here takes.

    `step_size` None means `share` of epsilon. Without `start` and `random_start` it begins at the
    clean images. `epsilon` is a list where the fused engine runs several at once.
    """

    space: Space
    share: float
    epsilon: Any
    steps: int
    step_size: float | None = None
    random_start: bool = False
    start: Tensor | None = None
    restarts: int = 1
    targeted: bool = False

    @property
    def sign(self) -> float:
        """+1 climbs the loss of the true label, -1 descends the loss of the class to reach."""
        return towards(self.targeted)

    @property
    def from_the_images(self) -> bool:
        """Whether the first step starts from the clean images, whose gradient is shared."""
        return not self.random_start and self.start is None

    def step(self, epsilon: float) -> float:
        """The step size at this epsilon."""
        return self.share * epsilon if self.step_size is None else self.step_size

    def starts(self, x: Tensor, epsilon: float) -> list[Tensor]:
        """The first iterate of each restart, before it is clipped."""
        if self.start is not None:
            return list(self.start.to(x).view(-1, *x.shape).unbind(0))
        if self.random_start:
            return [self.space.start(x, epsilon) for _ in range(self.restarts)]
        return [x]

    def move(self, model: ModelAdapter, x: Tensor, labels: Tensor, start: Tensor) -> Tensor:
        """x_{k+1} = clip(project(x_k +- step * direction(d CE / d x_k))); the last iterate.

        Project first, then clip; no early stop, no best iterate.
        """
        adversarial, step_size = start, self.step(self.epsilon)
        for _ in range(self.steps):
            direction = self.space.direction(loss_gradient(model, adversarial, labels))
            moved = adversarial + self.sign * (step_size * direction)
            adversarial = self.space.project(moved, x, self.epsilon).clamp(*model.bounds)
        return adversarial


def towards(targeted: bool) -> float:
    """+1 climbs the loss of the true label, -1 descends the loss of the class to reach."""
    return -1.0 if targeted else 1.0


def like_epsilon(images: list[Tensor] | Tensor, epsilon: Any) -> Tensor:
    """The images of each epsilon: with a leading axis where several were asked for."""
    return torch.stack(list(images)) if several(epsilon) else images[0]


def reference(model: ModelAdapter, x: Tensor, labels: Tensor, descent: Descent) -> Tensor:
    """The descent from each start, clipped to the bounds; the worst restart of each image."""
    ends = [
        descent.move(model, x, labels, start.clamp(*model.bounds))
        for start in descent.starts(x, descent.epsilon)
    ]
    return worst_of(model, labels, ends, targeted=descent.targeted)


def worst_of(
    model: ModelAdapter, labels: Tensor, candidates: list[Tensor], *, targeted: bool
) -> Tensor:
    """Of each image the candidate that fools, then of largest loss (targeted: of least)."""
    if len(candidates) == 1:
        return candidates[0]
    scores = []
    with torch.no_grad():
        for images in candidates:
            logits = model(images)
            loss = towards(targeted) * F.cross_entropy(logits, labels, reduction="none")
            fooled = (logits.argmax(1) == labels) == targeted
            # Fooled candidates come before all others: shift their losses above any loss seen.
            scores.append(torch.stack([fooled.to(loss.dtype), loss]))
    flags, losses = torch.stack(scores).unbind(1)
    best = (losses.masked_fill(flags < flags.amax(0), -torch.inf)).argmax(0)
    return torch.stack(candidates)[best, torch.arange(len(labels), device=best.device)]


def fused(shared: Shared, descent: Descent) -> Tensor:
    """All epsilons and restarts in one batch; the first step uses the shared gradient if it can."""
    x, epsilons, restarts = shared.x, sizes(descent.epsilon), descent.restarts
    starts = same_draws(lambda e: torch.stack(descent.starts(x, e)), epsilons, x.device)
    ends = descend(
        shared,
        torch.cat(starts).clamp(*shared.model.bounds),
        epsilon=[e for e in epsilons for _ in range(restarts)],
        step_size=[descent.step(e) for e in epsilons for _ in range(restarts)],
        steps=descent.steps,
        targeted=descent.targeted,
        direction=descent.space.direction,
        project=descent.space.project,
        first=shared["loss_gradient"] if descent.from_the_images else None,
    ).view(len(epsilons), restarts, *x.shape)
    worst = [
        worst_of(shared.model, shared.labels, list(each.unbind(0)), targeted=descent.targeted)
        for each in ends
    ]
    return like_epsilon(worst, descent.epsilon)


def own_passes(descent: Descent) -> tuple[int, int]:
    """The steps of all restarts (the first may be shared), and one look at each restart's end."""
    restarts = descent.restarts
    backwards = restarts * (descent.steps - descent.from_the_images)
    return backwards + (restarts if restarts > 1 else 0), backwards


def foolbox(
    attack_class: Any, model: ModelAdapter, x: Tensor, labels: Tensor, descent: Descent
) -> Tensor:
    """Foolbox's descent of this class, from `start` where one is given."""
    if descent.restarts != 1:
        raise Unsupported(
            "Foolbox's repeat() keeps the first successful run, not the worst case; it maps to "
            "restarts=1 only"
        )
    attack = attack_class(
        abs_stepsize=descent.step(descent.epsilon),
        steps=descent.steps,
        random_start=not descent.from_the_images,
    )
    if descent.start is not None:
        attack = starting_at(attack, descent.start.to(x).view(x.shape))
    epsilon, targeted = descent.epsilon, descent.targeted
    return run_foolbox(attack, model, x, labels, epsilon=epsilon, targeted=targeted)


def draws(space: Space) -> Callable[..., dict[str, Tensor]]:
    """The `draw` of such an attack: its random starts as the parameter `start`, in its order."""

    def draw(
        x: Tensor,
        *,
        epsilon: float,
        random_start: bool,
        start: Tensor | None,
        restarts: int,
        **_: Any,
    ) -> dict[str, Tensor]:
        if not random_start or start is not None:
            return {}
        drawn = [space.start(x, epsilon) for _ in range(restarts)]
        return {"start": drawn[0] if restarts == 1 else torch.stack(drawn)}

    return draw


def requires(
    x: Tensor, *, random_start: bool, start: Tensor | None, restarts: int, **_: Any
) -> None:
    """Raise ValueError where starts do not fit the images, or restarts would all be the same."""
    expected = [tuple(x.shape)] * (restarts == 1) + [(restarts, *x.shape)]
    if start is not None and tuple(start.shape) not in expected:
        raise ValueError(
            f"start has shape {tuple(start.shape)}, expected {' or '.join(map(str, expected))}"
        )
    if start is None and not random_start and restarts > 1:
        raise ValueError(
            "restarts without a random start would all be the same: "
            "pass random_start=True or start="
        )


def recipe(x: Tensor, bounds: tuple[float, float], descent: Descent) -> Recipe:
    """The descent as diagnosis sees it."""
    start = x if descent.start is None else descent.start
    return Recipe(
        epsilon=descent.epsilon,
        step=descent.step(descent.epsilon),
        steps=descent.steps,
        start=start.clamp(*bounds),
        direction=descent.space.direction,
        targeted=descent.targeted,
        clip=bounds,
        project=descent.space.project,
    )


def observed(norm: str) -> Callable[..., dict[str, list[Any]]]:
    """The `observed` tag of descents in this norm: sizes are read off the first step."""
    size = usual_move if norm == "linf" else usual_length

    def read(
        asked: Sequence[Tensor], looked: Sequence[Tensor], x: Tensor, output: Tensor
    ) -> dict[str, list[Any]]:
        if not asked or output.shape != x.shape:
            return {}
        far = linf_norm if norm == "linf" else l2_norm
        largest = max(float(far(image - x).max()) for image in [*asked, output])
        step = size([*asked, output][1] - asked[0])
        return {"epsilon": [largest], "steps": [len(asked)], "step_size": [step]}

    return read


def usual_move(move: Tensor) -> float:
    """By how much most of the pixels that move do: what is clipped or projected moves less."""
    sizes_ = move.abs()[move.abs() > 1e-9]
    if not len(sizes_):
        return 0.0
    unit = float(sizes_.max()) * 1e-6
    values, counts = (sizes_ / unit).round().unique(return_counts=True)
    most = values[counts.argmax()] * unit
    return float(sizes_[(sizes_ - most).abs() < 2 * unit].mean())


def usual_length(move: Tensor) -> float:
    """How far the image moves that moves furthest."""
    return float(l2_norm(move).max())


def one_step_observed(norm: str) -> Callable[..., dict[str, list[Any]]]:
    """The same of a single step: its size is epsilon."""
    read = observed(norm)

    def read_one(*seen: Any) -> dict[str, list[Any]]:
        found = read(*seen)
        return {"epsilon": found["step_size"]} if found else {}

    return read_one


def one_step(direction: Callable[[Tensor], Tensor]) -> Callable[..., Recipe]:
    """The recipe tag of a single step of size epsilon along this direction."""

    def recipe(x: Tensor, bounds: tuple[float, float], *, epsilon: float, targeted: bool) -> Recipe:
        return Recipe(
            epsilon=epsilon,
            step=epsilon,
            steps=1,
            start=x,
            direction=direction,
            targeted=targeted,
            clip=bounds,
            project=None,
        )

    return recipe
