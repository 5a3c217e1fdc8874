"""What a view shows: the numbers and the arrays, by the engine, each piece computed once.

The clean map, the attacked image and its map are pieces of their own, so that a slider of one
leaves the others.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from bridge.core.gradients import predicted
from bridge.core.model import ModelAdapter
from bridge.core.types import Run
from bridge.explore.calls import called, logits_of
from bridge.explore.opened import Opened
from bridge.explore.view import View
from bridge.metrics.robustness import looked, shifts
from bridge.tables import epsilon_text
from bridge.visualize.heatmap import limit

PIECES = 24  # that are kept
TOP = 3  # classes that are listed

Found = TypeVar("Found")


@dataclass(frozen=True)
class Subject:
    """The image (1, c, h, w) of a view, its label, and the classes that its methods take.

    `attacked` is the class that attacks start from, or aim at; `target` is explained.
    """

    model: ModelAdapter
    x: Tensor
    label: int | None
    logits: Tensor
    target: int
    attacked: int
    name: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """One answer: numbers in JSON's types, and arrays."""

    facts: dict[str, Any]
    arrays: dict[str, Tensor] = field(default_factory=dict)


class Eye:
    """Looks at what was opened."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def subject(self, view: View) -> Subject:
        """The image and its classes. Raises KeyError or ValueError for what is not there."""
        where = view.model, view.layer, view.data, view.image
        found = self._once(("image", *where), lambda: self._opened(view))
        model, x, label, logits, name, remarks = found
        guess = int(predicted(logits))
        true = guess if label is None else label
        classes = logits.shape[1]
        target = {"label": true, "predicted": guess}.get(str(view.target), view.target)
        attacked = true if not view.aims or view.reach is None else view.reach
        for what, number in (("target", target), ("reach", attacked)):
            if int(number) >= classes:
                raise ValueError(f"{what} is {number}, and the model has {classes} classes")
        return Subject(model, x, label, logits[0], int(target), attacked, name, remarks)

    def _opened(self, view: View) -> tuple[Any, ...]:
        model = self.opened.model(view.model, view.layer)
        images = self.opened.images(view.model, view.data)
        if view.image >= images.count:
            raise ValueError(f"image {view.image} of {images.count}: they are counted from 0")
        image, label = images.read(view.image)
        x = image[None].to(model.device, model.dtype)
        logits = logits_of(model, x)
        return model, x, label, logits, images.where(view.image), _remarks(images, view, logits)

    def map(self, view: View, subject: Subject, x: Tensor, place: str) -> Run:
        """The attribution of an image, by the fused engine where there is one."""
        method, given = view.explains, view.given(view.attribution)
        key = self._key(view, place), method.name, given, subject.target, view.seed
        target = torch.tensor([subject.target])
        return self._once(("map", *key), lambda: called(method, view, subject.model, x, target))

    def clean(self, view: View) -> Shown:
        """The clean image's map and classes."""
        subject = self.subject(view)
        found = self.map(view, subject, subject.x, "clean")
        flat = found.output.sum(1)
        facts = {
            "name": subject.name,
            "label": subject.label,
            "target": subject.target,
            "classes": classes_of(subject.logits, subject),
            "remarks": [*subject.remarks, *(each.message for each in found.noticed)],
            "limit": limit(flat),
            "lowest": float(flat.min()),
            "highest": float(flat.max()),
            "sum": float(flat.double().sum()),
            "seconds": found.seconds,
            "passes": [found.forwards, found.backwards],
            "implementation": found.implementation,
        }
        return Shown(facts, {"map": flat[0]})

    def image(self, view: View) -> Shown:
        """The image's pixels."""
        subject = self.subject(view)
        return Shown({"bounds": list(subject.model.bounds)}, {"x": subject.x[0]})

    def attacked(self, view: View) -> Shown:
        """The attacked image, its classes and its map, and how far the map was moved."""
        subject = self.subject(view)
        attack, clean, moved = self.attack_runs(view, subject)
        adversarial = attack.output
        logits = self._once(
            ("logits", self._key(view, "attacked"), subject.attacked),
            lambda: logits_of(subject.model, adversarial),
        )
        change = (adversarial - subject.x).double()
        before, after = clean.output.sum(1), moved.output.sum(1)
        facts = {
            "classes": classes_of(logits[0], subject),
            "fooled": bool(predicted(logits) != predicted(subject.logits[None])),
            "attacked": subject.attacked,
            "linf": float(change.abs().max()),
            "l2": float(change.norm()),
            "size": epsilon_text(attack.params.get("epsilon"), view.attacks.norm),
            "shift": shift(clean.output, moved.output, subject.x),
            "limit": limit(torch.cat([before, after])),
            "remarks": [each.message for found in (attack, moved) for each in found.noticed],
            "seconds": attack.seconds + moved.seconds,
            "passes": [attack.forwards + moved.forwards, attack.backwards + moved.backwards],
            "implementation": attack.implementation,
        }
        return Shown(facts, {"adversarial": adversarial[0], "map": after[0]})

    def attack_runs(self, view: View, subject: Subject) -> tuple[Run, Run, Run]:
        """The attack, the clean map, and the map of the attacked image."""
        if not view.attack:
            raise ValueError("no attack was chosen")
        labels = torch.tensor([subject.attacked])
        attack = self._once(
            ("attack", self._key(view, "attacked"), subject.attacked),
            lambda: called(view.attacks, view, subject.model, subject.x, labels),
        )
        place = json.dumps(["attacked", subject.attacked])
        moved = self.map(view, subject, attack.output, place)
        return attack, self.map(view, subject, subject.x, "clean"), moved

    def covered(self, view: View) -> Shown:
        """The classes with a square of the image covered, and how far the logit moved."""
        subject = self.subject(view)
        x = covered(subject.x, view)
        logits = logits_of(subject.model, x)[0]
        before, after = (float(each[subject.target]) for each in (subject.logits, logits))
        facts = {
            "target": subject.target,
            "before": before,
            "after": after,
            "moved": after - before,
            "classes": classes_of(logits, subject),
        }
        return Shown(facts, {"x": x[0]})

    def _key(self, view: View, place: str) -> tuple[Any, ...]:
        """What decides about an image: the attack too, where it is not the clean one."""
        where = view.model, view.layer, view.data, view.image
        attack = () if place == "clean" else (view.attack, view.given(view.attack), view.seed)
        return (*where, place, *attack)

    def _once(self, key: tuple[Any, ...], make: Callable[[], Found]) -> Found:
        """A piece that is kept, or made now; the one that was used longest ago goes."""
        text = json.dumps(key, sort_keys=True)
        with self._lock:
            if text in self._kept:
                self._kept.move_to_end(text)
                known: Found = self._kept[text]
                return known
        found = make()  # who checks in the background may make the same, which is no harm
        with self._lock:
            self._kept[text] = found
            while len(self._kept) > PIECES:
                self._kept.popitem(last=False)
        return found


def covered(x: Tensor, view: View) -> Tensor:
    """The image with the view's square covered. Raises ValueError where it has none."""
    if view.cover is None:
        raise ValueError("nothing is covered: click a pixel")
    rows, columns = view.cover.area(int(x.shape[2]), int(x.shape[3]))
    found = x.clone()
    found[:, :, rows, columns] = view.cover.baseline
    return found


def shift(clean: Tensor, moved: Tensor, x: Tensor) -> dict[str, float]:
    """How alike two maps (1, c, h, w) of image x are, as `robustness` measures it.

    nan where a map is constant.
    """
    found = shifts(looked(clean, x), looked(moved, x))
    return {name: float(found[name]) for name in ("spearman", "top10_iou", "ssim")}


def classes_of(logits: Tensor, subject: Subject) -> dict[str, Any]:
    """The classes that are worth a line, the likeliest first, with logits and probabilities."""
    probabilities = logits.softmax(0)
    first = probabilities.argsort(descending=True, stable=True)[:TOP].tolist()
    wanted = [subject.label, subject.target, subject.attacked]
    listed = [*first, *(each for each in wanted if each is not None and each not in first)]
    return {
        "predicted": int(predicted(logits[None])),
        "rows": [
            {"class": k, "logit": float(logits[k]), "probability": float(probabilities[k])}
            for k in dict.fromkeys(listed)
        ],
    }


def _remarks(images: Any, view: View, logits: Tensor) -> tuple[str, ...]:
    """Whether the model says what the run's own model said."""
    if images.record is None:
        return ()
    table = images.record.predictions
    rows = table[(table["method"] == "clean") & (table["image"] == view.image)]
    said = rows["predicted"].tolist()
    if not said or said[0] == int(predicted(logits)):
        return ()
    return (
        f"the run's model gave this image class {said[0]}, and this one gives "
        f"{int(predicted(logits))}: it is another model, or has other weights (pass the run's own)",
    )
