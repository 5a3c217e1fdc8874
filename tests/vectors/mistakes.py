"""Mistakes planted in the numpy reader: what people write, each with words of its diagnosis.

A method, where the mistake is, and what the judge has to say; "" where a name is not asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.vectors import numpy_reader
from tests.vectors.numpy_reader import Array, Methods, each, norm2, project_inf, softmax, unit2

After = Callable[[Array], Array]


@dataclass(frozen=True)
class Mistake:
    """Code with a mistake: another class of methods, or something done to the right outputs."""

    name: str
    method: str
    words: str
    make: Callable[..., Methods] = Methods
    after: After | None = None

    def outputs(self, folder: Any) -> dict[str, Array]:
        """What the code gives for every case of its method."""
        found = numpy_reader.answers(folder, self.make, methods=[self.method])
        if self.after is None:
            return found
        return {name: self.after(output) for name, output in found.items()}


MISTAKES: list[Mistake] = []


def planted(name: str, methods: str, words: str) -> Callable[[type[Methods]], type[Methods]]:
    """Register a class of methods with a mistake, for each of these methods."""

    def register(make: type[Methods]) -> type[Methods]:
        MISTAKES.extend(Mistake(name, method, words, make) for method in methods.split())
        return make

    return register


def done_after(name: str, methods: str, words: str) -> Callable[[After], After]:
    """Register something that is done to right outputs."""

    def register(after: After) -> After:
        MISTAKES.extend(Mistake(name, m, words, after=after) for m in methods.split())
        return after

    return register


# In the layers.


class Layered(Methods):
    """A network one of whose operations is another."""

    def changed(self, layer: dict[str, Any], parts: dict[str, Array]) -> Any:
        return layer, parts

    def passes(self, x: Array, at_logits: Any, relu: Any = numpy_reader.plain_relu) -> Any:
        kept = self.layers, self.parts
        changed = [self.changed(each, self.parts.get(each["name"], {})) for each in self.layers]
        self.layers = [layer for layer, _ in changed]
        self.parts = {layer["name"]: parts for layer, parts in changed}
        try:
            return super().passes(x, at_logits, relu)
        finally:
            self.layers, self.parts = kept


@planted("the kernel is flipped", "logits gradient saliency", "flips the kernel")
class FlippedKernel(Layered):
    def changed(self, layer, parts):
        if layer["op"] != "conv":
            return layer, parts
        return layer, {**parts, "weight": parts["weight"][..., ::-1, ::-1]}


@planted("the pixels are not normalised", "gradient fgsm pgd", "does not normalise")
class NotNormalised(Layered):
    def changed(self, layer, parts):
        if layer["op"] == "normalise":
            parts = {"mean": np.zeros_like(parts["mean"]), "std": np.ones_like(parts["std"])}
        return layer, parts


@planted("the mean is not subtracted", "logits", "")
class NoMean(Layered):
    def changed(self, layer, parts):
        if layer["op"] == "normalise":
            parts = {**parts, "mean": np.zeros_like(parts["mean"])}
        return layer, parts


@planted("a bias is forgotten", "logits", "")
class NoBias(Layered):
    def changed(self, layer, parts):
        return layer, {key: v for key, v in parts.items() if key != "bias"}


class OtherRelu(Methods):
    """Another derivative at zero."""

    at_zero = 0.5

    def passes(self, x, at_logits, relu=numpy_reader.plain_relu):
        if relu is numpy_reader.plain_relu:
            return super().passes(x, at_logits, self.with_ties)
        return super().passes(x, at_logits, relu)

    def with_ties(self, x, g):
        return g * np.where(x == 0, self.at_zero, x > 0)


planted("ReLU has derivative 0.5 at zero", "gradient saliency fgsm pgd", "0.5 at zero")(OtherRelu)


@planted("ReLU has derivative 1 at zero", "gradient saliency fgsm", "1 at zero")
class ReluOne(OtherRelu):
    at_zero = 1.0


# In what is explained.


class Scored(Methods):
    """The gradient of something else than the target's logit."""

    def score(self, z: Array, target: Array) -> Array:
        return np.eye(z.shape[1])[target]

    def gradient(self, x, target, relu=numpy_reader.plain_relu):
        return self.passes(x, lambda z: self.score(z, target), relu)[1]["x"]


@planted(
    "it explains the probability", "gradient saliency smooth_grad guided_backprop", "probability"
)
class OfProbability(Scored):
    def score(self, z, target):
        p, chosen = softmax(z), np.eye(z.shape[1])[target]
        return (p * chosen).sum(1, keepdims=True) * (chosen - p)


@planted("it explains the log-probability", "saliency smooth_grad", "log-softmax")
class OfLogProbability(Scored):
    def score(self, z, target):
        return np.eye(z.shape[1])[target] - softmax(z)


@planted("it explains the predicted class", "saliency guided_backprop", "predicted class")
class OfPrediction(Scored):
    def score(self, z, target):
        return np.eye(z.shape[1])[z.argmax(1)]


@planted("it explains the first image's class", "saliency", "first image's target")
class OfFirst(Scored):
    def score(self, z, target):
        return np.eye(z.shape[1])[np.full_like(target, target[0])]


@planted("it explains the sum of the logits", "saliency smooth_grad", "sum of all logits")
class OfSum(Scored):
    def score(self, z, target):
        return np.ones_like(z)


@planted("a mean over the batch is differentiated", "gradient loss_gradient", "batch size")
class OfMean(Methods):
    def gradient(self, x, target, relu=numpy_reader.plain_relu):
        return super().gradient(x, target, relu) / len(x)

    def loss_gradient(self, x, target):
        return super().loss_gradient(x, target) / len(x)


# In attributions.


@planted("the absolute value is missing", "saliency", "absolute value is missing")
class Signed(Methods):
    def saliency(self, x, target):
        return self.gradient(x, target)


@planted("the noise is not scaled", "smooth_grad", "stdev is always 1")
class UnscaledNoise(Methods):
    def smooth_grad(self, x, target, *, noise, n_samples, stdev):
        return super().smooth_grad(x, target, noise=noise, n_samples=n_samples, stdev=1.0)


@planted("the noisy images are clipped", "smooth_grad", "clips the noisy images")
class ClippedNoise(Methods):
    def smooth_grad(self, x, target, *, noise, n_samples, stdev):
        samples = [
            self.gradient(np.clip(x + stdev * noise[:, k], 0, 1), target) for k in range(n_samples)
        ]
        return np.mean(samples, 0)


@planted("the samples are summed", "smooth_grad", "sum over n_samples")
class SummedNoise(Methods):
    def smooth_grad(self, x, target, *, noise, n_samples, stdev):
        mean = super().smooth_grad(x, target, noise=noise, n_samples=n_samples, stdev=stdev)
        return mean * n_samples


@planted("guided at the ReLU's input, skip path included", "guided_backprop", "input tensor")
class GuidedSkip(Methods):
    def guided_backprop(self, x, target):
        inputs = {
            name for layer in self.layers if layer["op"] == "relu" for name in layer["inputs"]
        }
        values, tape = {"x": x}, []
        for layer in self.layers:
            given = [values[name] for name in layer["inputs"]]
            parts = self.parts.get(layer["name"], {})
            values[layer["name"]], back = numpy_reader.apply(
                layer, parts, numpy_reader.plain_relu, *given
            )
            tape.append((layer, back))
        z = values[self.layers[-1]["name"]]
        gradients = {self.layers[-1]["name"]: np.eye(z.shape[1])[target]}
        for layer, back in reversed(tape):
            arrived = gradients[layer["name"]]
            arrived = np.maximum(arrived, 0) if layer["name"] in inputs else arrived
            for name, g in zip(layer["inputs"], back(arrived), strict=True):
                gradients[name] = gradients.get(name, 0) + g
        return gradients["x"]


@planted("no ReLU is guided", "guided_backprop", "plain gradient")
class NotGuided(Methods):
    def guided_backprop(self, x, target):
        return self.gradient(x, target)


@planted("it is the deconvolution", "guided_backprop", "deconvolution")
class Deconvolved(Methods):
    def guided_backprop(self, x, target):
        return self.deconvolution(x, target)


@planted("Grad-CAM always has its ReLU", "layer_gradcam", "applies a ReLU")
class AlwaysRelu(Methods):
    def layer_gradcam(self, x, target, *, relu, upsample):
        return super().layer_gradcam(x, target, relu=True, upsample=upsample)


@planted("Grad-CAM is upsampled by nearest", "layer_gradcam", "nearest instead of bilinear")
class ByNearest(Methods):
    def layer_gradcam(self, x, target, *, relu, upsample):
        cam = super().layer_gradcam(x, target, relu=relu, upsample=False)
        return numpy_reader.nearest(cam, x.shape[2:]) if upsample else cam


@planted("Grad-CAM sums the gradient over positions", "layer_gradcam", "instead of averaging")
class SummedWeights(Methods):
    def layer_gradcam(self, x, target, *, relu, upsample):
        area = np.prod(self.passes(x, np.zeros_like)[0][self.cam_layer].shape[2:])
        return area * super().layer_gradcam(x, target, relu=relu, upsample=upsample)


@planted("windows are summed", "occlusion", "instead of averaging")
class SummedWindows(Methods):
    def occlusion(self, x, target, *, window, stride, baseline):
        mean = super().occlusion(x, target, window=window, stride=stride, baseline=baseline)
        count = np.zeros_like(x)
        for top, left in numpy_reader.corners(x, window, stride):
            count[..., top : top + window[0], left : left + window[1]] += 1
        return mean * count


@planted("the cover is always black", "occlusion", "baseline is always 0")
class BlackCover(Methods):
    def occlusion(self, x, target, *, window, stride, baseline):
        return super().occlusion(x, target, window=window, stride=stride, baseline=0.0)


@planted("clipped windows are left out", "occlusion", "clipped windows")
class NoEdge(Methods):
    def occlusion(self, x, target, *, window, stride, baseline):
        cover, clean = np.broadcast_to(baseline, x.shape), self.target_logit(x, target)
        total, count = np.zeros_like(x), np.zeros_like(x)
        for top in range(0, x.shape[2] - window[0] + 1, stride[0]):
            for left in range(0, x.shape[3] - window[1] + 1, stride[1]):
                area = (..., slice(top, top + window[0]), slice(left, left + window[1]))
                covered = x.copy()
                covered[area] = cover[area]
                total[area] += each(clean - self.target_logit(covered, target))
                count[area] += 1
        return total / np.maximum(count, 1)


# In integrated gradients.


class Path(Methods):
    """Another rule, or another factor."""

    def integrated_gradients(self, x, target, *, n_steps, method, baseline):
        points, weights = self.rule(n_steps, method)
        total = np.zeros_like(x)
        for point, weight in zip(points, weights, strict=True):
            total += weight * self.gradient(baseline + point * (x - baseline), target)
        return total * self.way(x, baseline)

    def rule(self, n, method):
        return numpy_reader.quadrature(method, n)

    def way(self, x, baseline):
        return x - baseline


@planted("the factor x - b is missing", "integrated_gradients", "is missing")
class NoWay(Path):
    def way(self, x, baseline):
        return 1.0


@planted("it multiplies by x", "integrated_gradients", "by x instead")
class TimesX(Path):
    def way(self, x, baseline):
        return x


@planted("both ends at full weight", "integrated_gradients", "both ends at full weight")
class FullEnds(Path):
    def rule(self, n, method):
        return np.linspace(0, 1, n), np.full(n, 1 / n)


@planted("it is always the right rule", "integrated_gradients", "right Riemann rule")
class AlwaysRight(Path):
    def rule(self, n, method):
        return numpy_reader.quadrature("riemann_right", n)


# In attacks.


class Walked(Methods):
    """The loop of an attack, its parts exchangeable."""

    def loss_of(self, z, target):
        return softmax(z) - np.eye(z.shape[1])[target]

    def loss_gradient(self, x, target):
        return self.passes(x, lambda z: self.loss_of(z, target))[1]["x"]

    def back(self, moved, x, before, project, epsilon):
        return np.clip(project(moved, x, epsilon), 0, 1)

    def first(self, x, start):
        return np.clip(start, 0, 1)

    def walk(self, x, target, start, direction, project, *, epsilon, steps, step_size, targeted):
        found = self.first(x, start)
        for _ in range(steps):
            step = step_size * direction(self.loss_gradient(found, target))
            moved = found - step if targeted else found + step
            found = self.back(moved, x, found, project, epsilon)
        return found


@planted("the loss is taken of probabilities", "fgsm pgd pgd_l2 fgm_l2", "softmax twice")
class SoftmaxTwice(Walked):
    def loss_of(self, z, target):
        p = softmax(z)
        g = softmax(p) - np.eye(z.shape[1])[target]
        return p * (g - (p * g).sum(1, keepdims=True))


@planted("the loss is minus the logit", "fgsm pgd", "-logit")
class MinusLogit(Walked):
    def loss_of(self, z, target):
        return -np.eye(z.shape[1])[target]


@planted("no clip", "pgd pgd_l2", "does not clip to the bounds")
class NoClip(Walked):
    def back(self, moved, x, before, project, epsilon):
        return project(moved, x, epsilon)


@planted("clipped before projected", "pgd_l2", "clips before it projects")
class ClippedFirst(Walked):
    def back(self, moved, x, before, project, epsilon):
        return project(np.clip(moved, 0, 1), x, epsilon)


@planted("projected around the previous iterate", "pgd", "previous iterate")
class AroundPrevious(Walked):
    def back(self, moved, x, before, project, epsilon):
        return np.clip(project(moved, before, epsilon), 0, 1)


@planted("no projection", "bim pgd", "does not project")
class NotProjected(Walked):
    def back(self, moved, x, before, project, epsilon):
        return np.clip(moved, 0, 1)


@planted("it starts at the image", "pgd pgd_l2", "not from the start")
class AtTheImage(Walked):
    def first(self, x, start):
        return x


@planted("the start is not clipped", "pgd", "does not clip the start")
class StartNotClipped(Walked):
    def first(self, x, start):
        return start


@planted("the target is ignored: always untargeted", "fgsm pgd bim", "targeted")
class NeverTargeted(Methods):
    def fgsm(self, x, target, *, epsilon, targeted):
        return super().fgsm(x, target, epsilon=epsilon, targeted=False)

    def walk(self, *args, targeted, **params):
        return super().walk(*args, targeted=False, **params)


@planted("sign(0) is 1", "fgsm", "sign(0) = 1")
class SignOfZero(Methods):
    def fgsm(self, x, target, *, epsilon, targeted):
        g = self.loss_gradient(x, target)
        step = epsilon * np.where(g >= 0, 1.0, -1.0) * (-1 if targeted else 1)
        return np.clip(x + step, 0, 1)


@planted("the norm is that of the batch", "fgm_l2", "whole batch")
class BatchNorm(Methods):
    def fgm_l2(self, x, target, *, epsilon, targeted):
        g = self.loss_gradient(x, target)
        step = epsilon * g / max(np.sqrt(np.square(g).sum()), 1e-12) * (-1 if targeted else 1)
        return np.clip(numpy_reader.project2(x + step, x, epsilon), 0, 1)


@planted("0 / 0 in an image without gradient", "fgm_l2 pgd_l2", "not finite")
class Nan(Methods):
    def fgm_l2(self, x, target, *, epsilon, targeted):
        g = self.loss_gradient(x, target)
        with np.errstate(invalid="ignore"):
            step = epsilon * g / each(norm2(g)) * (-1 if targeted else 1)
        return np.clip(numpy_reader.project2(x + step, x, epsilon), 0, 1)

    def pgd_l2(self, x, target, **params):
        def direction(g):
            with np.errstate(invalid="ignore"):
                return g / each(norm2(g))

        return self.worst(x, target, direction, numpy_reader.project2, **params)


@planted("it does not overshoot", "deepfool_l2", "overshoot")
class NoOvershoot(Methods):
    def deepfool_l2(self, x, target, **params):
        return super().deepfool_l2(x, target, **{**params, "overshoot": 0.0})


@planted("it never stops", "fool", "never stops")
class NeverStops(Methods):
    def fool(self, x, target, *, epsilon, steps, step_size, targeted):
        def project(moved, center, size):
            return moved if size is None else project_inf(moved, center, size)

        params = {"epsilon": epsilon, "steps": steps, "step_size": step_size}
        return self.walk(x, target, x, np.sign, project, targeted=targeted, **params)


@planted("momentum of raw gradients", "mi_fgsm", "without normalising")
class RawMomentum(Methods):
    def mi_fgsm(self, x, target, *, momentum, **params):
        v = np.zeros_like(x)

        def direction(g):
            nonlocal v
            v = momentum * v + g
            return np.sign(v)

        return self.walk(x, target, x, direction, project_inf, **params)


@planted("the step is along the L2 gradient", "bim", "L2-normalised")
class AlongL2(Methods):
    def bim(self, x, target, **params):
        return self.walk(x, target, x, unit2, project_inf, **params)


# Afterwards.


@done_after("channels last", "saliency fgsm", "channels are last")
def channels_last(output):
    return output.transpose(0, 2, 3, 1)


@done_after("rows and columns swapped", "saliency pgd", "swap")
def swapped(output):
    return output.transpose(0, 1, 3, 2)


@done_after("BGR", "saliency pgd", "revers")
def bgr(output):
    return output[:, ::-1]


@done_after("divided by the maximum", "saliency layer_gradcam", "divided by each image's")
def over_maximum(output):
    size = np.abs(output).max((1, 2, 3), keepdims=True)
    return output / np.where(size == 0, 1, size)


@done_after("summed over the channels", "saliency", "summed over the channels")
def channel_sum(output):
    return output.sum(1, keepdims=True)


@done_after("divided by 3.7", "smooth_grad input_x_gradient", "constant factor")
def scaled(output):
    return output / 3.7


@done_after("float16 inside", "saliency", "half precision")
def halved(output):
    return output.astype(np.float16).astype(np.float64)


@done_after("float32 inside", "gradient", "float32 somewhere inside")
def single(output):
    return output.astype(np.float32).astype(np.float64)


@done_after("0..255", "fgsm", "0..255")
def eight_bits(output):
    return np.round(output * 255)


@done_after("rounded to 8 bits", "pgd", "8 bits")
def rounded(output):
    return np.round(output * 255) / 255


@done_after("images in reverse order", "saliency pgd", "reverse order")
def reversed_images(output):
    return output[::-1]
