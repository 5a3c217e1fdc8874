"""`gradbridge doctor`: is this installation sound? With `--model`: is this model?"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import click

from bridge.cli._options import ModelChoice, fitting, fitting_images, gather, option, size_option
from bridge.cli._terminal import usage_errors


@dataclass(frozen=True)
class Patient(ModelChoice):
    """A model to look at, and images to show it."""

    source: str = option(
        "--model",
        default="",
        metavar="SOURCE",
        help="Look at this model instead, as for compare: its layer, size, gradients, and what "
        "cannot run on it.",
    )
    random: bool = option(
        "--random", is_flag=True, help="Random weights of the model: nothing is downloaded."
    )
    data: str | None = option(
        "--data", metavar="SOURCE", help="Images to show it, as for compare [default: fit it]."
    )
    count: int = option("-n", "--images", default=4, show_default=True, help="How many images.")
    size: int | None = size_option()

    def examine(self) -> Any:
        """What is found out about it, a `ModelReport`."""
        import torch

        import bridge
        from bridge.load import first_of

        model = self.load(pretrained=not self.random)
        own = fitting_images(self.source)
        source = self.data or (own if self.source.startswith("zoo:") or self.size else None)
        if source is None:
            return bridge.check_model(model)
        x, _ = first_of(fitting(model, source, self.size), self.count)
        return bridge.check_model(model, x.to(model.device, getattr(torch, self.dtype)))


@click.command()
@gather(model=Patient)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor(model: Patient, as_json: bool) -> None:
    """Show versions, devices and what is installed, and test every method here.

    Each must give answers that are known. With --model: is it a function of one image, are its
    gradients finite, is it the same in float64, which methods cannot run on it and why. Exit code 0
    when all is well, 1 when something needed is missing or wrong.
    """
    if model.source:
        with usage_errors(), redirect_stdout(sys.stderr):
            found = model.examine()
        click.echo(_as_json(found.to_dict()) if as_json else str(found))
        sys.exit(0 if found.passed else 1)
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


def _as_json(found: dict[str, Any]) -> str:
    from bridge.record.manifest import plain

    return json.dumps(plain(found), indent=2)
