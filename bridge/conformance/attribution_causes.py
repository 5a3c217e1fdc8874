"""The recognisable ways in which an attribution goes wrong: another quantity is explained, or the map is changed after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridge.attributions.layer_gradcam import activations_and_gradient
from bridge.conformance.subject import Subject, reference
from bridge.conformance.worlds import World
from bridge.gradients import input_gradient
from bridge.model import ModelAdapter
from bridge.registry import get
from bridge.state import frozen

Predict = Callable[[Subject, World], Tensor | None]


class Headed(nn.Module):
    """The model with something done to its logits; explains like the model itself."""

    def __init__(self, inner: ModelAdapter, head: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.head = inner, head
        self.bounds = inner.bounds

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x))

    def cam_layer(self, x: Tensor) -> nn.Module:
        return self.inner.cam_layer(x)


def _in(world: World, model: Any = None, target: Tensor | None = None, x: Tensor | None = None) -> World:
    return World(
        world.name, model or world.model, world.x if x is None else x, world.target if target is None else target, world.params
    )


def _head(head: Callable[[Tensor], Tensor]) -> Predict:
    return lambda s, w: s.reference(_in(w, Headed(w.model, head)))


def _predicted(world: World) -> Tensor:
    with torch.no_grad(), frozen(world.model):
        return world.model(world.x).argmax(1)


# Another quantity is explained.
BEFORE: list[tuple[str, Predict]] = [
    ("", lambda s, w: s.reference(w)),
    ("it explains the softmax probability instead of the logit", _head(lambda z: z.softmax(1))),
    ("it explains the loss (log-softmax) instead of the logit", _head(lambda z: z.log_softmax(1))),
    ("it explains the predicted class instead of the target", lambda s, w: s.reference(_in(w, target=_predicted(w)))),
    (
        "it explains the first image's target for all images",
        lambda s, w: s.reference(_in(w, target=w.target[:1].expand_as(w.target))),
    ),
    (
        "it explains the last image's target for all images",
        lambda s, w: s.reference(_in(w, target=w.target[-1:].expand_as(w.target))),
    ),
    ("it explains class 0 whatever the target", lambda s, w: s.reference(_in(w, target=torch.zeros_like(w.target)))),
    ("it explains the sum of all logits", _head(lambda z: z.sum(1, keepdim=True).expand_as(z))),
    ("it explains the mean of all logits", _head(lambda z: z.mean(1, keepdim=True).expand_as(z))),
    ("it explains the squared logit", _head(lambda z: z.square())),
    ("it explains the logit minus the mean of the logits", _head(lambda z: z - z.mean(1, keepdim=True))),
    (
        "it explains the targets of the images in reverse order",
        lambda s, w: s.reference(_in(w, target=w.target.flip(0))),
    ),
]


def _std(world: World) -> Tensor | None:
    return world.model.std


# The map is changed after it was computed.
AFTER: list[tuple[str, Callable[[Tensor, Subject, World], Tensor | None]]] = [
    ("", lambda r, s, w: r),
    ("it has the opposite sign", lambda r, s, w: -r),
    ("it takes the absolute value", lambda r, s, w: r.abs()),
    ("it keeps the positive part only (ReLU)", lambda r, s, w: r.relu()),
    ("it keeps the negative part only", lambda r, s, w: r.clamp(max=0)),
    ("it reverses the channels (BGR instead of RGB)", lambda r, s, w: r.flip(1)),
    ("it swaps height and width", lambda r, s, w: r.transpose(2, 3)),
    ("it swaps height and width in memory", lambda r, s, w: r.transpose(2, 3).reshape(r.shape)),
    ("it mirrors the map left to right", lambda r, s, w: r.flip(3)),
    ("it mirrors the map upside down", lambda r, s, w: r.flip(2)),
    ("it is shifted by one pixel to the right", lambda r, s, w: r.roll(1, 3)),
    ("it is shifted by one pixel to the left", lambda r, s, w: r.roll(-1, 3)),
    ("it is shifted by one pixel downwards", lambda r, s, w: r.roll(1, 2)),
    ("it is shifted by one pixel upwards", lambda r, s, w: r.roll(-1, 2)),
    ("it is shifted by one pixel down and right", lambda r, s, w: r.roll((1, 1), (2, 3))),
    ("it is divided by each image's maximum", lambda r, s, w: _over(r, r.abs().amax((1, 2, 3), keepdim=True))),
    ("it is divided by each image's largest value", lambda r, s, w: _over(r, r.amax((1, 2, 3), keepdim=True))),
    ("it is divided by each image's sum", lambda r, s, w: _over(r, r.abs().sum((1, 2, 3), keepdim=True))),
    ("it is divided by each image's L2 norm", lambda r, s, w: r / r.flatten(1).norm(dim=1).view(-1, 1, 1, 1)),
    ("it is scaled to [0, 1] per image (min-max)", lambda r, s, w: _minmax(r, (1, 2, 3))),
    ("it is divided by the batch's maximum", lambda r, s, w: r / r.abs().max()),
    ("it is divided by the batch's sum", lambda r, s, w: r / r.abs().sum()),
    ("it is divided by the batch's L2 norm", lambda r, s, w: r / r.norm()),
    ("it is scaled to [0, 1] over the batch (min-max)", lambda r, s, w: _minmax(r, (0, 1, 2, 3))),
    ("it is centred per image", lambda r, s, w: r - r.mean((1, 2, 3), keepdim=True)),
    ("it is averaged over the channels", lambda r, s, w: r.mean(1, keepdim=True).expand_as(r)),
    ("it is summed over the channels", lambda r, s, w: r.sum(1, keepdim=True).expand_as(r)),
    ("it is the maximum over the channels", lambda r, s, w: r.amax(1, keepdim=True).expand_as(r)),
    ("it is the absolute maximum over the channels", lambda r, s, w: r.abs().amax(1, keepdim=True).expand_as(r)),
    ("it is summed over the channels, which are gone", lambda r, s, w: r.sum(1, keepdim=True)),
    ("it is averaged over the channels, which are gone", lambda r, s, w: r.mean(1, keepdim=True)),
    ("it is the maximum over the channels, which are gone", lambda r, s, w: r.amax(1, keepdim=True)),
    ("it is averaged over the images of the batch", lambda r, s, w: r.mean(0, keepdim=True).expand_as(r)),
    ("it is summed over the images of the batch", lambda r, s, w: r.sum(0, keepdim=True).expand_as(r)),
    ("it is squared", lambda r, s, w: r.square()),
    ("it is multiplied by the image", lambda r, s, w: r * w.x if r.shape == w.x.shape else None),
    ("it is in normalised units (times std)", lambda r, s, w: None if _std(w) is None else r * _std(w)),
    ("it is divided by std once more", lambda r, s, w: None if _std(w) is None else r / _std(w)),
    ("it is rounded to half precision", lambda r, s, w: r.half().double()),
    ("it is the answer for the images in reverse order", lambda r, s, w: r.flip(0)),
]  # fmt: skip


def _over(r: Tensor, size: Tensor) -> Tensor:
    """r / size, and 0 where an image's map is all zero."""
    return r / size.masked_fill(size == 0, 1)


def _minmax(r: Tensor, dims: tuple[int, ...]) -> Tensor:
    low, high = r.amin(dims, keepdim=True), r.amax(dims, keepdim=True)
    return (r - low) / (high - low)


# A constant factor, by the name of what it is.
def _settings(s: Subject, w: World, name: str) -> float:
    return float(s.settings(w).get(name) or 0)


FACTORS: list[tuple[str, Callable[[Subject, World], float]]] = [
    ("it is divided by the batch size (a mean over the batch was differentiated)", lambda s, w: 1 / len(w.x)),
    ("it is multiplied by the batch size", lambda s, w: len(w.x)),
    ("its weights sum to (n - 1) / n of n_steps", lambda s, w: 1 - 1 / _settings(s, w, "n_steps")),
    ("its weights sum to (n + 1) / n of n_steps", lambda s, w: 1 + 1 / _settings(s, w, "n_steps")),
    ("its weights sum to n / (n + 1) of n_steps", lambda s, w: 1 / (1 + 1 / _settings(s, w, "n_steps"))),
    ("it is a sum over n_steps, not a mean", lambda s, w: _settings(s, w, "n_steps")),
    ("it is divided by n_steps once too often", lambda s, w: 1 / _settings(s, w, "n_steps")),
    ("it is a sum over n_samples, not a mean", lambda s, w: _settings(s, w, "n_samples")),
    ("it is divided by n_samples once too often", lambda s, w: 1 / _settings(s, w, "n_samples")),
    ("it is divided by the number of channels", lambda s, w: 1 / w.x.shape[1]),
    ("it is multiplied by the number of channels", lambda s, w: w.x.shape[1]),
    ("it is divided by the number of pixels", lambda s, w: 1 / w.x[0].numel()),
    ("it is divided by the number of positions", lambda s, w: 1 / w.x[0, 0].numel()),
    ("it sums the gradient over the layer's positions instead of averaging", lambda s, w: _positions(s, w)),
    ("it divides by the layer's positions once too often", lambda s, w: 1 / _positions(s, w)),
    ("it averages over the layer's channels instead of summing", lambda s, w: 1 / _layer(w)[0].shape[1]),
    ("it is multiplied by 255 (8-bit units)", lambda s, w: 255),
    ("it is divided by 255 (8-bit units)", lambda s, w: 1 / 255),
]


def _layer(world: World) -> tuple[Tensor, Tensor]:
    with frozen(world.model), torch.enable_grad():
        return activations_and_gradient(world.model, world.x.clone(), world.target)


def _positions(s: Subject, world: World) -> float:
    return float(_layer(world)[0][0, 0].numel())


def _own_factor(right: Predict) -> Predict:
    """The reference times the output's own constant factor to it, the same for all images."""

    def predict(s: Subject, w: World) -> Tensor | None:
        r, output = right(s, w), s(w).detach().double()
        if r is None or output.shape != r.shape:
            return None
        return r * (output * r).sum() / r.square().sum().clamp(min=1e-300)

    return predict


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
    return lambda s, w: _other("integrated_gradients", n_steps=int(_settings(s, w, "n_steps")) + change, **more)(s, w)


def _path_mean(s: Subject, w: World, multiply: Tensor | float) -> Tensor:
    """mean gradient on the path, by the method's own quadrature, times something."""
    from bridge.attributions.integrated_gradients import quadrature

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
        n = int(_settings(s, w, "n_steps"))
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
        activations, gradient = _layer(w)
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
    from bridge.attributions.occlusion import starts, window_and_stride

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
         lambda s, w: _other("integrated_gradients", method="riemann_trapezoid")(s, w) * (1 - 1 / _settings(s, w, "n_steps"))),
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


def causes(subject: Subject) -> Iterator[tuple[str, Predict]]:
    """Candidate explanations, the simplest first."""
    special = [(text, _once(before)) for text, before in SPECIAL.get(subject.method.name, [])]
    others = [(text, _once(before)) for text, before in BEFORE[1:]]
    right = _once(BEFORE[0][1])
    yield from [*special, *others]
    for text, after in AFTER[1:]:
        yield text, _then(right, after)
    for text, factor in FACTORS:
        yield text, _times(right, factor)
    yield "it is a constant factor times the reference", _own_factor(right)
    for text, before in [*special, *others]:
        for more, after in AFTER[1:]:
            yield f"{text}; and {more}", _then(before, after)
        for more, factor in FACTORS:
            yield f"{text}; and {more}", _times(before, factor)


def _once(before: Predict) -> Predict:
    """The same, computed once a world: pairs of causes ask for it again and again."""
    known: dict[int, tuple[World, Tensor | None]] = {}  # the world is kept, so that its id stays its own

    def predict(s: Subject, w: World) -> Tensor | None:
        if id(w) not in known:
            known[id(w)] = (w, before(s, w))
        return known[id(w)][1]

    return predict


def _then(before: Predict, after: Callable[[Tensor, Subject, World], Tensor | None]) -> Predict:
    def predict(s: Subject, w: World) -> Tensor | None:
        r = before(s, w)
        return None if r is None else after(r, s, w)

    return predict


def _times(before: Predict, factor: Callable[[Subject, World], float]) -> Predict:
    def predict(s: Subject, w: World) -> Tensor | None:
        r = before(s, w)
        value = factor(s, w)
        return None if r is None or value in (0.0, 1.0) else r * value

    return predict
