"""What a bad input must lead to: a clear error, a warning, or the right answer."""

from __future__ import annotations

import re
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from click.testing import CliRunner, Result

from bridge.cli import main

# A message is read by a person: longer than this nobody reads it.
LONGEST = 2000
LIMIT_SECONDS = 20

Wrong = (TypeError, ValueError)  # which of them does not matter to a person


class Hung(BaseException):
    """The call did not come back."""


@dataclass(frozen=True)
class Outcome:
    """What a call did: what it returned or raised, and which warnings it gave."""

    value: Any = None
    error: BaseException | None = None
    warned: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.error is not None:
            return f"{type(self.error).__name__}: {text_of(self.error)}"
        if isinstance(self.value, Result):
            return f"exit code {self.value.exit_code}, {self.value.output.strip()[-LONGEST:]!r}"
        said = f", with the warnings {list(self.warned)}" if self.warned else " and no warning"
        return f"no error{said}"


class Expectation(Protocol):
    def fault(self, outcome: Outcome) -> str:
        """What is wrong with an outcome, "" where it is as it must be."""


@dataclass(frozen=True)
class Case:
    """A bad input: `call` is given an empty folder."""

    name: str
    call: Callable[[Path], Any]
    expected: Expectation


def missing(words: tuple[str, ...], text: str) -> list[str]:
    """The words, regular expressions, that are not in a text."""
    return [word for word in words if not re.search(word, text, re.IGNORECASE | re.DOTALL)]


def text_of(error: BaseException) -> str:
    """What an error says; a KeyError's own text has quotes around it."""
    try:
        return str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    except Exception:  # of a user whose errors cannot be printed
        return ""


def unclear(text: str) -> str:
    """Why nobody would understand a message, "" where it can be read."""
    if not text.strip():
        return "an empty message"
    if len(text) > LONGEST:
        return f"a message of {len(text)} characters"
    return "a traceback" if "Traceback (most recent call last)" in text else ""


class Error:
    """An error of one of the types, whose text has all the words."""

    def __init__(self, types: type[BaseException] | tuple[type[BaseException], ...], *words: str):
        self.types, self.words = types, words

    def __str__(self) -> str:
        types = self.types if isinstance(self.types, tuple) else (self.types,)
        return f"{' or '.join(t.__name__ for t in types)} with {self.words}"

    def fault(self, outcome: Outcome) -> str:
        error = outcome.error
        if not isinstance(error, self.types):
            return f"expected {self}, came {outcome}"
        lacking = missing(self.words, text_of(error))
        wrong = f"no {lacking}" if lacking else unclear(text_of(error)) if self.words else ""
        return f"{wrong} in {outcome}" if wrong else ""


def anything(value: Any) -> None:
    """Any answer is right."""


class Warns:
    """A warning that has all the words, and an answer that `then` does not refuse."""

    def __init__(self, *words: str, then: Callable[[Any], None] = anything):
        self.words, self.then = words, then

    def __str__(self) -> str:
        return f"a warning with {self.words}"

    def fault(self, outcome: Outcome) -> str:
        if outcome.error is not None:
            return f"expected {self}, came {outcome}"
        if all(missing(self.words, text) for text in outcome.warned):
            return f"expected {self}, came {outcome}"
        return _refused(self.then, outcome.value)


@dataclass(frozen=True)
class Right:
    """The right answer: `then(value)` raises AssertionError where it is another."""

    then: Callable[[Any], None]

    def __str__(self) -> str:
        return f"the right answer ({getattr(self.then, '__name__', self.then)})"

    def fault(self, outcome: Outcome) -> str:
        if outcome.error is not None:
            return f"expected {self}, came {outcome}"
        return _refused(self.then, outcome.value)


class Either:
    """One of several expectations."""

    def __init__(self, *options: Expectation):
        self.options = options

    def __str__(self) -> str:
        return ", or ".join(map(str, self.options))

    def fault(self, outcome: Outcome) -> str:
        faults = [option.fault(outcome) for option in self.options]
        return "" if "" in faults else "; and ".join(faults)


class Exits:
    """The command line ends with one of these exit codes, says the words, and shows no traceback.

    An error is one line.
    """

    def __init__(self, codes: int | tuple[int, ...], *words: str):
        self.codes = codes if isinstance(codes, tuple) else (codes,)
        self.words = words

    def __str__(self) -> str:
        return f"exit code {' or '.join(map(str, self.codes))} with {self.words}"

    def fault(self, outcome: Outcome) -> str:
        done = outcome.value
        if outcome.error is not None or not isinstance(done, Result):
            return f"expected {self}, came {outcome}"
        raised = done.exception
        if raised is not None and not isinstance(raised, SystemExit):
            return f"a traceback, {type(raised).__name__}: {raised}"
        if "Traceback (most recent call last)" in done.output:
            return f"a traceback is printed: {outcome}"
        lacking = missing(self.words, done.output)
        if done.exit_code not in self.codes or lacking:
            return f"expected {self}, came {outcome}"
        errors = [line for line in done.output.splitlines() if line.startswith("Error")]
        if done.exit_code == 2 and len(errors) != 1:
            return f"{len(errors)} lines of errors: {outcome}"
        return unclear(errors[0]) if errors else ""


def _refused(then: Callable[[Any], None], value: Any) -> str:
    try:
        then(value)
    except AssertionError as error:
        return f"another answer: {error or 'see the check'}"
    return ""


def happened(case: Case, folder: Path) -> Outcome:
    """What a case's call does. Warnings are collected, and never errors here."""
    with warnings.catch_warnings(record=True) as caught, _limited():
        warnings.simplefilter("always")
        try:
            value, error = case.call(folder), None
        except BaseException as raised:
            value, error = None, raised
    said = tuple(str(w.message) for w in caught if issubclass(w.category, UserWarning))
    return Outcome(value, error, said)


@contextmanager
def _limited() -> Iterator[None]:
    """A call that waits for ever is a fault too (Unix: by an alarm)."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise Hung(f"did not return within {LIMIT_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    rest, _ = signal.setitimer(signal.ITIMER_REAL, LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, rest)
        signal.signal(signal.SIGALRM, before)


def gradbridge(*arguments: object) -> Result:
    """The command line, in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@dataclass(frozen=True)
class Failed:
    """A comparison has a failure row of an implementation, with all the words."""

    implementation: str
    words: tuple[str, ...] = field(default=())

    def __call__(self, comparison: Any) -> None:
        rows = comparison.failures.to_dict("records")
        texts = [
            f"{row['error']}: {row['message']}"
            for row in rows
            if row["implementation"] == self.implementation
        ]
        assert texts, f"no failure of {self.implementation} among {rows}"
        assert any(not missing(self.words, text) for text in texts), f"{texts}, no {self.words}"
        assert not any(unclear(text) for text in texts), texts
        # Everything else is there.
        assert {"reference"} <= set(comparison.runtime["implementation"])
