"""The report of a study: a page, Markdown, LaTeX, a folder with everything. No computation."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from bridge.record.place import check_folder
from bridge.report.content import Metrics
from bridge.report.study.album import Group, Pictured, groups
from bridge.report.study.content import card, sections
from bridge.report.study.figures import write_figures
from bridge.report.study.page import TITLE, page
from bridge.report.text import block, environment, escaped, tex
from bridge.report.writing import check_kind, print_page, write_table, write_text
from bridge.tables.study import Measured, Summary, summary

__all__ = ["latex", "markdown", "report_study"]


def report_study(
    study: Pictured,
    path: str | Path = "study.html",
    *,
    title: str | None = None,
    metrics: Metrics | None = None,
    pictures: bool = True,
) -> Path:
    """Write the report of a study, finished or not; returns `path`.

    What it is, the ending of `path` says, as for `bridge.report.report`: `.html`, `.md` with
    pictures beside it, `.tex`, `.pdf`, or a folder with all of it, the summary's tables as CSV and
    Parquet, and the figures as PNG at 300 dpi and SVG. Only the images that are shown are looked
    at, some dozens of however many there are; without `pictures` none. `metrics` are further tables
    by name.

    Raises ValueError for another ending, OSError where nothing can be written, RuntimeError where a
    PDF is asked for and no browser can print it.
    """
    path = Path(path)
    check_kind(path)
    check_folder(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = summary(study)
    if path.suffix == ".tex":
        write_text(path, latex(study, found))
        return path
    album = groups(study) if pictures else []
    if path.suffix == ".md":
        folder = path.parent / f"{path.stem}_figures"
        drawn = write_figures(found, album, folder, dpi=100)
        shown = [picture.relative_to(path.parent) for picture in drawn]
        write_text(path, markdown(study, found, album, shown, title))
        return path
    html = page(study, found, album, title=title, metrics=metrics)
    if path.suffix == ".html":
        write_text(path, html)
    elif path.suffix == ".pdf":
        print_page(html, path)
    else:
        _everything(study, found, album, path, html, title)
    return path


def _everything(
    study: Measured,
    found: Summary,
    album: list[Group],
    folder: Path,
    html: str,
    title: str | None,
) -> None:
    tables = folder / "tables"
    check_folder(tables)
    tables.mkdir(parents=True, exist_ok=True)
    write_text(folder / "report.html", html)
    write_text(folder / "tables.tex", latex(study, found))
    pictures = write_figures(found, album, folder / "figures", kinds=("png", "svg"))
    shown = [p.relative_to(folder) for p in pictures if p.suffix == ".png"]
    write_text(folder / "report.md", markdown(study, found, album, shown, title))
    for name, frame in found.tables.items():
        write_table(tables / name, frame)


def markdown(
    study: Measured,
    found: Summary,
    album: list[Group],
    pictures: list[Path],
    title: str | None = None,
) -> str:
    """First lines, the summary's tables, the pictures and what was studied, as GitHub's Markdown.

    `pictures` are paths as the text shall link them. Text from outside stays text.
    """
    lines = [f"# {escaped(title or TITLE)}", ""]
    lines += [part for line in found.first_lines for part in (f"**{escaped(line)}**", "")]
    headings = {group.name: group for group in album}
    above = [picture for picture in pictures if picture.stem not in headings]
    lines += [f"![{p.stem}]({quote(p.as_posix())})\n" for p in above]
    for section in sections(found, study.proof):
        lines += block(section, "##")
    for picture in pictures:
        if group := headings.get(picture.stem):
            lines += [f"## {escaped(group.heading)}", "", escaped(group.note), ""]
            lines += [f"![{picture.stem}]({quote(picture.as_posix())})", ""]
    lines += ["## What was studied", ""]
    lines += [f"- {key}: {escaped(value)}" for key, value in card(study).items()]
    return "\n".join(lines).rstrip() + "\n"


def latex(study: Measured, found: Summary) -> str:
    """A table environment each, note and remarks below; needs booktabs. Everything is escaped."""
    parts = ["% needs \\usepackage{booktabs}; made by: gradbridge report"]
    parts.append(tex(" ".join(found.first_lines)))
    of = card(study).get("Data", "")
    parts += [environment(section, of) for section in sections(found, study.proof)]
    return "\n\n".join(parts) + "\n"
