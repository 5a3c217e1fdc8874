"""The page: one HTML file with everything in it, that runs nothing from elsewhere.

All text is shown as text. Tables come from their Views alone; what is more than a table (curves,
the similarity matrix, the gallery) is drawn here.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape

from bridge.record.record import Record
from bridge.report.content import (
    CHANGED,
    Metrics,
    Section,
    card,
    first_lines,
    further,
    reproduce,
    sections,
    side_by_side,
)
from bridge.report.drawings import dots, percent
from bridge.report.figures import similarity_matrix
from bridge.report.overview import accuracies, lead, remaining, told_apart, verdicts
from bridge.report.pictures import LOSSLESS, gallery
from bridge.report.text import ARROWS
from bridge.tables import Column, View
from bridge.tables.agreement import agreement
from bridge.tables.runtime import runtime
from bridge.tables.similarity import similarity

LONG = 60  # characters: longer texts take several lines
NAMED = 2  # disagreements that the first sentence names


def page(
    runs: Mapping[str, Record], *, title: str | None = None, metrics: Metrics | None = None
) -> str:
    """The whole page as text.

    Everything that comes from outside (names, paths, exception texts) is escaped, and a policy in
    the page allows only its own style and script, by their hashes.
    """
    parts = [
        {"id": f"run{index}", "name": name, **_run(run)}
        for index, (name, run) in enumerate(runs.items())
    ]
    side = side_by_side(runs) if len(runs) > 1 else None
    return rendered(
        "page.html",
        title=title or "Attributions and attacks, cross-checked",
        runs=parts,
        side=shown(side) if side else None,
        apart=told_apart(runs, side.view.marks) if side else "",
        further=[shown(section, f"further{i}") for i, section in enumerate(further(metrics))],
    )


def rendered(template: str, **content: Any) -> str:
    """A page of `bridge.report` by its template's name: all text is text, only our script runs."""
    files = resources.files("bridge.report")
    style, script = ((files / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (files / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "soft": _soft}
    return environment.get_template(template).render(
        **content,
        version=version("gradbridge"),
        # Only what stands here verbatim may style or run, and nothing may be fetched.
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def fragment(run: Record) -> str:
    """The verdict and the agreement as a short piece of HTML, for notebooks."""
    text = "".join(f"<p><strong>{html.escape(line)}</strong></p>" for line in first_lines(run))
    if len(run.agreement):
        view = agreement.view(run.agreement, run.tables)
        heads = "".join(f"<th>{html.escape(column.title)}</th>" for column in view.columns)
        lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in view.rows]
        rows = "".join(f"<tr>{line}</tr>" for line in lines)
        text += f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<div>{text}</div>"


def _soft(text: str) -> Markup:
    """Text that may break after each _."""
    return escape(text).replace("_", Markup("_<wbr>"))


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _run(run: Record) -> dict[str, Any]:
    """Everything that the page shows of one run."""
    rows, found = list(gallery(run)), sections(run)
    height, width = (int(size) for size in run.x.shape[2:])
    similar = heat(*similarity_matrix(run)) if len(run.similarity) else None
    timed = [dots(each.view) for each in found if each.name == runtime.name]
    made = card(run)
    return {
        "overview": _overview(run, found, made, similar),
        "lead": lead(rows),
        "size": (width, height),
        "grain": "coarse" if max(height, width) <= LOSSLESS else "",
        "finished": run.finished,
        "labelled": run.labelled,
        "card": made,
        "sections": [shown(section, i) for i, section in enumerate(_ordered(found))],
        "dots": {runtime.name: timed[0]} if timed else {},
        "matrices": {similarity.name: similar} if similar else {},
        "gallery": rows,
        "classes": sorted({row.label for row in rows}),
        "attacks": list(run.norms),
        "maps": [p.name for row in rows[:1] for p in row.maps],
        "reproduce": reproduce(run),
    }


def _overview(
    run: Record, found: Sequence[Section], made: Mapping[str, str], similar: Any
) -> dict[str, Any]:
    """The first screen of a run; where nothing was attacked, the similarity of its maps."""
    views = {section.name: section.view for section in found}
    return {
        "lines": first_lines(run, most=NAMED),
        "finished": run.finished,
        "subject": f"{made['Model']}; {made['Data']}",
        "tiles": accuracies(run),
        "verdicts": verdicts(views[agreement.name]) if agreement.name in views else None,
        "remaining": remaining(run) or {"heat": similar},
    }


def _ordered(found: Sequence[Section]) -> list[Section]:
    """Runtime first, which is read most; the rest as it comes."""
    return sorted(found, key=lambda section: section.name != runtime.name)


@dataclass(frozen=True)
class _Cell:
    """One cell: its text, how it looks, what to sort it by and what more there is to say."""

    text: str
    style: str = ""
    mark: str = ""
    value: str = ""
    detail: str = ""


def shown(section: Section, otherwise: object = "") -> dict[str, Any]:
    """A section as the page's template takes it; its place is called by its name, where it can."""
    view = section.view
    return {
        "slug": f"table-{section.name if section.name.isidentifier() else otherwise}",
        "name": section.name,
        "heading": section.heading,
        "notes": view.note.splitlines(),
        "remarks": view.remarks,
        "grid": _grid(view) if view.columns else None,
        "every": _grid(section.every) if section.every else None,
    }


def _grid(view: View) -> dict[str, Any]:
    """A table as its cells, and the marks that rows can be filtered by."""
    rows = [
        [
            _Cell(
                text,
                _style(column, value := _at(view.values, i, j, None), text),
                _at(view.marks, i, j, ""),
                _key(value, text),
                _at(view.details, i, j, ""),
            )
            for j, (column, text) in enumerate(zip(view.columns, row, strict=True))
        ]
        for i, row in enumerate(view.rows)
    ]
    marks = dict.fromkeys(cell.mark for row in rows for cell in row if cell.mark)
    return {
        "heads": [(column, ARROWS[column.better]) for column in view.columns],
        "rows": rows,
        "marks": list(marks) if len(marks) > 1 else [],
        "tips": any(cell.detail for row in rows for cell in row),
        "changed": CHANGED,
    }


def _at(cells: Sequence[Sequence[Any]], row: int, column: int, otherwise: Any) -> Any:
    """A cell of something that a View may leave out."""
    return cells[row][column] if cells else otherwise


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _key(value: Any, text: str) -> str:
    """What a cell is sorted by, where its text is not that number."""
    key = f"{value:.6g}" if _is_number(value) else ""
    return "" if key == text else key


def _style(column: Column, value: Any, text: str) -> str:
    """The classes of a cell: numbers to the right, the colour of its place in the span."""
    names = ["n"] if column.numeric else ["long"] if len(text) > LONG else []
    if column.span and _is_number(value):
        names.append(_colour(value, column.span))
    return " ".join(names)


def _colour(value: float, span: tuple[float, float]) -> str:
    """The colour of a value: by the tenth of the span that it is in."""
    low, high = span
    return f"span s{min(9, max(0, int(10 * (value - low) / (high - low))))}"


def heat(names: Sequence[str], matrix: np.ndarray) -> dict[str, Any]:
    """Methods x methods: their rank correlation, as the page's template takes it."""
    column = similarity["spearman"]
    rows = [
        [_Cell(text := column.show({column.name: v}), _style(column, v, text)) for v in line]
        for line in matrix.tolist()
    ]
    return {"caption": column.title, "names": names, "rows": list(zip(names, rows, strict=True))}
