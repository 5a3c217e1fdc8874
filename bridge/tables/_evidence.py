"""What a comparison measured, before it is tabulated: the input of every table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from bridge.core.errors import describe
from bridge.core.method import Method
from bridge.core.model import ModelAdapter
from bridge.core.types import Agreement, Failure, Run, Unsupported

Key = tuple[str, str, float | None]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Cell:
    """One method by one implementation at one epsilon: its run, and all its timed seconds.

    It ran on these `images` of the batch, by their places; None for all.
    """

    method: Method
    implementation: str
    epsilon: float | None
    run: Run
    seconds: Sequence[float] = ()
    images: tuple[int, ...] | None = None

    @property
    def key(self) -> Key:
        return self.method.name, self.implementation, self.epsilon


@dataclass(frozen=True)
class Judged:
    """The agreement of one implementation with the reference; also of one that failed to run."""

    method: str
    implementation: str
    epsilon: float | None
    agreement: Agreement


@dataclass
class Evidence:
    """A batch, what ran on it and how that agrees; grows while a comparison goes on.

    `cells` are what was asked for, one a method, implementation and epsilon: the results, on all
    images, and what others returned on the `sample` (places of images; None for all) on which they
    are held against the reference. `timed` are the runs that are compared in time, all on the
    sample.

    `x` (n, c, h, w) and `labels`, `target` (n,) are on the model's device, outputs on the CPU.
    `params` are all parameters of each method, without its epsilons. Not `labelled`: `labels` are
    the model's own predictions. `metrics` are those of the maps, with their parameters. `failures`
    says what could not be had; a table adds what it could not compute. `stopped` says who ended it
    early. `found` holds what one table computed and another needs too, or the same one again: of a
    part, which is kept as it goes, and of the whole.
    """

    model: ModelAdapter
    x: Tensor
    labels: Tensor
    target: Tensor
    seed: int = 0
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    labelled: bool = True
    sample: tuple[int, ...] | None = None
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    timed: list[Cell] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    stopped: str = ""
    found: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def outputs(self) -> dict[Key, Tensor]:
        """What was returned, by (method, implementation, epsilon)."""
        return {cell.key: cell.run.output for cell in self.cells}

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the images."""
        return int(self.x.shape[2]), int(self.x.shape[3])

    def of(self, kind: str) -> list[Cell]:
        """The cells of a kind of method, "attribution" or "attack", in order."""
        return [cell for cell in self.cells if cell.method.kind == kind]

    def chosen(self, method: Method, epsilon: float | None = None) -> Tensor | None:
        """A method's output on all images: the first that was not judged to be another method's."""
        found = [
            cell
            for cell in self.cells
            if (cell.method, cell.epsilon, cell.images) == (method, epsilon, None)
        ]
        wrong = {
            (each.method, each.implementation)
            for each in self.judged
            if each.agreement.verdict not in ("equal", "rounding")
        }
        right = [cell for cell in found if cell.key[:2] not in wrong]
        return next((cell.run.output for cell in (*right, *found)), None)

    def batch(self, cell: Cell) -> tuple[Tensor, Tensor]:
        """The images and labels that a cell ran on."""
        if cell.images is None:
            return self.x, self.labels
        places = list(cell.images)
        return self.x[places], self.labels[places]

    def maps(self) -> dict[Method, Tensor]:
        """Of each attribution the map to show (n, c, h, w), where it is one and finite."""
        found = {}
        for method in dict.fromkeys(cell.method for cell in self.of("attribution")):
            output = self.chosen(method)
            if output is not None and output.ndim == 4 and bool(output.isfinite().all()):
                found[method] = output
        return found

    def once(self, what: str, cell: Cell, compute: Callable[[], Found]) -> Found:
        """What is computed of a cell under this name, now or before."""
        known = self.found.setdefault(what, {})
        if id(cell) not in known:
            known[id(cell)] = cell, compute()  # the cell too, so that no other has its id
        found: Found = known[id(cell)][1]
        return found

    def failed(self, method: str, implementation: str, stage: str, error: BaseException) -> None:
        """Note what could not be had, and why."""
        self.failures.append(failure(method, implementation, stage, error))

    def stop(self, error: KeyboardInterrupt) -> None:
        """Note that somebody ended it."""
        self.stopped = str(error) or "Ctrl-C"
        text = f"stopped by {self.stopped}: what follows was not run"
        self.failures.append(Failure("", "", "compare", "KeyboardInterrupt", text))


def failure(method: str, implementation: str, stage: str, error: BaseException) -> Failure:
    """An exception as a row of the table of failures."""
    stage = "unsupported" if isinstance(error, Unsupported) else stage
    return Failure(method, implementation, stage, type(error).__name__, describe(error))
