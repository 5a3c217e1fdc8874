"""What commands share besides options: warnings and errors in a line, colours, where a run goes."""

from __future__ import annotations

import datetime
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

COLOURS = {"equal": "green", "rounding": "green", "differs": "red", "failed": "red"}
_VERDICT = re.compile(rf"(?<=\s)({'|'.join(COLOURS)})(?=\s|$)")


def command_line() -> str:
    """The command as it was typed, for the record."""
    return "gradbridge " + " ".join(sys.argv[1:])


def run_folder(out: str | None, name: str) -> Path:
    """The folder of a run: the given one, or one named after the time and what runs."""
    plain = re.sub(r"[^\w.-]+", "_", name)
    return Path(out or f"runs/{datetime.datetime.now():%Y%m%d-%H%M%S}-{plain}")


def coloured(text: str) -> str:
    """Verdicts in colour where the terminal has any; click removes the colour elsewhere."""
    return _VERDICT.sub(_colour, text)


def _colour(match: re.Match[str]) -> str:
    return click.style(match[0], fg=COLOURS[match[0]])


def short_warnings() -> None:
    """Warnings as one line on stderr, without the source line that raised them."""
    warnings.showwarning = _warn


def _warn(message: Warning | str, *rest: Any, **options: Any) -> None:
    click.secho(f"Warning: {message}", fg="yellow", err=True)


@contextmanager
def usage_errors() -> Iterator[None]:
    """What the user asked for and cannot be had: one line and exit code 2, no traceback."""
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        raise click.UsageError(text) from error
