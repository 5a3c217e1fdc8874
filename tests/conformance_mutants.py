"""Wrong implementations, each with words that its diagnosis must contain, and right ones.

None instead of words: "not recognised" is honest. Written as users write them, from the
definitions, with plain loops of their own: nothing of the checker is used. A table of tests: what
can go wrong with a method is listed by its name; what can go wrong with any is made for all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bridge.core.registry import get, methods
from tests.networks import fitting, images

Wrong = tuple[Callable[..., Any], str | None]


class Head(torch.nn.Module):
    def __init__(self, model, head):
        super().__init__()
        self.model, self.head, self.bounds = model, head, model.bounds

    def forward(self, x):
        return self.head(self.model(x))

    def __getattr__(self, name):  # what else methods ask of an adapter
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)


def gradient(model, x, t):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x)[range(len(x)), t].sum(), x)[0]


def loss_grad(model, x, y, loss="ce"):
    x = x.clone().requires_grad_()
    z = model(x)
    value = {
        "ce": lambda: F.cross_entropy(z, y, reduction="sum"),
        "mean": lambda: F.cross_entropy(z, y),
        "nll": lambda: F.nll_loss(z, y, reduction="sum"),
        "softmax": lambda: F.cross_entropy(z.softmax(1), y, reduction="sum"),
        "margin": lambda: (z.scatter(1, y[:, None], -1e9).amax(1) - z[range(len(x)), y]).sum(),
        "p": lambda: -z.softmax(1)[range(len(x)), y].sum(),
    }[loss]()
    return torch.autograd.grad(value, x)[0]


def wrong_attributions(name: str) -> dict[str, Wrong]:
    """What can go wrong with any attribution."""
    R = get(name)
    one_map = alike_over_channels(R)
    found: dict[str, Wrong] = {
        "sign": (lambda m, x, t, **p: -R(m, x, t, **p), "opposite sign"),
        "softmax": (
            lambda m, x, t, **p: R(Head(m, lambda z: z.softmax(1)), x, t, **p),
            "probability",
        ),
        "log-softmax": (
            lambda m, x, t, **p: R(Head(m, lambda z: z.log_softmax(1)), x, t, **p),
            "loss",
        ),
        "predicted class": (lambda m, x, t, **p: R(m, x, m(x).argmax(1), **p), "predicted class"),
        "first target": (
            lambda m, x, t, **p: R(m, x, t[:1].repeat(len(x)), **p),
            "first image's target",
        ),
        "per-image maximum": (
            lambda m, x, t, **p: (
                lambda r: r / r.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-30)
            )(R(m, x, t, **p)),
            "image's maximum",
        ),
        "batch maximum": (
            lambda m, x, t, **p: (lambda r: r / r.abs().max())(R(m, x, t, **p)),
            "batch's maximum",
        ),
        "mean over the batch": (lambda m, x, t, **p: R(m, x, t, **p) / len(x), "batch size"),
        "shifted": (lambda m, x, t, **p: R(m, x, t, **p).roll(1, 3), "shifted by one pixel"),
        "transposed": (lambda m, x, t, **p: R(m, x, t, **p).transpose(2, 3), "height and width"),
        "half precision": (
            lambda m, x, t, **p: R(m, x, t, **p).half().to(x.dtype),
            "half precision",
        ),
        "two and a half times": (lambda m, x, t, **p: 2.5 * R(m, x, t, **p), "constant factor"),
        "none": (lambda m, x, t, **p: None, None),
        "numpy": (lambda m, x, t, **p: R(m, x, t, **p).detach().numpy(), None),
        "nan": (lambda m, x, t, **p: R(m, x, t, **p) * float("nan"), "not finite"),
        "cached": (Cached(R), None),
        "changes the images": (lambda m, x, t, **p: R(m, x.mul_(0.5), t, **p), None),
        "sets a seed": (lambda m, x, t, **p: (torch.manual_seed(0), R(m, x, t, **p))[1], None),
    }
    if not one_map:
        found["channels reversed"] = (
            lambda m, x, t, **p: R(m, x, t, **p).flip(1),
            "reverses the channels",
        )
        found["channels summed"] = (
            lambda m, x, t, **p: R(m, x, t, **p).sum(1, keepdim=True),
            "summed over the channels",
        )
    if alike_for_targets(R):
        del found["softmax"], found["log-softmax"], found["predicted class"], found["first target"]
    if name in ("saliency", "occlusion_x_gradient"):
        del found["log-softmax" if name != "saliency" else "nan"]
    if name == "occlusion_x_gradient":
        del found["softmax"], found["half precision"]
    if R.random:
        del found["sets a seed"]
        if "linearity" not in R.tags.axioms:  # half precision is lost in the average of draws
            del found["half precision"]
    return found


def alike_over_channels(attribution) -> bool:
    """Whether a map has one channel, or the same in all: no mistake in channels is seen there."""
    model, x = fitting(attribution), images(8)
    map_ = attribution(model, x, torch.arange(8) % 4)
    return torch.equal(map_, map_[:, :1].expand_as(map_))


def alike_for_targets(attribution) -> bool:
    """Whether a map is the same whatever it explains."""
    model, x = fitting(attribution), images(4)
    with torch.random.fork_rng():
        one, other = (
            (torch.manual_seed(0), attribution(model, x, t))[1]
            for t in (torch.zeros(4).long(), torch.arange(4))
        )
    return torch.equal(one, other)


def wrong_attacks(name: str) -> dict[str, Wrong]:
    """What can go wrong with any attack, for those that have no list of their own below."""
    R = get(name)
    found: dict[str, Wrong] = {
        "delta": (lambda m, x, y, **p: images_of(R(m, x, y, **p)) - x, "perturbation instead"),
        "8 bits": (
            lambda m, x, y, **p: (images_of(R(m, x, y, **p)) * 255).round() / 255,
            "8 bits",
        ),
        "half": (
            lambda m, x, y, **p: x + (images_of(R(m, x, y, **p)) - x) / 2,
            "half of the perturbation",
        ),
        "opposite": (
            lambda m, x, y, **p: x - (images_of(R(m, x, y, **p)) - x),
            "opposite sign",
        ),
        "clean": (lambda m, x, y, **p: x.clone(), "clean images"),
        "none": (lambda m, x, y, **p: None, None),
        "numpy": (lambda m, x, y, **p: images_of(R(m, x, y, **p)).detach().numpy(), None),
        "nan": (lambda m, x, y, **p: images_of(R(m, x, y, **p)) * float("nan"), "not finite"),
        "changes the images": (lambda m, x, y, **p: R(m, x.mul_(0.5), y, **p), None),
    }
    if not R.tags.control:
        found["predicted class"] = (
            lambda m, x, y, **p: R(m, x, m(x).argmax(1), **p),
            "predicted class",
        )
        found["labels reversed"] = (lambda m, x, y, **p: R(m, x, y.flip(0), **p), "reverse order")
    return found


def images_of(returned):
    return returned[0] if isinstance(returned, tuple) else returned


class Cached:
    """Answers from the first call of a batch's shape."""

    def __init__(self, function):
        self.function, self.memory, self.__name__ = function, {}, "cached"

    def __call__(self, model, x, t, **p):
        key = (id(x), id(model))
        if key not in self.memory:
            self.memory[key] = self.function(model, x, t, **p)
        return self.memory[key]


def ig(points, weights, *, multiply=lambda x, b: x - b):
    def integrated_gradients(model, x, t, *, n_steps=50, baseline=0.0):
        total = torch.zeros_like(x)
        for a, w in zip(points(n_steps), weights(n_steps), strict=True):
            total = total + w * gradient(model, baseline + a * (x - baseline), t)
        return multiply(x, baseline) * total

    return integrated_gradients


def gauss(n):
    import numpy as np

    return list((np.polynomial.legendre.leggauss(n)[0] + 1) / 2)


def gauss_weights(n):
    import numpy as np

    return list(np.polynomial.legendre.leggauss(n)[1] / 2)


def cam_parts(model, x, t):
    kept = []
    handle = model.cam_layer(x).register_forward_hook(lambda m, i, o: kept.append(o))
    logits = model(x.clone().requires_grad_())
    handle.remove()
    (g,) = torch.autograd.grad(logits[range(len(x)), t].sum(), kept[0])
    return kept[0].detach(), g


def cam(weigh):
    def layer_gradcam(model, x, t, *, relu=False, upsample=False):
        out = weigh(*cam_parts(model, x, t))
        out = out.relu() if relu else out
        return (
            F.interpolate(out, x.shape[2:], mode="bilinear", align_corners=False)
            if upsample
            else out
        )

    return layer_gradcam


def occlude(
    *,
    average=True,
    inside=False,
    softmax=False,
    skip_edge=False,
    absolute=False,
    grow=0,
    channels=False,
):
    def occlusion(model, x, t, *, window, stride, baseline=0.0):
        (wh, ww), (sh, sw) = ((v, v) if isinstance(v, int) else v for v in (window, stride))
        h, w = x.shape[2:]
        score = lambda z: (z.softmax(1) if softmax else z)[range(len(x)), t]  # noqa: E731
        with torch.no_grad():
            clean, total, count = score(model(x)), torch.zeros_like(x), torch.zeros_like(x)
            top = 0
            while True:
                left = 0
                while True:
                    a, b = (min(top, h - wh), min(left, w - ww)) if inside else (top, left)
                    if not (skip_edge and (a + wh > h or b + ww > w)):
                        for c in range(x.shape[1]) if channels else [slice(None)]:
                            y = x.clone()
                            y[:, c, a : a + wh + grow, b : b + ww + grow] = baseline
                            d = clean - score(model(y))
                            d = d.abs() if absolute else d
                            total[:, c, a : a + wh, b : b + ww] += (
                                d.view(-1, 1, 1) if channels else d.view(-1, 1, 1, 1)
                            )
                            count[:, c, a : a + wh, b : b + ww] += 1
                    if left + ww >= w:
                        break
                    left += sw
                if top + wh >= h:
                    break
                top += sh
        return total / count.clamp(min=1) if average else total

    return occlusion


def smooth(
    *,
    each=lambda g: g,
    scale=1.0,
    reduce=lambda s, n: s / n,
    clip=False,
    shared=False,
    samples=lambda n: n,
):
    def smooth_grad(model, x, t, *, n_samples=20, stdev=0.1):
        total = torch.zeros_like(x)
        noise = torch.randn_like(x)
        for _ in range(samples(n_samples)):
            noise = noise if shared else torch.randn_like(x)
            noisy = x + scale * stdev * noise
            total = total + each(gradient(model, noisy.clamp(0, 1) if clip else noisy, t))
        return reduce(total, n_samples)

    return smooth_grad


def descend(
    kind: str,
    *,
    loss="ce",
    direction=None,
    project=None,
    clip=lambda z: z.clamp(0, 1),
    extra=0,
    stop="",
    eps=lambda e: e,
    step=lambda s, e, n: s,
    labels=lambda m, x, y: y,
    start=True,
    order="project first",
    best=False,
    returns=lambda z, x: z,
    sign=1.0,
    momentum=0.0,
):
    """A textbook attack of this family with one detail changed."""
    l2 = kind in ("fgm_l2", "pgd_l2")
    unit = lambda g: g / g.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)  # noqa: E731
    usual = {
        "fast_gradient_value": lambda g: g / g.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    }.get(kind, unit if l2 else torch.sign)
    direction = direction or usual

    def ball(z, x, e):
        d = z - x
        return x + (
            d * (e / d.flatten(1).norm(dim=1).clamp(min=1e-12)).clamp(max=1).view(-1, 1, 1, 1)
            if l2
            else d.clamp(-e, e)
        )

    project = project or ball

    def one(model, x, y, *, epsilon, targeted=False):
        e = eps(epsilon)
        z = x + (-sign if targeted else sign) * e * direction(
            loss_grad(model, x, labels(model, x, y), loss)
        )
        return returns(clip(z), x).detach()

    def loop(model, x, y, *, epsilon, steps=10, step_size=None, targeted=False, begin=None):
        e, y = eps(epsilon), labels(model, x, y)
        size = step(step_size, e, steps)
        if begin is None and kind == "pgd":
            begin = x + e * (2 * torch.rand_like(x) - 1)
        if begin is None and kind == "pgd_l2":
            u = torch.randn(len(x), x[0].numel() + 2, dtype=x.dtype)
            begin = x + e * (u / u.norm(dim=1, keepdim=True))[:, :-2].view_as(x)
        z = x if begin is None or not start else begin.clamp(0, 1)
        top, top_loss, velocity = z, None, 0.0
        for _ in range(steps + extra):
            fooled = (model(z).argmax(1) == y) == targeted
            if stop == "all" and bool(fooled.all()):
                break
            g = loss_grad(model, z, y, loss)
            if momentum:
                velocity = momentum * velocity + g / g.abs().mean((1, 2, 3), keepdim=True)
                g = velocity
            new = z + (-sign if targeted else sign) * size * direction(g)
            new = clip(project(new, x, e)) if order == "project first" else project(clip(new), x, e)
            z = torch.where(fooled.view(-1, 1, 1, 1), z, new) if stop == "each" else new
            if best:
                now = F.cross_entropy(model(z), y, reduction="none").detach()
                top = (
                    z
                    if top_loss is None
                    else torch.where((now > top_loss).view(-1, 1, 1, 1), z, top)
                )
                top_loss = now if top_loss is None else torch.maximum(now, top_loss)
        return returns(top if best else z, x).detach()

    if kind in ("fgsm", "fgm_l2", "fast_gradient_value"):
        return one
    if kind == "bim":
        return lambda model, x, y, *, epsilon, steps=10, step_size, targeted=False: loop(
            model, x, y, epsilon=epsilon, steps=steps, step_size=step_size, targeted=targeted
        )
    return lambda model, x, y, *, epsilon, steps=40, step_size, start=None, targeted=False: loop(
        model,
        x,
        y,
        epsilon=epsilon,
        steps=steps,
        step_size=step_size,
        targeted=targeted,
        begin=start,
    )


def wrong_descents(kind: str) -> dict[str, Wrong]:
    D = descend
    found: dict[str, Wrong] = {
        "no clip": (D(kind, clip=lambda z: z), "does not clip"),
        "clip to [-1, 1]": (D(kind, clip=lambda z: z.clamp(-1, 1)), "[-1, 1]"),
        "clip to [-2, 2] and nll on logits": (
            D(kind, loss="nll", clip=lambda z: z.clamp(-2, 2)),
            "nll_loss on raw logits",
        ),
        "nll on logits": (D(kind, loss="nll"), "nll_loss on raw logits"),
        "softmax twice": (D(kind, loss="softmax"), "probabilities"),
        "downhill": (D(kind, sign=-1.0), "downhill"),
        "predicted class": (D(kind, labels=lambda m, x, y: m(x).argmax(1)), "predicted class"),
        "first label": (
            D(kind, labels=lambda m, x, y: y[:1].repeat(len(x))),
            "first image's label",
        ),
        "epsilon halved": (D(kind, eps=lambda e: e / 2), "epsilon is halved"),
        "delta": (D(kind, returns=lambda z, x: z - x), "perturbation instead of the images"),
        "8 bits": (D(kind, returns=lambda z, x: (z * 255).round() / 255), "8 bits"),
        "margin loss": (D(kind, loss="margin"), "margin"),
    }
    if kind in ("fgsm", "bim", "pgd"):
        found["sign(0) = 1"] = (
            D(kind, direction=lambda g: torch.where(g >= 0, 1.0, -1.0)),
            "sign(0) = 1",
        )
    if kind in ("fgm_l2", "pgd_l2"):
        found["sign"] = (D(kind, direction=torch.sign), "sign")
        found["batch norm"] = (D(kind, direction=lambda g: g / g.norm()), "whole batch")
        found["per channel"] = (
            D(kind, direction=lambda g: g / g.norm(dim=(2, 3), keepdim=True).clamp(min=1e-12)),
            "each channel",
        )
    if kind == "fast_gradient_value":
        found["L2"] = (
            D(kind, direction=lambda g: g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)),
            "L2-normalised",
        )
        found["batch maximum"] = (D(kind, direction=lambda g: g / g.abs().max()), "batch's largest")
        found["raw"] = (D(kind, direction=lambda g: g), "without normalising")
    if kind in ("bim", "pgd", "pgd_l2"):
        found |= {
            "no projection": (D(kind, project=lambda z, x, e: z), "does not project"),
            "one short": (D(kind, extra=-1), "one step less"),
            "one more": (D(kind, extra=1), "one step more"),
            "early stop": (D(kind, stop="each"), "stop early"),
            "step is epsilon": (D(kind, step=lambda s, e, n: e), "step is epsilon"),
            "step ignored": (D(kind, step=lambda s, e, n: 0.2 * e), "step"),
            "best iterate": (D(kind, best=True), "largest loss"),
            "momentum": (D(kind, momentum=0.5), None),
        }
    if kind == "pgd_l2":
        found["clip first"] = (D(kind, order="clip first"), "clips before it projects")
        found["linf ball"] = (
            D(kind, project=lambda z, x, e: x + (z - x).clamp(-e, e)),
            "Linf ball",
        )
    if kind in ("pgd", "pgd_l2"):
        found["start ignored"] = (D(kind, start=False), "starts from the clean image")
        R = get(kind)
        found["never random"] = (
            lambda m, x, y, *, epsilon, **p: R(
                m, x, y, epsilon=epsilon, **{**p, "random_start": False, "start": None}
            ),
            None,
        )
        found["fixed seed"] = (
            lambda m, x, y, *, epsilon, start=None, **p: (
                torch.manual_seed(0),
                R(m, x, y, epsilon=epsilon, start=start, **p),
            )[1],
            None,
        )
    return found


def uniform(change):
    def uniform_noise_linf(model, x, y, *, epsilon, noise=None):
        u = torch.rand_like(x) * 2 - 1 if noise is None else noise
        return change(x, u, epsilon)

    return uniform_noise_linf


def largest(u):
    return u.abs().amax((1, 2, 3), keepdim=True)


def same_otherwise(method):
    """The reference called otherwise: image after image, or as it is where images need others."""
    if needs_the_batch(method):
        return {
            "itself": method.reference,
            "of a clone": lambda m, x, t, **p: method(m, x.clone(), t, **p),
            "of a permuted memory": lambda m, x, t, **p: method(m, channels_last(x), t, **p),
        }
    return {
        "per image": per_image(method),
        "in reverse": backwards(method),
        "chunked": chunked(method),
    }


def needs_the_batch(method):
    """Whether an image's answer changes with the other images."""
    model, x, t = fitting(method), images(3), torch.arange(3)
    others = torch.cat([x[:1], 1 - x[1:]])
    answers = []
    for batch in (x, others):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            answers.append(images_of(method(model, batch, t))[0])
    return not torch.equal(*answers)


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def per_image(function):
    """One image after the other."""

    def alone(model, x, t, **p):
        out = []
        for i in range(len(x)):
            own = {
                k: v[i : i + 1] if isinstance(v, Tensor) and v.shape[:1] == x.shape[:1] else v
                for k, v in p.items()
            }
            r = function(model, x[i : i + 1], t[i : i + 1], **own)
            out.append(r[0] if isinstance(r, tuple) else r)
        return torch.cat(out)

    return alone


def backwards(function):
    """The batch in reverse order, and back."""

    def reverse(model, x, t, **p):
        own = {
            k: v.flip(0) if isinstance(v, Tensor) and v.shape[:1] == x.shape[:1] else v
            for k, v in p.items()
        }
        r = function(model, x.flip(0), t.flip(0), **own)
        return (r[0] if isinstance(r, tuple) else r).flip(0)

    return reverse


def chunked(function):
    """Two images at a time."""

    def chunks(model, x, t, **p):
        out = []
        for i in range(0, len(x), 2):
            own = {
                k: v[i : i + 2] if isinstance(v, Tensor) and v.shape[:1] == x.shape[:1] else v
                for k, v in p.items()
            }
            r = function(model, x[i : i + 2], t[i : i + 2], **own)
            out.append(r[0] if isinstance(r, tuple) else r)
        return torch.cat(out)

    return chunks


def one_hot_saliency(model, x, t):
    x = x.clone().requires_grad_()
    z = model(x)
    return torch.autograd.grad(z, x, F.one_hot(t, z.shape[1]).to(z))[0].abs()


def saliency_by_jacobian(model, x, t):
    rows = []
    for i in range(len(x)):
        rows.append(
            torch.autograd.functional.jacobian(lambda v, i=i: model(v[None])[0, t[i]], x[i])
        )
    return torch.stack(rows).abs()


def ig_at_once(model, x, t, *, n_steps=50, baseline=0.0):
    a, w = (
        torch.tensor(v, dtype=x.dtype).view(-1, 1, 1, 1, 1)
        for v in (gauss(n_steps), gauss_weights(n_steps))
    )
    path = (baseline + a * (x - baseline)).flatten(0, 1)
    g = gradient(model, path, t.repeat(n_steps)).view(n_steps, *x.shape)
    return (x - baseline) * (w * g).sum(0)


WRONG: dict[str, dict[str, Wrong]] = {}
RIGHT: dict[str, dict[str, Callable[..., Any]]] = {}
for _name in methods():
    _R = get(_name)
    RIGHT[_name] = same_otherwise(_R)
    if _R.kind == "attribution":
        WRONG[_name] = wrong_attributions(_name)
    elif _name in ("fgsm", "fgm_l2", "fast_gradient_value", "bim", "pgd", "pgd_l2"):
        WRONG[_name] = wrong_descents(_name)
        RIGHT[_name] |= {"textbook": descend(_name), "mean loss": descend(_name, loss="mean")}
        if _name in ("bim", "pgd"):
            RIGHT[_name]["min-max projection"] = descend(
                _name, project=lambda z, x, e: torch.minimum(torch.maximum(z, x - e), x + e)
            )
    else:
        WRONG[_name] = wrong_attacks(_name)

WRONG["saliency"] |= {
    "signed": (lambda m, x, t: gradient(m, x, t), "absolute value is missing"),
    "of the loss": (lambda m, x, t: loss_grad(m, x, t).abs(), "loss"),
    "in normalised units": (
        lambda m, x, t: gradient(m, x, t).abs() * (1 if m.std is None else m.std),
        "normalised units",
    ),
    "maximum over channels": (
        lambda m, x, t: gradient(m, x, t).abs().amax(1, keepdim=True),
        "maximum over the channels",
    ),
    "min-max": (
        lambda m, x, t: (
            lambda g: (
                (g - g.amin((1, 2, 3), keepdim=True))
                / (g.amax((1, 2, 3), keepdim=True) - g.amin((1, 2, 3), keepdim=True))
            )
        )(gradient(m, x, t).abs()),
        "min-max",
    ),
    "backward() leaves gradients": (
        lambda m, x, t: (m(x).sum().backward(), gradient(m, x, t).abs())[1],
        None,
    ),
    "left in training mode": (lambda m, x, t: (m.train(), gradient(m, x, t).abs())[1], None),
}
WRONG["input_x_gradient"] |= {
    "gradient alone": (lambda m, x, t: gradient(m, x, t), "factor x is missing"),
    "absolute": (lambda m, x, t: (x * gradient(m, x, t)).abs(), "absolute value"),
    "sign of the gradient": (lambda m, x, t: x * gradient(m, x, t).sign(), "sign of the gradient"),
    "centred": (lambda m, x, t: (x - 0.5) * gradient(m, x, t), "x - 0.5"),
}
WRONG["integrated_gradients"] |= {
    "left rule": (ig(lambda n: [k / n for k in range(n)], lambda n: [1 / n] * n), "left Riemann"),
    "right rule": (
        ig(lambda n: [(k + 1) / n for k in range(n)], lambda n: [1 / n] * n),
        "right Riemann",
    ),
    "middle rule": (
        ig(lambda n: [(k + 0.5) / n for k in range(n)], lambda n: [1 / n] * n),
        "middle Riemann",
    ),
    "both ends, last dropped": (
        ig(lambda n: [k / (n - 1) for k in range(n - 1)], lambda n: [1 / (n - 1)] * (n - 1)),
        "drops the last",
    ),
    "both ends at full weight": (
        ig(lambda n: [k / (n - 1) for k in range(n)], lambda n: [1 / n] * n),
        "both ends at full weight",
    ),
    "Captum's trapezoid": (
        ig(
            lambda n: [k / (n - 1) for k in range(n)],
            lambda n: [0.5 / n, *[1 / n] * (n - 2), 0.5 / n],
        ),
        "(n - 1) / n",
    ),
    "no way": (ig(gauss, gauss_weights, multiply=lambda x, b: 1.0), "(x - baseline) is missing"),
    "times x": (ig(gauss, gauss_weights, multiply=lambda x, b: x), "x instead of (x - baseline)"),
    "0.9": (
        lambda m, x, t, **p: 0.9 * get("integrated_gradients")(m, x, t, **p),
        "constant factor",
    ),
    "ten steps": (
        lambda m, x, t, *, n_steps=50, baseline=0.0: ig_at_once(
            m, x, t, n_steps=10, baseline=baseline
        ),
        "10 steps",
    ),
    "baseline ignored": (
        lambda m, x, t, *, n_steps=50, baseline=0.0: ig_at_once(m, x, t, n_steps=n_steps),
        "`baseline`",
    ),
    "sum over steps": (
        lambda m, x, t, *, n_steps=50, baseline=0.0: (
            n_steps * ig_at_once(m, x, t, n_steps=n_steps, baseline=baseline)
        ),
        "sum over n_steps",
    ),
}
RIGHT["integrated_gradients"] |= {"at once": ig_at_once, "a loop": ig(gauss, gauss_weights)}
WRONG["layer_gradcam"] |= {
    "always relu": (
        lambda m, x, t, *, relu=False, upsample=False: get("layer_gradcam")(
            m, x, t, relu=True, upsample=upsample
        ),
        "ReLU",
    ),
    "summed gradient": (
        cam(lambda a, g: (g.sum((2, 3), keepdim=True) * a).sum(1, keepdim=True)),
        "positions instead of averaging",
    ),
    "channel mean": (
        cam(lambda a, g: (g.mean((2, 3), keepdim=True) * a).mean(1, keepdim=True)),
        "averages over the layer's channels",
    ),
    "hirescam": (cam(lambda a, g: (g * a).sum(1, keepdim=True)), "position by position"),
    "no weights": (cam(lambda a, g: a.sum(1, keepdim=True)), "does not weight"),
    "absolute weights": (
        cam(lambda a, g: (g.mean((2, 3), keepdim=True).abs() * a).sum(1, keepdim=True)),
        "absolute gradient",
    ),
    "nearest": (
        lambda m, x, t, *, relu=False, upsample=False: (
            lambda c: F.interpolate(c, x.shape[2:]) if upsample else c
        )(get("layer_gradcam")(m, x, t, relu=relu)),
        "nearest",
    ),
    "align_corners": (
        lambda m, x, t, *, relu=False, upsample=False: (
            lambda c: (
                F.interpolate(c, x.shape[2:], mode="bilinear", align_corners=True)
                if upsample
                else c
            )
        )(get("layer_gradcam")(m, x, t, relu=relu)),
        "align_corners",
    ),
}
RIGHT["layer_gradcam"]["textbook"] = cam(
    lambda a, g: (g.mean((2, 3), keepdim=True) * a).sum(1, keepdim=True)
)
RIGHT["layer_gradcam"]["einsum"] = cam(
    lambda a, g: torch.einsum("nc,nchw->nhw", g.mean((2, 3)), a)[:, None]
)
WRONG["guided_backprop"] |= {
    "plain gradient": (lambda m, x, t: gradient(m, x, t), "plain gradient"),
    "deconvolution": (lambda m, x, t: get("deconvolution")(m, x, t), "deconvolution"),
    "positive part": (lambda m, x, t: get("guided_backprop")(m, x, t).relu(), "positive part"),
}
WRONG["deconvolution"] |= {
    "plain gradient": (lambda m, x, t: gradient(m, x, t), "plain gradient"),
    "guided backprop": (lambda m, x, t: get("guided_backprop")(m, x, t), "guided backprop"),
    "absolute": (lambda m, x, t: get("deconvolution")(m, x, t).abs(), "absolute value"),
}
WRONG["guided_gradcam"] |= {
    "no relu": (
        lambda m, x, t: (
            get("guided_backprop")(m, x, t)
            * F.interpolate(get("layer_gradcam")(m, x, t), x.shape[2:])
        ),
        "ReLU of Grad-CAM is missing",
    ),
    "bilinear": (
        lambda m, x, t: get("guided_gradcam")(m, x, t, interpolation="bilinear"),
        "bilinear",
    ),
    "plain gradient": (
        lambda m, x, t: (
            gradient(m, x, t) * F.interpolate(get("layer_gradcam")(m, x, t, relu=True), x.shape[2:])
        ),
        "plain gradient",
    ),
    "guided backprop alone": (
        lambda m, x, t: get("guided_backprop")(m, x, t),
        "Grad-CAM is missing",
    ),
}
WRONG["occlusion"] |= {
    "sum": (occlude(average=False), "sums over the windows"),
    "edge skipped": (occlude(skip_edge=True), "edge"),
    "moved inside": (occlude(inside=True), "inside"),
    "probability": (occlude(softmax=True), "probability"),
    "absolute": (occlude(absolute=True), "absolute"),
    "per channel": (occlude(channels=True), "one channel at a time"),
    "window too large": (occlude(grow=1), None),
    "stride ignored": (
        lambda m, x, t, *, window, stride, baseline=0.0: occlude()(
            m, x, t, window=window, stride=1, baseline=baseline
        ),
        "stride",
    ),
    "baseline ignored": (
        lambda m, x, t, *, window, stride, baseline=0.0: occlude()(
            m, x, t, window=window, stride=stride
        ),
        "`baseline`",
    ),
    "square windows": (
        lambda m, x, t, *, window, stride, baseline=0.0: occlude()(
            m,
            x,
            t,
            window=window if isinstance(window, int) else window[0],
            stride=stride,
            baseline=baseline,
        ),
        None,
    ),
}
RIGHT["occlusion"]["a loop"] = occlude()
WRONG["smooth_grad"] |= {
    "absolute": (smooth(each=torch.abs), None),
    "squared": (smooth(each=torch.square), None),
    "sum": (smooth(reduce=lambda s, n: s), None),
    "half the noise": (smooth(scale=0.5), None),
    "clipped": (smooth(clip=True), None),
    "one noise": (smooth(shared=True), None),
    "no noise": (smooth(scale=0.0), None),
    "one sample": (smooth(samples=lambda n: 1, reduce=lambda s, n: s), None),
}
for _generic in (
    "sign",
    "softmax",
    "log-softmax",
    "predicted class",
    "first target",
    "per-image maximum",
    "batch maximum",
    "mean over the batch",
    "shifted",
    "transposed",
    "half precision",
    "two and a half times",
    "channels reversed",
    "channels summed",
):
    WRONG["smooth_grad"][_generic] = (
        WRONG["smooth_grad"][_generic][0],
        WRONG["smooth_grad"][_generic][1],
    )
RIGHT["smooth_grad"] = {
    "own draws": smooth(),
    "one after the other": per_image(smooth()),
    "at once": lambda m, x, t, *, n_samples=20, stdev=0.1: (
        gradient(
            m,
            x.repeat_interleave(n_samples, 0)
            + stdev * torch.randn(n_samples * len(x), *x.shape[1:], dtype=x.dtype),
            t.repeat_interleave(n_samples),
        )
        .view(len(x), n_samples, *x.shape[1:])
        .mean(1)
    ),
}


def both(
    combine, normalise=lambda m: m.abs() / largest(m), local=lambda m, x, t: x * gradient(m, x, t)
):
    return lambda m, x, t, **p: combine(
        normalise(get("occlusion")(m, x, t, **p)), normalise(local(m, x, t))
    )


WRONG["occlusion_x_gradient"] |= {
    "product": (both(lambda a, b: a * b), "product"),
    "sum": (both(lambda a, b: a + b), "sum"),
    "maximum": (both(torch.maximum), "larger"),
    "not normalised": (both(lambda a, b: (a + b) / 2, normalise=torch.abs), "not normalised"),
    "signed": (both(lambda a, b: (a + b) / 2, normalise=lambda m: m / largest(m)), "sign"),
    "batch maximum inside": (
        both(lambda a, b: (a + b) / 2, normalise=lambda m: m.abs() / m.abs().max()),
        "batch's maximum",
    ),
    "plain gradient": (both(lambda a, b: (a + b) / 2, local=gradient), "plain gradient"),
    "occlusion alone": (both(lambda a, b: a), "occlusion alone"),
}
RIGHT["occlusion_x_gradient"]["by hand"] = both(lambda a, b: 0.5 * a + 0.5 * b)
RIGHT["saliency"] |= {"one-hot": one_hot_saliency, "jacobian": saliency_by_jacobian}
RIGHT["input_x_gradient"]["by hand"] = lambda m, x, t: gradient(m, x, t) * x

WRONG["uniform_noise_linf"] = {
    "not scaled": (uniform(lambda x, u, e: (x + e * u).clamp(0, 1)), "does not scale"),
    "largest positive": (
        uniform(
            lambda x, u, e: (x + (e * u / u.amax((1, 2, 3), keepdim=True)).clamp(-e, e)).clamp(0, 1)
        ),
        "largest positive",
    ),
    "out of the ball": (
        uniform(lambda x, u, e: (x + e * u / u.amax((1, 2, 3), keepdim=True)).clamp(0, 1)),
        "leaves the ball",
    ),
    "no clip": (uniform(lambda x, u, e: x + e * u / largest(u)), "does not clip"),
    "sign": (uniform(lambda x, u, e: (x + e * u.sign()).clamp(0, 1)), "sign of the noise"),
    "batch": (uniform(lambda x, u, e: (x + e * u / u.abs().max()).clamp(0, 1)), "batch's largest"),
    "one-sided": (
        uniform(lambda x, u, e: (x + e * u.abs() / largest(u)).clamp(0, 1)),
        "absolute value of the noise",
    ),
    "half": (uniform(lambda x, u, e: (x + e / 2 * u / largest(u)).clamp(0, 1)), "halved"),
    "nothing": (uniform(lambda x, u, e: x.clone()), "clean images"),
}
RIGHT["uniform_noise_linf"] |= {
    "by hand": uniform(lambda x, u, e: (x + e * u / largest(u)).clamp(0, 1)),
    "own noise": lambda m, x, y, *, epsilon: (lambda u: (x + epsilon * u / largest(u)).clamp(0, 1))(
        torch.empty_like(x).uniform_(-1, 1)
    ),
}

_deepfool, _fool = get("deepfool_l2"), get("fool")
WRONG["deepfool_l2"] = {
    "no overshoot": (
        lambda m, x, y, *, overshoot=0.02, **p: _deepfool(m, x, y, overshoot=0.0, **p),
        "overshoot",
    ),
    "one step": (lambda m, x, y, *, steps=50, **p: _deepfool(m, x, y, steps=1, **p), "step"),
    "two candidates": (
        lambda m, x, y, *, candidates=10, **p: _deepfool(m, x, y, candidates=2, **p),
        None,
    ),
    "half": (
        lambda m, x, y, **p: x + (_deepfool(m, x, y, **p) - x) / 2,
        "half of the perturbation",
    ),
    "double": (
        lambda m, x, y, **p: (x + (_deepfool(m, x, y, **p) - x) * 2).clamp(0, 1),
        "doubles the perturbation",
    ),
    "opposite": (lambda m, x, y, **p: x - (_deepfool(m, x, y, **p) - x), "opposite sign"),
    "predicted class": (
        lambda m, x, y, **p: _deepfool(m, x, m(x).argmax(1), **p),
        "predicted class",
    ),
    "8 bits": (lambda m, x, y, **p: (_deepfool(m, x, y, **p) * 255).round() / 255, "8 bits"),
    "clean": (lambda m, x, y, **p: x.clone(), "clean images"),
    "delta": (lambda m, x, y, **p: _deepfool(m, x, y, **p) - x, "perturbation instead"),
    "black": (lambda m, x, y, **p: torch.zeros_like(x), None),
}


def fool(*, loss="ce", direction=torch.sign, stop="each", clip=True, late=0, scale=1.0):
    def attack(model, x, y, *, steps=100, step_size=1 / 255, targeted=False):
        z, waiting = x.clone(), torch.full((len(x),), late)
        for _ in range(steps):
            fooled = (model(z).argmax(1) == y) == targeted
            waiting = waiting - fooled.long()
            done = fooled & (waiting < 0)
            if stop == "all":
                done = torch.full_like(done, bool(done.all()))
            if stop == "never":
                done = torch.zeros_like(done)
            if bool(done.all()):
                break
            moved = z + (-1 if targeted else 1) * scale * step_size * direction(
                loss_grad(model, z, y, loss)
            )
            moved = moved.clamp(0, 1) if clip else moved
            z = torch.where(done.view(-1, 1, 1, 1), z, moved)
        return z.detach()

    return attack


WRONG["fool"] = {
    "all together": (fool(stop="all"), "until all are fooled"),
    "never stops": (fool(stop="never"), "never stops"),
    "no clip": (fool(clip=False), "does not clip"),
    "nll": (fool(loss="nll"), "nll_loss"),
    "softmax": (fool(loss="softmax"), "probabilities"),
    "l2": (
        fool(direction=lambda g: g / g.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)),
        "L2-normalised",
    ),
    "one step late": (fool(late=1), None),
    "half step": (fool(scale=0.5), "halved"),
    "clean": (lambda m, x, y, **p: x.clone(), "clean images"),
    "sign(0) = 1": (fool(direction=lambda g: torch.where(g >= 0, 1.0, -1.0)), "sign(0) = 1"),
}
RIGHT["fool"]["a loop"] = fool()


def expected(
    *,
    way=lambda x, b: x - b,
    each=lambda m: m,
    reduce=lambda s, n: s / n,
    at=lambda x, b, a: b + a * (x - b),
    base=lambda b: b,
    point=lambda a: a,
    samples=lambda n: n,
    one_baseline=False,
):
    def expected_gradients(
        model, x, t, *, n_samples=20, baselines=None, alphas=None, noise=None, chosen=None
    ):
        n, total = len(x), torch.zeros_like(x)
        alphas = torch.rand(n, n_samples) if alphas is None else alphas
        if baselines is None:
            noise = torch.rand(n, n_samples, *x.shape[1:]) if noise is None else noise
            low, high = model.bounds
            starts = low + noise.to(x) * (high - low)
        else:
            bank = torch.as_tensor(baselines).to(x)
            bank = bank if bank.ndim == 4 else bank.view(1, 1, 1, 1)
            chosen = torch.randint(len(bank), (n, n_samples)) if chosen is None else chosen
            starts = bank[chosen].expand(-1, -1, *x.shape[1:])
        for s in range(samples(n_samples)):
            b = base(starts[:, 0 if one_baseline else s])
            a = point(alphas[:, s].view(-1, 1, 1, 1).to(x))
            total = total + each(way(x, b) * gradient(model, at(x, b, a), t))
        return reduce(total, n_samples)

    return expected_gradients


def expected_by_own_draws(
    *,
    way=lambda x, b: x - b,
    baseline=torch.rand_like,
    point=lambda x: torch.rand(len(x), 1, 1, 1, dtype=x.dtype),
):
    def expected_gradients(model, x, t, *, n_samples=20):
        total = torch.zeros_like(x)
        for _ in range(n_samples):
            b, a = baseline(x), point(x)
            total = total + way(x, b) * gradient(model, b + a * (x - b), t)
        return total / n_samples

    return expected_gradients


def expected_at_once(model, x, t, *, n_samples=20):
    ends = x.repeat_interleave(n_samples, 0)
    b, a = torch.rand_like(ends), torch.rand(len(ends), 1, 1, 1, dtype=x.dtype)
    g = gradient(model, torch.lerp(b, ends, a), t.repeat_interleave(n_samples))
    return ((ends - b) * g).view(len(x), n_samples, *x.shape[1:]).mean(1)


WRONG["expected_gradients"] |= {
    "no way": (expected(way=lambda x, b: 1.0), "(x - baseline) is missing"),
    "times x": (expected(way=lambda x, b: x), "x instead of (x - baseline)"),
    "sum": (expected(reduce=lambda s, n: s), "sum over n_samples"),
    "over n - 1": (expected(reduce=lambda s, n: s / (n - 1)), "constant factor"),
    "absolute": (expected(each=torch.abs), "absolute values of the samples"),
    "the way back": (expected(way=lambda x, b: b - x), "opposite sign"),
    "at the image": (expected(at=lambda x, b, a: x), "at the image"),
    "at the baseline": (expected(at=lambda x, b, a: b), "at the baseline"),
    "counted from the image": (expected(at=lambda x, b, a: x + a * (b - x)), "from the image"),
    "in the middle": (expected(point=lambda a: 0.5), "middle of the way"),
    "one baseline": (expected(one_baseline=True), "one baseline"),
    "one sample": (expected(samples=lambda n: 1, reduce=lambda s, n: s), "one sample"),
    "black": (expected(base=torch.zeros_like), "black"),
    "baselines ignored": (
        lambda m, x, t, *, n_samples=20, baselines=None: expected_by_own_draws()(
            m, x, t, n_samples=n_samples
        ),
        "`baselines`",
    ),
    "own draws, no way": (
        expected_by_own_draws(way=lambda x, b: 1.0),
        "(x - baseline) is missing",
    ),
    "own draws, normal baselines": (
        expected_by_own_draws(baseline=torch.randn_like),
        "normal noise",
    ),
    "own draws, a point a pixel": (expected_by_own_draws(point=torch.rand_like), "each pixel"),
    "own draws around the image": (
        expected_by_own_draws(baseline=lambda x: x + 0.2 * torch.randn_like(x)),
        None,
    ),
}
RIGHT["expected_gradients"] |= {
    "by hand": expected(),
    "mixed": expected(at=lambda x, b, a: a * x + (1 - a) * b),
    "own draws": expected_at_once,
}


def over_l1(g):
    return g / g.abs().sum((1, 2, 3), keepdim=True).clamp(min=1e-12)


def with_momentum(
    *,
    scaled=over_l1,
    add=lambda mu, v, g: mu * v + g,
    decay=lambda mu: mu,
    loss="ce",
    direction=torch.sign,
    size=lambda s, e, n: e / n if s is None else s,
    ahead=False,
    extra=0,
    project=lambda z, x, e: torch.minimum(torch.maximum(z, x - e), x + e),
    clip=lambda z: z.clamp(0, 1),
):
    def mi_fgsm(model, x, y, *, epsilon, steps=10, step_size=None, momentum=1.0, targeted=False):
        step = (-1 if targeted else 1) * size(step_size, epsilon, steps)
        z, velocity = x, torch.zeros_like(x)
        for _ in range(steps + extra):
            seen = z + step * momentum * velocity if ahead else z
            g = scaled(loss_grad(model, seen, y, loss))
            velocity = add(decay(momentum), velocity, g)
            z = clip(project(z + step * direction(velocity), x, epsilon))
        return z.detach()

    return mi_fgsm


WRONG["mi_fgsm"] |= {
    "not normalised": (with_momentum(scaled=lambda g: g), "without normalising"),
    "L2": (
        with_momentum(scaled=lambda g: g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)),
        "L2 norm",
    ),
    "votes": (with_momentum(scaled=torch.sign), "gradient's sign to its momentum"),
    "batch norm": (with_momentum(scaled=lambda g: g / g.abs().sum()), "whole batch"),
    "each channel": (
        with_momentum(scaled=lambda g: g / g.abs().sum((2, 3), keepdim=True).clamp(min=1e-12)),
        "each channel",
    ),
    "no momentum": (with_momentum(decay=lambda mu: 0.0), "no momentum"),
    "decay ignored": (with_momentum(decay=lambda mu: 1.0), "`momentum`"),
    "another decay": (with_momentum(decay=lambda mu: 0.9), "always 0.9"),
    "running mean": (
        with_momentum(add=lambda mu, v, g: mu * v + (1 - mu) * g),
        "running mean",
    ),
    "the sum normalised": (
        with_momentum(scaled=lambda g: g, add=lambda mu, v, g: over_l1(mu * v + g)),
        "divides the sum",
    ),
    "Nesterov": (with_momentum(ahead=True), "NI-FGSM"),
    "no sign": (with_momentum(direction=lambda v: v), "gradient without normalising"),
    "no clip": (with_momentum(clip=lambda z: z), "does not clip"),
    "no projection": (with_momentum(project=lambda z, x, e: z), "does not project"),
    "one short": (with_momentum(extra=-1), "one step less"),
    "step ignored": (with_momentum(size=lambda s, e, n: e / n), "epsilon / steps"),
    "nll on logits": (with_momentum(loss="nll"), "nll_loss on raw logits"),
    "softmax twice": (with_momentum(loss="softmax"), "probabilities"),
}
RIGHT["mi_fgsm"] |= {
    "by hand": with_momentum(),
    "mean loss, over the mean": with_momentum(
        loss="mean", scaled=lambda g: g / g.abs().mean((1, 2, 3), keepdim=True)
    ),
    "clamped difference": with_momentum(project=lambda z, x, e: x + (z - x).clamp(-e, e)),
}
