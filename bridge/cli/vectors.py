"""`gradbridge vectors`: right answers that code in any framework can be held against."""

from __future__ import annotations

import click

from bridge.cli._terminal import usage_errors


@click.command()
@click.option(
    "--out", required=True, metavar="DIR", help="An empty folder, or one of older test vectors."
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="METHOD",
    help="Of this method alone (may be given several times); by default of all.",
)
def vectors(out: str, methods: tuple[str, ...]) -> None:
    """Write test vectors: networks, images, parameters, right answers and how far one may be off.

    JSON and safetensors, about 2 MB, which any language reads; index.json explains them. Compute
    the cases of a method, save arrays by case id, and judge them:
    gradbridge check --outputs mine.npz --as pgd --vectors DIR
    """
    import json

    from bridge.vectors import write

    with usage_errors():
        folder = write(out, methods or None)
    index = json.loads((folder / "index.json").read_text())
    size = sum(each["bytes"] for each in index["files"].values())
    cases = sum(index["cases"].values())
    click.echo(f"{folder}: {cases} cases of {len(index['cases'])} methods, {size / 1e6:.1f} MB")
    for name, reason in index["left_out"].items():
        click.echo(f"left out: {name}: {reason}")
