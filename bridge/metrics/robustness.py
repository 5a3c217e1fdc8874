"""Robustness of explanations: how far an attack moves maps, of images that it fooled or did not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from bridge.core.method import Method
from bridge.core.model import ModelAdapter
from bridge.core.norms import TINY, l2_norm, linf_norm, per_image
from bridge.core.preflight import preflight
from bridge.core.registry import get, methods
from bridge.fused import run_many
from bridge.metrics import similarity
from bridge.metrics._neighbours import attacked
from bridge.metrics.attack import classify

Params = Mapping[str, Mapping[str, Any]]


class Looked:
    """Importances (n, h, w), with what every comparison of them needs."""

    def __init__(self, map_: Tensor) -> None:
        self.map = map_
        self.ranks = similarity.ranks(map_)
        self.top = similarity.top_share(map_)
        self.centre = similarity.centre(map_)


def robustness(
    model: nn.Module,
    x: Tensor,
    labels: Any,
    attacks: Params | Sequence[str],
    attributions: Params | Sequence[str],
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """How far each attack moves each attribution's map: rows of means over images.

    `x` (n, c, h, w), `labels` (n,) are attacked and explained; methods by name, or by name and
    parameters (one epsilon each). A row an attack, an attribution and some `images`: "all", those
    whose prediction the attack "kept" and "flipped", and all under "noise" of the same size (a
    control by its tag), beside an attack that is none itself. `count` says how many. See `shifts`
    for the columns; `energy` is the share of the perturbation's energy on the top tenth of the
    clean map's pixels, `area` the share of the image that these are: what spreads evenly has both
    alike.

    Raises what `run_many` raises.

    >>> import bridge
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> x, labels = bridge.load_batch("samples:fashion_mnist", n=4)
    >>> found = robustness(model, x, labels, {"fgsm": {"epsilon": 0.1}}, ["saliency"])
    >>> found.images.tolist()
    ['all', 'kept', 'flipped', 'noise']
    """
    adapter, images, classes = preflight(model, x, labels, what="labels")
    wanted = _named(attributions)
    given = {name: get(name).bind(params) for name, params in _named(attacks).items()}
    clean = importances(adapter, images, classes, wanted, seed)
    ran = run_many(adapter, images, classes, given, predict=False, seed=seed)
    noise = Noise(adapter, images, classes, seed)
    rows = [
        {"attack": name, "epsilon": given[name].get("epsilon"), **row}
        for name, run in ran.items()
        for row in moved(noise, get(name), given[name].get("epsilon"), run.output, clean, wanted)
    ]
    return pd.DataFrame(rows)


def _named(given: Params | Sequence[str]) -> Params:
    return given if isinstance(given, Mapping) else {name: {} for name in given}


def importances(
    model: ModelAdapter, x: Tensor, target: Tensor, wanted: Params, seed: int
) -> dict[str, Looked]:
    """What each attribution calls important of images x, on the CPU."""
    many = run_many(model, x, target, wanted, predict=False, seed=seed)
    return {name: looked(run.output.cpu(), x) for name, run in many.items()}


def looked(maps: Tensor, x: Tensor) -> Looked:
    """What maps (n, c, h', w') call important of images x (n, c, h, w)."""
    return Looked(similarity.importance(maps, (int(x.shape[2]), int(x.shape[3]))))


class Noise:
    """Images under noise of an attack's size: the control beside it, by its tag.

    What ignores the model is drawn once, and scaled to each size in each norm.
    """

    def __init__(self, model: ModelAdapter, x: Tensor, target: Tensor, seed: int) -> None:
        self.model, self.x, self.target, self.seed = model, x, target, seed
        self.predicted, _ = classify(model, x)
        self._controls = [m for m in map(get, methods("attack")) if m.tags.control]
        self._known: dict[Any, dict[str, Looked]] = {}

    @cached_property
    def _drawn(self) -> Tensor:
        """What the first control adds to the images."""
        return attacked(self._controls[0], self.model, self.x, self.target, 1 / 255) - self.x

    def maps(
        self, attack: Method, epsilon: float | None, delta: Tensor, wanted: Params
    ) -> dict[str, Looked]:
        """The maps under noise as large as `delta` (n, c, h, w), or `epsilon`, in its norm.

        Empty where nothing is registered that ignores the model.
        """
        if not self._controls:
            return {}
        key = (attack.norm, epsilon)
        if epsilon is None or key not in self._known:
            length = l2_norm if attack.norm == "l2" else linf_norm
            drawn = self._drawn
            size = length(delta) if epsilon is None else torch.full_like(length(drawn), epsilon)
            scaled = drawn * per_image(size / length(drawn).clamp(min=TINY), drawn)
            images = (self.x + scaled).clamp(*self.model.bounds)
            self._known[key] = importances(self.model, images, self.target, wanted, self.seed)
        return self._known[key]


def moved(
    noise: Noise,
    attack: Method,
    epsilon: float | None,
    adversarial: Tensor,
    clean: Mapping[str, Looked],
    wanted: Params,
) -> Iterator[dict[str, Any]]:
    """Rows of one attack's images (n, c, h, w): attribution, images, count, and means of each.

    `clean` are the importances before; those in `wanted` (with parameters) are explained.
    """
    model, x = noise.model, noise.x
    images = adversarial.to(x).clamp(*model.bounds)
    after = importances(model, images, noise.target, wanted, noise.seed)
    beside = {} if attack.tags.control else noise.maps(attack, epsilon, images - x, wanted)
    kept = (classify(model, images)[0] == noise.predicted).cpu()
    everyone, squares = torch.ones_like(kept), (images - x).double().square().sum(1).cpu()
    for name, map_ in after.items():
        values = {**shifts(clean[name], map_), **energy(squares, clean[name].top)}
        for which, chosen in (("all", everyone), ("kept", kept), ("flipped", ~kept)):
            yield _row(name, which, values, chosen)
        if name in beside:
            yield _row(name, "noise", shifts(clean[name], beside[name]), everyone)


def _row(name: str, which: str, values: Mapping[str, Tensor], chosen: Tensor) -> dict[str, Any]:
    means = {key: float(each[chosen].nanmean()) for key, each in values.items()}
    empty = {"energy": float("nan"), "area": float("nan")}
    return {"method": name, "images": which, "count": int(chosen.sum()), **empty, **means}


def shifts(before: Looked, after: Looked) -> dict[str, Tensor]:
    """How alike importances before and after are, (n,) each.

    `spearman`: rank correlation; `top10_iou`: overlap of the top tenth of the pixels, `top10_near`
    the same forgiving a shift of one pixel; `ssim`; `centre`: by how many pixels the centre of mass
    moved.
    """
    return {
        "spearman": similarity.spearman(before.ranks, after.ranks),
        "top10_iou": similarity.overlap(before.top, after.top),
        "top10_near": similarity.overlap_near(before.top, after.top),
        "ssim": similarity.ssim(before.map, after.map),
        "centre": (before.centre - after.centre).norm(dim=1),
    }


def energy(squares: Tensor, top: Tensor) -> dict[str, Tensor]:
    """The shares of a perturbation's energy, and of the image, on some pixels, (n,).

    `squares` (n, h, w), `top` (n, h, w) bool. NaN where nothing was changed.

    >>> half = torch.tensor([[[True, False]]])
    >>> {k: float(v) for k, v in energy(torch.tensor([[[3.0, 1.0]]]), half).items()}
    {'energy': 0.75, 'area': 0.5}
    """
    share = (squares * top).sum((1, 2)) / squares.sum((1, 2))
    return {"energy": share, "area": top.to(share).mean((1, 2))}
