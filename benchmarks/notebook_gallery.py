"""Run the notebooks and write them with their pictures as HTML: a gallery to look through.

It is not committed. An index shows the first picture of each.

pip install ".[dev]" && python benchmarks/notebook_gallery.py --out gallery
"""

from __future__ import annotations

import html
from pathlib import Path

import click
import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


@click.command()
@click.option("--out", default="gallery", show_default=True, type=click.Path(path_type=Path))
def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    items = []
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=600).execute()
        page, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
        head = "<!doctype html><meta charset=utf-8><body style='max-width:70em;margin:auto'>"
        (out / f"{path.stem}.html").write_text(head + page)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        pictures = [data for output in outputs if (data := output.get("data", {}).get("image/png"))]
        title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
        shown = (
            f"<br><img width=600 src='data:image/png;base64,{pictures[0].strip()}'>"
            if pictures
            else ""
        )
        items.append(f"<li><a href='{path.stem}.html'>{html.escape(title)}</a>{shown}</li>")
        click.echo(f"{path.stem}: {len(pictures)} pictures")
    (out / "index.html").write_text(
        f"<!doctype html><meta charset=utf-8><title>Notebooks</title><ol>{''.join(items)}</ol>"
    )


if __name__ == "__main__":
    main()
