"""`gradbridge doctor`: is this installation sound?"""

from __future__ import annotations

import json
import sys

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor(as_json: bool) -> None:
    """Show versions, devices and what is installed, and test every method here.

    Each must give answers that are known. Exit code 0 when all is well, 1 when something needed is
    missing or wrong.
    """
    from bridge.conformance.self_test import examine

    report = examine()
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        for section, entries in report.items():
            click.secho(section, bold=True)
            for name, value in entries.items():
                click.echo(f"  {name:<22} {value if value is not None else 'not installed'}")
    sys.exit(0 if all(result == "passed" for result in report["self-test"].values()) else 1)
