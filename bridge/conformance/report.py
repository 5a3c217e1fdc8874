"""What a check found: readable like pytest's own output, in a terminal, in a notebook, as JSON."""

from __future__ import annotations

import html
import inspect
import json
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bridge.conformance.picture import Shown
from bridge.core.edits import Edit
from bridge.core.registry import get
from bridge.core.tags import Function
from bridge.metrics.registry import get as metric_of

Status = Literal["passed", "failed", "expected", "skipped"]
LETTER = {"passed": ".", "failed": "F", "expected": "x", "skipped": "s"}


@dataclass(frozen=True)
class CheckResult:
    """One check: its name ("group: what"), its status, what is wrong, the figures that show it."""

    name: str
    status: Status
    message: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckReport:
    """All checks of one function against one method.

    `cause` is the diagnosis in one sentence, "" where all agrees. `reproduce` is a command that
    checks the same, "" where there is none. `called` says how code of another signature than ours
    was understood, "" for code of ours. `edits` are suggested changes, one a cause. `shown` is the
    smallest case that differs.
    """

    function: str
    method: str
    checks: tuple[CheckResult, ...]
    cause: str = ""
    reproduce: str = ""
    called: str = ""
    edits: tuple[Edit, ...] = ()
    shown: Shown | None = field(default=None, repr=False, compare=False)

    @property
    def passed(self) -> bool:
        """Whether nothing failed (expected failures and skipped checks aside)."""
        return not self.failures

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status == "failed")

    @property
    def equation(self) -> str:
        """What the method computes, in a line."""
        for known in (get, metric_of):
            try:
                return known(self.method).summary
            except KeyError:  # of the other kind, or of somebody's own that is gone
                continue
        return ""

    def figure(self, file: str | Path) -> None:
        """Write a picture of the smallest case that differs: the image, both answers, their gap.

        Raises ValueError where nothing differs, or the answers are not of one shape.
        """
        if self.shown is None:
            raise ValueError("there is no difference to show: both answers of one shape, finite")
        Path(file).write_bytes(self.shown.png())

    def counts(self) -> dict[str, int]:
        """How many checks have each status."""
        return {status: sum(c.status == status for c in self.checks) for status in LETTER}

    def __str__(self) -> str:
        letters = "".join(LETTER[c.status] for c in self.checks)
        lines = [f"{self.function} as {self.method}  {letters}"]
        lines += [self.called] if self.called else []
        if self.cause:
            lines += ["", f"diagnosis: {self.cause}", f"should be: {self.equation}"]
        lines += [f"  {edit}" for edit in self.edits]
        if self.failures:
            lines += ["", "FAILURES"]
        for check in self.failures:
            lines += [f"  {check.name}", *(f"E   {line}" for line in check.message.splitlines())]
        for check in self.checks:
            if check.status in ("expected", "skipped"):
                lines.append(f"  {check.status}: {check.name}: {check.message}")
        if self.failures and self.reproduce:
            lines += ["", f"reproduce: {self.reproduce}"]
        summary = ", ".join(f"{count} {status}" for status, count in self.counts().items() if count)
        return "\n".join([*lines, "", f"{'passed' if self.passed else 'FAILED'}: {summary}"])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(c.name)}</td><td>{c.status}</td>"
            f"<td>{html.escape(c.message)}</td></tr>"
            for c in self.checks
        )
        cause = f"<p><b>{html.escape(self.cause)}</b></p>" if self.cause else ""
        cause += "".join(f"<pre>{html.escape(str(edit))}</pre>" for edit in self.edits)
        picture = self.shown.as_html() if self.shown is not None else ""
        title = f"{html.escape(self.function)} as {html.escape(self.method)}"
        return (
            f"<h4>{title}: {'passed' if self.passed else 'failed'}</h4>"
            f"{cause}{picture}<table><tr><th>check</th><th>status</th><th>what</th></tr>{rows}</table>"
        )

    def to_json(self) -> str:
        """The whole report as JSON."""
        told = {**asdict(replace(self, shown=None)), "equation": self.equation}
        del told["shown"]
        return json.dumps({"passed": self.passed, **told}, indent=2, default=str)


def command(function: Function, method: str, params: Mapping[str, Any], seed: int) -> str:
    """The command line that checks this function, "" where it cannot be reached from there."""
    name = getattr(function, "__name__", "")
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    found = getattr(module, name, None)
    if module is None or function not in (found, getattr(found, "reference", None)):
        return ""  # within another function, or registered under another name
    if not all(isinstance(value, str | int | float) for value in params.values()):
        return ""
    try:
        file = Path(inspect.getsourcefile(function) or "")
    except TypeError:
        return ""
    if not file.is_file():
        return ""
    # Our own files register methods, which they cannot do twice: they are imported, not read again.
    ours = file.resolve().is_relative_to(Path(__file__).parents[1])
    place = module.__name__ if ours else os.path.relpath(file)
    options = [f"--param {shlex.quote(f'{key}={value}')}" for key, value in params.items()]
    options += [f"--seed {seed}"] if seed else []
    return " ".join([f"gradbridge check {shlex.quote(f'{place}:{name}')} --as {method}", *options])
