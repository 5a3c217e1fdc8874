"""Known variants of each attribution, right for somebody else: another quadrature, ReLU, interpolation, window, map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bridge.attributions.integrated_gradients import quadrature
from bridge.attributions.layer_gradcam import activations_and_gradient
from bridge.attributions.occlusion import starts, window_and_stride
from bridge.conformance.subject import Subject, reference
from bridge.conformance.worlds import World
from bridge.gradients import input_gradient
from bridge.registry import get
from bridge.state import frozen

Predict = Callable[[Subject, World], Tensor | None]


def number(s: Subject, w: World, name: str) -> float:
    return float(s.settings(w).get(name) or 0)


def layer_of(world: World) -> tuple[Tensor, Tensor]:
    with frozen(world.model), torch.enable_grad():
        return activations_and_gradient(world.model, world.x.clone(), world.target)


def positions(s: Subject, world: World) -> float:
    return float(layer_of(world)[0][0, 0].numel())


def _gradient(world: World) -> Tensor:
    with frozen(world.model), torch.enable_grad():
        return input_gradient(world.model, world.x.clone(), world.target)


def _other(name: str, **changes: Any) -> Predict:
    """The same method with other parameters, or another method."""

    def predict(s: Subject, w: World) -> Tensor | None:
        method = get(name)
        settings = {k: v for k, v in s.settings(w).items() if k in method.defaults}
        return reference(method, w, {**method.defaults, **settings, **changes})

    return predict


def _steps(change: int, **more: Any) -> Predict:
    return lambda s, w: _other("integrated_gradients", n_steps=int(number(s, w, "n_steps")) + change, **more)(s, w)


def _path_mean(s: Subject, w: World, multiply: Tensor | float) -> Tensor:
    """mean gradient on the path, by the method's own quadrature, times something."""
    settings = s.settings(w)
    way = w.x - settings["baseline"]
    total = torch.zeros_like(w.x)
    with frozen(w.model), torch.enable_grad():
        for point, weight in zip(*quadrature(settings["method"], settings["n_steps"]), strict=True):
            total += weight * input_gradient(w.model, settings["baseline"] + point * way, w.target)
    return multiply * total


RIEMANN = {"left": "riemann_left", "right": "riemann_right", "middle": "riemann_middle", "trapezoid": "riemann_trapezoid"}


def _endpoints(n_points: int, drop_first: bool, drop_last: bool, divide: int) -> Predict:
    """Gradients at n_points equally spaced points, both ends counted, some dropped, summed and divided."""

    def predict(s: Subject, w: World) -> Tensor:
        n = int(number(s, w, "n_steps"))
        points = torch.linspace(0, 1, n + n_points, dtype=torch.float64).tolist()
        points = points[int(drop_first) : len(points) - int(drop_last)]
        baseline = s.settings(w)["baseline"]
        way, total = w.x - baseline, torch.zeros_like(w.x)
        with frozen(w.model), torch.enable_grad():
            for point in points:
                total += input_gradient(w.model, baseline + point * way, w.target)
        return way * total / {0: len(points), 1: n, 2: n + 1}[divide]

    return predict


def _gradcam(weights: Callable[[Tensor, Tensor], Tensor]) -> Predict:
    def predict(s: Subject, w: World) -> Tensor:
        activations, gradient = layer_of(w)
        cam = weights(activations, gradient)
        settings = s.settings(w)
        cam = cam.relu() if settings.get("relu") else cam
        return F.interpolate(cam, w.x.shape[2:], mode="bilinear", align_corners=False) if settings.get("upsample") else cam

    return predict


def _upsampled(mode: str, **options: Any) -> Predict:
    def predict(s: Subject, w: World) -> Tensor:
        cam = s.reference(w, upsample=False)
        return F.interpolate(cam, w.x.shape[2:], mode=mode, **options)

    return predict


def _guided_cam(guided: str, relu: bool, mode: str) -> Predict:
    def predict(s: Subject, w: World) -> Tensor:
        cam = reference(get("layer_gradcam"), w, {"relu": relu})
        corners = {} if mode == "nearest" else {"align_corners": False}
        other = _gradient(w) if guided == "gradient" else reference(get(guided), w, {})
        return other * F.interpolate(cam, w.x.shape[2:], mode=mode, **corners)

    return predict


def _occluded(
    *, mean: bool = True, full_only: bool = False, last: bool = True, relative: bool = False, absolute: bool = False,
    per_channel: bool = False, first_pixel: bool = False, baseline: str = "", shift_last: bool = False, pre: str = "",
) -> Predict:  # fmt: skip
    """Occlusion with one of its details changed."""

    def predict(s: Subject, w: World) -> Tensor:
        settings = s.settings(w)
        (wh, ww), (sh, sw) = window_and_stride(w.x, settings["window"], settings["stride"])
        x = w.x
        cover: Any = {"mean": lambda: x.mean((2, 3), keepdim=True).expand_as(x), "batch": lambda: x.mean().expand_as(x)}.get(
            baseline, lambda: torch.as_tensor(settings["baseline"], dtype=x.dtype).expand_as(x)
        )()

        def score(images: Tensor) -> Tensor:
            with torch.no_grad(), frozen(w.model):
                logits = w.model(images)
                logits = logits.softmax(1) if pre == "softmax" else logits
            return logits.gather(1, w.target[:, None])[:, 0]

        clean = score(x)
        total, count = torch.zeros_like(x), torch.zeros_like(x)
        rows, columns = (
            [a for a in starts(side, win, step) if (a + win <= side or not full_only) and (last or a + win < side)]
            for side, win, step in ((x.shape[2], wh, sh), (x.shape[3], ww, sw))
        )
        if shift_last:  # the last window is moved inside instead of clipped
            rows, columns = [min(a, x.shape[2] - wh) for a in rows], [min(a, x.shape[3] - ww) for a in columns]
        channels = range(x.shape[1]) if per_channel else [slice(None)]
        for top in rows:
            for left in columns:
                for channel in channels:
                    area = (slice(None), channel, slice(top, top + wh), slice(left, left + ww))
                    occluded = x.clone()
                    occluded[area] = cover[area]
                    drop = clean - score(occluded)
                    drop = drop.abs() if absolute else drop
                    drop = drop / clean if relative else drop
                    where = (slice(None), channel, slice(top, top + 1), slice(left, left + 1)) if first_pixel else area
                    total[where] += drop.view(-1, *[1] * (total[where].ndim - 1))
                    count[where] += 1
        return total / count.clamp(min=1) if mean else total

    return predict


SPECIAL: dict[str, list[tuple[str, Predict]]] = {
    "saliency": [
        ("the absolute value is missing: it is the signed gradient", lambda s, w: _gradient(w)),
        ("it multiplies by the image (input x gradient)", lambda s, w: w.x * _gradient(w)),
        ("it is |input x gradient|", lambda s, w: (w.x * _gradient(w)).abs()),
    ],
    "input_x_gradient": [
        ("the factor x is missing: it is the plain gradient", lambda s, w: _gradient(w)),
        ("it multiplies by the normalised image instead of the pixels",
         lambda s, w: None if w.model.mean is None else (w.x - w.model.mean) / w.model.std * _gradient(w)),
        ("it multiplies normalised image and normalised gradient",
         lambda s, w: None if w.model.mean is None else (w.x - w.model.mean) * _gradient(w)),
        ("it multiplies by the centred image (x - 0.5)", lambda s, w: (w.x - 0.5) * _gradient(w)),
        ("it multiplies by x - mean of the image", lambda s, w: (w.x - w.x.mean((1, 2, 3), keepdim=True)) * _gradient(w)),
        ("it multiplies by the sign of the gradient only", lambda s, w: w.x * _gradient(w).sign()),
        ("the gradient's absolute value is taken before multiplying", lambda s, w: w.x * _gradient(w).abs()),
    ],
    "integrated_gradients": [
        ("the factor (x - baseline) is missing", lambda s, w: _path_mean(s, w, 1.0)),
        ("it multiplies by x instead of (x - baseline)", lambda s, w: _path_mean(s, w, w.x)),
        *[(f"it uses the {rule} Riemann rule" if rule != "trapezoid" else "it uses the trapezoid rule",
           _other("integrated_gradients", method=name)) for rule, name in RIEMANN.items()],
        ("it uses the Gauss-Legendre rule", _other("integrated_gradients", method="gausslegendre")),
        ("it drops the last of n_steps equally spaced points (both ends counted): the left Riemann rule with n_steps - 1",
         _endpoints(0, False, True, 0)),
        ("it drops the last of n_steps equally spaced points (both ends counted) and still divides by n_steps",
         _endpoints(0, False, True, 1)),
        ("it averages n_steps equally spaced points with both ends at full weight", _endpoints(0, False, False, 0)),
        ("it averages n_steps + 1 equally spaced points with both ends at full weight", _endpoints(1, False, False, 0)),
        ("it sums n_steps + 1 equally spaced points with both ends and divides by n_steps", _endpoints(1, False, False, 1)),
        ("it drops the first of n_steps equally spaced points: the right Riemann rule with n_steps - 1", _endpoints(0, True, False, 0)),
        ("it leaves out both ends of n_steps equally spaced points", _endpoints(0, True, True, 0)),
        ("it leaves out both ends of n_steps + 1 equally spaced points and divides by n_steps", _endpoints(1, True, True, 1)),
        ("it is the trapezoid rule with weights that sum to (n - 1) / n, as Captum's and Quantus' are",
         lambda s, w: _other("integrated_gradients", method="riemann_trapezoid")(s, w) * (1 - 1 / number(s, w, "n_steps"))),
        ("it takes one step fewer than n_steps", _steps(-1)),
        ("it takes one step more than n_steps", _steps(1)),
        *[(f"it takes one step fewer, by the {rule} rule", _steps(-1, method=name)) for rule, name in RIEMANN.items()],
        *[(f"it takes one step more, by the {rule} rule", _steps(1, method=name)) for rule, name in RIEMANN.items()],
        *[(f"it takes {n} steps whatever n_steps says", _other("integrated_gradients", n_steps=n)) for n in (1, 5, 10, 20, 25, 32, 50, 64, 100)],
        *[(f"it takes {n} steps of the {rule} rule whatever n_steps says", _other("integrated_gradients", n_steps=n, method=name))
          for n in (10, 20, 50, 100) for rule, name in RIEMANN.items()],
        ("it is one gradient times (x - baseline), not an integral", lambda s, w: (w.x - s.settings(w)["baseline"]) * _gradient(w)),
        ("its baseline is always 0", _other("integrated_gradients", baseline=0.0)),
        ("its baseline is white (1)", _other("integrated_gradients", baseline=1.0)),
        ("its baseline is gray (0.5)", _other("integrated_gradients", baseline=0.5)),
        ("its baseline is zero after normalisation (the mean), not in pixels",
         lambda s, w: None if w.model.mean is None else s.reference(w, baseline=w.model.mean.expand_as(w.x))),
        ("its baseline is each image's mean", lambda s, w: s.reference(w, baseline=w.x.mean((1, 2, 3), keepdim=True).expand_as(w.x))),
    ],
    "layer_gradcam": [
        ("it applies a ReLU (relu=True)", _other("layer_gradcam", relu=True)),
        ("it never applies the ReLU", _other("layer_gradcam", relu=False)),
        ("it applies the ReLU to the gradient", _gradcam(lambda a, g: (g.relu().mean((2, 3), keepdim=True) * a).sum(1, keepdim=True))),
        ("it multiplies gradient and activation position by position (no averaging of the gradient)",
         _gradcam(lambda a, g: (g * a).sum(1, keepdim=True))),
        ("it does not weight the channels", _gradcam(lambda a, g: a.sum(1, keepdim=True))),
        ("it averages the channels without weights", _gradcam(lambda a, g: a.mean(1, keepdim=True))),
        ("it weights by the gradient's maximum instead of its mean", _gradcam(lambda a, g: (g.amax((2, 3), keepdim=True) * a).sum(1, keepdim=True))),
        ("it sums the gradient itself", _gradcam(lambda a, g: g.sum(1, keepdim=True))),
        ("it weights by the absolute gradient", _gradcam(lambda a, g: (g.mean((2, 3), keepdim=True).abs() * a).sum(1, keepdim=True))),
        ("it averages the gradient over the batch as well", _gradcam(lambda a, g: (g.mean((0, 2, 3), keepdim=True) * a).sum(1, keepdim=True))),
        ("it upsamples to the image's size although upsample is not set", _other("layer_gradcam", upsample=True)),
        ("it does not upsample", _other("layer_gradcam", upsample=False)),
        ("it upsamples by nearest instead of bilinear", _upsampled("nearest")),
        ("it upsamples with align_corners=True", _upsampled("bilinear", align_corners=True)),
        ("it upsamples bicubically", _upsampled("bicubic", align_corners=False)),
        ("it keeps the channels instead of summing them", _gradcam(lambda a, g: g.mean((2, 3), keepdim=True) * a)),
        ("it takes the maximum over the weighted channels", _gradcam(lambda a, g: (g.mean((2, 3), keepdim=True) * a).amax(1, keepdim=True))),
    ],
    "guided_backprop": [
        ("it is the plain gradient: no ReLU is guided", lambda s, w: _gradient(w)),
        ("it is the deconvolution: g * (g > 0), without x > 0", _other("deconvolution")),
        ("it is the absolute gradient", lambda s, w: _gradient(w).abs()),
        ("it is the gradient's positive part", lambda s, w: _gradient(w).relu()),
        ("it multiplies by the image", lambda s, w: w.x * s.reference(w)),
    ],
    "deconvolution": [
        ("it is the plain gradient: no ReLU is changed", lambda s, w: _gradient(w)),
        ("it is guided backprop: g * (x > 0) * (g > 0)", _other("guided_backprop")),
        ("it is the gradient's positive part", lambda s, w: _gradient(w).relu()),
        ("it multiplies by the image", lambda s, w: w.x * s.reference(w)),
    ],
    "guided_gradcam": [
        *[(text, _guided_cam(*how)) for text, how in {
            "the ReLU of Grad-CAM is missing": ("guided_backprop", False, "nearest"),
            "the ReLU of Grad-CAM is missing, and it upsamples bilinearly": ("guided_backprop", False, "bilinear"),
            "it upsamples bilinearly instead of nearest": ("guided_backprop", True, "bilinear"),
            "it upsamples by nearest instead of bilinear": ("guided_backprop", True, "nearest"),
            "it multiplies by the plain gradient instead of guided backprop": ("gradient", True, "nearest"),
            "it multiplies by the deconvolution instead of guided backprop": ("deconvolution", True, "nearest"),
        }.items()],
        ("Grad-CAM is missing: it is guided backprop alone", _other("guided_backprop")),
        ("guided backprop is missing: it is Grad-CAM alone",
         lambda s, w: reference(get("layer_gradcam"), w, {"relu": True, "upsample": True}).expand_as(w.x)),
    ],
    "occlusion": [
        ("it sums over the windows instead of averaging", _occluded(mean=False)),
        ("it skips the clipped windows at the edge", _occluded(full_only=True)),
        ("it skips the clipped windows at the edge and sums instead of averaging", _occluded(full_only=True, mean=False)),
        ("it skips the last window of each row and column", _occluded(last=False)),
        ("it moves the last window inside instead of clipping it", _occluded(shift_last=True)),
        ("it divides the fall by the clean logit", _occluded(relative=True)),
        ("it takes the absolute fall", _occluded(absolute=True)),
        ("it measures the fall of the probability instead of the logit", _occluded(pre="softmax")),
        ("it covers one channel at a time", _occluded(per_channel=True)),
        ("it marks the window's first pixel only", _occluded(first_pixel=True)),
        ("it covers with the image's channel means", _occluded(baseline="mean")),
        ("it covers with the batch's mean", _occluded(baseline="batch")),
        *[(f"its baseline is always {b:g}", _other("occlusion", baseline=b)) for b in (0.0, 0.5, 1.0)],
        ("its stride is always 1", _other("occlusion", stride=1)),
        ("its stride is the window", lambda s, w: s.reference(w, stride=s.settings(w)["window"])),
    ],
    "occlusion_x_gradient": [
        *[(text, lambda s, w, f=f: f(*_both(s, w))) for text, f in {
            "it is the product of both maps, not their mean": lambda a, b: a * b,
            "it is the sum of both maps, not their mean": lambda a, b: a + b,
            "it is the occlusion alone": lambda a, b: a,
            "it is input x gradient alone": lambda a, b: b,
            "it is the larger of both maps": torch.maximum,
            "it is the smaller of both maps": torch.minimum,
            "it is the geometric mean of both maps": lambda a, b: (a * b).sqrt(),
        }.items()],
        ("the maps are not normalised", lambda s, w: sum(m.abs() for m in _raw(s, w)) / 2),
        ("the maps keep their sign", lambda s, w: sum(m / m.abs().amax((1, 2, 3), keepdim=True) for m in _raw(s, w)) / 2),
        ("the maps are normalised by the batch's maximum", lambda s, w: sum(m.abs() / m.abs().max() for m in _raw(s, w)) / 2),
        ("the maps are normalised by their sum", lambda s, w: sum(m.abs() / m.abs().sum((1, 2, 3), keepdim=True) for m in _raw(s, w)) / 2),
        ("it takes the plain gradient instead of input x gradient", lambda s, w: _with_gradient(s, w)),
    ],
    "smooth_grad": [],
}  # fmt: skip


def _raw(s: Subject, w: World) -> tuple[Tensor, Tensor]:
    settings = {k: v for k, v in s.settings(w).items() if k in ("window", "stride", "baseline")}
    return reference(get("occlusion"), w, settings), reference(get("input_x_gradient"), w, {})


def _both(s: Subject, w: World) -> tuple[Tensor, Tensor]:
    a, b = (m.abs() / m.abs().amax((1, 2, 3), keepdim=True) for m in _raw(s, w))
    return a, b


def _with_gradient(s: Subject, w: World) -> Tensor:
    a, g = _raw(s, w)[0].abs(), _gradient(w).abs()
    return (a / a.amax((1, 2, 3), keepdim=True) + g / g.amax((1, 2, 3), keepdim=True)) / 2
