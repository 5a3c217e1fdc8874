"""`gradbridge figure`: a figure for a paper, of some images and methods of a run directory."""

from __future__ import annotations

import click

from bridge.cli._parse import names
from bridge.cli._terminal import usage_errors


@click.command()
@click.argument("run", type=click.Path(file_okay=False))
@click.option(
    "-o",
    "--out",
    "outs",
    multiple=True,
    default=("figure.pdf",),
    show_default=True,
    type=click.Path(),
    help="What to write: .pdf, .svg or .png, again for more than one.",
)
@click.option(
    "-i",
    "--image",
    "images",
    multiple=True,
    type=click.IntRange(min=0),
    help="The number of an image, again for more.  [default: the first 4]",
)
@click.option("-m", "--methods", metavar="NAME,NAME,...", help="Methods.  [default: all]")
@click.option(
    "--width", default="double", show_default=True, help="single, double, or inches: of a column."
)
@click.option("--scale", default="method", show_default=True, help="method, or shared by all maps.")
@click.option("--changes", is_flag=True, help="Show what each attack changed too.")
def figure(
    run: str,
    outs: tuple[str, ...],
    images: tuple[int, ...],
    methods: str | None,
    width: str,
    scale: str,
    changes: bool,
) -> None:
    """Make a figure for a paper: a row an image, a column a method, fonts embedded.

    The same bytes from run to run. For example: gradbridge figure runs/first -i 0 -i 3
    -m saliency,pgd --width single -o maps.pdf -o maps.png
    """
    from bridge.record.record import Record
    from bridge.visualize import figure as draw

    with usage_errors():
        found = draw(
            Record.load(run),
            images or None,
            names(methods) if methods else None,
            width=float(width) if width[:1].isdigit() else width,
            scale=scale,
            changes=changes,
        )
        for path in found.save(*outs):
            click.echo(f"Wrote {path} ({found.width:.2f} x {found.height:.2f} in)")
