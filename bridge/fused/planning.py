"""Which passes many methods share: what serves several of them is made once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bridge.core.method import Method, several, sizes
from bridge.core.registry import get
from bridge.core.shared import NEEDS, Need

# One backward pass each; "logit_gradient" and "layer" are the same one.
BACKWARDS: dict[str, tuple[Need, ...]] = {
    "of the target's logit": ("logit_gradient", "layer"),
    "of the target's logit, guided ReLUs": ("guided_gradient",),
    "of the target's logit, deconvolution ReLUs": ("deconvolution_gradient",),
    "of the loss": ("loss_gradient",),
}


@dataclass(frozen=True)
class Task:
    """One method of a plan: its parameters and what it needs.

    `needs` are shared passes; `own` its own passes, forwards and backwards an image (and epsilon);
    `note` says more about them.
    """

    method: Method
    params: Mapping[str, Any]
    needs: tuple[Need, ...] = ()
    own: tuple[int, int] | None = None  # None: no fast implementation, the reference runs
    note: str = ""

    @property
    def implementation(self) -> str:
        """Which implementation runs."""
        return self.method.quickest

    @property
    def copies(self) -> int:
        """How many images it returns for each: the epsilons of an attack."""
        return len(sizes(self.params.get("epsilon")))

    @property
    def text(self) -> str:
        """Its own passes in words."""
        if self.own is None:
            return "no fast implementation: the reference runs"
        text = "none"
        if any(self.own):
            count = f"{self.copies} x " if self.copies > 1 else ""
            text = f"{count}{self.own[0]} forwards, {self.own[1]} backwards"
        return f"{text}; {self.note}" if self.note else text


@dataclass(frozen=True)
class Plan:
    """Which pass serves which method; built by `plan`, run by `run_many`, shown by `explain`."""

    tasks: tuple[Task, ...]
    predict: bool = True

    @property
    def needs(self) -> frozenset[Need]:
        """What the shared forward pass has to give."""
        return frozenset(need for task in self.tasks for need in task.needs)

    @property
    def passes(self) -> tuple[int, int]:
        """Forwards and backwards an image, at most.

        The shared ones once, each method's own, a look at each attack's images.
        """
        own = [(task.copies, *task.own) for task in self.tasks if task.own is not None]
        forwards = sum(copies * count for copies, count, _ in own)
        backwards = sum(copies * count for copies, _, count in own)
        shared = sum(bool(self.needs.intersection(needs)) for needs in BACKWARDS.values())
        return bool(self.needs) + forwards + self._looks, shared + backwards

    @property
    def alone(self) -> tuple[int, int]:
        """The same where every method makes its passes for itself, one after another."""
        passes = [Plan((task,), predict=False).passes for task in self.tasks]
        forwards = sum(count for count, _ in passes)
        backwards = sum(count for _, count in passes)
        return forwards + (self.predict and bool(self.needs)) + self._looks, backwards

    @property
    def _looks(self) -> int:
        """How often attacked images are classified."""
        attacks = [task for task in self.tasks if task.method.kind == "attack"]
        return sum(task.copies for task in attacks) if self.predict else 0

    def explain(self) -> str:
        """The plan as text: each pass with the methods it serves, each method's own, the sums."""
        users = {need: [t.method.name for t in self.tasks if need in t.needs] for need in NEEDS}
        lines = ["shared passes"]
        if self.needs:
            everyone = [name for names in users.values() for name in names]
            serves = (["predictions"] if self.predict else []) + everyone
            lines.append(_line("1 forward", "clean images", serves))
        for what, needs in BACKWARDS.items():
            if serves := [name for need in needs for name in users[need]]:
                lines.append(_line("1 backward", what, serves))
        lines += ["", "own passes of each method, an image, at most"]
        lines += [_line(task.method.name, task.text) for task in self.tasks]
        if self._looks:
            looks = f"{self._looks} forwards, of the attacked images"
            lines.append(_line("predictions", looks))
        (f, b), (f_alone, b_alone) = self.passes, self.alone
        others = f"one method after another: {f_alone} and {b_alone}"
        lines += ["", f"an image: {f} forwards and {b} backwards; {others}"]
        return "\n".join(lines)

    __str__ = explain


def _line(what: str, text: str, serves: list[str] | None = None) -> str:
    names = ", ".join(dict.fromkeys(serves or []))
    return f"  {what:<22} {text:<44} {f'-> {names}' if names else ''}".rstrip()


def plan(methods: Mapping[str, Mapping[str, Any]], x: Tensor, *, predict: bool = True) -> Plan:
    """The plan for `{method: params}` on images like `x` (n, c, h, w), without running anything.

    With `predict` the attacked images are classified too, as `run_many` does. Raises KeyError for
    an unknown method, TypeError for an unknown parameter, ValueError or TypeError for parameters
    that make no sense.

    >>> import torch
    >>> methods = {"saliency": {}, "input_x_gradient": {}, "pgd": {"steps": 10}}
    >>> found = plan(methods, torch.zeros(1, 3, 32, 32))
    >>> found.passes, found.alone  # forwards and backwards an image
    ((12, 11), (14, 12))
    >>> print(found.explain().splitlines()[-1])
    an image: 12 forwards and 11 backwards; one method after another: 14 and 12
    """
    if not isinstance(methods, Mapping):
        raise TypeError(
            f"methods is {methods!r}, expected a mapping of names to parameters, for example "
            '{"saliency": {}}'
        )
    return Plan(tuple(task_of(name, given, x) for name, given in methods.items()), predict)


def task_of(name: str, given: Mapping[str, Any], x: Tensor) -> Task:
    """One method on images like `x` as a task; raises what `plan` raises."""
    method = get(name)
    if not isinstance(given, Mapping):
        raise TypeError(
            f"the parameters of {name} are {given!r}, expected a mapping of names to values"
        )
    params = method.bind(given)
    method.check(x, params)
    if several(params.get("epsilon")):
        params["epsilon"] = sizes(params["epsilon"])
    if method.fast is None:
        return Task(method, params)
    needs, own = method.fast.needs(**params), method.fast.passes(x, **params)
    return Task(method, params, needs, own, method.fast.note)
