"""Class images: what the network looks for, drawn by gradient ascent on a logit (or on a layer, a channel, a neuron)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridge.gradients import target_logits
from bridge.model import ModelAdapter
from bridge.preflight import check_images, check_labels, check_logits, check_model
from bridge.state import frozen, seeded
from bridge.visualize.film import write_film


@dataclass(frozen=True)
class Priors:
    """What makes a class image a picture and not noise; each is off at 0.

    `gradient`: "plain", "normalised" (divided by its root mean square, per image) or "sign". `l2`, `l1`: penalties on the
    distance from mid-grey, `tv` on differences between neighbours, each the mean over pixels. `blur`: standard deviation in
    pixels of a Gaussian blur every `blur_every` steps during the first `blur_until` of the run. `jitter`: a random roll and
    `shift`: a random translation, by up to this share of the side; `rotate`: up to so many degrees; `colour`: spread of a
    random gain and offset of the channels; new ones each step. `octaves`: the run starts on an image smaller by `octave_scale`
    for each, and is enlarged. `fourier`: the parameters are the image's spectrum, scaled by 1 / frequency, with decorrelated
    colours (Olah et al. 2017).
    """

    gradient: Literal["plain", "normalised", "sign"] = "normalised"
    l2: float = 0.0
    l1: float = 0.0
    tv: float = 0.0
    blur: float = 0.0
    blur_every: int = 4
    blur_until: float = 0.75
    jitter: float = 0.0
    rotate: float = 0.0
    shift: float = 0.0
    colour: float = 0.0
    octaves: int = 1
    octave_scale: float = 1.4
    fourier: bool = False


PRESETS: dict[str, tuple[Priors, dict[str, float]]] = {
    # The paper's own: the logit and an L2 penalty, nothing else (arXiv:1312.6034).
    "simonyan": (Priors(l2=10.0), {"steps": 128, "rate": 0.02}),
    # Blur and penalties during the run (arXiv:1506.06579).
    "yosinski": (Priors(l2=2.0, blur=0.7, jitter=0.02), {"steps": 192, "rate": 0.03}),
    # From coarse to fine, moved a little each step.
    "multiscale": (
        Priors(tv=0.2, blur=0.4, jitter=0.04, rotate=5, shift=0.01, octaves=3), {"steps": 192, "rate": 0.03},
    ),
    # The spectrum as parameters, transformation robustness (distill.pub/2017/feature-visualization).
    "fourier": (Priors(jitter=0.04, rotate=5, shift=0.01, colour=0.05, fourier=True), {"steps": 192, "rate": 0.05}),
}  # fmt: skip

# Colours of natural photographs, decorrelated: the square root of ImageNet's channel covariance (Olah et al. 2017).
COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


@dataclass(frozen=True)
class ClassImages:
    """`images` (k, c, h, w) within the model's bounds, a block of seeds for each class; `targets` (k,).

    `scores` (steps, k): what was climbed, on the image as the network saw it at that step. `frames` (f, k, c, h, w): some of
    the images on the way, in [0, 1].
    """

    images: Tensor
    targets: Tensor
    scores: Tensor
    frames: Tensor

    def film(self, path: str | Path, *, fps: int = 12) -> Path:
        """Write the frames as a GIF, WebP or MP4 (by the ending), the images side by side. Returns the path."""
        if not len(self.frames):
            raise ValueError("there are no frames: pass frames_every= to class_image")
        shown = self.frames.clamp(0, 1).mul(255).round().byte()
        strips = [torch.cat(list(frame.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)), dim=1).numpy() for frame in shown]
        return write_film(path, strips, fps=fps)


@torch.inference_mode(False)
def class_image(
    model: nn.Module,
    target: int | Sequence[int] | Tensor | None = None,
    *,
    shape: tuple[int, int, int] | None = None,
    start: Tensor | None = None,
    preset: str = "multiscale",
    n: int = 1,
    steps: int | None = None,
    rate: float | None = None,
    layer: str | None = None,
    channel: int | None = None,
    neuron: tuple[int, int] | None = None,
    frames_every: int = 0,
    seed: int = 0,
    **priors: Any,
) -> ClassImages:
    """argmax_x logit_t(x) - penalties(x), by gradient ascent from noise or from `start` (Simonyan et al. 2013).

    `target`: one class or several, each from `n` seeds, all in one batch. `shape` (c, h, w): of the image, from noise (mid-grey
    +- 2 % of the range); or `start` (k, c, h, w) with one target an image moves these images towards their class. Instead of a
    class, `layer` names a submodule whose mean activation is climbed, of one `channel`, at one `neuron` (y, x).
    `preset`: "simonyan", "yosinski", "multiscale" or "fourier"; `steps`, `rate` (the step, in the range of pixel values) and
    any field of `Priors` change it. `frames_every` keeps an image every so many steps. Raises ValueError or TypeError for what
    makes no sense. The model and the random state are left as they were.
    """
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: expected one of {', '.join(PRESETS)}")
    unknown = set(priors) - {field.name for field in fields(Priors)}
    if unknown:
        raise TypeError(f"no prior {sorted(unknown)[0]!r}; there are: {', '.join(f.name for f in fields(Priors))}")
    chosen, given = PRESETS[preset]
    prior = replace(chosen, **priors)
    steps, rate = int(given["steps"]) if steps is None else steps, given["rate"] if rate is None else rate
    if steps < 1 or rate <= 0 or n < 1:
        raise ValueError(f"steps and n must be at least 1 and rate positive, got {steps}, {n} and {rate}")
    if (start is None) == (shape is None):
        raise ValueError("pass either shape=(c, h, w), to begin with noise, or start=, to begin with images")
    adapter = check_model(model)
    low, high = adapter.bounds
    with torch.enable_grad(), frozen(adapter), seeded(seed):
        classes = [0] if target is None else [target] if isinstance(target, int) else list(map(int, target))
        if start is None:
            size = (len(classes) * n, *(shape or ()))
            begin = low + (high - low) * (0.5 + 0.02 * (2 * torch.rand(size, dtype=adapter.dtype) - 1))
            begin = begin.to(adapter.device or "cpu")
            classes = [c for c in classes for _ in range(n)]
        else:
            begin = check_images(adapter, start)
            classes = classes * len(begin) if len(classes) == 1 else classes
        targets = check_labels(classes, begin, check_logits(adapter, adapter.facts(begin)), "target")
        if target is None and layer is None:
            raise ValueError("pass a target class, or layer= (and channel=, neuron=) to climb an activation")
        objective = _objective(adapter, targets, layer, channel, neuron)
        return _ascend(adapter, begin, targets, objective, prior, steps, rate, frames_every)


def _objective(
    model: ModelAdapter, targets: Tensor, layer: str | None, channel: int | None, neuron: tuple[int, int] | None
) -> Callable[[Tensor], Tensor]:
    """images -> (k,): the target's logit, or the mean of what was chosen of a layer's output."""
    if layer is None:
        return lambda x: target_logits(model(x), targets)
    names = dict(model.module.named_modules())
    if layer not in names:
        raise ValueError(f"the model has no layer {layer!r}; its layers are {', '.join(list(names)[1:][-12:])}")

    def activation(x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        handle = names[layer].register_forward_hook(lambda m, inputs, output: kept.append(output))
        try:
            model(x)
        finally:
            handle.remove()
        output = kept[-1]
        if channel is not None:
            if not 0 <= channel < output.shape[1]:
                raise ValueError(f"layer {layer!r} has {output.shape[1]} channels, there is no channel {channel}")
            output = output[:, channel : channel + 1]
        if neuron is not None:
            output = output[..., neuron[0], neuron[1]]
        return output.flatten(1).mean(1)

    return activation


def _ascend(
    model: ModelAdapter, begin: Tensor, targets: Tensor, objective: Callable[[Tensor], Tensor], prior: Priors, steps: int,
    rate: float, frames_every: int,
) -> ClassImages:  # fmt: skip
    low, high = model.bounds
    span, side = high - low, begin.shape[2:]
    image = _resized(begin, _side(side, prior, prior.octaves - 1))
    scores, frames = [], []
    spectrum = _Spectrum(begin, model.bounds) if prior.fourier else None
    for step in range(steps):
        octave = prior.octaves - 1 - step * prior.octaves // steps
        if spectrum is not None:
            image = spectrum.image()
        elif tuple(image.shape[2:]) != _side(side, prior, octave):
            image = _resized(image, _side(side, prior, octave))
        if frames_every and step % frames_every == 0:
            frames.append(_resized(image.detach(), tuple(side)).clamp(low, high).cpu())
        x = image if spectrum is not None else image.detach().requires_grad_()
        seen = _moved(_resized(x, tuple(side)), prior, span).clamp(low, high)
        score = objective(seen)
        scores.append(score.detach())
        goal = score - _penalties(x, prior, low, span)
        if spectrum is not None:
            spectrum.step(goal.sum(), rate)
        else:
            (gradient,) = torch.autograd.grad(goal.sum(), x)
            with torch.no_grad():
                image = (x + rate * span * _scaled(gradient, prior)).clamp(low, high)
                if prior.blur and step < prior.blur_until * steps and (step + 1) % prior.blur_every == 0:
                    image = _blurred(image, prior.blur)
    final = (spectrum.image() if spectrum is not None else image).detach()
    final = _resized(final, tuple(side)).clamp(low, high)
    kept = torch.stack([*frames, final.cpu()]) if frames_every else torch.empty(0)
    return ClassImages(final, targets, torch.stack(scores), (kept - low) / span if frames_every else kept)


def _side(side: Sequence[int], prior: Priors, octave: int) -> tuple[int, int]:
    scale = prior.octave_scale**-octave
    return max(8, round(side[0] * scale)) if octave else side[0], max(8, round(side[1] * scale)) if octave else side[1]


def _resized(x: Tensor, side: tuple[int, ...]) -> Tensor:
    if tuple(x.shape[2:]) == tuple(side):
        return x
    return F.interpolate(x, side, mode="bilinear", align_corners=False, antialias=True)


def _moved(x: Tensor, prior: Priors, span: float) -> Tensor:
    """Rolled, turned, shifted and coloured at random: what is to be seen must be seen from anywhere."""
    if prior.jitter:
        most = max(1, round(prior.jitter * min(x.shape[2:])))
        dy, dx = (int(v) for v in torch.randint(-most, most + 1, (2,)))
        x = x.roll((dy, dx), (2, 3))
    if prior.rotate or prior.shift:
        angle = math.radians(prior.rotate) * (2 * torch.rand(len(x)) - 1)
        across, down = 2 * prior.shift * (2 * torch.rand(2, len(x)) - 1)
        turn = torch.stack([angle.cos(), -angle.sin(), across, angle.sin(), angle.cos(), down], 1).view(-1, 2, 3)
        grid = F.affine_grid(turn.to(x), list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    if prior.colour:
        gain, offset = (prior.colour * torch.randn(2, len(x), x.shape[1], 1, 1)).to(x)
        x = x * (1 + gain) + span * offset
    return x


def _penalties(x: Tensor, prior: Priors, low: float, span: float) -> Tensor:
    """(k,): in the range of pixel values, mean over pixels."""
    away = ((x - low) / span - 0.5).flatten(1)
    total = prior.l2 * away.square().mean(1) + prior.l1 * away.abs().mean(1)
    if prior.tv:
        down, across = x[:, :, 1:] - x[:, :, :-1], x[..., 1:] - x[..., :-1]
        total = total + prior.tv * (down.abs().flatten(1).mean(1) + across.abs().flatten(1).mean(1)) / span
    return total


def _scaled(gradient: Tensor, prior: Priors) -> Tensor:
    if prior.gradient == "sign":
        return gradient.sign()
    if prior.gradient == "normalised":
        return gradient / gradient.flatten(1).square().mean(1).sqrt().clamp(min=1e-12).view(-1, 1, 1, 1)
    if prior.gradient == "plain":
        return gradient
    raise ValueError(f"unknown gradient {prior.gradient!r}: expected plain, normalised or sign")


def _blurred(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur that goes round the edges (periodic)."""
    reach = min(max(1, round(3 * sigma)), min(x.shape[2:]) - 1)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device) / sigma) ** 2)
    weights = weights / weights.sum()
    channels = x.shape[1]
    x = F.pad(x, (reach, reach, reach, reach), mode="circular")
    x = F.conv2d(x, weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(x, weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


class _Spectrum:
    """An image as the sigmoid of a spectrum whose steps are equal at all scales; climbed by Adam."""

    def __init__(self, like: Tensor, bounds: tuple[float, float]) -> None:
        c, h, w = like.shape[1:]
        self.low, self.high, self.side = *bounds, (h, w)
        frequency = torch.sqrt(torch.fft.fftfreq(h)[:, None] ** 2 + torch.fft.rfftfreq(w)[None] ** 2)
        self.scale = (1 / frequency.clamp(min=1 / max(h, w)) * math.sqrt(h * w)).to(like)
        self.mix = torch.tensor(COLOURS).to(like) / torch.tensor(COLOURS).norm() if c == 3 else None
        # What the images are now, so that `start` is where the ascent begins.
        unit = ((like - self.low) / (self.high - self.low)).clamp(0.01, 0.99)
        plain = torch.logit(unit)
        if self.mix is not None:
            plain = torch.einsum("ij,njhw->nihw", torch.linalg.inv(self.mix), plain)
        self.values = torch.view_as_real(torch.fft.rfft2(plain) / self.scale).clone().requires_grad_()
        self.optimiser: torch.optim.Adam | None = None

    def image(self) -> Tensor:
        plain = torch.fft.irfft2(torch.view_as_complex(self.values) * self.scale, s=self.side)
        if self.mix is not None:
            plain = torch.einsum("ij,njhw->nihw", self.mix, plain)
        return self.low + (self.high - self.low) * plain.sigmoid()

    def step(self, goal: Tensor, rate: float) -> None:
        if self.optimiser is None:
            self.optimiser = torch.optim.Adam([self.values], lr=rate)
        (gradient,) = torch.autograd.grad(-goal, self.values)
        self.values.grad = gradient
        self.optimiser.step()
