"""All methods in JAX, from the test vectors alone: neither torch nor bridge.

`Methods` goes with `numpy_reader.answers`, which reads the files.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

Array = Any
Relu = Callable[[Array], Array]


def changed_relu(rule: Callable[[Array, Array], Array]) -> Relu:
    """A ReLU that passes back `rule(input, what arrives)`."""

    @jax.custom_vjp
    def relu(x: Array) -> Array:
        return jax.nn.relu(x)

    relu.defvjp(lambda x: (relu(x), x), lambda x, g: (rule(x, g),))
    return relu


RELUS: dict[str, Relu] = {
    "plain": jax.nn.relu,  # not jnp.maximum(x, 0), whose derivative at 0 is 0.5
    "guided": changed_relu(lambda x, g: g * (x > 0) * (g > 0)),
    "deconvolved": changed_relu(lambda x, g: g * (g > 0)),
}


def reduced(x: Array, layer: dict[str, Any], start: float, reduce: Any) -> Array:
    padding = [(0, 0), (0, 0), *[(p, p) for p in layer["padding"]]]
    return lax.reduce_window(
        x, start, reduce, (1, 1, *layer["kernel"]), (1, 1, *layer["stride"]), padding
    )


def apply(layer: dict[str, Any], parts: dict[str, Array], relu: Relu, *inputs: Array) -> Array:
    x, op = inputs[0], layer["op"]
    channel = {name: value.reshape(1, -1, 1, 1) for name, value in parts.items()}
    if op == "normalise":
        return (x - channel["mean"]) / channel["std"]
    if op == "scale_shift":
        return x * channel["scale"] + channel["shift"]
    if op == "conv":
        padding, groups = [(p, p) for p in layer["padding"]], layer["groups"]
        y = lax.conv_general_dilated(
            x, parts["weight"], layer["stride"], padding, feature_group_count=groups
        )
        return y + channel.get("bias", 0.0)
    if op == "relu":
        return relu(x)
    if op == "max_pool":
        return reduced(x, layer, -jnp.inf, lax.max)
    if op == "average_pool":
        return reduced(x, layer, 0.0, lax.add) / np.prod(layer["kernel"])
    if op == "global_mean":
        return x.mean((2, 3))
    if op == "add":
        return inputs[0] + inputs[1]
    if op == "flatten":
        return x.reshape(len(x), -1)
    assert op == "linear", op
    return x @ parts["weight"].T + parts.get("bias", 0.0)


def pick(z: Array, target: Array) -> Array:
    return jnp.take_along_axis(z, target[:, None], 1)[:, 0]


def cross_entropy(z: Array, target: Array) -> Array:
    return -pick(jax.nn.log_softmax(z), target)


def norm2(v: Array) -> Array:
    return jnp.sqrt(jnp.square(v).sum((1, 2, 3), keepdims=True))


def largest(v: Array) -> Array:
    return jnp.abs(v).max((1, 2, 3), keepdims=True)


def unit2(g: Array) -> Array:
    return g / jnp.maximum(norm2(g), 1e-12)


def project2(x: Array, center: Array, epsilon: float) -> Array:
    delta = x - center
    return center + delta * jnp.minimum(1, epsilon / jnp.maximum(norm2(delta), 1e-12))


def project_inf(x: Array, center: Array, epsilon: float) -> Array:
    return center + jnp.clip(x - center, -epsilon, epsilon)


def no_projection(x: Array, center: Array, epsilon: float) -> Array:
    return x


def resized(v: Array, like: Array, method: str) -> Array:
    shape = (*v.shape[:2], *like.shape[2:])
    if method == "nearest":  # JAX's own rounds half-pixel centres, which is another pixel
        rows, columns = (
            jnp.arange(to) * side // to for to, side in zip(shape[2:], v.shape[2:], strict=True)
        )
        return v[:, :, rows][..., columns]
    return jax.image.resize(v, shape, method, antialias=False)


class Methods:
    """All methods of one network, each called as `method(x, target, **parameters)`."""

    def __init__(self, network: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        self.layers, self.cam_layer = network["layers"], network["cam_layer"]
        self.parts: dict[str, dict[str, Array]] = {}
        for name, value in tensors.items():
            layer, _, part = name.partition(".")
            self.parts.setdefault(layer, {})[part] = jnp.asarray(value)
        self.forward = jax.jit(lambda x: self.run(x)["logits"])
        self.cam = jax.jit(self._cam)
        self.gradients = {
            name: jax.jit(jax.grad(partial(self._score, relu))) for name, relu in RELUS.items()
        }
        self.of_loss = jax.jit(jax.grad(self._loss))

    def run(
        self, x: Array, relu: Relu = jax.nn.relu, replaced: Array | None = None
    ) -> dict[str, Array]:
        """Every layer's output; `replaced` takes the place of that of the Grad-CAM layer."""
        values = {"x": x}
        for layer in self.layers:
            name, inputs = layer["name"], [values[i] for i in layer["inputs"]]
            here = apply(layer, self.parts.get(name, {}), relu, *inputs)
            values[name] = here if replaced is None or name != self.cam_layer else replaced
        return {**values, "logits": values[self.layers[-1]["name"]]}

    def _score(self, relu: Relu, x: Array, target: Array) -> Array:
        return pick(self.run(x, relu)["logits"], target).sum()

    def _loss(self, x: Array, target: Array) -> Array:
        return cross_entropy(self.run(x)["logits"], target).sum()

    def _cam(self, x: Array, target: Array) -> Array:
        activations = self.run(x)[self.cam_layer]
        score = lambda a: pick(self.run(x, replaced=a)["logits"], target).sum()  # noqa: E731
        weights = jax.grad(score)(activations).mean((2, 3), keepdims=True)
        return (weights * activations).sum(1, keepdims=True)

    def logits(self, x: Array, target: Array) -> Array:
        return self.forward(x)

    def gradient(self, x: Array, target: Array) -> Array:
        return self.gradients["plain"](x, target)

    def loss_gradient(self, x: Array, target: Array) -> Array:
        return self.of_loss(x, target)

    def saliency(self, x: Array, target: Array) -> Array:
        return jnp.abs(self.gradient(x, target))

    def input_x_gradient(self, x: Array, target: Array) -> Array:
        return x * self.gradient(x, target)

    def guided_backprop(self, x: Array, target: Array) -> Array:
        return self.gradients["guided"](x, target)

    def deconvolution(self, x: Array, target: Array) -> Array:
        return self.gradients["deconvolved"](x, target)

    def integrated_gradients(
        self, x: Array, target: Array, *, n_steps: int, method: str, baseline: Array
    ) -> Array:
        if method == "gausslegendre":
            points, weights = np.polynomial.legendre.leggauss(n_steps)
            points, weights = (points + 1) / 2, weights / 2
        elif method == "riemann_trapezoid":
            points, weights = np.linspace(0, 1, n_steps), np.full(n_steps, 1 / (n_steps - 1))
            weights[[0, -1]] /= 2
        else:
            shift = {"riemann_left": 0, "riemann_middle": 0.5, "riemann_right": 1}[method]
            points, weights = (np.arange(n_steps) + shift) / n_steps, np.full(n_steps, 1 / n_steps)
        total = 0.0
        for point, weight in zip(points.tolist(), weights.tolist(), strict=True):
            total += weight * self.gradient(baseline + point * (x - baseline), target)
        return (x - baseline) * total

    def expected_gradients(
        self, x: Array, target: Array, *, n_samples: int, alphas: Array, **drawn: Any
    ) -> Array:
        total = 0.0
        for k in range(n_samples):
            given, a = drawn["baselines"], alphas[:, k].reshape(-1, 1, 1, 1)
            b = drawn["noise"][:, k] if given is None else jnp.asarray(given)[drawn["chosen"][:, k]]
            total += (x - b) * self.gradient(a * x + (1 - a) * b, target)
        return total / n_samples

    def smooth_grad(
        self, x: Array, target: Array, *, noise: Array, n_samples: int, stdev: float
    ) -> Array:
        samples = [self.gradient(x + stdev * noise[:, k], target) for k in range(n_samples)]
        return jnp.stack(samples).mean(0)

    def layer_gradcam(self, x: Array, target: Array, *, relu: bool, upsample: bool) -> Array:
        cam = self.cam(x, target)
        cam = jax.nn.relu(cam) if relu else cam
        return resized(cam, x, "bilinear") if upsample else cam

    def guided_gradcam(self, x: Array, target: Array, *, interpolation: str) -> Array:
        cam = jax.nn.relu(self.cam(x, target))
        return self.guided_backprop(x, target) * resized(cam, x, interpolation)

    def occlusion(
        self, x: Array, target: Array, *, window: list[int], stride: list[int], baseline: Array
    ) -> Array:
        clean, total, count = pick(self.forward(x), target), 0.0, 0.0
        height, width = x.shape[2:]
        for top in range(0, -(-(height - window[0]) // stride[0]) * stride[0] + 1, stride[0]):
            for left in range(0, -(-(width - window[1]) // stride[1]) * stride[1] + 1, stride[1]):
                mask = np.zeros((1, 1, height, width))
                mask[..., top : top + window[0], left : left + window[1]] = 1
                fall = clean - pick(self.forward(jnp.where(mask == 1, baseline, x)), target)
                total, count = total + mask * fall.reshape(-1, 1, 1, 1), count + mask
        return jnp.broadcast_to(total / count, x.shape)

    def occlusion_x_gradient(self, x: Array, target: Array, **windows: Any) -> Array:
        maps = self.occlusion(x, target, **windows), self.input_x_gradient(x, target)
        return sum(jnp.abs(m) / jnp.where(largest(m) > 0, largest(m), 1) for m in maps) / 2

    def fgsm(self, x: Array, target: Array, *, epsilon: float, targeted: bool) -> Array:
        return self.walk(x, target, jnp.sign, no_projection, epsilon=epsilon, targeted=targeted)

    def fgm_l2(self, x: Array, target: Array, *, epsilon: float, targeted: bool) -> Array:
        return self.walk(x, target, unit2, project2, epsilon=epsilon, targeted=targeted)

    def fast_gradient_value(
        self, x: Array, target: Array, *, epsilon: float, targeted: bool
    ) -> Array:
        direction = lambda g: g / jnp.maximum(largest(g), 1e-12)  # noqa: E731
        return self.walk(x, target, direction, no_projection, epsilon=epsilon, targeted=targeted)

    def bim(self, x: Array, target: Array, **params: Any) -> Array:
        return self.walk(x, target, jnp.sign, project_inf, **params)

    def mi_fgsm(self, x: Array, target: Array, *, momentum: float, **params: Any) -> Array:
        sums = [jnp.zeros_like(x)]

        def direction(g: Array) -> Array:
            norm1 = jnp.abs(g).sum((1, 2, 3), keepdims=True)
            sums.append(momentum * sums[-1] + g / jnp.maximum(norm1, 1e-12))
            return jnp.sign(sums[-1])

        return self.walk(x, target, direction, project_inf, **params)

    def pgd(self, x: Array, target: Array, **params: Any) -> Array:
        return self.worst(x, target, jnp.sign, project_inf, **params)

    def pgd_l2(self, x: Array, target: Array, **params: Any) -> Array:
        return self.worst(x, target, unit2, project2, **params)

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
        starts = [x] if start is None else start.reshape(restarts, *x.shape)
        ends = [
            self.walk(x, target, direction, project, start=one, targeted=targeted, **params)
            for one in starts
        ]
        logits = [self.forward(end) for end in ends]
        fooled = jnp.stack([(z.argmax(1) == target) == targeted for z in logits])
        loss = jnp.stack([cross_entropy(z, target) * (-1 if targeted else 1) for z in logits])
        best = jnp.where(fooled | ~fooled.any(0), loss, -jnp.inf).argmax(0)
        return jnp.stack(ends)[best, jnp.arange(len(x))]

    def walk(
        self,
        x: Array,
        target: Array,
        direction: Any,
        project: Any,
        *,
        epsilon: float,
        targeted: bool,
        steps: int = 1,
        step_size: float | None = None,
        start: Array | None = None,
    ) -> Array:
        found = x if start is None else jnp.clip(start, 0, 1)
        size = (epsilon if step_size is None else step_size) * (-1 if targeted else 1)
        for _ in range(steps):
            moved = found + size * direction(self.of_loss(found, target))
            found = jnp.clip(project(moved, x, epsilon), 0, 1)
        return found

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
        found, size = x, step_size * (-1 if targeted else 1)
        for _ in range(steps):
            fooled = (self.forward(found).argmax(1) == target) == targeted
            moved = found + size * jnp.sign(self.of_loss(found, target))
            moved = moved if epsilon is None else project_inf(moved, x, epsilon)
            found = jnp.where(fooled.reshape(-1, 1, 1, 1), found, jnp.clip(moved, 0, 1))
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
        images = jnp.arange(len(x))
        classes = jnp.argsort(-self.forward(x), 1)[:, :candidates].T
        found, r = x, jnp.zeros_like(x)
        for _ in range(steps):
            z, first = self.forward(found), self.gradient(found, classes[0])
            f = jnp.stack([pick(z, c) - pick(z, classes[0]) for c in classes[1:]])
            w = jnp.stack([self.gradient(found, c) - first for c in classes[1:]])
            norms = jnp.sqrt(jnp.square(w).sum((2, 3, 4)))
            distance = jnp.abs(f) / (norms + 1e-8)
            near = distance.argmin(0)
            length = (distance[near, images] + 1e-4) / (norms[near, images] + 1e-8)
            active = (z.argmax(1) == target).reshape(-1, 1, 1, 1)
            r = jnp.where(active, r + length.reshape(-1, 1, 1, 1) * w[near, images], r)
            found = jnp.where(active, jnp.clip(x + (1 + overshoot) * r, 0, 1), found)
        return found if epsilon is None else project2(found, x, epsilon)

    def uniform_noise_linf(self, x: Array, target: Array, *, epsilon: float, noise: Array) -> Array:
        return jnp.clip(x + epsilon * noise / largest(noise), 0, 1)
