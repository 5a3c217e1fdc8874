"""Is this function the method that it claims to be, and if not, what is wrong? `check` says; `parametrize` asks pytest."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from bridge.conformance.checks import Check, all_checks
from bridge.conformance.diagnosis import diagnose
from bridge.conformance.report import CheckReport, CheckResult
from bridge.conformance.subject import TOOK_TOO_LONG, CheckFailed, Skipped, Subject
from bridge.conformance.worlds import World
from bridge.preflight import preflight
from bridge.registry import Function, get

__all__ = ["CheckReport", "CheckResult", "check", "parametrize"]

LIMIT_SECONDS = 10.0


def check(
    function: Function,
    method: str,
    *,
    model: nn.Module | None = None,
    batch: tuple[torch.Tensor, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] = {},
    seed: int = 0,
    limit_seconds: float = LIMIT_SECONDS,
    on_fail: Literal["return", "raise"] = "return",
) -> CheckReport:
    """Whether `function(model, x, target, **params)` is the method it claims to be: a report with a diagnosis.

    It is called in small float64 networks made from `seed` and, if given, on your own `model` and `batch` (x, classes).
    `params` states what the function does where it cannot be told (`{"n_steps": 100}`); every parameter that it takes is
    varied. `expected_failures` {check name: reason} turns a failure into "expected". A call may take `limit_seconds` (it can
    be interrupted in the main thread of a Unix process); after one that does not return the rest is skipped.
    `on_fail="raise"` raises AssertionError with the report. Raises KeyError for an unknown method, TypeError for a
    function that cannot be called or an unknown parameter.
    """
    subject, checks = _prepare(function, method, model, batch, params or {}, seed, limit_seconds)
    unknown = [name for name in expected_failures if name not in {c.name for c in checks}]
    if unknown:
        raise KeyError(f"no check {unknown[0]!r}; there are: {'; '.join(c.name for c in checks)}")
    results, failing = [], []
    with torch.inference_mode(False), _one_thread():
        hung = False
        for each in checks:
            result = CheckResult(each.name, "skipped", "an earlier call did not return") if hung else _perform(each)
            hung = hung or (result.status == "failed" and TOOK_TOO_LONG in result.message)
            if result.status == "failed" and each.name in expected_failures:
                result = CheckResult(each.name, "expected", expected_failures[each.name], result.figures)
            elif result.status == "failed" and each.world is not None:
                failing.append(each.world)
            results.append(result)
        cause = diagnose(subject, failing)
    report = CheckReport(subject.name, method, tuple(results), cause, _reproduce(function, method, params or {}))
    if on_fail == "raise" and not report.passed:
        raise AssertionError(str(report))
    return report


def parametrize(
    *, params: Mapping[str, Mapping[str, Any]] | None = None, expected_failures: Mapping[str, str] = {},
    seed: int = 0, **functions: Function,
) -> Any:  # fmt: skip
    """A pytest decorator with one case a check: `@parametrize(fgsm=mine, saliency=also_mine)` on `def test_it(check)`.

    The test calls `check()`, which raises AssertionError with the diagnosis. Cases named in `expected_failures` are marked
    xfail with their reason.
    """
    import pytest

    cases = []
    for method, function in functions.items():
        subject, checks = _prepare(function, method, None, None, (params or {}).get(method, {}), seed, LIMIT_SECONDS)
        for each in checks:
            marks = (
                [pytest.mark.xfail(reason=expected_failures[each.name], strict=True)] if each.name in expected_failures else []
            )
            cases.append(pytest.param(_case(subject, each), id=f"{method}-{each.name}", marks=marks))
    return pytest.mark.parametrize("check", cases)


def _case(subject: Subject, each: Check) -> Callable[[], None]:
    def run() -> None:
        import pytest

        with torch.inference_mode(False), _one_thread():
            result = _perform(each)
            cause = diagnose(subject, [each.world]) if result.status == "failed" and each.world else ""
        if result.status == "skipped":
            pytest.skip(result.message)
        if result.status == "failed":
            raise AssertionError(f"{each.name}\n{result.message}" + (f"\ndiagnosis: {cause}" if cause else ""))

    return run


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """These networks are tiny: a second thread only waits, on a busy machine fifty times longer than the work takes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _prepare(
    function: Function, method: str, model: nn.Module | None, batch: tuple[torch.Tensor, Any] | None,
    params: Mapping[str, Any], seed: int, limit: float,
) -> tuple[Subject, list[Check]]:  # fmt: skip
    definition = get(method)
    if not callable(function):
        raise TypeError(f"expected a function f(model, x, target, **params), got {type(function).__name__}")
    definition.bind(params)
    subject = Subject(function, definition, dict(params), limit)
    extra = None
    if (model is None) != (batch is None):
        raise TypeError("give both model and batch (x, classes), or neither")
    if model is not None and batch is not None:
        adapter, x, target = preflight(model, *batch)
        extra = World("", adapter.astype(torch.float64), x.double(), target)
    with torch.inference_mode(False), _one_thread():
        return subject, all_checks(subject, seed, extra)


def _perform(each: Check) -> CheckResult:
    try:
        with torch.enable_grad():
            return CheckResult(each.name, "passed", figures=dict(each.run()))
    except CheckFailed as error:
        return CheckResult(each.name, "failed", str(error))
    except Skipped as error:
        return CheckResult(each.name, "skipped", str(error))
    except Exception as error:  # an output so odd that the check itself stumbles over it
        return CheckResult(each.name, "failed", f"its output could not be checked: {type(error).__name__}: {error}")


def _reproduce(function: Function, method: str, params: Mapping[str, Any]) -> str:
    try:
        file = inspect.getsourcefile(function)
    except TypeError:
        return ""
    name = getattr(function, "__name__", "")
    if not file or not name.isidentifier() or not Path(file).is_file():
        return ""
    options = "".join(f" --param {key}={value}" for key, value in params.items())
    return f"gradbridge check {os.path.relpath(file)}:{name} --as {method}{options}"
