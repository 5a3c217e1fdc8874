"""One batch through all methods: one clean pass that they share, and the rows of each image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bridge.core.engine import Passes, session
from bridge.core.errors import describe, remedy
from bridge.core.method import several, sizes
from bridge.core.preflight import check_images, check_labels
from bridge.core.shared import Clean, Shared
from bridge.core.state import seeded
from bridge.core.wide import wide
from bridge.fused.chunks import CPU_NUMBERS, chunk_size
from bridge.fused.many import serve
from bridge.fused.planning import BACKWARDS, Task
from bridge.metrics.transfer import transferred
from bridge.study.whole.draws import drawn
from bridge.study.whole.identity import seed_of
from bridge.study.whole.items import Item
from bridge.study.whole.kept import narrowed
from bridge.study.whole.measured import measure_maps
from bridge.study.whole.parts import Part, add
from bridge.study.whole.rows import correlations, looked_at, map_rows
from bridge.study.whole.work import PREDICTED, Batch, Work

CHUNK = 32  # as fast as what the clock would choose, within some percent


def run_batch(work: Work, batch: Batch, tasks: Sequence[Task]) -> Part:
    """The rows of all images of a batch by these tasks; whatever raises becomes a failure.

    Where the clean pass raises, the batch is halved until the image is found that is to blame.
    """
    most = work.most.get("", len(batch))
    if len(batch) > most:
        return _joined([run_batch(work, batch.cut(part), tasks) for part in _cuts(batch, most)])
    try:
        return _together(work, batch, tasks)
    except Exception as error:
        if len(batch) == 1:
            return _lost(batch.items[0], error)
        halved = -(-len(batch) // 2)
        if remedy(error):
            _halve(work, "", halved, "the clean pass")
        # Outside of this handler: what raised holds the memory that is short.
    return _joined([run_batch(work, batch.cut(part), tasks) for part in _cuts(batch, halved)])


def _cuts(batch: Batch, most: int) -> Iterator[slice]:
    return (slice(first, first + most) for first in range(0, len(batch), most))


def _halve(work: Work, name: str, most: int, what: str) -> None:
    work.most[name] = most
    work.peeled.append(f"{what}: {most} images at once, memory ran out")
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _lost(item: Item, error: BaseException) -> Part:
    """An image that could not even be classified."""
    part = Part()
    kind = type(error).__name__
    part.rows["failures"].append((item.id, "", "image", kind, describe(error)))
    return part


def _joined(parts: Sequence[Part]) -> Part:
    whole = Part()
    for part in parts:
        add(whole, part)
    return whole


def _together(work: Work, batch: Batch, tasks: Sequence[Task]) -> Part:
    model, part = work.model, Part()
    x = check_images(model, batch.x)
    with _same_bits(x), seeded(work.seed), session(model) as passes:
        clean = Clean(model, x, work.needs(tasks))
        logits = clean.logits
        if logits is None or not bool(logits.isfinite().all()):
            raise ValueError("the model's logits are not finite")
        predicted = logits.detach().argmax(1)
        labels = _labels(work, batch, predicted, logits.shape[1])
        target = _target(work, labels, predicted, logits.shape[1])
        shared = clean.differentiate(target, labels)
        confidence = wide(logits.detach()).softmax(1).amax(1).tolist()
        right = (predicted == labels).tolist()
        for k, item in enumerate(batch.items):
            answers = int(labels[k]), int(predicted[k]), confidence[k], right[k]
            part.rows["images"].append((item.id, item.index, *answers, item.source))
        maps = _run_all(work, batch, tasks, shared, predicted, passes, part)
    part.spent = {"forwards": passes.forwards, "backwards": passes.backwards}
    with _same_bits(x):
        measure_maps(work, batch, target, maps, part)
    return part


def _same_bits(x: Tensor) -> AbstractContextManager[None]:
    """On a CPU chunks of one size, which decides the last bits: the same in every process.

    On a GPU what its memory allows is found out instead.
    """
    if x.device.type != "cpu":
        return nullcontext()
    return chunk_size(max(1, min(CHUNK, CPU_NUMBERS // x[0].numel())))


def _labels(work: Work, batch: Batch, predicted: Tensor, classes: int) -> Tensor:
    """The classes that are attacked (n,)."""
    if not work.labelled:
        return predicted
    labels = [item.label for item in batch.items]
    if any(label is None for label in labels):
        raise ValueError("the image has no label, and others of this data have one")
    return check_labels(labels, batch.x, classes)


def _target(work: Work, labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """The classes that are explained (n,)."""
    if work.target is None:
        return labels
    if work.target == PREDICTED:
        return predicted
    return check_labels([work.target] * len(labels), predicted, classes, "target")


def _run_all(
    work: Work,
    batch: Batch,
    tasks: Sequence[Task],
    shared: Shared,
    predicted: Tensor,
    passes: Passes,
    part: Part,
) -> dict[str, Tensor]:
    """Every task on the shared passes, and its rows; the maps (n, c, h', w') by attribution."""
    maps: dict[str, Tensor] = {}
    for task in tasks:
        spread = _Spread(work, batch, shared, predicted, passes, part)
        if task.method.kind == "attack":
            spread.attack(task)
        elif (found := spread.attribution(task)) is not None:
            maps[task.method.name] = found
    size = (int(shared.x.shape[2]), int(shared.x.shape[3]))
    for (a, b), values in correlations(maps, size).items():
        for item, value in zip(batch.items, values.tolist(), strict=True):
            if value == value or not _failed(part, item, (a, b)):
                part.rows["pairs"].append((item.id, a, b, value))
    return maps


def _failed(part: Part, item: Item, methods: Sequence[str]) -> bool:
    return any(row[0] == item.id and row[1] in methods for row in part.rows["failures"])


@dataclass(frozen=True)
class _Spread:
    """The tasks of a batch, as far as it goes at once."""

    work: Work
    batch: Batch
    shared: Shared
    predicted: Tensor
    passes: Passes
    part: Part

    def attribution(self, task: Task) -> Tensor | None:
        """Add the rows of an attribution; its maps (n, c, h', w'), NaN where it raised."""
        name, maps = task.method.name, None

        def use(at: slice, output: Tensor, spent: tuple[float, float]) -> None:
            nonlocal maps
            if maps is None:
                maps = output.new_full((len(self.batch), *output.shape[1:]), torch.nan)
            maps[at] = output
            rows = map_rows(output)
            for item, target, row in zip(
                self.batch.items[at], self.shared.target[at].tolist(), rows, strict=True
            ):
                if row is None:
                    self.failed(item, name, "output", "ValueError", "the map is not finite")
                else:
                    numbers = row.total, row.largest, row.gini
                    self.part.rows["attributions"].append((item.id, name, target, *numbers))

        self.some(task, slice(0, len(self.batch)), use)
        if maps is not None and "maps" in self.work.keep:
            self.kept("maps", name, maps)
        return maps if maps is None or maps.ndim == 4 else None

    def attack(self, task: Task) -> None:
        """Add the rows of an attack, at each of its epsilons."""
        epsilons = sizes(task.params.get("epsilon"))
        made: dict[float | None, Tensor] = {}

        def use(at: slice, output: Tensor, spent: tuple[float, float]) -> None:
            images = output if several(task.params.get("epsilon")) else output[None]
            looks = [self.look(task, at, *pair) for pair in zip(epsilons, images, strict=True)]
            moved = [self.transfer(at, found) for found in images]
            for epsilon, found in zip(epsilons, images, strict=True):
                kept = made.setdefault(
                    epsilon, self.shared.x.new_full(self.shared.x.shape, torch.nan)
                )
                kept[at] = found
            for epsilon, look, second in zip(epsilons, looks, moved, strict=True):
                size = float("nan") if epsilon is None else float(epsilon)
                for k, item in enumerate(self.batch.items[at]):
                    if look.problems[k]:
                        text = f"epsilon {size:g}: the image is {look.problems[k]}"
                        self.failed(item, task.method.name, "audit", "ValueError", text)
                    numbers = look.predicted[k], look.confidence[k], look.fooled[k]
                    norms = look.linf[k], look.l2[k]
                    self.part.rows["attacks"].append(
                        (
                            *(item.id, task.method.name, task.method.norm or "", size),
                            *(*numbers, *norms, *spent, *second[k]),
                        )
                    )

        self.some(task, slice(0, len(self.batch)), use)
        if "adversarials" in self.work.keep:
            for epsilon, found in made.items():
                self.kept("adversarials", f"{task.method.name}/{epsilon}", found)

    def look(self, task: Task, at: slice, epsilon: float | None, images: Tensor) -> Any:
        """The audit of the images of one epsilon."""
        return looked_at(
            self.work.model,
            self.shared.x[at],
            self.predicted[at],
            self.shared.labels[at],
            images,
            epsilon,
            task.method.norm,
            targeted=bool(task.params.get("targeted")),
        )

    def transfer(self, at: slice, images: Tensor) -> list[tuple[Any, ...]]:
        """What the second model says of these images, a row each; None where there is none."""
        if self.work.second is None:
            return [(None,) * 4] * len(images)
        found = transferred(
            self.work.second,
            self.shared.x[at],
            self.shared.labels[at],
            torch.nan_to_num(images),
        )
        return [tuple(row) for row in found.astype(object).to_numpy().tolist()]

    def some(
        self, task: Task, at: slice, use: Callable[[slice, Tensor, tuple[float, float]], None]
    ) -> None:
        """Run a task on some of the images, fewer at a time where it must be."""
        name, count = task.method.name, at.stop - at.start
        # Who draws by itself draws for one image at a time, from that image's seed.
        alone = task.method.random and task.method.draw is None
        most = 1 if alone else self.work.most.get(name, count)
        if count > most:
            for first in range(at.start, at.stop, most):
                self.some(task, slice(first, min(first + most, at.stop)), use)
            return
        items = self.batch.items[at]
        try:
            output, spent = self.once(task, at)
            use(at, output, spent)
            return
        except Exception as error:
            short = bool(remedy(error))
            if count == 1:
                self.failed(items[0], name, "run", type(error).__name__, describe(error))
                return
            halved = -(-count // 2)
            if short:
                _halve(self.work, name, halved, name)
        for first in (at.start, at.start + halved):
            self.some(task, slice(first, min(first + halved, at.stop)), use)

    def once(self, task: Task, at: slice) -> tuple[Tensor, tuple[float, float]]:
        """One call: its output, and the passes of an image (and epsilon), were it alone."""
        shared = _cut(self.shared, at)
        seeds = [seed_of(self.work.seed, item.id) for item in self.batch.items[at]]
        given = {**task.params, **drawn(task.method, shared.x, task.params, seeds)}
        run = serve(replace(task, params=given), shared, seeds[0], self.passes)
        share = len(shared.x) * task.copies
        served = [needs for needs in BACKWARDS.values() if set(needs) & set(task.needs)]
        forwards = run.forwards / share + bool(task.needs)
        return run.output, (forwards, run.backwards / share + len(served))

    def failed(self, item: Item, method: str, stage: str, error: str, message: str) -> None:
        """Add a failure."""
        self.part.rows["failures"].append((item.id, method, stage, error, message))

    def kept(self, kind: str, name: str, values: Tensor) -> None:
        """Keep tensors (n, ...), as small as was asked for, with the places of their images."""
        shape = "x".join(map(str, self.shared.x.shape[1:]))
        name = f"{shape}/{name}"
        there = self.part.tensors.setdefault(kind, {})
        there[f"{name}/index"] = torch.tensor([item.index for item in self.batch.items])
        there |= narrowed(name, values.detach().cpu(), self.work.keep[kind])


def _cut(shared: Shared, at: slice) -> Shared:
    """The shared passes of some of the images."""
    if at == slice(0, len(shared.x)):
        return shared
    found = {
        need: value if isinstance(value, Exception) else value[at]
        for need, value in shared.found.items()
    }
    layer = None if shared.layer is None else shared.layer[at]
    return Shared(shared.model, shared.x[at], shared.target[at], shared.labels[at], found, layer)
