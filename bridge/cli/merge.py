"""`gradbridge merge`: the shards of a study put together."""

from __future__ import annotations

import sys

import click

from bridge.cli._terminal import usage_errors
from bridge.cli.run import report


@click.command()
@click.argument("out")
@click.argument("shards", nargs=-1)
def merge(out: str, shards: tuple[str, ...]) -> None:
    """Put the SHARDS of a study, folders that `gradbridge run --shard i/n` filled, together in OUT.

    Every file is checked against its hash; parts that are missing, or in two shards with other
    numbers, are refused. Without SHARDS, OUT is what all of them wrote to. Exit codes as of `run`.
    """
    from bridge.study.whole.merge import merge as put_together

    with usage_errors():
        study = put_together(out, shards)
    sys.exit(report(study))
