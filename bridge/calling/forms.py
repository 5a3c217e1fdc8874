"""In which form code takes images and classes: tensors or arrays, a batch or one at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from bridge.calling.signature import Slot
from bridge.calling.words import SINGLE

Each = Literal["batch", "one", "bare", "channels last"]
Classes = Literal["tensor", "int", "list", "callables", "0-d tensor"]
EACH: dict[Each, str] = {
    "batch": "the whole batch at once",
    "one": "one image at a time, with its batch axis",
    "bare": "one image at a time, (c, h, w)",
    "channels last": "one image at a time, (h, w, c)",
}
CLASSES: dict[Classes, str] = {
    "tensor": "",
    "int": "the class as an int",
    "list": "the classes as a list",
    "callables": "a callable for each class",
    "0-d tensor": "the class as a tensor without axes",
}


@dataclass(frozen=True)
class Form:
    """The form of a call. `precision` is what the code works in where it is not the images' own."""

    each: Each = "batch"
    classes: Classes = "tensor"
    numpy: bool = False
    precision: torch.dtype | None = None

    def images(self, x: Tensor) -> Any:
        """The images, a copy."""
        x = self.precise(x)
        found = x if self.each in ("batch", "one") else x[0]
        found = found.permute(1, 2, 0) if self.each == "channels last" else found
        return found.contiguous().numpy() if self.numpy else found

    def precise(self, x: Tensor) -> Tensor:
        """A copy in the precision that the code works in."""
        return x.clone() if self.precision is None else x.to(self.precision, copy=True)

    def labels(self, y: Tensor) -> Any:
        """The classes of the images of a call."""
        if self.classes == "int":
            return int(y[0])
        if self.classes == "list":
            return y.tolist()
        if self.classes == "callables":
            return [partial(_logit, int(c)) for c in y]
        if self.classes == "0-d tensor":
            return y[0].clone()
        return y.numpy().copy() if self.numpy else y.clone()

    def parts(self, n: int) -> list[slice]:
        """The images of each call."""
        if self.each == "batch":
            return [slice(None)]
        return [slice(i, i + 1) for i in range(n)]

    def __str__(self) -> str:
        words = [EACH[self.each], CLASSES[self.classes], "as numpy arrays" if self.numpy else ""]
        words.append("in float32" if self.precision is torch.float32 else "")
        return ", ".join(word for word in words if word)


def _logit(c: int, logits: Tensor) -> Tensor:
    return logits[..., c]


def candidates(slots: Sequence[Slot]) -> Iterator[Form]:
    """Forms to try, the likeliest first."""
    notes = " ".join(str(slot.parameter.annotation) for slot in slots)
    arrays = (True, False) if "ndarray" in notes else (False, True)
    for numpy, precision in itertools.product(arrays, (None, torch.float32)):
        tensors: list[tuple[Each, Classes]] = [
            ("batch", "tensor"),
            ("batch", "callables"),
            ("one", "int"),
            ("one", "tensor"),
            ("one", "0-d tensor"),
            ("bare", "int"),
            ("batch", "list"),
        ]
        of_arrays: list[tuple[Each, Classes]] = [
            ("batch", "tensor"),
            ("one", "int"),
            ("bare", "int"),
            ("channels last", "int"),
        ]
        for each, classes in of_arrays if numpy else tensors:
            yield Form(each, classes, numpy, precision)


def single(slots: Sequence[Slot]) -> bool:
    """Whether the names, or an annotation, say one image at a time."""
    return any(
        slot.role in ("x", "y")
        and (slot.parameter.annotation in (int, "int") or slot.name in SINGLE)
        for slot in slots
    )
