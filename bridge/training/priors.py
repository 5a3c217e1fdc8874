"""What makes a class image a picture and not noise: penalties, movement, blur, scaled steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from bridge.core.parameters import Domain, domains

Amount = Annotated[float, Domain(low=0)]
Count = Annotated[int, Domain(low=1, whole=True)]


@dataclass(frozen=True)
class Priors:
    """The priors of a class image; each is off at 0.

    `gradient`: "plain", "normalised" (divided by its root mean square, per image) or "sign". `l2`,
    `l1`: penalties on the distance from mid-grey, `tv` on differences between neighbours, each the
    mean over pixels. `blur`: standard deviation in pixels of a Gaussian blur every `blur_every`
    steps during the first `blur_until` of the run. `jitter`: a random roll and `shift`: a random
    translation, by up to this share of the side; `rotate`: up to so many degrees; `colour`: spread
    of a random gain and offset of the channels; new ones each step. `octaves`: the run starts on an
    image smaller by `octave_scale` for each, and is enlarged. `fourier`: the parameters are the
    image's spectrum, scaled by 1 / frequency, with decorrelated colours (Olah et al. 2017).
    """

    gradient: Annotated[str, Domain(choices=("plain", "normalised", "sign"))] = "normalised"
    l2: Amount = 0.0
    l1: Amount = 0.0
    tv: Amount = 0.0
    blur: Amount = 0.0
    blur_every: Count = 4
    blur_until: Amount = 0.75
    jitter: Amount = 0.0
    rotate: Amount = 0.0
    shift: Amount = 0.0
    colour: Amount = 0.0
    octaves: Count = 1
    octave_scale: Annotated[float, Domain(low=1)] = 1.4
    fourier: bool = False

    def __post_init__(self) -> None:
        for name, domain in domains(type(self)).items():
            domain.check(name, getattr(self, name))


def moved(x: Tensor, prior: Priors, span: float) -> Tensor:
    """Rolled, turned, shifted and coloured at random: seen from anywhere, it must be the same.

    `x` (k, c, h, w) in a range of pixel values of `span`.
    """
    if prior.jitter:
        most = max(1, round(prior.jitter * min(x.shape[2:])))
        dy, dx = (int(v) for v in torch.randint(-most, most + 1, (2,)))
        x = x.roll((dy, dx), (2, 3))
    if prior.rotate or prior.shift:
        angle = math.radians(prior.rotate) * (2 * torch.rand(len(x)) - 1)
        across, down = 2 * prior.shift * (2 * torch.rand(2, len(x)) - 1)
        rows = [angle.cos(), -angle.sin(), across, angle.sin(), angle.cos(), down]
        turn = torch.stack(rows, 1).view(-1, 2, 3)
        grid = F.affine_grid(turn.to(x), list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    if prior.colour:
        gain, offset = (prior.colour * torch.randn(2, len(x), x.shape[1], 1, 1)).to(x)
        x = x * (1 + gain) + span * offset
    return x


def penalties(x: Tensor, prior: Priors, bounds: tuple[float, float]) -> Tensor:
    """(k,): what the priors hold against `x` (k, c, h, w), in the range of pixel values."""
    low, span = bounds[0], bounds[1] - bounds[0]
    away = ((x - low) / span - 0.5).flatten(1)
    total = prior.l2 * away.square().mean(1) + prior.l1 * away.abs().mean(1)
    if prior.tv:
        down = (x[:, :, 1:] - x[:, :, :-1]).abs().flatten(1).mean(1)
        across = (x[..., 1:] - x[..., :-1]).abs().flatten(1).mean(1)
        total = total + prior.tv * (down + across) / span
    return total


def scaled(gradient: Tensor, prior: Priors) -> Tensor:
    """The direction of a step along a gradient (k, c, h, w)."""
    if prior.gradient == "sign":
        return gradient.sign()
    if prior.gradient == "normalised":
        rms = gradient.flatten(1).square().mean(1).sqrt().clamp(min=1e-12)
        return gradient / rms.view(-1, 1, 1, 1)
    return gradient


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of `sigma` pixels that goes round the edges (periodic)."""
    reach = min(max(1, round(3 * sigma)), min(x.shape[2:]) - 1)
    away = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    weights = torch.exp(-0.5 * (away / sigma) ** 2)
    weights = weights / weights.sum()
    channels = x.shape[1]
    x = F.pad(x, (reach, reach, reach, reach), mode="circular")
    x = F.conv2d(x, weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(x, weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
