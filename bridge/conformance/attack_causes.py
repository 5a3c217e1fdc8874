"""The recognisable ways in which an attack goes wrong: deviations from its recipe."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bridge.conformance.recipe import Recipe, follow, standard
from bridge.conformance.subject import Subject, reference
from bridge.conformance.worlds import World
from bridge.norms import unit_l2
from bridge.registry import get
from bridge.state import frozen, seeded

Predict = Callable[[Subject, World], Tensor | None]


def _std(w: World) -> Tensor | float:
    return 1.0 if w.model.std is None else w.model.std


def _normalised_bounds(w: World, low: float, high: float) -> tuple[Any, Any]:
    """[low, high] in normalised units, in pixels."""
    if w.model.mean is None or w.model.std is None:
        return low, high
    return (w.model.mean + low * w.model.std).expand_as(w.x), (w.model.mean + high * w.model.std).expand_as(w.x)


Deviation = Callable[[Recipe, World], Recipe]
LOSSES: list[tuple[str, Deviation]] = [
    ("it takes the loss on probabilities (softmax twice)", lambda r, w: replace(r, loss="softmax")),
    ("it takes nll_loss on raw logits, which is -logit", lambda r, w: replace(r, loss="nll")),
    ("it maximises 1 - p of the label instead of the cross-entropy", lambda r, w: replace(r, loss="probability")),
    ("it uses the margin loss instead of the cross-entropy", lambda r, w: replace(r, loss="margin")),
    ("it steps away from the predicted class instead of the label", lambda r, w: replace(r, labels="predicted")),
    ("it uses the first image's label for all images", lambda r, w: replace(r, labels="first")),
    ("it uses the labels in reverse order", lambda r, w: replace(r, labels="reverse")),
    ("it steps downhill: the sign is reversed", lambda r, w: replace(r, targeted=not r.targeted)),
]
CLIPS: list[tuple[str, Deviation]] = [
    ("it does not clip to the bounds", lambda r, w: replace(r, clip=None)),
    ("it clips to [-1, 1] instead of [0, 1]", lambda r, w: replace(r, clip=(-1.0, 1.0))),
    ("it clips to [-2, 2] instead of [0, 1]", lambda r, w: replace(r, clip=(-2.0, 2.0))),
    ("it clips to [-2, 2] in normalised units", lambda r, w: replace(r, clip=_normalised_bounds(w, -2, 2))),
    ("it clips to [-1, 1] in normalised units", lambda r, w: replace(r, clip=_normalised_bounds(w, -1, 1))),
    ("it clips to [0, 1] in normalised units", lambda r, w: replace(r, clip=_normalised_bounds(w, 0, 1))),
    ("it clips to [0, 255]", lambda r, w: replace(r, clip=(0.0, 255.0))),
    ("it clips from above only", lambda r, w: replace(r, clip=(-float("inf"), 1.0))),
    ("it clips from below only", lambda r, w: replace(r, clip=(0.0, float("inf")))),
    ("it clips to each batch's own minimum and maximum", lambda r, w: replace(r, clip=(float(w.x.min()), float(w.x.max())))),
    ("it clips before it projects", lambda r, w: replace(r, clip_when="before")),
    ("it clips at the end only", lambda r, w: replace(r, clip_when="end")),
]
SIZES: list[tuple[str, Deviation]] = [
    ("epsilon is halved", lambda r, w: replace(r, epsilon=r.epsilon / 2, step=r.step / 2 if r.steps == 1 else r.step)),
    ("epsilon is doubled", lambda r, w: replace(r, epsilon=r.epsilon * 2, step=r.step * 2 if r.steps == 1 else r.step)),
    ("epsilon is divided by 255", lambda r, w: replace(r, epsilon=r.epsilon / 255, step=r.step / 255 if r.steps == 1 else r.step)),
    ("epsilon is in normalised units (times std)",
     lambda r, w: replace(r, epsilon=r.epsilon * _std(w), step=r.step * _std(w) if r.steps == 1 else r.step)),
    ("epsilon and step are in normalised units (times std)", lambda r, w: replace(r, epsilon=r.epsilon * _std(w), step=r.step * _std(w))),
    ("epsilon is divided by std", lambda r, w: replace(r, epsilon=r.epsilon / _std(w), step=r.step / _std(w) if r.steps == 1 else r.step)),
    ("the step is in normalised units (times std)", lambda r, w: replace(r, step=r.step * _std(w))),
    ("the step is epsilon", lambda r, w: replace(r, step=r.epsilon)),
    ("the step is halved", lambda r, w: replace(r, step=r.step / 2)),
    ("the step is doubled", lambda r, w: replace(r, step=r.step * 2)),
    ("the step is epsilon / steps", lambda r, w: replace(r, step=r.epsilon / r.steps)),
    ("the step is relative to epsilon", lambda r, w: replace(r, step=r.step * r.epsilon)),
    ("the step is always the default 0.2 epsilon", lambda r, w: replace(r, step=0.2 * r.epsilon)),
    ("the step is always 2.5 epsilon / steps", lambda r, w: replace(r, step=2.5 * r.epsilon / r.steps)),
]  # fmt: skip
LOOPS: list[tuple[str, Deviation]] = [
    ("it takes one step less", lambda r, w: replace(r, steps=r.steps - 1)),
    ("it takes one step more", lambda r, w: replace(r, steps=r.steps + 1)),
    ("it takes a single step", lambda r, w: replace(r, steps=1)),
    ("it does not project onto the ball", lambda r, w: replace(r, project="none")),
    (
        "it projects around the previous iterate instead of the clean image",
        lambda r, w: replace(r, project=r.project + " previous"),
    ),
    ("it projects at the end only", lambda r, w: replace(r, project="end")),
    ("it projects onto the Linf ball", lambda r, w: replace(r, project="linf")),
    ("it projects onto the L2 ball", lambda r, w: replace(r, project="l2")),
    ("it projects with the norm of the whole batch", lambda r, w: replace(r, project="l2 batch")),
    ("it always rescales to the sphere instead of projecting onto the ball", lambda r, w: replace(r, project="l2 always")),
    ("it starts from the clean image, not from the start", lambda r, w: replace(r, start=w.x)),
    ("images that are fooled stop early", lambda r, w: replace(r, stop="each")),
    ("it stops when all images are fooled", lambda r, w: replace(r, stop="all")),
    ("it returns the iterate of largest loss, not the last", lambda r, w: replace(r, keep="best")),
    ("it uses the gradient of the first step throughout", lambda r, w: replace(r, frozen_gradient=True)),
    ("it adds momentum (decay 1)", lambda r, w: replace(r, momentum=1.0)),
    ("it adds momentum (decay 0.9)", lambda r, w: replace(r, momentum=0.9)),
]
DIRECTIONS: list[tuple[str, Deviation]] = [
    *[(text, lambda r, w, kind=kind: replace(r, direction=kind)) for kind, text in {
        "sign": "it steps along the gradient's sign", "sign0": "it takes sign(0) = 1: pixels without gradient move",
        "l2": "it steps along the L2-normalised gradient", "raw": "it steps along the gradient without normalising it",
        "l2 batch": "it normalises by the norm of the whole batch", "l1": "it normalises by the L1 norm",
        "l2 channel": "it normalises each channel alone", "l2 pixel": "it normalises each pixel alone",
        "l2 squared": "it divides by the squared norm", "max": "it normalises by the largest value",
        "max batch": "it normalises by the batch's largest value", "max channel": "it normalises by each channel's largest value",
        "signed max": "it divides by the largest value without taking the absolute value", "mean": "it normalises by the mean absolute value",
    }.items()],
    ("it returns the perturbation instead of the images", lambda r, w: replace(r, keep="delta")),
]  # fmt: skip
FAMILY = ("fgsm", "fgm_l2", "fast_gradient_value", "bim", "pgd", "pgd_l2")


def causes(subject: Subject) -> Iterator[tuple[str, Predict]]:
    """Candidate explanations, the simplest first: one deviation, then two."""
    yield from OTHERS.get(subject.method.name, [])
    yield "it returns the clean images", lambda s, w: w.x
    if subject.method.name not in FAMILY:
        yield from _generic(subject)
        return
    single = subject.method.name in ("fgsm", "fgm_l2", "fast_gradient_value")
    groups = [LOSSES, CLIPS, SIZES, DIRECTIONS] if single else [LOSSES, CLIPS, SIZES, LOOPS, DIRECTIONS]
    for group in groups:
        for text, change in group:
            yield text, _follow(change)
    yield from _generic(subject)
    # Two things wrong at once. All pairs would take a minute for a loop, so there only the likely ones.
    likely = [(LOSSES, CLIPS), (LOSSES, SIZES), (SIZES, CLIPS), (LOOPS, CLIPS)]
    for one, two in itertools.combinations(groups, 2) if single else likely:
        for (text, change), (more, also) in itertools.product(one, two):
            yield f"{text}; and {more}", _follow(change, also)


def _follow(*changes: Deviation) -> Predict:
    def predict(s: Subject, w: World) -> Tensor:
        recipe = standard(s, w)
        for change in changes:
            recipe = change(recipe, w)
        return follow(recipe, w)

    return predict


def _generic(subject: Subject) -> Iterator[tuple[str, Predict]]:
    yield (
        "the labels of the images are in reverse order",
        lambda s, w: s.reference(World(w.name, w.model, w.x, w.target.flip(0), w.params)),
    )
    for name, default in subject.method.defaults.items():
        if isinstance(default, bool):
            yield f"`{name}` is the other way round", lambda s, w, n=name: s.reference(w, **{n: not s.settings(w)[n]})
        elif isinstance(default, int | float):
            for factor, text in ((0.5, "halved"), (2, "doubled")):
                yield (
                    f"`{name}` is {text}",
                    lambda s, w, n=name, f=factor: s.reference(w, **{n: type(s.settings(w)[n])(s.settings(w)[n] * f)}),
                )
            if isinstance(default, int):
                for change in (-1, 1):
                    text = "one less" if change < 0 else "one more"
                    yield (
                        f"`{name}` is {text} than stated",
                        lambda s, w, n=name, c=change: s.reference(w, **{n: s.settings(w)[n] + c}),
                    )
            yield f"`{name}` is always its default", lambda s, w, n=name, d=default: s.reference(w, **{n: d})
    yield "it returns the perturbation instead of the images", lambda s, w: s.reference(w) - w.x
    yield "it keeps half of the perturbation", lambda s, w: w.x + (s.reference(w) - w.x) / 2
    yield "it doubles the perturbation", lambda s, w: w.x + (s.reference(w) - w.x) * 2
    yield "it doubles the perturbation and clips", lambda s, w: (w.x + (s.reference(w) - w.x) * 2).clamp(0, 1)
    yield "the perturbation has the opposite sign", lambda s, w: w.x - (s.reference(w) - w.x)
    yield "it rounds the images to 8 bits", lambda s, w: (s.reference(w) * 255).round() / 255
    yield (
        "it attacks the predicted class instead of the label",
        lambda s, w: s.reference(World(w.name, w.model, w.x, _predicted(w), w.params)),
    )


def _predicted(w: World) -> Tensor:
    with torch.no_grad(), frozen(w.model):
        return w.model(w.x).argmax(1)


def _noise(change: Callable[[Tensor, Tensor, float], Tensor]) -> Predict:
    """Uniform noise, used otherwise."""

    def predict(s: Subject, w: World) -> Tensor:
        settings = s.settings(w)
        noise = settings.get("noise")
        if noise is None:
            with seeded(0):
                noise = torch.rand(w.x.shape, dtype=w.x.dtype) * 2 - 1
        return change(w.x, noise, settings["epsilon"])

    return predict


def _deepfool(**changes: Any) -> Predict:
    return lambda s, w: reference(get("deepfool_l2"), w, {**s.settings(w), **changes})


def _fool_jointly(s: Subject, w: World) -> Tensor:
    settings = s.settings(w)
    recipe = Recipe(float("inf"), settings["step_size"], settings["steps"], w.x, "sign", "none", settings["targeted"])
    return follow(replace(recipe, stop="all"), w)


def _fool_always(s: Subject, w: World) -> Tensor:
    settings = s.settings(w)
    return follow(Recipe(float("inf"), settings["step_size"], settings["steps"], w.x, "sign", "none", settings["targeted"]), w)


def _fool_with(**changes: Any) -> Predict:
    def predict(s: Subject, w: World) -> Tensor:
        settings = s.settings(w)
        recipe = Recipe(
            float("inf"), settings["step_size"], settings["steps"], w.x, "sign", "none", settings["targeted"], stop="each"
        )
        return follow(replace(recipe, **changes), w)

    return predict


OTHERS: dict[str, list[tuple[str, Predict]]] = {
    "uniform_noise_linf": [
        ("it does not scale the noise to its largest absolute value", _noise(lambda x, u, e: (x + e * u).clamp(0, 1))),
        ("it divides by the largest positive value instead of the largest absolute one, as Foolbox does",
         _noise(lambda x, u, e: (x + (e * u / u.amax((1, 2, 3), keepdim=True)).clamp(-e, e)).clamp(0, 1))),
        ("it divides by the largest positive value and leaves the ball",
         _noise(lambda x, u, e: (x + e * u / u.amax((1, 2, 3), keepdim=True)).clamp(0, 1))),
        ("it does not clip to the bounds", _noise(lambda x, u, e: x + e * u / u.abs().amax((1, 2, 3), keepdim=True))),
        ("it takes the sign of the noise", _noise(lambda x, u, e: (x + e * u.sign()).clamp(0, 1))),
        ("it scales by the batch's largest value", _noise(lambda x, u, e: (x + e * u / u.abs().max()).clamp(0, 1))),
        ("it takes the absolute value of the noise", _noise(lambda x, u, e: (x + e * u.abs() / u.abs().amax((1, 2, 3), keepdim=True)).clamp(0, 1))),
        ("it normalises the noise in L2", _noise(lambda x, u, e: (x + e * unit_l2(u)).clamp(0, 1))),
        ("it subtracts the noise", _noise(lambda x, u, e: (x - e * u / u.abs().amax((1, 2, 3), keepdim=True)).clamp(0, 1))),
        ("it clips to [-1, 1] instead of [0, 1]", _noise(lambda x, u, e: (x + e * u / u.abs().amax((1, 2, 3), keepdim=True)).clamp(-1, 1))),
    ],
    "deepfool_l2": [
        ("it does not overshoot", _deepfool(overshoot=0.0)),
        ("it takes one step only", _deepfool(steps=1)),
        ("it looks at two classes only", _deepfool(candidates=2)),
        *[(f"its overshoot is always {o:g}", _deepfool(overshoot=o)) for o in (0.02, 0.1, 0.5, 1.0)],
    ],
    "fool": [
        ("images go on until all are fooled", _fool_jointly),
        ("it never stops: all steps are taken", _fool_always),
        ("it does not clip to the bounds", _fool_with(clip=None)),
        ("it steps downhill: the sign is reversed", lambda s, w: _fool_with(targeted=False)(s, w) if s.settings(w)["targeted"] else None),
        *[(text, _fool_with(loss=kind)) for kind, text in (
            ("nll", "it takes nll_loss on raw logits, which is -logit"), ("softmax", "it takes the loss on probabilities (softmax twice)"))],
        *[(text, _fool_with(direction=kind)) for kind, text in (
            ("l2", "it steps along the L2-normalised gradient"), ("max", "it steps along the max-normalised gradient"),
            ("sign0", "it takes sign(0) = 1: pixels without gradient move"), ("raw", "it steps along the gradient without normalising it"))],
        *[(text, lambda s, w, f=f: _fool_with(step=f * s.settings(w)["step_size"])(s, w)) for f, text in ((0.5, "the step is halved"), (2.0, "the step is doubled"))],
    ],
}  # fmt: skip
