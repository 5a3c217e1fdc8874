"""What `check_model` found out about a model, in a form that prints itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

SAME = "the same"
FINITE = "finite"
LABEL = 14  # characters


@dataclass(frozen=True)
class ModelReport:
    """A model as it was seen: what it is, what it gives, and what stands in the way.

    `kind`: what it is besides plain modules. `images`: the shape (n, c, h, w) that it was shown, of
    `pictures`; `resizing` what its source's own transform does to sizes. `bounds`, `mean` and `std`
    in pixel units. `output`: the form of what it returns. `layer`: what Grad-CAM explains, or why
    there is none. `relu_modules` and `relu_functions`: ReLUs that run as nn.ReLU and otherwise.
    `depends_on`: what an image's logits depend on besides the image, "" on nothing. `gradients`:
    "finite", or what they are. `float64`: "the same" where a copy in float64 gives the same logits,
    `gap` of the largest. `cannot_run`: methods that the model lacks something for, and what.
    `remarks`: warnings that it gave. `error`: why it cannot be used at all, with what is not known
    left empty.
    """

    name: str
    kind: str
    weights: str
    bounds: tuple[float, float]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    resizing: str = ""
    images: tuple[int, ...] = ()
    pictures: str = ""
    output: str = ""
    classes: int = 0
    named: bool = False
    layer: str = ""
    relu_modules: int = 0
    relu_functions: int = 0
    depends_on: str = ""
    gradients: str = ""
    float64: str = ""
    gap: float = float("nan")
    cannot_run: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing stands in the way of numbers that mean something."""
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes numbers on it misleading or impossible, in sentences."""
        if self.error:
            return (self.error,)
        found = []
        if self.depends_on:
            found.append(f"it is no function of one image: {self.depends_on}")
        if self.gradients != FINITE:
            found.append(f"its gradients {self.gradients}")
        if self.float64 != SAME:
            found.append(f"in float64 {self.float64}")
        if not self.output.startswith("logits"):
            found.append(f"it gives {self.output}: wrap it without that last step")
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """All of it by name, with the problems."""
        return {**asdict(self), "passed": self.passed, "problems": self.problems}

    def __str__(self) -> str:
        lines = [self.name]
        lines += [f"  {label:<{LABEL}} {text}" for label, text in self._lines()]
        verdict = "Nothing stands in the way." if self.passed else "Stands in the way:"
        return "\n".join([*lines, verdict, *(f"  {problem}" for problem in self.problems)])

    __repr__ = __str__

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield "model", f"{self.kind}; {self.weights}"
        low, high = self.bounds
        normalised = "not normalised"
        if self.mean is not None and self.std is not None:
            normalised = f"mean {_numbers(self.mean)}, std {_numbers(self.std)}"
        yield "pixels", f"from {low:g} to {high:g}, {normalised}"
        yield "size", self.resizing or "not stated: images are taken as they come"
        if self.images:
            yield "shown", f"{' x '.join(map(str, self.images))}, {self.pictures}"
        if self.error:
            return
        names = "with names" if self.named else "without names"
        yield "output", f"{self.output}; {self.classes} classes, {names}"
        yield "layer", self.layer
        yield "ReLUs", f"{self.relu_modules} modules, {self.relu_functions} functional calls"
        yield "one image", self.depends_on or "decides its own logits"
        yield "gradients", self.gradients
        gap = f", logits within {self.gap:.0e} of the largest" if self.float64 == SAME else ""
        yield "float64", self.float64 + gap
        for names, reason in self._refused().items():
            yield "cannot run", f"{names}: {reason}"
        if not self.cannot_run:
            yield "cannot run", "nothing: every method has what it needs"
        for remark in self.remarks:
            yield "note", remark

    def _refused(self) -> dict[str, str]:
        """Methods that lack the same thing, and what they lack."""
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.cannot_run.items():
            by_reason.setdefault(reason.replace(name, "METHOD"), []).append(name)
        return {", ".join(names): self.cannot_run[names[0]] for names in by_reason.values()}


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
