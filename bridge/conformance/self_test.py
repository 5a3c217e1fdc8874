"""Is this installation sound? Versions, devices, and every method by every implementation."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from bridge.conformance import contract
from bridge.conformance.axioms import within_bounds
from bridge.conformance.judging import agrees, agrees_on_average, draws_itself
from bridge.conformance.subject import CheckFailed, Skipped, Subject
from bridge.conformance.worlds import base, worlds
from bridge.core.engine import run
from bridge.core.method import Method
from bridge.core.model import wrap
from bridge.core.registry import get, methods
from bridge.core.tags import Function
from bridge.record import manifest

OPTIONAL = ("scikit-learn", "timm", "transformers", "lightning", "ray", "torchattacks", "zennit")
ROUNDING = 1e-5  # Captum's occlusion is float32
DRAWS = 33
LIMIT_SECONDS = 60.0


def examine() -> dict[str, dict[str, Any]]:
    """What stands in this installation, by section.

    {"versions", "optional", "devices", "known disagreements": method/implementation -> what a
    library does otherwise, "self-test": see `self_test`}.
    """
    devices: dict[str, Any] = {"cpu": f"{torch.get_num_threads()} threads"}
    for index in range(torch.cuda.device_count()):
        devices[f"cuda:{index}"] = torch.cuda.get_device_name(index)
    if torch.backends.mps.is_available():
        devices["mps"] = "available"
    optional = manifest.versions(OPTIONAL)
    del optional["python"]
    return {
        "versions": manifest.versions(),
        "optional": optional,
        "devices": devices,
        "known disagreements": {
            f"{name}/{library}": twin.differs
            for name in methods()
            for library, twin in get(name).twins.items()
            if twin.differs
        },
        "self-test": self_test(),
    }


def self_test() -> dict[str, str]:
    """method/implementation -> "passed", or what is wrong: every method by every implementation.

    In float64: against the closed form on a linear model, where the method states one, and against
    the reference on a small convolutional network. A twin that is known to differ on any network
    must give finite answers within the bounds.
    """
    results = {}
    with torch.inference_mode(False), torch.enable_grad():
        for name in methods():
            for implementation in get(name).implementations():
                results[f"{name}/{implementation}"] = verdict(get(name), implementation)
    return results


def verdict(method: Method, implementation: str) -> str:
    """ "passed", or what is wrong with one implementation."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if method.tags.linear is not None:
                gap = _off_on_linear(method, implementation, method.tags.linear)
                if gap > ROUNDING:
                    return f"off by {gap:.1e} on a linear model"
            _against_reference(method, implementation)
    except (CheckFailed, Skipped) as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "passed"


def _off_on_linear(method: Method, implementation: str, closed: Function) -> float:
    """The largest error on logits = w x, whose answer the method states."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64)
    x = torch.rand(2, 2, 4, 4, generator=generator, dtype=torch.float64) / 2 + 0.25
    linear = nn.Linear(32, 3, bias=False, dtype=torch.float64)
    linear.weight.data = weight.flatten(1)
    model = wrap(nn.Sequential(nn.Flatten(), linear).eval())
    labels = model(x).argmax(1)
    found = run(method.name, model, x, labels, implementation=implementation)
    expected = closed(weight[labels], x, **found.params)
    return float((found.output - expected).abs().max())


def _against_reference(method: Method, implementation: str) -> None:
    """Raises CheckFailed where the implementation differs from the reference, or breaks bounds."""
    subject = Subject(method.function(implementation), method, {}, LIMIT_SECONDS)
    world = worlds(method, base(method), seed=0)[0]
    contract.right_kind(subject, world)
    if not bool(subject(world).isfinite().all()):
        raise CheckFailed("the output is not finite")
    if method.kind == "attack":
        within_bounds(subject, [world])
    twin = method.twins.get(implementation)
    if twin is not None and twin.everywhere:
        return
    if draws_itself(subject, world):
        agrees_on_average(subject, world, DRAWS)
    else:
        agrees(subject, world)
