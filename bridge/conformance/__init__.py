"""Is this function the method that it claims to be, and if not, what is wrong?

`check` says; `parametrize` asks pytest.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from tqdm import tqdm

from bridge.calling import Called, understand
from bridge.conformance.checks import Check, all_checks
from bridge.conformance.diagnosis import diagnose
from bridge.conformance.model_check import check_model
from bridge.conformance.model_report import ModelReport
from bridge.conformance.of_metrics import check_metric
from bridge.conformance.picture import shown
from bridge.conformance.report import CheckReport, CheckResult, command
from bridge.conformance.settings import settled, statable, told
from bridge.conformance.subject import TOOK_TOO_LONG, CheckFailed, Skipped, Subject
from bridge.conformance.suggesting import suggested
from bridge.conformance.worlds import World, base, worlds
from bridge.core.errors import in_words
from bridge.core.method import Method
from bridge.core.parameters import check_positive, check_seed
from bridge.core.preflight import preflight
from bridge.core.registry import get
from bridge.core.tags import Function
from bridge.metrics.registry import metrics

__all__ = ["CheckReport", "CheckResult", "ModelReport", "check", "check_model", "parametrize"]

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
    """Whether `function(model, x, target, **params)` is the method it claims to be, and why not.

    `function` is a function of any signature, a class or an object: torchattacks' and Captum's
    habits, an `nn.Module`, Foolbox's attacks, numpy. The report says how it was called, and which
    values it was found to have where it says nothing; it is judged under them. A function of our
    own signature, f(model, x, target, *, name=...), says with `params` what it cannot be told.
    Of f(model, x, target, maps, **params): the metric (`bridge.measure`) of that name.

    It is called in small float64 networks made from `seed` and, if given, on your own `model` and
    `batch` (x, classes). `params` states what the function does where it cannot be told
    (`{"n_steps": 100}`); every parameter that it takes is varied. `expected_failures`
    {check name: reason} turns a failure into "expected". A call may take `limit_seconds` (it can be
    interrupted in the main thread of a Unix process); after one that does not return the rest is
    skipped.

    Returns a report with a diagnosis, also of several deviations at once. `on_fail="raise"` raises
    AssertionError with it. Raises KeyError for an unknown method, TypeError for a function that
    cannot be called or an unknown parameter.

    >>> import bridge
    >>> from bridge.core.gradients import input_gradient
    >>> report = bridge.check(input_gradient, "saliency")
    >>> report.passed
    False
    >>> report.cause.partition(" (")[0]
    'the absolute value is missing: it is the signed gradient'
    """
    if on_fail not in ("return", "raise"):
        raise ValueError(f"unknown on_fail {on_fail!r}: expected 'return' or 'raise'")
    if method in metrics():
        if model is not None or batch is not None or expected_failures:
            raise TypeError(f"{method} is a metric: it is checked on our own networks only")
        return _raised(check_metric(function, method, params=params, seed=seed), on_fail)
    if not isinstance(expected_failures, Mapping):
        raise TypeError(
            f"expected_failures is {expected_failures!r}, expected a mapping of checks to reasons"
        )
    stated = params or {}
    subject, checks = _prepare(function, method, model, batch, stated, seed, limit_seconds)
    unknown = [name for name in expected_failures if name not in {c.name for c in checks}]
    if unknown:
        raise KeyError(f"no check {unknown[0]!r}; there are: {'; '.join(c.name for c in checks)}")
    results: list[CheckResult] = []
    failing: list[World] = []
    with torch.inference_mode(False), _one_thread():
        hung = False
        # A bar where somebody waits for it at a terminal, on stderr.
        bar = tqdm(checks, unit="check", file=sys.stderr, disable=None, leave=False, delay=1.0)
        for each in bar:
            bar.set_postfix_str(each.name.partition(":")[0], refresh=False)
            result = _after_a_hang(each) if hung else _perform(each)
            failed = result.status == "failed"
            hung = hung or (failed and TOOK_TOO_LONG in result.message)
            if failed and each.name in expected_failures:
                reason = expected_failures[each.name]
                result = replace(result, status="expected", message=reason)
            elif failed and each.world is not None:
                failing.append(each.world)
            results.append(result)
        every = [each.world for each in checks if each.world is not None]
        cause = diagnose(subject, failing, every)
        picture = shown(subject, failing)
        stated_ = statable(subject, failing)
        if stated_:
            cause += f"; if that is meant, say so and it is right: params={stated_!r}"
        place = next((w for w in failing if not w.varied), every[0])
        edits = suggested(subject, cause, place) if cause else ()
    # The command line takes no model.
    reproduce = command(function, method, stated, seed) if model is None else ""
    called = str(subject.function) if isinstance(subject.function, Called) else ""
    own = told(subject)
    called += f"\n{own}" if own else ""
    report = CheckReport(
        subject.name, method, tuple(results), cause, reproduce, called, edits, picture
    )
    return _raised(report, on_fail)


def _raised(report: CheckReport, on_fail: str) -> CheckReport:
    """The report. Raises AssertionError with it where that was asked for."""
    if on_fail == "raise" and not report.passed:
        raise AssertionError(str(report))
    return report


def parametrize(
    *,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    expected_failures: Mapping[str, str] = {},
    seed: int = 0,
    **functions: Function,
) -> Any:
    """A pytest decorator with one case a check: `@parametrize(fgsm=mine)` on `def test_it(check)`.

    The test calls `check()`, which raises AssertionError with the diagnosis. Cases named in
    `expected_failures` are marked xfail with their reason.
    """
    import pytest

    cases = []
    for method, function in functions.items():
        stated = (params or {}).get(method, {})
        subject, checks = _prepare(function, method, None, None, stated, seed, LIMIT_SECONDS)
        for each in checks:
            reason = expected_failures.get(each.name)
            marks = [] if reason is None else [pytest.mark.xfail(reason=reason, strict=True)]
            run = partial(_assert, subject, each)
            cases.append(pytest.param(run, id=f"{method}-{each.name}", marks=marks))
    return pytest.mark.parametrize("check", cases)


def _assert(subject: Subject, each: Check) -> None:
    """One case of `parametrize`."""
    import pytest

    with torch.inference_mode(False), _one_thread():
        result = _perform(each)
        failed = result.status == "failed"
        cause = diagnose(subject, [each.world]) if failed and each.world else ""
    if result.status == "skipped":
        pytest.skip(result.message)
    if failed:
        diagnosis = f"\ndiagnosis: {cause}" if cause else ""
        raise AssertionError(f"{each.name}\n{result.message}{diagnosis}")


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """These networks are tiny: a second thread only waits.

    On a busy machine it waits fifty times longer than the work takes.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _prepare(
    function: Function,
    method: str,
    model: nn.Module | None,
    batch: tuple[torch.Tensor, Any] | None,
    params: Mapping[str, Any],
    seed: int,
    limit: float,
) -> tuple[Subject, list[Check]]:
    definition = get(method)
    if not isinstance(params, Mapping):
        raise TypeError(f"params is {params!r}, expected a mapping of parameters to values")
    definition.bind(params)
    definition.check_values(params)
    check_positive("limit_seconds", limit)
    check_seed(seed)
    understood = _understood(function, definition, params, seed)
    with torch.inference_mode(False), _one_thread():
        places = worlds(definition, {**base(definition), **params}, seed)
        subject = settled(Subject(understood, definition, dict(params), limit), places)
    extra = None
    if (model is None) != (batch is None):
        raise TypeError("give both model and batch (x, classes), or neither")
    if model is not None and batch is not None:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise TypeError("batch must be a pair (x, classes)")
        adapter, x, target = preflight(model, *batch)
        extra = World("", adapter.astype(torch.float64), x.double(), target)
    with torch.inference_mode(False), _one_thread():
        return subject, all_checks(subject, seed, extra)


def _understood(code: Any, method: Method, params: Mapping[str, Any], seed: int) -> Function:
    """Somebody's code with our signature. Raises TypeError for what cannot be called."""
    first = worlds(method, {**base(method), **params}, seed)[0]
    with _one_thread():
        return understand(code, method, first.model, first.x, first.target, first.params)


def _after_a_hang(each: Check) -> CheckResult:
    return CheckResult(each.name, "skipped", "an earlier call did not return")


def _perform(each: Check) -> CheckResult:
    try:
        with torch.enable_grad():
            return CheckResult(each.name, "passed", figures=dict(each.run()))
    except CheckFailed as error:
        return CheckResult(each.name, "failed", str(error))
    except Skipped as error:
        return CheckResult(each.name, "skipped", str(error))
    except Exception as error:  # an output so odd that the check itself stumbles over it
        told = f"its output could not be checked: {in_words(error)}"
        return CheckResult(each.name, "failed", told)
