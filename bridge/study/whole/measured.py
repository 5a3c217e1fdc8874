"""The metrics of a batch's maps: a row an image, method and metric, the same in any batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bridge.core.errors import describe
from bridge.core.registry import get as method_of
from bridge.fused.planning import Task
from bridge.metrics.baselines import baseline_maps
from bridge.metrics.measure import measure
from bridge.metrics.registry import Metric, get
from bridge.study.request import Params, known_metrics
from bridge.study.whole.identity import seed_of
from bridge.study.whole.parts import Part
from bridge.study.whole.work import Batch, Work

# What a study brings to a metric besides model, image, class and map; see the registry's `Need`.
HAS = {"explain", "full"}


def asked_metrics(metrics: Any, tasks: tuple[Task, ...]) -> Params:
    """The metrics by name, as they can be had image by image, with all their parameters.

    Raises KeyError, TypeError or ValueError as `compare` does; ValueError for what belongs to a
    batch, and where there is no map to measure.
    """
    for name in () if isinstance(metrics, str) else metrics or ():
        if beyond := sorted(get(name).needs - HAS):
            raise ValueError(
                f"{name} needs {'=, '.join(beyond)}=, which a study does not have: measure a batch "
                "with bridge.measure"
            )
    found = {}
    for name, params in known_metrics(metrics).items():
        metric = get(name)
        if "explain" in params:
            raise ValueError(f"{name} explains with each method of the study: leave explain= out")
        explained = {"explain": None} if "explain" in metric.needs else {}
        bound = metric.bind({**params, **explained})
        for key, value in bound.items():
            if isinstance(value, Tensor) and value.ndim > 3:
                raise ValueError(
                    f"{name}: {key} has shape {tuple(value.shape)}, numbers of each image of a "
                    "batch, and a study has no one batch: give what fits any image, (c, h, w)"
                )
        found[name] = {key: value for key, value in bound.items() if key != "explain"}
    if found and not any(task.method.kind == "attribution" for task in tasks):
        raise ValueError("metrics measure attributions, of which none is among the methods")
    return found


def measure_maps(
    work: Work, batch: Batch, target: Tensor, maps: Mapping[str, Tensor], part: Part
) -> None:
    """Add the rows of all metrics: of these maps (n, c, h', w') by method, and of the controls.

    A map that is not finite has none. Random numbers come from each image's own seed.
    """
    if not (work.metrics and maps):
        return
    seeds = [seed_of(work.seed, item.id) for item in batch.items]
    controls = [baseline_maps(batch.x[k : k + 1], seed=seed) for k, seed in enumerate(seeds)]
    for name, found in maps.items():
        good = found.isfinite().flatten(1).all(1).nonzero()[:, 0].tolist()
        _Measured(work, batch, target, part, seeds, name).add(found, good)
    for name in controls[0]:
        found = torch.cat([each[name] for each in controls])
        _Measured(work, batch, target, part, seeds, name, control=True).add(
            found, list(range(len(batch)))
        )


@dataclass(frozen=True)
class _Measured:
    """One method's maps of a batch, whose rows come into the part."""

    work: Work
    batch: Batch
    target: Tensor
    part: Part
    seeds: list[int]
    method: str
    control: bool = False

    def add(self, maps: Tensor, places: list[int]) -> None:
        """The rows of these images of the batch by every metric that such maps can have."""
        for name, params in self.work.metrics.items():
            metric = get(name)
            if has(metric, control=self.control, full=maps.shape[1:] == self.batch.x.shape[1:]):
                for some in self._at_once(metric, places):
                    self._some(metric, params, maps, some)

    def _at_once(self, metric: Metric, places: list[int]) -> list[list[int]]:
        """Who draws by itself draws for one image at a time, from that image's seed."""
        explained = "explain" in metric.needs and method_of(self.method).random
        if metric.random or explained:
            return [[place] for place in places]
        return [places] if places else []

    def _some(
        self, metric: Metric, params: Mapping[str, Any], maps: Tensor, places: list[int]
    ) -> None:
        """One call; where it raises, an image at a time, and then it is a failure."""
        more: dict[str, Any] = dict(params)
        if "explain" in metric.needs:
            task = next(t for t in self.work.tasks if t.method.name == self.method)
            more["explain"] = (self.method, task.params)
        try:
            found = measure(
                metric.name, self.work.model, self.batch.x[places], self.target[places],
                maps[places], seed=self.seeds[places[0]], **more,
            )  # fmt: skip
        except Exception as error:
            if len(places) > 1:
                for place in places:
                    self._some(metric, params, maps, [place])
                return
            who = self.batch.items[places[0]].id, self.method, f"metric {metric.name}"
            self.part.rows["failures"].append((*who, type(error).__name__, describe(error)))
            return
        for place, value in zip(places, found.tolist(), strict=True):
            row = self.batch.items[place].id, self.method, self.control, metric.name, value
            self.part.rows["metrics"].append(row)
        for kind, count in (("forwards", found.forwards), ("backwards", found.backwards)):
            self.part.spent[kind] = self.part.spent.get(kind, 0) + count


def has(metric: Metric, *, control: bool, full: bool) -> bool:
    """Whether such maps can be measured: a control explains no other image.

    `full`: the map has a number for each channel.
    """
    return not (control and "explain" in metric.needs) and (full or "full" not in metric.needs)
