"""`gradbridge check`: is this function the method that it claims to be?"""

from __future__ import annotations

import sys
from typing import Any

import click

from bridge.cli._parse import assignment
from bridge.cli._terminal import usage_errors


@click.command()
@click.argument("function", metavar="FILE_OR_MODULE:FUNCTION")
@click.option(
    "--as",
    "method",
    required=True,
    metavar="METHOD",
    help="The method that the function claims to be.",
)
@click.option(
    "--param",
    "params",
    type=assignment,
    multiple=True,
    metavar="NAME=VALUE",
    help="What the function does where it cannot be told.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    help="For the networks and images that it is checked on.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(
    function: str, method: str, params: tuple[tuple[str, Any], ...], seed: int, as_json: bool
) -> None:
    """Is this function the method that it claims to be, and if not, what is wrong?

    Exit code 0 when it passes, 1 when a check fails, 2 for wrong usage. For example:
    gradbridge check mine.py:my_fgsm --as fgsm
    """
    import bridge
    from bridge.load import load_object

    with usage_errors():
        report = bridge.check(load_object(function), method, params=dict(params), seed=seed)
    click.echo(report.to_json() if as_json else str(report))
    sys.exit(0 if report.passed else 1)
