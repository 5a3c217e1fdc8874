"""The smallest epsilon at which PGD fools the model, image by image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridge.core.budget import reach
from bridge.core.engine import session
from bridge.core.gradients import predicted
from bridge.core.model import ModelAdapter
from bridge.core.norms import per_image, project_l2, project_linf, uniform, unit_ball, unit_l2
from bridge.core.parameters import check_positive, check_seed, check_whole
from bridge.core.preflight import preflight
from bridge.core.state import seeded

Norm = Literal["linf", "l2"]
LARGEST: dict[Norm, float] = {"linf": 0.5, "l2": 5.0}


@dataclass(frozen=True)
class Minimal:
    """What `minimal_epsilon` found.

    `epsilon` (n,): the smallest size that fooled, 0 where the clean image is wrong already,
    infinite where none up to the largest did. `images` (n, c, h, w): what fooled at that size, else
    the clean ones. `forwards` and `backwards`: images through the model.
    """

    epsilon: Tensor
    images: Tensor
    forwards: int
    backwards: int


@torch.inference_mode(False)
def minimal_epsilon(
    model: nn.Module,
    x: Tensor,
    labels: Any,
    *,
    norm: Norm = "linf",
    largest: float | None = None,
    tolerance: float | None = None,
    steps: int = 40,
    step_share: float = 0.1,
    seed: int = 0,
) -> Minimal:
    """The smallest epsilon, up to `tolerance`, at which PGD fools each image (n, c, h, w).

    Bisection between 0 and `largest` (in pixel units; 0.5 in Linf, 5 in L2, times the range of
    pixel values; tolerance: a 256th of it) with PGD of `steps` steps of `step_share` * epsilon.
    Every try starts from the same random point of the ball, scaled; as soon as an iterate fools,
    its image leaves the batch of this try, since only whether it can be fooled is asked (not so in
    `pgd`, whose definition is the last iterate). Assumes that a larger ball fools where a smaller
    one does.

    Raises ValueError for an unknown norm or sizes that make no sense, and what `run` raises for bad
    input.

    >>> import bridge
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> x, labels = bridge.load_batch("samples:fashion_mnist", n=3)
    >>> found = minimal_epsilon(model, x, labels, steps=10)
    >>> [round(epsilon, 2) for epsilon in found.epsilon.tolist()]
    [0.02, 0.02, 0.04]
    """
    if norm not in LARGEST:
        raise ValueError(f"unknown norm {norm!r}: expected one of {', '.join(LARGEST)}")
    check_whole("steps", steps, 1)
    check_positive("step_share", step_share)
    check_seed(seed)
    adapter, images, classes = preflight(model, x, labels)
    most = reach(norm, images, adapter.bounds)
    if largest is None:
        largest = min(LARGEST[norm] * (adapter.bounds[1] - adapter.bounds[0]), most)
    if check_positive("largest", largest) > most:
        bottom, top = adapter.bounds
        raise ValueError(
            f"largest is {largest:g}, and no two images are further apart than {most:.4g}: sizes "
            f"are in the units of pixels, which lie in [{bottom:g}, {top:g}]"
        )
    tolerance = largest / 256 if tolerance is None else check_positive("tolerance", tolerance)
    if tolerance >= largest:
        raise ValueError(f"tolerance must be below largest, got {tolerance} and {largest}")
    with session(adapter) as passes, seeded(seed):
        noise = uniform(images, -1, 1) if norm == "linf" else unit_ball(images)
        attack = _Attack(adapter, images, classes, noise, norm, steps, step_share)
        with torch.no_grad():
            wrong = predicted(adapter(images)) != classes
        found, best = images.new_full((len(images),), math.inf), images.clone()
        found[wrong] = 0
        low, high = torch.zeros_like(found), torch.full_like(found, largest)
        # The largest size first: who withstands it leaves at once.
        active, size = (~wrong).nonzero()[:, 0], high.clone()
        while len(active):
            tried, fooled = attack.run(active, size[active])
            winners, losers = active[fooled], active[~fooled]
            found[winners] = high[winners] = size[winners]
            best[winners] = tried[fooled]
            low[losers] = size[losers]
            size = (low + high) / 2
            active = active[(high[active] - low[active] > tolerance) & found[active].isfinite()]
    return Minimal(found, best, passes.forwards, passes.backwards)


@dataclass(frozen=True)
class _Attack:
    """PGD on these images that stops, image by image, as soon as one fools.

    `noise` (like x) are points of the ball of size 1, from which every try starts, scaled.
    """

    model: ModelAdapter
    x: Tensor
    labels: Tensor
    noise: Tensor
    norm: Norm
    steps: int
    step_share: float

    def run(self, active: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """The last iterates of the images `active` (m,), in balls of `size` (m,), and who fools."""
        clean, labels, radius = self.x[active], self.labels[active], per_image(size, self.x)
        adversarial = (clean + radius * self.noise[active]).clamp(*self.model.bounds)
        fooled = torch.zeros(len(active), dtype=torch.bool, device=self.x.device)
        going = torch.arange(len(active), device=self.x.device)
        for step in range(self.steps + 1):
            here = adversarial[going].requires_grad_(step < self.steps)
            logits = self.model(here)
            done = predicted(logits) != labels[going]
            fooled[going[done]] = True
            left = going[~done]
            if step == self.steps or not len(left):
                break
            loss = F.cross_entropy(logits[~done], labels[left], reduction="sum")
            gradient = torch.autograd.grad(loss, here)[0][~done]
            adversarial[left] = self._moved(adversarial[left], gradient, clean[left], radius[left])
            going = left
        return adversarial, fooled

    def _moved(self, images: Tensor, gradient: Tensor, clean: Tensor, radius: Tensor) -> Tensor:
        """One step up the loss, back into the ball and the bounds."""
        linf = self.norm == "linf"
        direction, project = (torch.sign, project_linf) if linf else (unit_l2, project_l2)
        moved = images + self.step_share * radius * direction(gradient)
        return project(moved, clean, radius).clamp(*self.model.bounds)
