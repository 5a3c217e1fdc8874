"""Is each implementation the same method as the reference? Judged in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from torch import Tensor

from bridge.core.method import accepts
from bridge.core.types import Agreement, Direction, Failure
from bridge.metrics import agreement
from bridge.study.measure import Batch, Trial
from bridge.tables import Cell, Judged, failure


@dataclass(frozen=True)
class Yardstick:
    """The reference in both precisions, and its own float32 rounding relative to the scale."""

    trial: Trial
    wide: Batch
    reference32: Tensor
    reference64: Tensor

    @cached_property
    def noise(self) -> float:
        """The reference's own float32 rounding."""
        return agreement.noise_floor(self.reference32, self.reference64, self.scale)

    @cached_property
    def seeded64(self) -> Tensor:
        """The reference for implementations that draw their own numbers from the seed."""
        return self.trial.run("reference", self.wide, numbers={}).output

    def scale(self, reference: Tensor) -> Tensor | float:
        """What gaps are relative to: each map's largest value, or the range of pixel values."""
        if self.trial.method.kind == "attribution":
            return agreement.image_scale(reference)
        low, high = self.trial.batch.model.bounds
        return high - low

    def judge(self, name: str, output32: Tensor) -> Agreement:
        """The agreement of one implementation; it runs in float64 here."""
        trial = self.trial
        output64 = trial.run(name, self.wide).output
        function = trial.functions[name]
        draws_itself = trial.drawn and not all(accepts(function, key) for key in trial.drawn)
        return agreement.judge(
            output32,
            output64,
            self.reference32,
            self.seeded64 if draws_itself else self.reference64,
            noise=self.noise,
            scale=self.scale,
            known_cause=partial(self._known_cause, name, output64),
            nothing=self._nothing if trial.epsilon != 0 else None,
            direction=self._direction(output32),
        )

    def _direction(self, output: Tensor) -> Direction | None:
        """Rank and cosine where the model computes in 16 bits; of attacks, of what they change."""
        batch = self.trial.batch
        if not batch.model.facts(batch.x).half or output.shape != self.reference64.shape:
            return None
        clean: Tensor | float = 0.0 if self.trial.method.kind == "attribution" else self.wide.x
        outputs = (output, self.reference32, self.reference64)
        return agreement.directed(*(each.double() - clean for each in outputs))

    def _known_cause(self, name: str, output64: Tensor) -> str:
        """What is known to make an implementation differ, where that is so on this very model."""
        trial = self.trial
        on = trial.batch.model.habits(trial.batch.x).depends_on
        if on:
            return f"the model is no function of one image, nobody is to blame: {on}"
        twin = trial.method.twins.get(name)
        if twin is None or twin.instead is None:
            return ""
        # Known elsewhere is not known here: it has to give this very output.
        instead = replace(trial, functions={name: twin.instead}).run(name, self.wide).output
        gap = float(agreement.gaps(output64, instead, self.scale(instead)).max())
        return twin.differs if gap <= agreement.FLOAT64_NOISE else ""

    def _nothing(self, output: Tensor) -> Tensor:
        """In which outputs there is nothing to compare, (n,): zero maps, clean images."""
        clean = 0.0 if self.trial.method.kind == "attribution" else self.wide.x
        return (output == clean).flatten(1).all(1)


def judge(
    trial: Trial,
    cells: Sequence[Cell],
    failures: Sequence[Failure],
    wide: Batch | None,
    judged: list[Judged] | None = None,
    raised: list[Failure] | None = None,
) -> tuple[list[Judged], list[Failure]]:
    """The agreement of everything besides the reference, from what `measure` gave; what raised.

    `wide` is the batch in float64, None where the model cannot be copied. What failed to run is
    judged "failed"; what an implementation does not claim to do, it has not failed. Both are added
    to `judged` and `raised` one by one, so that they are there after an interruption.
    """
    judged = [] if judged is None else judged
    raised = [] if raised is None else raised
    device = (trial.batch if wide is None else wide).x.device
    ran = {cell.implementation: cell.run.output.to(device) for cell in cells}
    others = [name for name in trial.functions if name != "reference"]
    yardstick = _yardstick(trial, ran, wide, raised) if any(n in ran for n in others) else None
    nan = float("nan")
    failed = Agreement("failed", nan, "failed", nan, nan, len(trial.batch.x), "see failures")
    for name in others:
        found = failed
        if name in ran and yardstick is not None:
            try:
                found = yardstick.judge(name, ran[name])
            except Exception as error:
                raised.append(failure(trial.method.name, name, "float64", error))
        if found is not failed or not _unsupported(name, [*failures, *raised]):
            judged.append(Judged(trial.method.name, name, trial.epsilon, found))
    return judged, raised


def _unsupported(name: str, failures: Sequence[Failure]) -> bool:
    return any(f.stage == "unsupported" for f in failures if f.implementation == name)


def _yardstick(
    trial: Trial, ran: Mapping[str, Tensor], wide: Batch | None, raised: list[Failure]
) -> Yardstick | None:
    """What all are held against; None, and a failure, where there is no such thing."""
    name = "reference"
    try:
        if wide is None:
            raise ValueError("the model cannot be copied in float64: agreement cannot be judged")
        reference32 = ran[name] if name in ran else trial.run(name).output.to(wide.x.device)
        return Yardstick(trial, wide, reference32, trial.run(name, wide).output)
    except Exception as error:
        raised.append(failure(trial.method.name, name, "float64", error))
        return None
