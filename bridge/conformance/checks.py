"""The checks, in groups: contract, no trace, agreement, axioms, metamorphic. Each raises CheckFailed or returns figures."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridge.conformance.subject import CheckFailed, Skipped, Subject
from bridge.conformance.worlds import BASE, CLASSES, World, worlds
from bridge.gradients import target_logits
from bridge.metrics import agreement
from bridge.metrics.attack import defects
from bridge.model import wrap
from bridge.norms import l2_norm, linf_norm
from bridge.state import seeded
from bridge.types import Agreement

# Every parameter away from the values above and from its default: who ignores one is caught.
OTHER: dict[str, tuple[Any, ...]] = {
    "n_steps": (5,), "baseline": (0.35,), "relu": (True,), "upsample": (True,), "interpolation": ("bilinear",),
    "method": ("riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"), "window": ((4, 3), 5),
    "stride": (1, (2, 3)), "n_samples": (9,), "stdev": (0.4,), "targeted": (True,), "random_start": (False,),
    "steps": (3,), "overshoot": (0.3,), "candidates": (2,), "restarts": (3,),
}  # fmt: skip
DRAWS = 100  # in the first world and where a parameter is varied; a third of it in the others
SQUARE_LIMIT = 3.0  # neighbouring pixels share their noise, so that the mean of a thousand squares scatters by about 0.3
Z_LIMIT = 7.0  # of some thousand pixels one exceeds 7 standard errors by chance once in a hundred million checks


@dataclass(frozen=True)
class Check:
    """One check by name; `run` returns figures, or raises CheckFailed. `world` is where a disagreement is diagnosed."""

    name: str
    run: Callable[[], Mapping[str, Any]]
    world: World | None = None


def all_checks(subject: Subject, seed: int, extra: World | None = None) -> list[Check]:
    """Every check of this function, in the order that a reader wants them."""
    method = subject.method
    base = {**BASE.get(method.name, {}), **subject.params}
    places = worlds(method, base, seed)
    if extra is not None:
        places.insert(0, World("the given model and batch", extra.model, extra.x, extra.target, base))
    first = places[0]
    drawn_itself = _draws_itself(subject, first)
    found = [
        Check("contract: a tensor of the right shape, dtype and device", lambda: _contract(subject, first)),
        Check("contract: finite numbers without a graph", lambda: _finite(subject, places)),
        Check("contract: the same seed gives the same output", lambda: _repeatable(subject, first)),
    ]
    if method.draw is not None or method.name == "smooth_grad":
        found.append(Check("contract: another seed gives another output", lambda: _random(subject, first)))
    found += [
        Check("no trace: images, classes and their flags", lambda: _images_untouched(subject, first)),
        Check(
            "no trace: weights, buffers, gradients, modes, flags and hooks of the model",
            lambda: _model_untouched(subject, first),
        ),
        Check("no trace: the random state", lambda: _random_state(subject, first)),
        Check("no trace: new images give new answers", lambda: _not_cached(subject, first, "images")),
        Check("no trace: changed weights give new answers", lambda: _not_cached(subject, first, "weights")),
    ]
    agree = partial(_statistical, draws=DRAWS) if drawn_itself else _agreement
    elsewhere = partial(_statistical, draws=DRAWS // 3) if drawn_itself else _agreement
    found.append(Check(f"agreement: {first.name}", partial(agree, subject, first), first))
    found += [Check(f"agreement: {world.name}", partial(elsewhere, subject, world), world) for world in places[1:]]
    for world in _variations(subject, first):
        found.append(Check(f"agreement: {world.name}", partial(agree, subject, world), world))
    found += [Check(name, run) for name, run in _axioms(subject, places)]
    if not drawn_itself:
        found += [Check(name, run) for name, run in _metamorphic(subject, first)]
    return found


def tolerance(subject: Subject, world: World) -> tuple[Tensor, float]:
    """The reference in float64, and the noise floor: itself in float32 against it."""
    expected = subject.reference(world)
    single = subject.reference(world.single())
    return expected, agreement.noise_floor(single, expected, _scale(subject))


def _scale(subject: Subject) -> Callable[[Tensor], Tensor | float]:
    return agreement.image_scale if subject.method.kind == "attribution" else lambda _: 1.0


def same(subject: Subject, output: Tensor, expected: Tensor, noise: float) -> Agreement:
    """The float64 verdict on one output."""
    return agreement.judge(output, output, expected.float(), expected, noise=noise, scale=_scale(subject))


def _agreement(subject: Subject, world: World) -> Mapping[str, Any]:
    expected, noise = tolerance(subject, world)
    found = same(subject, subject(world).detach(), expected, noise)
    if found.verdict == "differs":
        raise CheckFailed(
            f"differs from the reference on {found.images} of {len(world.x)} images by up to {found.gap:.2e} "
            f"(rounding would be {min(found.noise, agreement.FLOAT64_NOISE):.0e})" + (f": {found.cause}" if found.cause else "")
        )
    return {"verdict": found.verdict, "gap": found.gap}


def _statistical(subject: Subject, world: World, draws: int) -> Mapping[str, Any]:
    """For a function that draws random numbers in its own order: means and spreads over many seeds."""
    first_expected, noise = tolerance(subject, world)
    if same(subject, subject(world).detach(), first_expected, noise).verdict != "differs":
        return {"verdict": "equal under the same seed"}
    ours = torch.stack([subject.reference(world, seed) for seed in range(draws)])
    theirs = torch.stack([subject(world, seed).detach().double() for seed in range(draws)])
    if theirs.shape != ours.shape:
        raise CheckFailed(f"the output has shape {tuple(theirs.shape[1:])}, expected {tuple(ours.shape[1:])}")
    variance_ours, variance_theirs = ours.var(0), theirs.var(0)
    error = ((variance_ours + variance_theirs) / draws).sqrt()
    scale = float(ours.abs().max())
    each = (ours.mean(0) - theirs.mean(0)).abs() / (error + 1e-9 * scale)
    z, square = float(each.max()), float(each.square().mean())
    spread = float((variance_theirs.mean() / variance_ours.mean().clamp(min=1e-30)).sqrt())
    if z > Z_LIMIT or square > SQUARE_LIMIT or (float(variance_ours.mean()) > 1e-20 and not 0.75 < spread < 1.33):
        raise CheckFailed(
            f"over {draws} seeds its mean is {z:.1f} standard errors away from the reference's (chance explains {Z_LIMIT:g}), "
            f"{square:.1f} squared on average (chance: 1), and its spread is {spread:.2f} times the reference's"
        )
    return {"z": z, "spread": spread}


def _draws_itself(subject: Subject, world: World) -> bool:
    """Whether reference or function still draw random numbers once everything that can be told is told."""
    try:
        return not torch.equal(subject.reference(world, 1), subject.reference(world, 2))
    except (CheckFailed, TypeError, ValueError):
        return False


def _variations(subject: Subject, world: World) -> Iterator[World]:
    """The first world with one parameter changed at a time, for each that the function can be told."""
    for name, default in subject.method.defaults.items():
        if name in subject.params or not subject.accepts(name) or name in ("start", "noise"):
            continue
        if name == "restarts" and not subject.names(name):
            continue  # several starts at once are asked only of who says that they take them
        values = OTHER.get(name)
        if name == "epsilon":
            # Large ones tell no clip from a clip at the wrong bounds.
            values = (0.2,) if default is None else (0.03, 3.0) if subject.method.norm == "linf" else (0.3, 40.0)
        elif name == "step_size":
            values = (0.011,)
        elif values is None and isinstance(default, bool | int | float):
            values = (
                (not default,)
                if isinstance(default, bool)
                else (default + 1,)
                if isinstance(default, int)
                else (default * 1.5,)
            )
        for value in values or ():
            yield world.with_params(f"{name}={value!r}", **{name: value})


def _contract(subject: Subject, world: World) -> Mapping[str, Any]:
    for place in (world, world.single()):
        expected, output = subject.reference(place), subject(place)
        if output.shape != expected.shape:
            raise CheckFailed(
                f"the output has shape {tuple(output.shape)}, expected {tuple(expected.shape)} for images of shape "
                f"{tuple(place.x.shape)}"
            )
        if not output.is_floating_point():
            raise CheckFailed(f"the output is {output.dtype}, expected floating point")
        if output.dtype != place.x.dtype and (subject.method.kind == "attack" or place.x.dtype == torch.float32):
            raise CheckFailed(f"the output is {output.dtype} for {place.x.dtype} images")
        if output.device != place.x.device:
            raise CheckFailed(f"the output is on {output.device}, the images on {place.x.device}")
    return {}


def _finite(subject: Subject, places: list[World]) -> Mapping[str, Any]:
    for place in places:
        output = subject(place)
        if not bool(output.isfinite().all()):
            raise CheckFailed(f"{int((~output.isfinite()).sum())} values are NaN or infinite with {place.name}")
        if output.requires_grad:
            raise CheckFailed("the output still carries a graph: return output.detach()")
    return {}


def _repeatable(subject: Subject, world: World) -> Mapping[str, Any]:
    settings = _random_settings(subject, world)
    if not torch.equal(subject(world, 5, **settings).detach(), subject(world, 5, **settings).detach()):
        raise CheckFailed("two calls with the same seed differ: random numbers must come from torch's global generator")
    return {}


def _random_settings(subject: Subject, world: World) -> dict[str, Any]:
    """Parameters under which a random method draws for itself."""
    changes: dict[str, Any] = {}
    if subject.method.draw is not None:
        for name in ("start", "noise"):
            if name in subject.method.defaults:
                changes[name] = None
        if "random_start" in subject.method.defaults:
            changes["random_start"] = True
    return changes


def _random(subject: Subject, world: World) -> Mapping[str, Any]:
    settings = _random_settings(subject, world)
    if torch.equal(subject(world, 1, **settings).detach(), subject(world, 2, **settings).detach()):
        raise CheckFailed("two seeds give the same output: nothing random is drawn, or it is drawn from a fixed seed")
    return {}


def _images_untouched(subject: Subject, world: World) -> Mapping[str, Any]:
    x, target = world.x.clone(), world.target.clone()
    place = World(world.name, world.model, x, target, world.params)
    subject(place, guard=False)
    _clear_gradients(world)
    if not torch.equal(x, world.x) or not torch.equal(target, world.target):
        raise CheckFailed("the caller's images or classes were changed in place: work on a clone")
    if x.requires_grad or x.grad is not None:
        raise CheckFailed("x.requires_grad or x.grad was left on the caller's images: work on x.detach().clone()")
    return {}


def _clear_gradients(world: World) -> None:
    for p in world.model.parameters():
        p.grad = None


def _snapshot(model: nn.Module) -> dict[str, Any]:
    state: dict[str, Any] = {"gradients": [p.grad is None for p in model.parameters()]}
    state["weights"] = [p.detach().clone() for p in model.parameters()]
    state["buffers"] = [b.clone() for b in model.buffers()]
    state["requires_grad flags"] = [p.requires_grad for p in model.parameters()]
    state["training modes"] = [m.training for m in model.modules()]
    state["in-place flags"] = [getattr(m, "inplace", None) for m in model.modules()]
    state["hooks"] = [sum(len(v) for k, v in m.__dict__.items() if "hooks" in k and v) for m in model.modules()]
    state["modules"] = [id(m) for m in model.modules()]
    return state


def _model_untouched(subject: Subject, world: World) -> Mapping[str, Any]:
    # A copy, called without any protection: what is left behind here is left behind on a user's model.
    for training in (False, True):
        copy = world.model.astype(torch.float64)
        copy.module.train(training)
        copy.training = training
        before = _snapshot(copy)
        subject(World(world.name, copy, world.x.clone(), world.target.clone(), world.params), guard=False)
        after = _snapshot(copy)
        for what in before:
            if training and what == "buffers":
                continue  # batch norm in training mode updates its statistics whoever calls it
            if not all(
                torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(before[what], after[what], strict=True)
            ):
                mode = "training" if training else "evaluation"
                hint = (
                    ": take torch.autograd.grad with respect to the images, not loss.backward()" if what == "gradients" else ""
                )
                raise CheckFailed(f"the model's {what} were changed (model in {mode} mode){hint}")
    return {}


def _random_state(subject: Subject, world: World) -> Mapping[str, Any]:
    if subject.method.draw is not None or subject.method.name == "smooth_grad":
        raise Skipped("a random method draws from the global generators")
    given = {k: v for k, v in subject.settings(world).items() if subject.accepts(k)}
    with seeded(987_654_321):  # a state that no seed of the user's gives
        before = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())  # type: ignore[index]
        subject.guarded(lambda: subject.function(world.model, world.x.clone(), world.target.clone(), **given))
        after = (torch.get_rng_state(), np.random.get_state()[1], random.getstate())  # type: ignore[index]
    _clear_gradients(world)
    if not torch.equal(before[0], after[0]) or not bool((before[1] == after[1]).all()) or before[2] != after[2]:
        raise CheckFailed(f"random numbers were drawn or a seed was set, though {subject.method.name} is deterministic")
    return {}


def _not_cached(subject: Subject, world: World, what: str) -> Mapping[str, Any]:
    model, x = world.model.astype(torch.float64), world.x.clone()
    place = World(world.name, model, x, world.target.clone(), world.params)
    outputs = []
    for _ in range(2):
        outputs.append(subject(place, guard=False).detach().clone())
        with torch.no_grad():
            if what == "images":
                x.copy_(1 - x)
            else:
                last = [p for p in model.module.parameters() if p.ndim > 1][-1]
                last.copy_(last.flip(0) * 1.7)
    if what == "weights" and subject.method.name == "uniform_noise_linf":
        return {}
    expected = subject.reference(
        World(world.name, world.model, 1 - world.x if what == "images" else world.x, world.target, world.params)
    )
    if torch.equal(outputs[0], outputs[1]) and not torch.equal(expected, outputs[1]):
        raise CheckFailed(f"the answer stays the same after the {what} have changed: something is cached between calls")
    return {}


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
    model = wrap(_Headed(world.model.module, head).eval(), mean=mean, std=std, layer=layer)
    return World(world.name, model, world.x, world.target if target is None else target, world.params)


GRADIENTS = ("saliency", "input_x_gradient", "integrated_gradients", "smooth_grad")


def _axioms(subject: Subject, places: list[World]) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]:
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
    mixing = torch.tensor([[2.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 2]], dtype=torch.float64)
    twice = _headed(world, lambda logits: logits @ mixing.to(logits) @ torch.linalg.inv(mixing).to(logits))
    if int(world.target.max()) >= CLASSES or world.model(world.x[:1]).shape[1] != CLASSES:
        raise Skipped("the given model has another number of classes")
    gap = float(
        agreement.gaps(subject(twice).detach(), subject(world).detach(), agreement.image_scale(subject.reference(world))).max()
    )
    if gap > agreement.MULTIPLE * agreement.FLOAT64_NOISE:
        raise CheckFailed(f"two networks that compute the same function get attributions that differ by {gap:.2e}")
    return {"gap": gap}


def _linear(subject: Subject, world: World) -> Mapping[str, Any]:
    if subject.settings(world).get("relu"):
        raise Skipped("with a ReLU the map is not linear")
    classes = world.model(world.x[:1]).shape[1]
    neighbour = World(world.name, world.model, world.x, (world.target + 1) % classes, world.params)
    added = _headed(world, lambda logits: logits + logits.roll(-1, 1))
    expected = subject(world).detach() + subject(neighbour).detach()
    gap = float(agreement.gaps(subject(added).detach(), expected, agreement.image_scale(expected)).max())
    if gap > agreement.MULTIPLE * agreement.FLOAT64_NOISE:
        raise CheckFailed(f"the attribution of two logits' sum differs from the sum of theirs by {gap:.2e}")
    return {"gap": gap}


def _within(subject: Subject, places: list[World], what: str) -> Mapping[str, Any]:
    settings = _random_settings(subject, places[0])
    for place in places:
        epsilon = subject.settings(place).get("epsilon")
        for seed in (0, 1):
            output = subject(place, seed, **settings).detach()
            bad = defects(place.x, output, (0.0, 1.0), epsilon, subject.method.norm).get(what)
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
    changes: dict[str, Any] = {"epsilon": 0.0, **_random_settings(subject, world)}
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


def _metamorphic(subject: Subject, world: World) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]:
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
        gap = float(agreement.gaps(found, expected, _scale(subject)(expected)).max())
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
        place = _headed(world, lambda logits: logits.flip(1), CLASSES - 1 - world.target)
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
        model = wrap(Inside(world.model.module, world.model.mean, world.model.std).eval(), layer=layer)
        place = World(world.name, model, world.x, world.target, world.params)
        return compare(
            part(everything), subject(place, **settings).detach(), "normalising inside the model should change nothing"
        )

    if len(world.x) > 1:
        yield "metamorphic: an image's answer does not depend on its batch", alone
        yield "metamorphic: the order of the images does not matter", permuted
    if int(world.target.max()) < CLASSES:
        yield "metamorphic: the order of the classes does not matter", classes
    yield "metamorphic: normalisation may be in the adapter or in the model", preprocessing
