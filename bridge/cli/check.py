"""`gradbridge check`: is this function the method that it claims to be?"""

from __future__ import annotations

import sys
from typing import Any

import click

from bridge.cli._parse import assignment
from bridge.cli._terminal import usage_errors


@click.command()
@click.argument("function", metavar="[FILE_OR_MODULE:FUNCTION]", required=False)
@click.option(
    "--as",
    "method",
    required=True,
    metavar="METHOD",
    help="The method that the function, or the outputs, claim to be.",
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
@click.option(
    "--outputs",
    metavar="FILE",
    help="Instead of a function: outputs of test vectors, .npz or .safetensors, by case id.",
)
@click.option(
    "--vectors",
    metavar="DIR",
    help="The test vectors that --outputs were computed from.  [default: made anew]",
)
@click.option("--partial", is_flag=True, help="Cases that --outputs lacks do not fail.")
@click.option(
    "--figure",
    metavar="FILE.png",
    help="Write a picture of the smallest case that differs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(
    function: str | None,
    method: str,
    params: tuple[tuple[str, Any], ...],
    seed: int,
    outputs: str | None,
    vectors: str | None,
    partial: bool,
    figure: str | None,
    as_json: bool,
) -> None:
    """Is this function the method that it claims to be, and if not, what is wrong?

    Exit code 0 when it passes, 1 when a check fails, 2 for wrong usage. For example:
    gradbridge check mine.py:my_fgsm --as fgsm

    Code in another framework: compute the cases of `gradbridge vectors --out DIR`, save what comes
    out by case id, then gradbridge check --outputs mine.npz --as fgsm --vectors DIR
    """
    import bridge
    from bridge.load import load_object

    with usage_errors():
        if outputs is not None:
            if function is not None or params or seed:
                raise ValueError("--outputs is judged by itself: pass it with --as, no function")
            report = bridge.check_outputs(outputs, method, vectors=vectors, partial=partial)
        elif function is None or vectors is not None or partial:
            raise ValueError("pass a function, FILE_OR_MODULE:FUNCTION, or --outputs FILE")
        else:
            report = bridge.check(load_object(function), method, params=dict(params), seed=seed)
    if figure and getattr(report, "shown", None) is not None:
        report.figure(figure)
    click.echo(report.to_json() if as_json else str(report))
    sys.exit(0 if report.passed else 1)
