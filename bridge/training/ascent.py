"""Gradient ascent on images: how far, how fast, by which priors; ready-made, and the loop."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bridge.training.canvas import Canvas, Pixels, Side, Spectrum, resized
from bridge.training.objective import Objective
from bridge.training.priors import Priors, moved, penalties


@dataclass(frozen=True)
class Ascent:
    """So many `steps` of `rate`, in the range of pixel values, under these priors."""

    priors: Priors
    steps: int
    rate: float


PRESETS = {
    # The paper's own: the logit and an L2 penalty, nothing else (arXiv:1312.6034).
    "simonyan": Ascent(Priors(l2=10.0), 128, 0.02),
    # Blur and penalties during the run (arXiv:1506.06579).
    "yosinski": Ascent(Priors(l2=2.0, blur=0.7, jitter=0.02), 192, 0.03),
    # From coarse to fine, moved a little each step.
    "multiscale": Ascent(
        Priors(tv=0.2, blur=0.4, jitter=0.04, rotate=5, shift=0.01, octaves=3), 192, 0.03
    ),
    # The spectrum as parameters, moved and recoloured (distill.pub/2017/feature-visualization).
    "fourier": Ascent(
        Priors(jitter=0.04, rotate=5, shift=0.01, colour=0.05, fourier=True), 192, 0.05
    ),
}


def ascend(
    begin: Tensor,
    objective: Objective,
    ascent: Ascent,
    bounds: tuple[float, float],
    frames_every: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """From the images `begin` (k, c, h, w) up the objective; what they are within `bounds`.

    Returns the images, the objective on the image as the network saw it at each step, (steps, k),
    and every so many steps' images with the last, (f, k, c, h, w) on the CPU (empty where 0).
    """
    prior, (low, high) = ascent.priors, bounds
    side: Side = (int(begin.shape[2]), int(begin.shape[3]))
    canvas = _canvas(begin, ascent, bounds)
    scores, frames = [], []
    for step in range(ascent.steps):
        x = canvas.images(step)
        if frames_every and step % frames_every == 0:
            frames.append(resized(x.detach(), side).clamp(low, high).cpu())
        seen = moved(resized(x, side), prior, high - low).clamp(low, high)
        score = objective(seen)
        scores.append(score.detach())
        canvas.climb((score - penalties(x, prior, bounds)).sum(), step)
    final = resized(canvas.result(), side).clamp(low, high)
    kept = torch.stack([*frames, final.cpu()]) if frames_every else torch.empty(0)
    return final, torch.stack(scores), kept


def _canvas(begin: Tensor, ascent: Ascent, bounds: tuple[float, float]) -> Canvas:
    if ascent.priors.fourier:
        return Spectrum(begin, bounds, ascent.rate)
    return Pixels(begin, bounds, ascent.priors, ascent.rate, ascent.steps)
