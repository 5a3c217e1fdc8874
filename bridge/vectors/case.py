"""One case: a method on a network, its answer, how far another may be off, what goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bridge.conformance.worlds import World
from bridge.core.gradients import loss_gradient
from bridge.core.method import Method
from bridge.core.state import frozen
from bridge.metrics import agreement
from bridge.vectors.draws import drawn
from bridge.vectors.modules import REVERSED, adapter, nudged, weights
from bridge.vectors.networks import NETWORKS, images
from bridge.vectors.prints import SAME, print_of, printed, size_of
from bridge.vectors.words import CONDITIONS, SATURATED, TRAPS, ZERO_GRADIENT
from bridge.vectors.wrong import subject_of, wrong_answers

CLOSE, FLOAT32 = 1e-9, 1e-4
STEADY = 1e-10  # an answer that weights moved by 1e-11 move by less is close
DECIDED = 1e-5  # one that they move by more hangs by a thread: another framework decides otherwise
DIFFERENT = 1e-7  # a wrong answer is further from the right one than two roundings
SURE = 1e-6  # 1 - p of a saturated softmax


class LeftOut(Exception):
    """No case can be made of this; the text says why."""


@dataclass(frozen=True)
class Case:
    """A case as it is written.

    `wrong` are wrong answers by their sentences, each as its print.
    """

    id: str
    network: str
    parameters: dict[str, Any]
    tensors: dict[str, NDArray[Any]]
    tolerance: dict[str, Any]
    traps: tuple[str, ...]
    wrong: dict[str, NDArray[np.float64]]


def make(method: Method, network: str, number: int, params: Mapping[str, Any]) -> Case:
    """The case of these parameters. Raises LeftOut where frameworks may differ in the answer."""
    name, x = f"{method.name}/{network}/{number}", torch.tensor(images(network))
    model, coarse = adapter(network, weights(network)), NETWORKS[network].exact
    tensors = drawn(method, dict(params), x, network, name)
    target, missed = _targets(method, model, x, bool(params.get("targeted")))
    world = World(name, model, x, target, {**method.bind({}), **params, **tensors})
    subject = subject_of(method)
    expected = subject.reference(world).contiguous()
    scale: Any = subject.scale(expected)

    def gap(other: Tensor) -> float:
        if other.shape != expected.shape:
            return float("inf")
        return float(agreement.gaps(other, expected, scale).max())

    single = gap(subject.reference(world.single()))
    # The zeros by cancellation of coarse weights would not survive a nudge: there sums are taken in
    # another order, and in float32.
    others = (
        [adapter(network, weights(network), REVERSED)]
        if coarse
        else [nudged(model), nudged(model, -1)]
    )
    moved = max(gap(subject.reference(replace(world, model=other))) for other in others)
    exact = coarse and moved == single == 0
    if coarse and single > DECIDED:
        moved = max(moved, single)
    if moved > DECIDED:
        how = "sums are taken in another order" if coarse else "weights move by 1e-11"
        raise LeftOut(f"{name}: the answer moves by {moved:.0e} where {how}")
    # g = sum_k p_k dz_k - dz_target: of 1 - p of the target float64 knows 2^-53.
    lost = 2.0**-53 / missed if missed and _of_loss(method) else 0.0
    wrong, traps = _mistakes(method, world, network, expected, gap)
    traps |= _conditions(method, world, missed)
    return Case(
        name,
        network,
        _plain(method.bind(params), tensors),
        {k: v.numpy() for k, v in {"target": target, "expected": expected, **tensors}.items()},
        _tolerance(single, max(moved, lost), exact=exact),
        tuple(sorted(traps)),
        wrong,
    )


def _of_loss(method: Method) -> bool:
    """Whether it follows a loss, whose gradient vanishes where a softmax saturates."""
    follows = method.kind == "attack" and method.tags.gradient
    return follows or method.reference is loss_gradient


def _targets(method: Method, model: Any, x: Tensor, targeted: bool) -> tuple[Tensor, float]:
    """A class for each image, and the smallest 1 - p of them.

    Explained are three classes; attacked the predicted ones, but for one that is another already.
    """
    with torch.no_grad():
        logits = model(x)
    ranks = torch.tensor([0, 0, 1] if _of_loss(method) else [0, 1, 2])
    target = logits.argsort(dim=1, descending=True, stable=True).gather(1, ranks[:, None])[:, 0]
    target = (target + 1) % logits.shape[1] if targeted else target
    missed = 1 - logits.softmax(1).gather(1, target[:, None])
    return target, float(missed.abs().min())


def _plain(params: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The parameters that are no tensors, as JSON has them."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in params.items()
        if name not in tensors
    }


def _tolerance(single: float, moved: float, *, exact: bool) -> dict[str, Any]:
    if exact:
        return {"float64": 0.0, "float32": 0.0, "why": "exact"}
    close = moved <= STEADY
    return {
        "float64": CLOSE if close else float(f"1e{int(np.ceil(np.log10(8 * moved)))}"),
        "float32": FLOAT32 if single <= DECIDED else None,
        "why": "close" if close else "conditioned",
    }


def _mistakes(
    method: Method, world: World, network: str, expected: Tensor, gap: Any
) -> tuple[dict[str, NDArray[np.float64]], set[str]]:
    """Wrong answers that are different here, each kept once, and the traps that they show."""
    x, attack = world.x.numpy(), method.kind == "attack"
    answer = printed(expected.numpy(), x, attack=attack)
    right, size = print_of(answer), size_of(answer)
    kept: dict[str, NDArray[np.float64]] = {}
    different = set()
    for sentence, output in wrong_answers(method, world, network):
        if gap(output) <= DIFFERENT or sentence in different:
            continue
        different.add(sentence)
        found = print_of(printed(output.numpy(), x, attack=attack))
        if np.abs(found - right).max() > 10 * SAME * size:
            kept[sentence] = found
    own = method.cases.traps if method.cases else {}
    return kept, {
        name for name, trap in {**TRAPS, **own}.items() if different.intersection(trap.mistakes)
    }


def _conditions(method: Method, world: World, missed: float) -> set[str]:
    found = set()
    if _of_loss(method):
        with frozen(world.model):
            gradient = loss_gradient(world.model, world.x, world.target)
        found |= {SATURATED} if missed < SURE else set()
        zero = method.kind == "attack" and bool((gradient.flatten(1).abs().amax(1) == 0).any())
        found |= {ZERO_GRADIENT} if zero else set()
    assert found <= set(CONDITIONS)
    return found
