"""What a class image is drawn on: its pixels, or its spectrum."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from bridge.training.priors import Priors, blurred, scaled

# Colours of natural photographs, decorrelated: the square root of ImageNet's channel covariance
# (Olah et al. 2017).
COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
SMALLEST = 8  # pixels a side, of the coarsest octave

Side = tuple[int, int]


class Canvas(Protocol):
    """Images (k, c, h, w) that are climbed step by step."""

    def images(self, step: int) -> Tensor:
        """The images before a step, at its size, to differentiate."""

    def climb(self, goal: Tensor, step: int) -> None:
        """A step up `goal`, the sum over the images of what is climbed."""

    def result(self) -> Tensor:
        """The images as they are, detached."""


class Pixels:
    """The pixels themselves, by gradient ascent: from coarse to fine, blurred now and then."""

    def __init__(
        self, begin: Tensor, bounds: tuple[float, float], prior: Priors, rate: float, steps: int
    ) -> None:
        self.bounds, self.prior, self.rate, self.steps = bounds, prior, rate, steps
        self.side: Side = (int(begin.shape[2]), int(begin.shape[3]))
        self.values = resized(begin, self._side(0))

    def images(self, step: int) -> Tensor:
        """The pixels, enlarged where this step begins a finer octave."""
        self.values = resized(self.values, self._side(step)).detach().requires_grad_()
        return self.values

    def climb(self, goal: Tensor, step: int) -> None:
        """x + rate * range * gradient, the gradient as the priors scale it, within the bounds."""
        prior, (low, high) = self.prior, self.bounds
        (gradient,) = torch.autograd.grad(goal, self.values)
        with torch.no_grad():
            up = self.rate * (high - low) * scaled(gradient, prior)
            self.values = (self.values + up).clamp(low, high)
            early = step < prior.blur_until * self.steps
            if prior.blur and early and (step + 1) % prior.blur_every == 0:
                self.values = blurred(self.values, prior.blur)

    def result(self) -> Tensor:
        """The pixels."""
        return self.values.detach()

    def _side(self, step: int) -> Side:
        """The size at a step: the octaves share the steps evenly."""
        octave = self.prior.octaves - 1 - step * self.prior.octaves // self.steps
        if not octave:
            return self.side
        scale = self.prior.octave_scale**-octave
        height, width = (max(SMALLEST, round(side * scale)) for side in self.side)
        return height, width


class Spectrum:
    """The sigmoid of a spectrum whose steps are equal at all scales, by Adam."""

    def __init__(self, begin: Tensor, bounds: tuple[float, float], rate: float) -> None:
        channels, height, width = begin.shape[1:]
        self.bounds, self.side = bounds, (height, width)
        rows, columns = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
        frequency = torch.sqrt(rows[:, None] ** 2 + columns[None] ** 2)
        lowest = 1 / max(height, width)
        scale = 1 / frequency.clamp(min=lowest) * math.sqrt(height * width)
        self.scale = scale.to(begin)
        colours = torch.tensor(COLOURS)
        self.mix = colours.to(begin) / colours.norm() if channels == 3 else None
        # What the images are now is where the ascent begins.
        unit = ((begin - bounds[0]) / (bounds[1] - bounds[0])).clamp(0.01, 0.99)
        plain = torch.logit(unit)
        if self.mix is not None:
            plain = torch.einsum("ij,njhw->nihw", torch.linalg.inv(self.mix), plain)
        values = torch.view_as_real(torch.fft.rfft2(plain) / self.scale)
        self.values = values.clone().requires_grad_()
        self.optimiser = torch.optim.Adam([self.values], lr=rate)

    def images(self, step: int = 0) -> Tensor:
        """The images of the spectrum, of one size at all steps."""
        plain = torch.fft.irfft2(torch.view_as_complex(self.values) * self.scale, s=self.side)
        if self.mix is not None:
            plain = torch.einsum("ij,njhw->nihw", self.mix, plain)
        low, high = self.bounds
        return low + (high - low) * plain.sigmoid()

    def climb(self, goal: Tensor, step: int) -> None:
        """A step of Adam on the spectrum."""
        (self.values.grad,) = torch.autograd.grad(-goal, self.values)
        self.optimiser.step()

    def result(self) -> Tensor:
        """The images of the spectrum."""
        return self.images().detach()


def resized(x: Tensor, side: Side) -> Tensor:
    """`x` (k, c, h, w) at another size (bilinear, antialiased); itself where it has it."""
    if tuple(x.shape[2:]) == side:
        return x
    return F.interpolate(x, side, mode="bilinear", align_corners=False, antialias=True)
