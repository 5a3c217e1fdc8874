"""What commands share besides options: what they print, and how errors and warnings read."""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import click

COLOURS = {"equal": "green", "rounding": "green", "differs": "red", "failed": "red"}
_VERDICT = re.compile(rf"(?<=\s)({'|'.join(COLOURS)})(?=\s|$)")
LONGEST = 600  # characters of an error


@dataclass(frozen=True)
class Invocation:
    """How the command line was called."""

    arguments: list[str]


class Refused(click.ClickException):
    """What the user asked for and cannot be had."""

    exit_code = 2


def command_line() -> str:
    """The command as it was typed, quoted for a shell, for the record."""
    context = click.get_current_context(silent=True)
    called = context.find_root().obj if context else None
    arguments = called.arguments if isinstance(called, Invocation) else sys.argv[1:]
    # The bytes of a file's name may be no text.
    return shlex.join(["gradbridge", *arguments]).encode("utf-8", "backslashreplace").decode()


def coloured(text: str) -> str:
    """Verdicts in colour where the terminal has any; click removes the colour elsewhere."""
    return _VERDICT.sub(_colour, text)


def _colour(match: re.Match[str]) -> str:
    return click.style(match[0], fg=COLOURS[match[0]])


def show(text: str) -> bool:
    """Print; whether that went well. Who reads may have had enough (`| head`), which is well.

    What was computed is not lost for what cannot be printed: the rest goes nowhere.
    """
    try:
        click.echo(text)
        return True
    except OSError as error:
        _print_nowhere()
        if error.errno == errno.EPIPE:
            return True
        tell(f"Error: cannot print: {one_line(error)}")
        return False


def _print_nowhere() -> None:
    """From here on stdout swallows what it gets; also what it holds, when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def tell(text: str) -> None:
    """A line on stderr, where anybody reads that."""
    with suppress(OSError):
        click.echo(text, err=True)


def one_line(error: BaseException | str) -> str:
    """An error or a message as one line."""
    text = " ".join((error if isinstance(error, str) else _described(error)).split())
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} ... (--debug shows all)"
    return text


def _described(error: BaseException) -> str:
    try:
        from bridge.core.errors import describe, is_ours
    except ImportError:  # torch itself is broken
        return f"{type(error).__name__}: {error}"
    # The text of a KeyError has quotes around it.
    plain = isinstance(error, KeyError) and is_ours(error) and len(error.args) == 1
    return str(error.args[0]) if plain else describe(error)


@contextmanager
def short_warnings() -> Iterator[None]:
    """Each warning once, as one line on stderr, without the source line that raised it."""
    told: set[str] = set()

    def warn(message: Warning | str, *rest: Any, **options: Any) -> None:
        text = " ".join(str(message).split())
        if text not in told:
            told.add(text)
            with suppress(OSError):
                click.secho(f"Warning: {text}", fg="yellow", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = warn
        yield


@contextmanager
def usage_errors() -> Iterator[None]:
    """What the user asked for and cannot be had: one line and exit code 2, no traceback."""
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        raise Refused(one_line(error)) from error
    except SystemExit as error:
        raise click.ClickException(
            f"something that was called asked Python to exit (SystemExit {error.code!r}): --debug "
            "shows where"
        ) from error
