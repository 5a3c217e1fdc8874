"""SmoothGrad: the gradient averaged over noisy copies of the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from bridge.core.gradients import input_gradient
from bridge.core.model import ModelAdapter
from bridge.core.parameters import Draw, Samples, Stdev
from bridge.core.registry import attribution
from bridge.core.shared import Shared
from bridge.core.tags import Cases, Trap
from bridge.fused.chunks import gradient_sum

# (model, x, target, noise of one sample) -> what is averaged, same shape as x
Noisy = Callable[[ModelAdapter, Tensor, Tensor, Tensor], Tensor]


def linear(w: Tensor, x: Tensor, **_: Any) -> Tensor:
    """On logits = w x the gradient is the same everywhere."""
    return w


def requires(x: Tensor, *, n_samples: int, noise: Tensor | None, **_: Any) -> None:
    """Raise ValueError where the noise does not fit the images and their samples."""
    expected = (len(x), n_samples, *x.shape[1:])
    if noise is not None and tuple(noise.shape) != expected:
        raise ValueError(f"noise has shape {tuple(noise.shape)}, expected {expected}")


def observed(
    asked: Sequence[Tensor], looked: Sequence[Tensor], x: Tensor, output: Tensor
) -> dict[str, list[Any]]:
    """As many samples as images were asked about, and their spread around x to two digits."""
    noise = torch.stack([image - x for image in asked]) if asked else torch.zeros(0)
    if not noise.numel():
        return {}
    return {"n_samples": [len(asked)], "stdev": [float(f"{float(noise.std()):.1g}")]}


def _noise(asked: Sequence[Tensor], x: Tensor) -> Tensor | None:
    """What was added to the images, (n, samples, c, h, w); None where that cannot be told.

    Copies are told apart by the image that they are nearest to, in whatever order they come.
    """
    if not asked:
        return None
    copies = torch.cat(list(asked))
    nearest = torch.cdist(copies.flatten(1), x.flatten(1)).argmin(1)
    counts = nearest.bincount(minlength=len(x))
    if int(counts.min()) != int(counts.max()):
        return None
    return torch.stack([copies[nearest == i] - x[i] for i in range(len(x))])


def replayed(asked: Sequence[Tensor], x: Tensor, **params: Any) -> dict[str, Any] | None:
    """The code's own noise and as many samples; the spread is in the noise."""
    noise = _noise(asked, x)
    if noise is None:
        return None
    return {"noise": noise, "n_samples": noise.shape[1], "stdev": 1.0}


NEAR = 6.0  # standard errors of a spread, or of a mean
UNIFORM = 2.4  # the fourth moment over the squared second: 3 of normal noise, 1.8 of uniform


def law(
    asked: Sequence[Tensor],
    x: Tensor,
    bounds: tuple[float, float],
    *,
    n_samples: int,
    stdev: float,
    **_: Any,
) -> Iterator[str]:
    """How many samples there are, and how their noise is spread."""
    noise = _noise(asked, x)
    if noise is None:
        return
    taken = noise.shape[1]
    if taken != n_samples:
        yield f"it takes {taken} sample{'s' if taken > 1 else ''} where {n_samples} are asked"
    each = noise.flatten(2)
    if (
        taken > 2
        and float(each[:, -1].std() / each[:, 0].std().clamp(min=1e-12)) > taken**0.5 / 1.2
    ):
        yield "it adds its noise to the noisy image again, sample after sample"
        return
    if taken > 1 and bool(torch.equal(each[:, 0], each[:, 1])):
        yield "it draws one noise for all samples"
    low, high = bounds
    at_ends = torch.stack([(c <= low) | (c >= high) for c in asked]).double().mean()
    outside = torch.stack([(c < low) | (c > high) for c in asked]).any()
    if float(at_ends) > 0 and not bool(outside):
        yield "it clips the noisy images to the bounds"
        return
    spread = each.flatten(1).std(1)
    if float(spread.max()) < 1e-9:
        yield "it adds no noise"
        return
    middle = float(each.mean()) / (float(each.std()) / each.numel() ** 0.5)
    if abs(middle) > NEAR:
        yield "its noise is not centred at 0"
    moment = float((each - each.mean()).pow(4).mean() / each.var().square())
    if moment < UNIFORM:
        yield "its noise is uniform, not normal"
    near = NEAR / (2 * each[0].numel()) ** 0.5
    own = x.flatten(1).amax(1) - x.flatten(1).amin(1)
    whole = float(x.max() - x.min())
    for wanted, words in (
        (torch.full_like(own, stdev), ""),
        (stdev * own, "its noise is relative to each image's range: stdev * (max - min)"),
        (torch.full_like(own, stdev * whole), "its noise is relative to the batch's range"),
    ):
        if bool(((spread / wanted - 1).abs() < near).all()):
            if words:
                yield words
            return
    yield f"its noise is spread by {float(spread.mean()):.2g} where the stdev is {stdev:.2g}"


@attribution(
    "smooth_grad",
    paper="arXiv:1706.03825",
    requires=requires,
    random=True,
    axioms=("dummy", "implementation invariance", "linearity"),
    linear=linear,
    quick={"n_samples": 4},
    quickest={"n_samples": 2},
    observed=observed,
    replayed=replayed,
    law=law,
)
def smooth_grad(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    n_samples: Samples = 20,
    stdev: Stdev = 0.1,
    noise: Draw = None,
) -> Tensor:
    """mean over n_samples of d logit_t / d x at x + stdev * normal noise, signed, same shape as x.

    `stdev` is absolute, in pixel units (Captum's default is 1.0, the paper's 10 to 20 % of the
    range). `noise` takes the normal numbers themselves, (n, n_samples, c, h, w), which `stdev` is
    multiplied with. Otherwise they come from the global generator, drawn at once in float32 for
    either precision, sample after sample of each image: the order that Captum draws in, so that a
    seed means the same noise for both (Smilkov et al. 2017).

    >>> import bridge, torch
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> x, labels = bridge.load_batch("samples:fashion_mnist", n=2)
    >>> mine = {"n_samples": 3, "noise": torch.randn(2, 3, 1, 28, 28)}
    >>> ours, captums = (
    ...     bridge.run("smooth_grad", model, x, labels, implementation=each, **mine).output
    ...     for each in ("reference", "captum")
    ... )
    >>> torch.allclose(ours, captums, rtol=1e-4, atol=1e-5)
    True
    """
    total = torch.zeros_like(x)
    for sample in _samples(x, n_samples, stdev, noise):
        total += input_gradient(model, (x + sample).to(x), target)
    return total / n_samples


def draw(x: Tensor, *, n_samples: int, **_: Any) -> dict[str, Tensor]:
    """The normal numbers, in float32 for either precision."""
    shape = (len(x), n_samples, *x.shape[1:])
    return {"noise": torch.randn(shape, dtype=torch.float32, device=x.device)}


def _samples(x: Tensor, n_samples: int, stdev: float, noise: Tensor | None) -> tuple[Tensor, ...]:
    """What is added to the images, for each sample."""
    normal = draw(x, n_samples=n_samples)["noise"] if noise is None else noise.to(x)
    return (stdev * normal).unbind(1)


def _passes(x: Tensor, *, n_samples: int, **_: Any) -> tuple[int, int]:
    return n_samples, n_samples


@smooth_grad.fused(passes=_passes)
def fused(shared: Shared, *, n_samples: int, stdev: float, noise: Tensor | None) -> Tensor:
    x = shared.x
    weights = torch.full((n_samples,), 1 / n_samples, dtype=x.dtype, device=x.device)
    if noise is None and x.device.type == "cpu" and x[0].numel() % 16 == 0:
        # On a CPU the generator works in blocks of 16: noise drawn chunk after chunk is the noise
        # drawn at once.
        def noisy(image: Tensor, sample: Tensor) -> Tensor:
            normal = torch.randn(len(image), *x.shape[1:], dtype=torch.float32)
            return (x[image] + stdev * normal).to(x)
    else:
        normals = draw(x, n_samples=n_samples)["noise"] if noise is None else noise.to(x)

        def noisy(image: Tensor, sample: Tensor) -> Tensor:
            return (x[image] + stdev * normals[image, sample]).to(x)

    return gradient_sum(shared.model, x, shared.target, noisy, weights)


@smooth_grad.twin("captum")
def captum(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    *,
    n_samples: int,
    stdev: float,
    noise: Tensor | None,
) -> Tensor:
    from captum.attr import NoiseTunnel, Saliency

    with nullcontext() if noise is None else _told(noise.to(x)):
        return NoiseTunnel(Saliency(model)).attribute(
            x,
            target=target,
            abs=False,
            nt_type="smoothgrad",
            nt_samples=n_samples,
            nt_samples_batch_size=None,
            stdevs=float(stdev),
        )


def _told(noise: Tensor) -> AbstractContextManager[object]:
    """Inside, Captum's one draw, sample after sample of each image, is this noise."""
    from unittest import mock

    def normal(mean: float, std: Tensor) -> Tensor:
        return mean + std * noise.flatten(0, 1)

    return mock.patch.object(torch, "normal", normal)


smooth_grad.cases = Cases(
    "mean over k of d logit_target / d x at x + stdev * noise[:, k]; noise (n, n_samples, c, h, w) "
    "is given, in pixel units, and nothing is clipped",
    ({"n_samples": 4, "stdev": 0.125},),
    draw=draw,
    traps={
        "not-clipped": Trap(
            "noisy images may leave the bounds", ("it clips the noisy images to the bounds",)
        )
    },
)


# Deviations, the likeliest first.


AVERAGED = "input_gradient(model, x + noise, target)"


def deviation(sentence: str) -> Callable[[Noisy], Noisy]:
    """Register a deviation in what is averaged over the samples."""

    def register(gradient: Noisy) -> Noisy:
        @smooth_grad.variant(sentence, yours=gradient, ours=AVERAGED)
        def deviating(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
            samples = [gradient(model, x, target, each) for each in _samples(x, **params)]
            return torch.stack(samples).mean(0)

        return gradient

    return register


@deviation("it averages the absolute gradients")
def absolute(model: ModelAdapter, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    return input_gradient(model, x + noise, target).abs()


@deviation("it averages the squared gradients (SmoothGrad squared)")
def squared(model: ModelAdapter, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    return input_gradient(model, x + noise, target).square()


@deviation("it clips the noisy images to the bounds")
def clipped(model: ModelAdapter, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    return input_gradient(model, (x + noise).clamp(*model.bounds), target)


@deviation("its noise is halved")
def half_the_noise(model: ModelAdapter, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    return input_gradient(model, x + noise / 2, target)


@deviation("its noise is doubled")
def twice_the_noise(model: ModelAdapter, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    return input_gradient(model, x + 2 * noise, target)


@deviation("its noise is in normalised units (times std)")
def normalised_noise(model: ModelAdapter, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    return input_gradient(model, x + noise * (1.0 if model.std is None else model.std), target)


@deviation("it multiplies each gradient by its noisy image")
def times_noisy(model: ModelAdapter, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    return (x + noise) * input_gradient(model, x + noise, target)


@smooth_grad.variant("it takes one sample whatever n_samples says, or one noise for all samples")
def one_sample(
    model: ModelAdapter, x: Tensor, target: Tensor, *, noise: Tensor | None, **params: Any
) -> Tensor:
    first = None if noise is None else noise[:, :1]
    return smooth_grad(model, x, target, **{**params, "n_samples": 1, "noise": first})


smooth_grad.variant("it adds no noise: it is the plain gradient", stdev=0.0)(smooth_grad.reference)
for _value in (0.1, 0.15, 0.2, 1.0):
    smooth_grad.variant(f"its stdev is always {_value:g}", stdev=_value)(smooth_grad.reference)


@smooth_grad.variant("it is the variance of the gradients (VarGrad)")
def variance(model: ModelAdapter, x: Tensor, target: Tensor, **params: Any) -> Tensor:
    samples = [input_gradient(model, x + each, target) for each in _samples(x, **params)]
    return torch.stack(samples).var(0)
