"""Is this installation sound? Versions, devices, and every method against the closed form of a linear model."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from bridge import manifest
from bridge.model import wrap
from bridge.registry import get, methods
from bridge.run import run

OPTIONAL = ("scikit-learn", "timm", "transformers", "lightning", "ray", "torchattacks", "zennit")


def examine() -> dict[str, dict[str, Any]]:
    """{"versions": ..., "optional": ..., "devices": ..., "self-test": method/implementation -> "passed" or what is wrong}."""
    devices: dict[str, Any] = {"cpu": f"{torch.get_num_threads()} threads"}
    for index in range(torch.cuda.device_count()):
        devices[f"cuda:{index}"] = torch.cuda.get_device_name(index)
    if torch.backends.mps.is_available():
        devices["mps"] = "available"
    optional = manifest.versions(OPTIONAL)
    del optional["python"]
    return {"versions": manifest.versions(), "optional": optional, "devices": devices, "self-test": self_test()}


def self_test() -> dict[str, str]:
    """Every method by every implementation on a linear model in float64, where the right answer is known."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64)
    x = torch.rand(2, 2, 4, 4, generator=generator, dtype=torch.float64) / 2 + 0.25
    flatten, linear = nn.Flatten(), nn.Linear(32, 3, bias=False, dtype=torch.float64)
    linear.weight.data = weight.flatten(1)
    model = wrap(nn.Sequential(flatten, linear).eval())
    labels = model(x).argmax(1)
    known = _attributions(weight, x, labels)
    results = {}
    for name in methods():
        method = get(name)
        if name not in known and method.kind == "attribution":
            continue  # needs a layer or a ReLU, which a linear model lacks
        for implementation in method.implementations():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    output = run(name, model, x, labels, implementation=implementation).output
                if name in known:
                    gap = float((output - known[name]).abs().max())
                    verdict = "passed" if gap < 1e-5 else f"off by {gap:.1e}"  # Captum's occlusion is float32
                else:
                    fine = bool(output.isfinite().all()) and float(output.min()) >= 0 and float(output.max()) <= 1
                    verdict = "passed" if fine else "images are not finite or leave the bounds"
            except Exception as error:
                verdict = f"{type(error).__name__}: {error}"
            results[f"{name}/{implementation}"] = verdict
    return results


def _attributions(weight: Tensor, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What a linear model's attributions are: its weights, their size, or weight times image."""
    w = weight[labels]
    # One pixel a window and zero as the baseline (the defaults at this size): both channels of it are covered at once.
    occluded = (w * x).sum(1, keepdim=True).expand_as(x)
    return {
        "saliency": w.abs(), "input_x_gradient": w * x, "integrated_gradients": w * x, "smooth_grad": w,
        "occlusion": occluded,
    }  # fmt: skip
