"""Is each implementation the same method as the reference? Judged in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from bridge.core.method import accepts
from bridge.core.types import Agreement, Failure
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
        twin = trial.method.twins.get(name)
        return agreement.judge(
            output32,
            output64,
            self.reference32,
            self.seeded64 if draws_itself else self.reference64,
            noise=self.noise,
            scale=self.scale,
            known_cause=twin.differs if twin else "",
        )


def judge(
    trial: Trial, cells: Sequence[Cell], failures: Sequence[Failure], wide: Batch | None
) -> tuple[list[Judged], list[Failure]]:
    """The agreement of everything besides the reference, from what `measure` gave; what raised.

    `wide` is the batch in float64, None where the model cannot be copied. What failed to run is
    judged "failed"; what an implementation does not claim to do, it has not failed.
    """
    device = trial.batch.x.device
    ran = {cell.implementation: cell.run.output.to(device) for cell in cells}
    others = [name for name in trial.functions if name != "reference"]
    found, raised = _agreements(trial, ran, [name for name in others if name in ran], wide)
    unsupported = {f.implementation for f in [*failures, *raised] if f.stage == "unsupported"}
    nan = float("nan")
    failed = Agreement("failed", nan, "failed", nan, nan, len(trial.batch.x), "see failures")
    return [
        Judged(trial.method.name, name, trial.epsilon, found.get(name, failed))
        for name in others
        if name in found or name not in unsupported
    ], raised


def _agreements(
    trial: Trial, ran: Mapping[str, Tensor], others: Sequence[str], wide: Batch | None
) -> tuple[dict[str, Agreement], list[Failure]]:
    """The agreement of each that can be judged, and what raised."""
    found: dict[str, Agreement] = {}
    raised: list[Failure] = []
    if not others:
        return found, raised
    name = "reference"
    try:
        if wide is None:
            raise ValueError("the model cannot be copied in float64: agreement cannot be judged")
        reference32 = ran[name] if name in ran else trial.run(name).output
        yardstick = Yardstick(trial, wide, reference32, trial.run(name, wide).output)
    except Exception as error:
        return found, [failure(trial.method.name, name, "float64", error)]
    for name in others:
        try:
            found[name] = yardstick.judge(name, ran[name])
        except Exception as error:
            raised.append(failure(trial.method.name, name, "float64", error))
    return found, raised
