"""A study that is kept: its tables, read when they are first looked at."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
from torch import Tensor

from bridge.load import load_data
from bridge.study.comparison import Comparison
from bridge.study.whole import manifest, parts, proof
from bridge.study.whole.batch import run_batch
from bridge.study.whole.items import item_of
from bridge.study.whole.kept import widened
from bridge.study.whole.place import Place, place_of
from bridge.study.whole.work import Work, batches_of

if TYPE_CHECKING:
    from bridge.tables.study import Summary


@dataclass(frozen=True)
class Study:
    """A whole dataset through many methods: open one with `Study.open(folder)`.

    `images`, `attributions`, `pairs`, `metrics`, `attacks` and `failures` are DataFrames with a row
    an image (and method, pair, metric, epsilon, failure), joined by `id`. `manifest` says how to do
    it again.
    """

    place: Place
    manifest: dict[str, Any]
    data: Any = field(default=None, repr=False)
    work: Work | None = field(default=None, repr=False)

    @classmethod
    def open(cls, folder: str | Path, data: Any = None) -> Study:
        """The study in a folder, or at an fsspec URL, finished or not.

        `data` is its dataset, for the pictures, where its source cannot be loaded by its name.
        Raises ValueError where no study is there.
        """
        place = place_of(folder)
        found = manifest.read(place)
        if found is None:
            raise ValueError(f"{place} holds no study: {manifest.NAME} is missing")
        return cls(place, found, data)

    @cached_property
    def cards(self) -> dict[int, dict[str, Any]]:
        """The sidecars of the parts that stand."""
        there = parts.sidecars(self.place)
        mine = self.manifest["fingerprint"]
        return {number: card for number, card in there.items() if card["fingerprint"] == mine}

    def frame(self, table: str) -> pd.DataFrame:
        """A table of all parts that stand. Raises Corrupt where a file was changed."""
        found = [parts.table(self.place, card, table) for card in self.cards.values()]
        schema = parts.TABLES[table]
        whole = pa.concat_tables(found) if found else schema.empty_table()
        return whole.to_pandas()

    @cached_property
    def images(self) -> pd.DataFrame:
        """id, index (in the data), label, predicted, confidence, right, source (its file)."""
        return self.frame("images")

    @cached_property
    def attributions(self) -> pd.DataFrame:
        """id, method, target, total (the map's sum), largest (of |value|), gini (sparseness)."""
        return self.frame("attributions")

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """id, a, b, spearman: how alike two methods rank the pixels of an image."""
        return self.frame("pairs")

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """id, method, control (its map looks at no model), metric, value (NaN: not defined)."""
        return self.frame("metrics")

    @cached_property
    def attacks(self) -> pd.DataFrame:
        """id, method, norm, epsilon, predicted, confidence, fooled, linf, l2, forwards, backwards.

        With a second model also transfer_right, transfer_predicted, transfer_confidence and
        transferred, see `bridge.metrics.transfer`.

        Fooled is audited: finite, in bounds, in the ball, and right before. Passes are an image's,
        as if the attack ran alone (a batch's mean, where they depend on the image).
        """
        found = self.frame("attacks")
        if "transfer" in self.manifest["configuration"]:
            return found
        return found[[name for name in found if not name.startswith("transfer")]]

    @cached_property
    def failures(self) -> pd.DataFrame:
        """id, method, stage, error, message. An image that could not be read is "@" and its index.

        A method that this model cannot run at all has one row, without an id.
        """
        rows = self.manifest.get("left_out", {}).items()
        left_out = [("", name, "preflight", "ValueError", text) for name, text in rows]
        columns = parts.TABLES["failures"].names
        found = self.frame("failures")
        if not left_out:
            return found
        return pd.concat([pd.DataFrame(left_out, columns=columns), found], ignore_index=True)

    @cached_property
    def proof(self) -> Comparison | None:
        """The sample by all implementations; None where none was asked for, or not yet run."""
        return proof.kept(self.place)

    @property
    def disagreements(self) -> list[str]:
        """What the proof found to differ from the reference, in words."""
        return proof.disagreements(self.proof)

    @property
    def finished(self) -> bool:
        """Whether all parts are there, whole; some images may have failed."""
        count = self.manifest["parts"]["count"]
        return all(
            number in self.cards and self.cards[number]["complete"] for number in range(count)
        )

    @property
    def spent(self) -> dict[str, float]:
        """seconds, forwards and backwards (images through the model) of all parts; memory_mb."""
        found: dict[str, float] = {"seconds": 0.0, "forwards": 0.0, "backwards": 0.0}
        for card in self.cards.values():
            for name, value in card.get("spent", {}).items():
                found[name] = found.get(name, 0.0) + value
        found["memory_mb"] = max((card["memory_mb"] for card in self.cards.values()), default=0.0)
        return found

    def __str__(self) -> str:
        """What there is, in two lines."""
        images, total = len(self.images), self.manifest["images"]
        state = "finished" if self.finished else "unfinished"
        failures = len(self.failures)
        right = int(self.images["right"].sum())
        return (
            f"{images:,} of {total:,} images, {state}, {failures} failures: {self.place}\n"
            f"The model gets {right:,} of {images:,} images right."
        )

    def _repr_html_(self) -> str:
        """The summary's tables, in a notebook; of an empty study how far it is."""
        from bridge.core.notebook import table as as_table

        lines = str(self).splitlines()
        if not len(self.images):
            return f"<p>{html.escape(lines[0])}</p>"
        text = "".join(f"<p><strong>{html.escape(line)}</strong></p>" for line in lines)
        for table, view in self.summary().views():
            heads = [column.title for column in view.columns]
            rows = as_table(view.rows, heads) if heads else ""
            text += f"<h4>{html.escape(table.heading)}</h4>{rows}"
            text += "".join(f"<p>{html.escape(remark)}</p>" for remark in view.remarks)
        return f"<div>{text}</div>"

    def summary(self) -> Summary:
        """The statistics over all images: intervals, paired tests, worst case; print it."""
        from bridge.tables.study import summary

        return summary(self)

    def report(self, path: str | Path = "study.html", **options: Any) -> Path:
        """Write a report to send on: `.html`, `.md`, `.tex`, `.pdf`, or a folder with everything.

        See `bridge.report.study.report_study` for the options. Returns the path.
        """
        from bridge.report.study import report_study

        return report_study(self, path, **options)

    # Pictures, of the images that somebody looks at.

    def thumbnail(self, identity: str) -> Tensor:
        """The image (c, h, w) of this id. Raises KeyError, and ValueError without its data."""
        image = item_of(self._dataset, self._index(identity)).image
        if image is None:
            raise ValueError(f"the image {identity} cannot be read any more")
        return image

    def map(self, identity: str, method: str) -> Tensor:
        """A map (c, h, w): as it was kept, or computed again. Raises KeyError or ValueError."""
        return self._tensor("maps", method, identity)

    def adversarial(self, identity: str, method: str, epsilon: float | None = None) -> Tensor:
        """An attack's image (c, h, w): as it was kept, or made again; `epsilon` as in `attacks`."""
        size = None if epsilon is None or epsilon != epsilon else float(epsilon)
        return self._tensor("adversarials", f"{method}/{size}", identity)

    def _tensor(self, kind: str, name: str, identity: str) -> Tensor:
        index = self._index(identity)
        card = self.cards[self._part_of[identity]]
        found = _find(parts.tensors(self.place, card, kind), name, index)
        if found is None:
            found = _find(self._made_again(kind, name, identity, index), name, index)
        if found is None:
            raise KeyError(f"{kind} of {name} for {identity}: it was not kept, or it failed")
        return found

    def _made_again(self, kind: str, name: str, identity: str, index: int) -> Mapping[str, Tensor]:
        if self.work is None:
            raise ValueError(
                f"the {kind} of this study were not kept (keep={kind!r}), and its model is not "
                "here: run_study with the same arguments returns a study that has it"
            )
        work = Work(**{**vars(self.work), "keep": {kind: "float32"}, "metrics": {}})
        item = replace(item_of(self._dataset, index), id=identity)
        batches, _ = batches_of([item], work.model)
        method = name.partition("/")[0]
        tasks = [task for task in work.tasks if task.method.name == method]
        return run_batch(work, batches[0], tasks).tensors.get(kind, {}) if batches else {}

    @cached_property
    def _places(self) -> dict[str, int]:
        return dict(zip(self.images["id"], self.images["index"].tolist(), strict=True))

    @cached_property
    def _part_of(self) -> dict[str, int]:
        return {
            identity: number
            for number, card in self.cards.items()
            for identity in parts.table(self.place, card, "images")["id"].to_pylist()
        }

    def _index(self, identity: str) -> int:
        if identity not in self._places:
            raise KeyError(f"no image of this study has the id {identity!r}")
        return self._places[identity]

    @cached_property
    def _dataset(self) -> Any:
        if self.data is not None:
            return self.data
        loading = self.manifest["data"]["loading"]
        if not loading:
            raise ValueError("the images of this study are not here: Study.open(folder, data=...)")
        return load_data(**loading)


def _find(tensors: Mapping[str, Tensor], name: str, index: int) -> Tensor | None:
    """The tensor of one image, among those of any shape."""
    for key in tensors:
        if key.partition("/")[2] == name:
            place = (tensors[f"{key}/index"] == index).nonzero()
            if len(place):
                value = widened(dict(tensors), key, int(place[0]))
                return value if bool(value.isfinite().all()) else None
    return None
