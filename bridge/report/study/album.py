"""The images of a study that are worth a look: a few of any number, chosen by what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor

from bridge.statistics.choosing import Contrast, contrasts
from bridge.statistics.consensus import apart, by_image, most_and_least
from bridge.tables import Column, epsilon_text
from bridge.tables.study import Measured, Results, card_of, results_of
from bridge.visualize.heatmap import as_rgb, coloured, heatmap, limit

SHOWN = 6  # images of a group
PERCENT = Column("share", format=".0%")


class Pictured(Measured, Protocol):
    """A study that can show its images; each of these raises KeyError or ValueError otherwise."""

    def thumbnail(self, identity: str) -> Tensor: ...
    def map(self, identity: str, method: str) -> Tensor: ...
    def adversarial(self, identity: str, method: str, epsilon: float | None = None) -> Tensor: ...


@dataclass(frozen=True)
class Shot:
    """One picture (h, w, 3) in [0, 1]: "image", "map", "attack" or "change", and what it says."""

    kind: str
    name: str
    rgb: Tensor
    caption: str = ""
    hit: bool = False


@dataclass(frozen=True)
class Strip:
    """Pictures beside one another, of one image or of two that are held against each other."""

    title: str
    note: str
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class Group:
    """Strips below one another; `missing` says why there are fewer pictures than there could be."""

    name: str
    heading: str
    note: str
    strips: tuple[Strip, ...]
    missing: tuple[str, ...] = ()


def groups(study: Pictured, n: int = SHOWN) -> list[Group]:
    """What is worth a look: agreeing and disagreeing maps, fooled and unfooled at equal size."""
    results = results_of(study)
    album = _Album(study, results)
    most, least = most_and_least(results.pairs, n)
    methods = list(results.attributions["method"].unique())
    agreement = by_image(results.pairs)
    found = [
        album.mapped("agree", "Images whose maps agree most", most, methods, agreement),
        album.mapped("disagree", "Images whose maps agree least", least, methods, agreement),
        album.pairs(apart(results.pairs, n)),
        *(album.contrast(each) for each in contrasts(results.images, results.attacks, n)),
    ]
    return [group for group in found if group.strips]


@dataclass
class _Album:
    """Takes pictures of a study, each once, and notes those that it could not have."""

    study: Pictured
    results: Results
    taken: dict[tuple[Any, ...], Tensor | None] = field(default_factory=dict)
    missing: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = self.results.images.set_index("id")

    def mapped(
        self,
        name: str,
        heading: str,
        ids: Sequence[str],
        methods: Sequence[str],
        agreement: pd.Series,
    ) -> Group:
        """Images with the maps of all methods; a method's maps share one scale in the group."""
        maps = {m: self._coloured({i: self._map(i, m) for i in ids}) for m in methods}
        strips = []
        for i in ids:
            shots = [
                *self._image(i),
                *(Shot("map", m, maps[m][i]) for m in methods if i in maps[m]),
            ]
            strips.append(
                Strip(self._title(i), f"mean rank correlation {agreement[i]:.2f}", tuple(shots))
            )
        note = "By the mean rank correlation over all pairs of methods."
        return self._group(name, heading, note, strips)

    def pairs(self, far: pd.DataFrame) -> Group:
        """Of each pair of methods the image where they are farthest apart."""
        strips = []
        for row in far.to_dict("records"):
            i, both = row["id"], [row["a"], row["b"]]
            maps = [(m, self._coloured({i: self._map(i, m)})) for m in both]
            shots = [*self._image(i), *(Shot("map", m, of[i]) for m, of in maps if i in of)]
            note = f"{both[0]} and {both[1]}: rank correlation {row['spearman']:.2f}"
            strips.append(Strip(self._title(i), note, tuple(shots)))
        note = "Of each pair of methods the image on which they rank the pixels least alike."
        return self._group("apart", "Where two methods disagree most", note, strips)

    def contrast(self, found: Contrast) -> Group:
        """A fooled image beside one that is not, by the same attack at the same size."""
        size = epsilon_text(found.epsilon, found.norm)
        rows = self.results.attacks
        rows = rows[(rows["method"] == found.method) & (rows["norm"] == found.norm)]
        rows = rows[rows["epsilon"] == found.epsilon]
        after = rows.drop_duplicates("id").set_index("id")
        changes = self._coloured(
            {i: self._change(i, found) for pair in (found.fooled, found.unfooled) for i in pair}
        )
        strips = []
        count = max(len(found.fooled), len(found.unfooled))
        for k in range(count):
            shots: list[Shot] = []
            titles = []
            for ids, said in ((found.fooled, "fooled"), (found.unfooled, "not fooled")):
                if k < len(ids):
                    shots += self._attacked(ids[k], found, after.loc[ids[k]], changes)
                    titles.append(f"{self._title(ids[k])}, {said}")
            strips.append(Strip("; ".join(titles), "", tuple(shots)))
        note = (
            f"{found.method} at {size}, the attack and size of {found.norm} that fool closest to "
            "half. Of a class the fooled image that the model was surest of, and the one that was "
            "not fooled of which it was least sure."
        )
        heading = f"Fooled and unfooled at equal size, {found.norm}"
        return self._group(f"contrast-{found.norm}", heading, note, strips)

    def _attacked(
        self, i: str, found: Contrast, row: Any, changes: Mapping[str, Tensor]
    ) -> list[Shot]:
        shots = self._image(i)
        picture = self._adversarial(i, found)
        if picture is not None:
            says = f"{self.results.class_name(int(row['predicted']))} "
            says += PERCENT.show({"share": float(row["confidence"])})
            shots.append(
                Shot("attack", found.method, self._rgb(picture), says, bool(row["fooled"]))
            )
        if i in changes:
            shots.append(Shot("change", found.method, changes[i], "change"))
        return shots

    def _group(self, name: str, heading: str, note: str, strips: list[Strip]) -> Group:
        missing, self.missing = tuple(self.missing), {}
        return Group(name, heading, note, tuple(s for s in strips if s.shots), missing)

    def _title(self, i: str) -> str:
        row = self._row(i)
        name = self.results.class_name(int(row["label"]))
        return f"{int(row['index'])}: {name}"

    def _image(self, i: str) -> list[Shot]:
        picture = self._take("image", i, lambda: self.study.thumbnail(i))
        if picture is None:
            return []
        row = self._row(i)
        says = PERCENT.show({"share": float(row["confidence"])}) + " sure"
        if not row["right"]:
            says = f"taken for {self.results.class_name(int(row['predicted']))}, {says}"
        return [Shot("image", "image", self._rgb(picture), says)]

    def _row(self, i: str) -> Any:
        return self.rows.loc[i]

    def _map(self, i: str, method: str) -> Tensor | None:
        found = self._take("map", i, lambda: self.study.map(i, method), method)
        image = self._take("image", i, lambda: self.study.thumbnail(i))
        if found is None or found.ndim != 3:
            return None
        shape = found.shape if image is None else image.shape
        return heatmap(found[None].float(), (int(shape[-2]), int(shape[-1])))[0]

    def _adversarial(self, i: str, found: Contrast) -> Tensor | None:
        method, epsilon = found.method, found.epsilon
        return self._take(
            "adversarial", i, lambda: self.study.adversarial(i, method, epsilon), method, epsilon
        )

    def _change(self, i: str, found: Contrast) -> Tensor | None:
        after = self._adversarial(i, found)
        before = self._take("image", i, lambda: self.study.thumbnail(i))
        if after is None or before is None:
            return None
        return (after.float() - before.float()).sum(0)

    def _take(self, kind: str, i: str, function: Callable[[], Tensor], *of: Any) -> Tensor | None:
        """A picture, or None with a note of why not."""
        key = (kind, i, *of)
        if key not in self.taken:
            try:
                self.taken[key] = function().detach().cpu()
            except (KeyError, ValueError, OSError) as error:
                self.taken[key] = None
                said = error.args[0] if error.args else repr(error)
                self.missing[f"{kind}: {said}"] = None
        return self.taken[key]

    def _rgb(self, image: Tensor) -> Tensor:
        bounds = card_of(self.study.manifest).get("model", {}).get("bounds", (0.0, 1.0))
        return as_rgb(image[None], (float(bounds[0]), float(bounds[1])))[0]

    def _coloured(self, maps: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """Maps (h, w) in colours of one scale, in 255 steps, which saves bytes."""
        there = {i: found for i, found in maps.items() if found is not None}
        if not there:
            return {}
        full = limit(torch.cat([found.flatten() for found in there.values()]))
        return {i: coloured((m / full * 127).round(), 127) for i, m in there.items()}
