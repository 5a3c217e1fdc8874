"""The group of all commands: no traceback, warnings in a line, the nearest name for a wrong one."""

from __future__ import annotations

import difflib
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import click

from bridge.cli._terminal import Invocation, one_line, short_warnings, tell

DEBUG = "--debug"
HELP = "Show the traceback of an error."


class Commands(click.Group):
    """Commands that end with a line on stderr and an exit code, whatever happens.

    2 for wrong usage, 130 or 143 where a signal ended them, 1 for anything else.
    """

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, which then takes --debug too."""
        cmd.params.append(click.Option([DEBUG], is_flag=True, expose_value=False, help=HELP))
        super().add_command(cmd, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant. Raises UsageError with the nearest names."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            near = difflib.get_close_matches(args[0], self.commands)
            hint = f"did you mean {' or '.join(near)}?" if near else ", ".join(self.commands)
            raise click.UsageError(f"there is no command {args[0]!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and exit. Without `standalone_mode` as click does it."""
        run = partial(super().main, args, prog_name, complete_var, standalone_mode=False)
        if not standalone_mode:
            return run(**extra)
        arguments = list(sys.argv[1:] if args is None else args)
        # Names that the terminal's encoding lacks are no reason to end.
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        with short_warnings():
            sys.exit(self._ended(partial(run, obj=Invocation(arguments), **extra), arguments))

    def _ended(self, run: Callable[[], Any], arguments: list[str]) -> int:
        """Run; returns the exit code."""
        debug = DEBUG in arguments
        try:
            returned = run()
            return returned if isinstance(returned, int) else 0
        except click.Abort as error:  # of a KeyboardInterrupt
            tell(f"Stopped by {error.__cause__ or 'Ctrl-C'}.")
            return 128 + getattr(error.__cause__, "number", signal.SIGINT)
        except click.ClickException as error:
            if debug and error.__cause__ is not None:
                traceback.print_exception(error.__cause__)
            message = error.format_message()
            if type(error) is not click.ClickException and isinstance(error, click.UsageError):
                message += f" (see {error.ctx.command_path} --help)" if error.ctx else ""
            tell(f"Error: {one_line(message)}")
            return error.exit_code
        except Exception as error:
            if debug:
                traceback.print_exc()
            tell(f"Error: {one_line(error)}")
            return 1
