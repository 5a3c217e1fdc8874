"""All methods in plain numpy with backward passes written by hand, from the test vectors alone.

Neither torch nor bridge: what somebody without either would write who reads index.json.
`answers(folder)` computes every case.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.numpy import load_file

Array = np.ndarray
Backward = Callable[[Array], list[Array]]
Rule = Callable[[Array, Array], Array]  # a ReLU's input and what arrives -> what passes back


# A layer's output, and the function from its gradient to its inputs' gradients.


def plain_relu(x: Array, g: Array) -> Array:
    return g * (x > 0)


def guided_relu(x: Array, g: Array) -> Array:
    return g * (x > 0) * (g > 0)


def deconvolved_relu(x: Array, g: Array) -> Array:
    return g * (g > 0)


def windows(x: Array, layer: dict[str, Any], fill: float) -> tuple[Array, Any]:
    """(n, c, rows, columns, kh, kw) windows, and what adds `part(i, j)` back where it came from."""
    (kh, kw), (sh, sw), (ph, pw) = layer["kernel"], layer["stride"], layer["padding"]
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=fill)
    cut = sliding_window_view(padded, (kh, kw), (2, 3))[:, :, ::sh, ::sw]
    rows, columns = cut.shape[2:4]

    def scatter(part: Callable[[int, int], Array]) -> Array:
        total = np.zeros(padded.shape)
        for i in range(kh):
            for j in range(kw):
                total[:, :, i : i + sh * rows : sh, j : j + sw * columns : sw] += part(i, j)
        return total[:, :, ph : ph + x.shape[2], pw : pw + x.shape[3]]

    return cut, scatter


def conv(x: Array, layer: dict[str, Any], weight: Array, bias: Array) -> tuple[Array, Backward]:
    n, channels = x.shape[:2]
    groups = layer["groups"]
    kernels = weight.reshape(groups, -1, *weight.shape[1:])
    cut, scatter = windows(x, layer, 0.0)
    cut = cut.reshape(n, groups, channels // groups, *cut.shape[2:])
    y = np.einsum("ngcyxij,gocij->ngoyx", cut, kernels)
    shape = y.shape[3:]

    def backward(g: Array) -> list[Array]:
        g = g.reshape(y.shape)

        def part(i: int, j: int) -> Array:
            back = np.einsum("ngoyx,goc->ngcyx", g, kernels[..., i, j])
            return back.reshape(n, channels, *shape)

        return [scatter(part)]

    return y.reshape(n, -1, *shape) + bias, backward


def max_pool(x: Array, layer: dict[str, Any]) -> tuple[Array, Backward]:
    cut, scatter = windows(x, layer, -np.inf)
    flat = cut.reshape(*cut.shape[:4], -1)
    first, width = flat.argmax(-1), cut.shape[5]  # argmax is the first of equals

    def backward(g: Array) -> list[Array]:
        return [scatter(lambda i, j: g * (first == i * width + j))]

    return flat.max(-1), backward


def average_pool(x: Array, layer: dict[str, Any]) -> tuple[Array, Backward]:
    cut, scatter = windows(x, layer, 0.0)
    area = cut.shape[4] * cut.shape[5]
    return cut.mean((4, 5)), lambda g: [scatter(lambda i, j: g / area)]


def apply(
    layer: dict[str, Any], parts: dict[str, Array], relu: Rule, *inputs: Array
) -> tuple[Array, Backward]:
    x, op = inputs[0], layer["op"]
    channel = {name: value[None, :, None, None] for name, value in parts.items()}
    if op == "normalise":
        return (x - channel["mean"]) / channel["std"], lambda g: [g / channel["std"]]
    if op == "scale_shift":
        return x * channel["scale"] + channel["shift"], lambda g: [g * channel["scale"]]
    if op == "conv":
        return conv(x, layer, parts["weight"], channel.get("bias", np.zeros(1)))
    if op == "relu":
        return np.maximum(x, 0), lambda g: [relu(x, g)]
    if op == "max_pool":
        return max_pool(x, layer)
    if op == "average_pool":
        return average_pool(x, layer)
    if op == "global_mean":
        area = x.shape[2] * x.shape[3]
        spread = np.ones((1, 1, *x.shape[2:])) / area
        return x.mean((2, 3)), lambda g: [g[:, :, None, None] * spread]
    if op == "add":
        return inputs[0] + inputs[1], lambda g: [g, g]
    if op == "flatten":
        return x.reshape(len(x), -1), lambda g: [g.reshape(x.shape)]
    assert op == "linear", op
    return x @ parts["weight"].T + parts.get("bias", 0.0), lambda g: [g @ parts["weight"]]


# Small things that several methods share.


def each(values: Array) -> Array:
    """(n,) -> (n, 1, 1, 1)."""
    return values[:, None, None, None]


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def norm2(v: Array) -> Array:
    return np.sqrt(np.square(v).reshape(len(v), -1).sum(1))


def largest(v: Array) -> Array:
    return np.abs(v).reshape(len(v), -1).max(1)


def unit2(g: Array) -> Array:
    return g / each(np.maximum(norm2(g), 1e-12))


def project2(x: Array, center: Array, epsilon: float) -> Array:
    delta = x - center
    return center + delta * each(np.minimum(1, epsilon / np.maximum(norm2(delta), 1e-12)))


def project_inf(x: Array, center: Array, epsilon: float) -> Array:
    return center + np.clip(x - center, -epsilon, epsilon)


def bilinear(v: Array, size: tuple[int, ...]) -> Array:
    """Half-pixel centres, edges repeated: one axis after the other."""
    for axis, to in zip((2, 3), size, strict=True):
        side = v.shape[axis]
        place = np.maximum((np.arange(to) + 0.5) * side / to - 0.5, 0)
        low = np.floor(place).astype(int)
        share = (place - low).reshape([-1 if a == axis else 1 for a in range(4)])
        high = np.minimum(low + 1, side - 1)
        v = v.take(low, axis) * (1 - share) + v.take(high, axis) * share
    return v


def nearest(v: Array, size: tuple[int, ...]) -> Array:
    for axis, to in zip((2, 3), size, strict=True):
        v = v.take(np.arange(to) * v.shape[axis] // to, axis)
    return v


def quadrature(method: str, n: int) -> tuple[Array, Array]:
    k = np.arange(n)
    if method == "gausslegendre":
        points, weights = np.polynomial.legendre.leggauss(n)
        return (points + 1) / 2, weights / 2
    if method == "riemann_trapezoid":
        return k / (n - 1), np.where((k == 0) | (k == n - 1), 0.5, 1.0) / (n - 1)
    offset = {"riemann_left": 0.0, "riemann_middle": 0.5, "riemann_right": 1.0}[method]
    return (k + offset) / n, np.full(n, 1 / n)


class Methods:
    """All methods of one network, each called as `method(x, target, **parameters)`."""

    def __init__(self, network: dict[str, Any], tensors: dict[str, Array]) -> None:
        self.layers, self.cam_layer = network["layers"], network["cam_layer"]
        self.parts: dict[str, dict[str, Array]] = {}
        for name, value in tensors.items():
            layer, _, part = name.partition(".")
            self.parts.setdefault(layer, {})[part] = value

    def passes(
        self, x: Array, at_logits: Callable[[Array], Array], relu: Rule = plain_relu
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Every layer's output and gradient, of what has `at_logits(logits)` as its gradient."""
        values, tape = {"x": x}, []
        for layer in self.layers:
            inputs = [values[name] for name in layer["inputs"]]
            parts = self.parts.get(layer["name"], {})
            values[layer["name"]], backward = apply(layer, parts, relu, *inputs)
            tape.append((layer, backward))
        last = self.layers[-1]["name"]
        gradients = {last: at_logits(values[last])}
        for layer, backward in reversed(tape):
            found = backward(gradients[layer["name"]])
            for name, g in zip(layer["inputs"], found, strict=True):
                gradients[name] = gradients[name] + g if name in gradients else g
        return values, gradients

    # The building blocks.

    def logits(self, x: Array, target: Array | None = None) -> Array:
        return self.passes(x, np.zeros_like)[0][self.layers[-1]["name"]]

    def gradient(self, x: Array, target: Array, relu: Rule = plain_relu) -> Array:
        return self.passes(x, lambda z: np.eye(z.shape[1])[target], relu)[1]["x"]

    def loss_gradient(self, x: Array, target: Array) -> Array:
        return self.passes(x, lambda z: softmax(z) - np.eye(z.shape[1])[target])[1]["x"]

    def target_logit(self, x: Array, target: Array) -> Array:
        return self.logits(x)[np.arange(len(x)), target]

    # Attributions.

    def saliency(self, x: Array, target: Array) -> Array:
        return np.abs(self.gradient(x, target))

    def input_x_gradient(self, x: Array, target: Array) -> Array:
        return x * self.gradient(x, target)

    def guided_backprop(self, x: Array, target: Array) -> Array:
        return self.gradient(x, target, guided_relu)

    def deconvolution(self, x: Array, target: Array) -> Array:
        return self.gradient(x, target, deconvolved_relu)

    def integrated_gradients(
        self, x: Array, target: Array, *, n_steps: int, method: str, baseline: Array
    ) -> Array:
        way, total = x - baseline, np.zeros_like(x)
        for point, weight in zip(*quadrature(method, n_steps), strict=True):
            total += weight * self.gradient(baseline + point * way, target)
        return way * total

    def expected_gradients(
        self,
        x: Array,
        target: Array,
        *,
        n_samples: int,
        alphas: Array,
        noise: Array | None,
        baselines: Array | None,
        chosen: Array | None,
    ) -> Array:
        total = np.zeros_like(x)
        for k in range(n_samples):
            b = noise[:, k] if baselines is None else baselines[chosen[:, k]]
            a = each(alphas[:, k])
            total += (x - b) * self.gradient(a * x + (1 - a) * b, target)
        return total / n_samples

    def smooth_grad(
        self, x: Array, target: Array, *, noise: Array, n_samples: int, stdev: float
    ) -> Array:
        total = np.zeros_like(x)
        for k in range(n_samples):
            total += self.gradient(x + stdev * noise[:, k], target)
        return total / n_samples

    def layer_gradcam(self, x: Array, target: Array, *, relu: bool, upsample: bool) -> Array:
        values, gradients = self.passes(x, lambda z: np.eye(z.shape[1])[target])
        weights = gradients[self.cam_layer].mean((2, 3), keepdims=True)
        cam = (weights * values[self.cam_layer]).sum(1, keepdims=True)
        cam = np.maximum(cam, 0) if relu else cam
        return bilinear(cam, x.shape[2:]) if upsample else cam

    def guided_gradcam(self, x: Array, target: Array, *, interpolation: str) -> Array:
        enlarge = {"nearest": nearest, "bilinear": bilinear}[interpolation]
        cam = self.layer_gradcam(x, target, relu=True, upsample=False)
        return self.guided_backprop(x, target) * enlarge(cam, x.shape[2:])

    def occlusion(
        self, x: Array, target: Array, *, window: list[int], stride: list[int], baseline: Array
    ) -> Array:
        cover, clean = np.broadcast_to(baseline, x.shape), self.target_logit(x, target)
        total, count = np.zeros_like(x), np.zeros_like(x)
        for top, left in corners(x, window, stride):
            area = (..., slice(top, top + window[0]), slice(left, left + window[1]))
            covered = x.copy()
            covered[area] = cover[area]
            total[area] += each(clean - self.target_logit(covered, target))
            count[area] += 1
        return total / count

    def occlusion_x_gradient(self, x: Array, target: Array, **windows: Any) -> Array:
        maps = self.occlusion(x, target, **windows), self.input_x_gradient(x, target)
        sizes = [np.where(largest(m) > 0, largest(m), 1) for m in maps]
        return sum(np.abs(m) / each(s) for m, s in zip(maps, sizes, strict=True)) / 2

    # Attacks.

    def fgsm(self, x: Array, target: Array, *, epsilon: float, targeted: bool) -> Array:
        step = epsilon * np.sign(self.loss_gradient(x, target))
        return np.clip(x - step if targeted else x + step, 0, 1)

    def fgm_l2(self, x: Array, target: Array, *, epsilon: float, targeted: bool) -> Array:
        step = epsilon * unit2(self.loss_gradient(x, target))
        return np.clip(project2(x - step if targeted else x + step, x, epsilon), 0, 1)

    def fast_gradient_value(
        self, x: Array, target: Array, *, epsilon: float, targeted: bool
    ) -> Array:
        g = self.loss_gradient(x, target)
        step = epsilon * g / each(np.maximum(largest(g), 1e-12))
        return np.clip(x - step if targeted else x + step, 0, 1)

    def bim(self, x: Array, target: Array, **params: Any) -> Array:
        return self.walk(x, target, x, np.sign, project_inf, **params)

    def pgd(self, x: Array, target: Array, **params: Any) -> Array:
        return self.worst(x, target, np.sign, project_inf, **params)

    def pgd_l2(self, x: Array, target: Array, **params: Any) -> Array:
        return self.worst(x, target, unit2, project2, **params)

    def mi_fgsm(self, x: Array, target: Array, *, momentum: float, **params: Any) -> Array:
        v = np.zeros_like(x)

        def direction(g: Array) -> Array:
            nonlocal v
            v = momentum * v + g / each(np.maximum(np.abs(g).sum((1, 2, 3)), 1e-12))
            return np.sign(v)

        return self.walk(x, target, x, direction, project_inf, **params)

    def walk(
        self,
        x: Array,
        target: Array,
        start: Array,
        direction: Callable[[Array], Array],
        project: Callable[[Array, Array, float], Array],
        *,
        epsilon: float,
        steps: int,
        step_size: float,
        targeted: bool,
    ) -> Array:
        found = np.clip(start, 0, 1)
        for _ in range(steps):
            step = step_size * direction(self.loss_gradient(found, target))
            moved = found - step if targeted else found + step
            found = np.clip(project(moved, x, epsilon), 0, 1)
        return found

    def worst(
        self,
        x: Array,
        target: Array,
        direction: Any,
        project: Any,
        *,
        restarts: int,
        random_start: bool,
        start: Array | None,
        targeted: bool,
        **params: Any,
    ) -> Array:
        starts = x[None] if start is None else start.reshape(restarts, *x.shape)
        best, score = x, [(-1.0, 0.0)] * len(x)
        for one in starts:
            end = self.walk(x, target, one, direction, project, targeted=targeted, **params)
            z = self.logits(end)
            loss = -np.log(softmax(z)[np.arange(len(z)), target]) * (-1 if targeted else 1)
            fooled = (z.argmax(1) == target) == targeted
            new = list(zip(fooled.astype(float), loss, strict=True))
            better = np.array([one > other for one, other in zip(new, score, strict=True)])
            best = np.where(each(better), end, best)
            score = [n if b else old for n, old, b in zip(new, score, better, strict=True)]
        return best

    def fool(
        self,
        x: Array,
        target: Array,
        *,
        epsilon: float | None,
        steps: int,
        step_size: float,
        targeted: bool,
    ) -> Array:
        found = x
        for _ in range(steps):
            fooled = (self.logits(found).argmax(1) == target) == targeted
            step = step_size * np.sign(self.loss_gradient(found, target))
            moved = found - step if targeted else found + step
            moved = moved if epsilon is None else project_inf(moved, x, epsilon)
            found = np.where(each(fooled), found, np.clip(moved, 0, 1))
        return found

    def deepfool_l2(
        self,
        x: Array,
        target: Array,
        *,
        steps: int,
        overshoot: float,
        candidates: int,
        epsilon: float | None,
    ) -> Array:
        rows = np.arange(len(x))
        classes = np.argsort(-self.logits(x), 1, kind="stable")[:, :candidates].T
        found, r = x, np.zeros_like(x)
        for _ in range(steps):
            z = self.logits(found)
            first = self.gradient(found, classes[0])
            f = np.stack([z[rows, c] - z[rows, classes[0]] for c in classes[1:]])
            w = np.stack([self.gradient(found, c) - first for c in classes[1:]])
            norms = np.stack([norm2(one) for one in w])
            distance = np.abs(f) / (norms + 1e-8)
            near = distance.argmin(0)
            length = (distance[near, rows] + 1e-4) / (norms[near, rows] + 1e-8)
            active = each(z.argmax(1) == target)
            r = np.where(active, r + each(length) * w[near, rows], r)
            found = np.where(active, np.clip(x + (1 + overshoot) * r, 0, 1), found)
        return found if epsilon is None else project2(found, x, epsilon)

    def uniform_noise_linf(self, x: Array, target: Array, *, epsilon: float, noise: Array) -> Array:
        return np.clip(x + epsilon * noise / each(largest(noise)), 0, 1)


def corners(x: Array, window: list[int], stride: list[int]) -> Iterator[tuple[int, int]]:
    """First row and column of each window, the last ones clipped."""
    sides = zip(x.shape[2:], window, stride, strict=True)
    rows, columns = (range(0, -(-(d - w) // s) * s + 1, s) for d, w, s in sides)
    yield from ((top, left) for top in rows for left in columns)


def answers(
    folder: Path,
    make: Callable[..., Any] = Methods,
    *,
    networks: Iterable[str] = (),
    methods: Iterable[str] = (),
) -> dict[str, Array]:
    """The output of every case by its id, or of those of these networks and methods."""
    index, layers = (
        json.loads((folder / name).read_text()) for name in ("index.json", "networks.json")
    )
    weights, images = (load_file(folder / f"{name}.safetensors") for name in ("networks", "images"))
    made, found = {}, {}
    for name in networks or layers:
        mine = {k.partition("/")[2]: v for k, v in weights.items() if k.startswith(f"{name}/")}
        made[name] = make(layers[name], mine)
    for name in methods or index["cases"]:
        told = load_file(folder / f"{name}.safetensors")
        for case in json.loads((folder / f"{name}.json").read_text())["cases"]:
            if case["network"] not in made:
                continue
            tensors = {
                key: told[f"{case['id']}/{key}"] for key in case["tensors"] if key != "expected"
            }
            target, x = tensors.pop("target"), images[case["network"]]
            function = getattr(made[case["network"]], name)
            found[case["id"]] = np.asarray(function(x, target, **case["parameters"], **tensors))
    return found
