"""What an attack achieved, from the images it returned and nothing else."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bridge.core.examine import in_parts
from bridge.core.facts import HALF
from bridge.core.gradients import predict
from bridge.core.model import ModelAdapter
from bridge.core.norms import l2_norm, linf_norm
from bridge.core.state import frozen, seeded
from bridge.core.types import Score
from bridge.core.wide import wide

# A float32 pixel of size 1 rounds at 6e-8, a few times an attack.
PIXEL_SLACK = 1e-6
# An L2 norm in float32 sums up to 1e5 squares: a thousandth of a percent of the norm, and no more.
NORM_SLACK = 1e-5


def audit(
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    adversarial: Tensor,
    *,
    epsilon: float | None = None,
    norm: str | None = None,
    targeted: bool = False,
) -> Score:
    """Success rates, norms and defects of adversarial images (n, c, h, w), in pixel units.

    Checked: finite, in bounds, in the ball of `epsilon` in `norm` ("linf", "l2"), not blacked out.
    Predicted again in a batch of their own. `labels` (n,) are the true classes. Targeted: they are
    the classes to reach, and success counts among the images that were not there before.
    """
    low, high = model.bounds
    problems = defects(x, adversarial, model.bounds, epsilon, norm)
    valid = ~torch.stack(list(problems.values())).any(0)
    images = torch.where(valid.view(-1, 1, 1, 1), adversarial, x)
    eight_bit = ((images - low) / (high - low) * 255).round() / 255 * (high - low) + low
    with seeded(0), frozen(model):
        clean, after, after_8bit = (
            torch.cat([predict(model, part) for part in in_parts(model, batch)])
            for batch in (x, images, eight_bit)
        )
    known, known_8bit = after >= 0, after_8bit >= 0  # logits that are not finite predict nothing
    if targeted:
        counted, hit, hit_8bit = clean != labels, after == labels, after_8bit == labels
    else:
        counted, hit, hit_8bit = (
            clean == labels,
            known & (after != labels),
            known_8bit & (after_8bit != labels),
        )
    delta = (images - x)[valid]

    def median(values: Tensor) -> float:
        return float(wide(values).median()) if len(values) else float("nan")

    return Score(
        success=_share(hit & valid & counted, counted),
        changed=_share((after != clean) & known & valid, torch.ones_like(valid)),
        success_8bit=_share(hit_8bit & valid & counted, counted),
        correct=int((clean == labels).sum()) if not targeted else int(counted.sum()),
        images=len(x),
        l0=median((delta != 0).flatten(1).sum(1)),
        l2=median(l2_norm(delta)),
        linf=median(linf_norm(delta)),
        unchanged=int((adversarial == x).flatten(1).all(1).sum()),
        invalid=int((~valid).sum()),
        reasons=", ".join(
            f"{int(bad.sum())} {name}" for name, bad in problems.items() if bool(bad.any())
        ),
    )


def classify(model: ModelAdapter, x: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted class (n,) and its softmax probability (n,); -1 and nan for logits not finite."""
    with torch.no_grad(), seeded(0), frozen(model):
        logits = torch.cat([model(part) for part in in_parts(model, x)])
    predicted = torch.where(logits.isfinite().all(1), logits.argmax(1), -1)
    return predicted, wide(logits).softmax(1).amax(1)


def defects(
    x: Tensor,
    adversarial: Tensor,
    bounds: tuple[float, float],
    epsilon: float | None,
    norm: str | None,
) -> dict[str, Tensor]:
    """Each way in which a returned image can be no adversarial image at all: which are, (n,) bool.

    `x` and `adversarial` are (n, c, h, w) in pixel units. Without `epsilon` or `norm` there is no
    ball to leave.
    """
    low, high = bounds
    finite = adversarial.isfinite().flatten(1).all(1)
    # So that the other checks do not count NaN again.
    known = torch.where(finite.view(-1, 1, 1, 1), adversarial, x)
    # Half the distance of two numbers in 16 bits: nothing closer to the ball's edge can be stated.
    coarse = torch.finfo(x.dtype).eps / 2 * (high - low) if x.dtype in HALF else 0.0
    slack = max(PIXEL_SLACK * (high - low), coarse)
    outside = ((known < low - slack) | (known > high + slack)).flatten(1).any(1)
    black = (known <= low).flatten(1).all(1) & (x > low).flatten(1).any(1)
    found = {"not finite": ~finite, "out of bounds": outside, "black": black}
    if epsilon is not None and norm is not None:
        if norm == "linf":
            found["out of the ball"] = linf_norm(known - x) > epsilon + slack
        else:
            room = epsilon * (1 + NORM_SLACK) + coarse * math.sqrt(x[0].numel())
            found["out of the ball"] = l2_norm(known - x) > room
    return found


def _share(hits: Tensor, among: Tensor) -> float:
    count = int(among.sum())
    return int(hits.sum()) / count if count else float("nan")
