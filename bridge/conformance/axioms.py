"""Axioms that the method has, and metamorphic relations: what must not change the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridge.conformance.subject import CheckFailed, Skipped, Subject
from bridge.conformance.worlds import CLASSES, World
from bridge.gradients import target_logits
from bridge.metrics import agreement
from bridge.metrics.attack import defects
from bridge.model import wrap
from bridge.norms import l2_norm, linf_norm


class _Headed(nn.Module):
    """A network with something done to its logits."""

    def __init__(self, inner: nn.Module, head: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.head = inner, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x))


def _headed(world: World, head: Callable[[Tensor], Tensor], target: Tensor | None = None) -> World:
    """The same world with something done to the model's logits."""
    layer = None if world.model.layer is None else f"inner.{world.model.layer}"
    mean, std = (None if v is None else v.flatten() for v in (world.model.mean, world.model.std))
    model = wrap(_Headed(world.model.module, head).eval(), mean=mean, std=std, layer=layer, bounds=world.model.bounds)
    return World(world.name, model, world.x, world.target if target is None else target, world.params)


def _classes(world: World) -> int:
    """How many classes the model has: a given one may have more than ours."""
    return world.model.facts(world.x).logits.shape[1]


GRADIENTS = ("saliency", "input_x_gradient", "integrated_gradients", "smooth_grad")


def axioms(subject: Subject, places: list[World]) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]:
    method, first = subject.method, places[0]
    if method.name == "integrated_gradients":
        yield "axiom: completeness, the attributions sum to f(x) - f(baseline)", lambda: _complete(subject)
    if method.name in (*GRADIENTS, "guided_backprop", "deconvolution", "guided_gradcam"):
        yield "axiom: pixels that the model does not see get nothing", lambda: _dummy(subject, places)
    if method.name in (*GRADIENTS, "occlusion"):
        yield "axiom: two networks of the same function get the same attribution", lambda: _invariant(subject, first)
    if method.name in (*GRADIENTS[1:], "occlusion", "layer_gradcam"):
        yield "axiom: the attribution of a sum of logits is the sum of the attributions", lambda: _linear(subject, first)
    if method.kind == "attack":
        yield "axiom: images stay within the bounds", lambda: _within(subject, places, "out of bounds")
        if not method.minimal:
            yield "axiom: images stay within the ball", lambda: _within(subject, places, "out of the ball")
            yield "axiom: epsilon 0 gives the clean images", lambda: _nothing_at_zero(subject, first)
        if method.name not in ("uniform_noise_linf", "deepfool_l2", "fool"):
            yield "axiom: the loss does not fall on a linear model", lambda: _climbs(subject, places)


def _complete(subject: Subject) -> Mapping[str, Any]:
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.Tanh(), nn.Linear(5, CLASSES)).double().eval()
    model = wrap(network)
    x = torch.linspace(0, 1, 96, dtype=torch.float64).view(2, 3, 4, 4)
    target, baseline = torch.tensor([0, 3]), float(subject.settings(World("", model, x, torch.tensor([0, 3])))["baseline"])
    # A smooth network: Gauss-Legendre with ten points and more is exact to 1e-6 here. Who states another rule with fewer
    # digits is only asked for a tenth.
    found = subject(World("", model, x, target, {"n_steps": 50})).detach().flatten(1).sum(1)
    with torch.no_grad():
        expected = target_logits(model(x), target) - target_logits(model(torch.full_like(x, baseline)), target)
    error = float((found - expected).abs().max())
    stated = subject.params.get("method", "gausslegendre")
    if error > (1e-6 if stated == "gausslegendre" else 0.1):
        raise CheckFailed(
            f"the sum of the attributions misses f(x) - f(baseline) by {error:.2e}, that is "
            f"{error / float(expected.abs().max()):.1%}"
        )
    return {"error": error}


def _dummy(subject: Subject, places: list[World]) -> Mapping[str, Any]:
    blind = next(place for place in places if "exactly zero" in place.name)
    largest = float(subject(blind).detach()[..., -3:].abs().max())
    if largest:
        raise CheckFailed(f"pixels without any influence on the logits get up to {largest:.2e}")
    return {}


def _invariant(subject: Subject, world: World) -> Mapping[str, Any]:
    count = _classes(world)
    mixing = torch.eye(count, dtype=torch.float64) + 1 / count  # well conditioned, and every logit takes part
    twice = _headed(world, lambda logits: logits @ mixing.to(logits) @ torch.linalg.inv(mixing).to(logits))
    expected = subject(world).detach()
    gap = float(agreement.gaps(subject(twice).detach(), expected, agreement.image_scale(expected)).max())
    if gap > agreement.MULTIPLE * agreement.FLOAT64_NOISE:
        raise CheckFailed(f"two networks that compute the same function get attributions that differ by {gap:.2e}")
    return {"gap": gap}


def _linear(subject: Subject, world: World) -> Mapping[str, Any]:
    if subject.settings(world).get("relu"):
        raise Skipped("with a ReLU the map is not linear")
    neighbour = World(world.name, world.model, world.x, (world.target + 1) % _classes(world), world.params)
    added = _headed(world, lambda logits: logits + logits.roll(-1, 1))
    expected = subject(world).detach() + subject(neighbour).detach()
    gap = float(agreement.gaps(subject(added).detach(), expected, agreement.image_scale(expected)).max())
    if gap > agreement.MULTIPLE * agreement.FLOAT64_NOISE:
        raise CheckFailed(f"the attribution of two logits' sum differs from the sum of theirs by {gap:.2e}")
    return {"gap": gap}


def _within(subject: Subject, places: list[World], what: str) -> Mapping[str, Any]:
    settings = subject.own_draws()
    for place in places:
        epsilon = subject.settings(place).get("epsilon")
        for seed in (0, 1):
            output = subject(place, seed, **settings).detach()
            bad = defects(place.x, output, place.model.bounds, epsilon, subject.method.norm).get(what)
            if bad is not None and bool(bad.any()):
                size = (linf_norm if subject.method.norm == "linf" else l2_norm)(output - place.x)
                raise CheckFailed(
                    f"{int(bad.sum())} images are {what} with {place.name}: pixels from {float(output.min()):.4g} to "
                    f"{float(output.max()):.4g}, {subject.method.norm} up to {float(size.max()):.4g}, epsilon {epsilon}"
                )
    return {}


def _nothing_at_zero(subject: Subject, world: World) -> Mapping[str, Any]:
    if not subject.accepts("epsilon"):
        raise Skipped("it takes no epsilon")
    changes: dict[str, Any] = {"epsilon": 0.0, **subject.own_draws()}
    if "step_size" in subject.method.defaults:
        changes["step_size"] = 0.01
    moved = float((subject(world, **changes).detach() - world.x).abs().max())
    if moved > 1e-9:  # the projection x + clamp(x' - x) rounds at 1e-16
        raise CheckFailed(f"pixels move by up to {moved:.2e} although epsilon is 0")
    return {}


def _climbs(subject: Subject, places: list[World]) -> Mapping[str, Any]:
    place = places[-1]
    with torch.no_grad():
        before = F.cross_entropy(place.model(place.x), place.target, reduction="none")
        after = F.cross_entropy(place.model(subject(place).detach().clamp(0, 1)), place.target, reduction="none")
    if bool((after < before - 1e-9).any()):
        raise CheckFailed(f"the loss of the true class falls on {int((after < before - 1e-9).sum())} of {len(before)} images")
    return {}


def metamorphic(subject: Subject, world: World) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]:
    # Starts and noise, which go with their image.
    settings: dict[str, Any] = {
        k: v for k, v in subject.settings(world).items() if isinstance(v, Tensor) and v.shape[:1] == world.x.shape[:1]
    }

    def part(index: Tensor) -> Tensor:
        place = World(world.name, world.model, world.x[index], world.target[index], world.params)
        return subject(place, **{k: v[index] for k, v in settings.items()}).detach()

    def compare(expected: Tensor, found: Tensor, text: str) -> Mapping[str, Any]:
        if found.shape != expected.shape:
            raise CheckFailed(f"{text}: shapes {tuple(expected.shape)} and {tuple(found.shape)}")
        gap = float(agreement.gaps(found, expected, subject.scale(expected)).max())
        # The same float64 sums in another order, and what a library may round to float32.
        if gap > agreement.MULTIPLE * agreement.FLOAT64_NOISE:
            raise CheckFailed(f"{text}: they differ by up to {gap:.2e}")
        return {"gap": gap}

    everything = torch.arange(len(world.x))

    def alone() -> Mapping[str, Any]:
        single = torch.cat([part(everything[i : i + 1]) for i in everything.tolist()])
        return compare(part(everything), single, "an image alone and in a batch should get the same answer")

    def permuted() -> Mapping[str, Any]:
        order = everything.flip(0)
        return compare(part(everything)[order], part(order), "the same images in another order should get the same answers")

    def classes() -> Mapping[str, Any]:
        place = _headed(world, lambda logits: logits.flip(1), _classes(world) - 1 - world.target)
        return compare(part(everything), subject(place, **settings).detach(), "renaming the classes should change nothing")

    def preprocessing() -> Mapping[str, Any]:
        class Inside(nn.Module):
            def __init__(self, inner: nn.Module, mean: Tensor, std: Tensor) -> None:
                super().__init__()
                self.inner = inner
                self.mean, self.std = mean, std

            def forward(self, x: Tensor) -> Tensor:
                logits: Tensor = self.inner((x - self.mean) / self.std)
                return logits

        if world.model.mean is None or world.model.std is None:
            raise Skipped("the given model normalises nothing")
        layer = None if world.model.layer is None else f"inner.{world.model.layer}"
        model = wrap(
            Inside(world.model.module, world.model.mean, world.model.std).eval(), layer=layer, bounds=world.model.bounds
        )
        place = World(world.name, model, world.x, world.target, world.params)
        return compare(
            part(everything), subject(place, **settings).detach(), "normalising inside the model should change nothing"
        )

    if len(world.x) > 1:
        yield "metamorphic: an image's answer does not depend on its batch", alone
        yield "metamorphic: the order of the images does not matter", permuted
    yield "metamorphic: the order of the classes does not matter", classes
    yield "metamorphic: normalisation may be in the adapter or in the model", preprocessing
