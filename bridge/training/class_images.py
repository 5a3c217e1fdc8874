"""Class images: what the network looks for, by gradient ascent on a logit or an activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bridge.core.engine import session
from bridge.core.examine import refuse
from bridge.core.model import ModelAdapter
from bridge.core.parameters import check_positive, check_seed, check_whole
from bridge.core.preflight import check_images, check_labels, check_logits, check_model
from bridge.core.state import seeded
from bridge.training.ascent import PRESETS, Ascent, ascend
from bridge.training.objective import activation, class_logit
from bridge.training.priors import Priors
from bridge.visualize.film import write_film


@dataclass(frozen=True)
class ClassImages:
    """`images` (k, c, h, w) within the model's bounds, a block of seeds for each class.

    `targets` (k,) int64. `scores` (steps, k): what was climbed, on the image as the network saw it
    at that step. `frames` (f, k, c, h, w): some of the images on the way, in [0, 1].
    """

    images: Tensor
    targets: Tensor
    scores: Tensor
    frames: Tensor

    def film(self, path: str | Path, *, fps: int = 12) -> Path:
        """Write the frames as a GIF, WebP or MP4 (by the ending), the images side by side.

        Returns the path; raises ValueError where no frames were kept.
        """
        if not len(self.frames):
            raise ValueError("there are no frames: pass frames_every= to class_image")
        shown = self.frames.clamp(0, 1).mul(255).round().byte()
        strips = [
            torch.cat(list(frame.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)), dim=1).numpy()
            for frame in shown
        ]
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
    """argmax_x logit_t(x) - penalties(x), by gradient ascent (Simonyan et al. 2013).

    `target`: one class or several, each from `n` seeds, all in one batch. Either `shape` (c, h, w):
    from noise (mid-grey +- 2 % of the range); or `start` (k, c, h, w), with one target an image:
    these images, moved towards their class. Instead of a class, `layer` names a submodule whose
    mean activation is climbed, of one `channel`, at one `neuron` (y, x).

    `preset`: "simonyan", "yosinski", "multiscale" or "fourier"; `steps`, `rate` (the step, in the
    range of pixel values) and any field of `Priors` change it. `frames_every` keeps an image every
    so many steps. The model and the random state are left as they were.

    Raises ValueError or TypeError for what makes no sense.

    >>> import bridge
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> drawn = class_image(model, [1, 7], shape=(1, 28, 28), steps=8)
    >>> drawn.images.shape, bool((drawn.scores[-1] > drawn.scores[0]).all())
    (torch.Size([2, 1, 28, 28]), True)
    """
    ascent = _ascent(preset, steps, rate, priors)
    check_whole("n", n, 1)
    check_whole("frames_every", frames_every, 0)
    check_seed(seed)
    if layer is None and (channel is not None or neuron is not None):
        raise ValueError("channel and neuron are of a layer: name it, layer=")
    adapter = check_model(model)
    low, high = adapter.bounds
    with session(adapter), seeded(seed):
        begin, classes = _begin(adapter, target, shape, start, n)
        try:
            facts = adapter.facts(begin)
        except BaseException as error:
            refuse(adapter, begin, error)
        known = check_logits(adapter, facts)
        targets = check_labels(classes, begin, known, "target")
        if layer is not None:
            objective = activation(adapter, layer, channel, neuron)
        elif target is not None:
            objective = class_logit(adapter, targets)
        else:
            raise ValueError(
                "pass a target class, or layer= (and channel=, neuron=) to climb an activation"
            )
        images, scores, frames = ascend(begin, objective, ascent, adapter.bounds, frames_every)
    return ClassImages(images, targets, scores, (frames - low) / (high - low))


def _ascent(preset: str, steps: int | None, rate: float | None, priors: dict[str, Any]) -> Ascent:
    """A preset with what was given over it."""
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: expected one of {', '.join(PRESETS)}")
    known = [field.name for field in fields(Priors)]
    unknown = sorted(set(priors) - set(known))
    if unknown:
        raise TypeError(f"no prior {unknown[0]!r}; there are: {', '.join(known)}")
    chosen = PRESETS[preset]
    return Ascent(
        replace(chosen.priors, **priors),
        chosen.steps if steps is None else check_whole("steps", steps, 1),
        chosen.rate if rate is None else check_positive("rate", rate),
    )


def _classes(target: Any) -> list[int]:
    """The classes to draw, as plain numbers. Raises TypeError or ValueError for what are none."""
    given = target.tolist() if isinstance(target, Tensor | np.ndarray | np.generic) else target
    listed = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    for each in listed:
        if isinstance(each, bool) or not isinstance(each, Integral):
            raise TypeError(f"target must be a class (an integer) or several, got {target!r}")
    if not listed:
        raise ValueError("target is an empty list: name at least one class")
    return [int(each) for each in listed]


def _begin(
    model: ModelAdapter,
    target: int | Sequence[int] | Tensor | None,
    shape: tuple[int, int, int] | None,
    start: Tensor | None,
    n: int,
) -> tuple[Tensor, list[int]]:
    """The images that the ascent begins with, and the class of each."""
    # Where an activation is climbed, the class is of no matter.
    classes = [0] if target is None else _classes(target)
    if start is not None and shape is None:
        images = check_images(model, start)
        return images, classes * len(images) if len(classes) == 1 else classes
    if shape is None or start is not None:
        raise ValueError(
            "pass either shape=(c, h, w), to begin with noise, or start=, to begin with images"
        )
    if not isinstance(shape, Sequence) or isinstance(shape, str) or len(shape) != 3:
        raise ValueError(f"shape must be three whole numbers (c, h, w), got {shape!r}")
    for side in shape:
        check_whole("each number of shape (c, h, w)", side, 1)
    low, high = model.bounds
    noise = 2 * torch.rand((len(classes) * n, *shape), dtype=model.dtype) - 1
    images = (low + (high - low) * (0.5 + 0.02 * noise)).to(model.device or "cpu")
    return images, [each for each in classes for _ in range(n)]
