"""One method by all its implementations on one batch: what each returned, and how long it took."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from bridge.core.engine import execute
from bridge.core.method import Method, accepts
from bridge.core.model import ModelAdapter
from bridge.core.state import seeded
from bridge.core.tags import Function
from bridge.core.timer import interleaved
from bridge.core.types import Failure, Run
from bridge.core.wide import wide
from bridge.study.interruption import end_if_asked
from bridge.tables import Cell, failure

# Seconds: shorter calls are timed again, since what else a machine does is of that size, and what
# a first call sets up (kernels, memory: up to ten milliseconds).
SHORT = 0.05


@dataclass(frozen=True)
class Batch:
    """Images (n, c, h, w) with their classes (n,), and the model that they go through.

    Attacks start from `labels`, attributions explain `target`; random numbers come from `seed`.
    """

    model: ModelAdapter
    x: Tensor
    labels: Tensor
    target: Tensor
    seed: int = 0

    def of(self, places: Sequence[int] | slice) -> Batch:
        """Some of the images, by their places."""
        at = places if isinstance(places, slice) else list(places)
        return replace(self, x=self.x[at], labels=self.labels[at], target=self.target[at])

    def wide(self) -> Batch:
        """The same in float64. Raises what copying the model raises."""
        x = wide(self.x)
        labels, target = self.labels.to(x.device), self.target.to(x.device)
        return replace(
            self, model=self.model.astype(torch.float64), x=x, labels=labels, target=target
        )


@dataclass(frozen=True)
class Trial:
    """One method with all its parameters, and the implementations that it is asked of.

    `images` says which of a larger batch these are; None for all.

    `watch` copies the weights around libraries, too, and not only around what is not registered.
    """

    batch: Batch
    method: Method
    functions: Mapping[str, Function]
    params: Mapping[str, Any]
    watch: bool = True
    images: tuple[int, ...] | None = None

    @property
    def epsilon(self) -> float | None:
        """The size of an attack; None for an attribution, and where the attack looks for it."""
        return self.params["epsilon"] if self.method.kind == "attack" else None

    @cached_property
    def drawn(self) -> Mapping[str, Tensor]:
        """Its random numbers, so that all implementations and precisions start from the same."""
        if self.method.draw is None:
            return {}
        with seeded(self.batch.seed):
            numbers: dict[str, Tensor] = self.method.draw(self.batch.x, **self.params)
        return numbers

    def run(
        self, name: str, on: Batch | None = None, numbers: Mapping[str, Tensor] | None = None
    ) -> Run:
        """One implementation, from the drawn numbers where it takes them."""
        batch = self.batch if on is None else on
        function = self.functions.get(name) or self.method.function(name)
        drawn = self.drawn if numbers is None else numbers
        given = {**self.params, **{k: v for k, v in drawn.items() if accepts(function, k)}}
        for key, value in given.items():
            if isinstance(value, Tensor) and value.is_floating_point():
                given[key] = value.to(batch.x)
        classes = batch.labels if self.method.kind == "attack" else batch.target
        watch = self.watch or name not in self.method.implementations()
        return execute(
            self.method,
            function,
            name,
            batch.model,
            batch.x,
            classes,
            given,
            batch.seed,
            watch=watch,
        )


@dataclass(frozen=True)
class Timing:
    """How often to time: `repeats` rounds, but no longer than `enough` seconds each."""

    repeats: int = 3
    enough: float = SHORT


def measure(
    trial: Trial,
    timing: Timing,
    warm: Collection[str] = (),
    cells: list[Cell] | None = None,
    failures: list[Failure] | None = None,
) -> tuple[list[Cell], list[Failure]]:
    """A first call of each implementation, then timed ones in turns; and what raised.

    `warm` are implementations whose library was imported before. Outputs are on the CPU. Both lists
    grow as it goes, so that who is interrupted has what there was.
    """
    cells = [] if cells is None else cells
    failures = [] if failures is None else failures
    seconds: dict[str, list[float]] = {}
    for name in trial.functions:
        end_if_asked()
        try:
            run = trial.run(name)
        except Exception as error:
            failures.append(failure(trial.method.name, name, "run", error))
            continue
        failures += run.noticed
        # A first call that takes long is the measurement itself, unless it imported the library.
        long = name in warm and run.seconds >= timing.enough
        seconds[name] = [run.seconds] if long else []
        kept = replace(run, output=run.output.cpu())
        cells.append(Cell(trial.method, name, trial.epsilon, kept, seconds[name], trial.images))
    _time(trial, seconds, timing, failures)
    return cells, failures


def _time(
    trial: Trial, seconds: Mapping[str, list[float]], timing: Timing, failures: list[Failure]
) -> None:
    """Add the seconds of more calls, in turns, to those that there are."""

    def again(name: str) -> float:
        end_if_asked()
        try:
            taken = trial.run(name).seconds
        except Exception as error:
            failures.append(failure(trial.method.name, name, "timing", error))
            return float("nan")
        seconds[name].append(taken)
        return taken

    spent = {name: tuple(taken) for name, taken in seconds.items()}
    calls = {name: partial(again, name) for name in spent}
    interleaved(calls, timing.repeats, spent=spent, enough=timing.enough)
