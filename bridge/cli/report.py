"""`gradbridge report`: a report of one run directory, or of several side by side."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli._terminal import usage_errors


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(file_okay=False), metavar="RUN...")
@click.option(
    "-o",
    "--out",
    default="report.html",
    show_default=True,
    type=click.Path(),
    help="What to write: .html, .md, .tex, .pdf, or a folder for everything.",
)
@click.option("--title", help="The heading.")
def report(runs: tuple[str, ...], out: str, title: str | None) -> None:
    """Make a report of one run directory, of several side by side, or of a study's folder.

    One file that opens anywhere. Exit code 0 when it was written, 2 for wrong usage. For example:
    gradbridge report runs/first runs/second -o report.html
    """
    from bridge.report import report as write

    with usage_errors():
        try:
            if len(runs) == 1 and (Path(runs[0]) / "parts").is_dir():  # what `run` wrote
                from bridge.study.whole.study import Study

                path = Study.open(runs[0]).report(out, title=title)
            else:
                path = write(list(runs), out, title=title)
        except RuntimeError as error:  # no browser to print with
            raise click.ClickException(str(error)) from error
    click.echo(f"Wrote {path} ({_bytes(path) / 1e6:.1f} MB)")


def _bytes(path: Path) -> int:
    """The size of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
