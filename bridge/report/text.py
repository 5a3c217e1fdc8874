"""A comparison as Markdown for a pull request, and as LaTeX tables (booktabs) for a paper."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bridge.record.record import Record
from bridge.report.content import (
    Metrics,
    Section,
    card,
    first_lines,
    further,
    reproduce,
    sections,
    side_by_side,
)
from bridge.tables import View

ARROWS = {"higher": "↑", "lower": "↓", "": ""}


def markdown(
    runs: Mapping[str, Record],
    pictures: Sequence[Path] = (),
    title: str | None = None,
    metrics: Metrics | None = None,
) -> str:
    """Verdict, card, tables, how to reproduce them, and pictures, as GitHub's Markdown.

    `pictures` are paths as the text shall link them. Text from outside stays text.
    """
    lines = [f"# {escaped(title or 'Comparison of attributions and attacks')}", ""]
    if len(runs) > 1:
        lines += block(side_by_side(runs), "##")
    for name, run in runs.items():
        lines += [] if len(runs) == 1 else [f"## {escaped(name)}", ""]
        lines += [part for line in first_lines(run) for part in (f"**{escaped(line)}**", "")]
        lines += [f"- {key}: {escaped(value)}" for key, value in card(run).items()] + [""]
        for section in sections(run):
            lines += block(section, "###")
        lines += fenced(reproduce(run))
    for section in further(metrics):
        lines += block(section, "##")
    lines += [f"![{p.stem}]({quote(p.as_posix())})" for p in pictures]
    return "\n".join(lines).rstrip() + "\n"


def block(section: Section, level: str) -> list[str]:
    """Heading, note, table and remarks, each with an empty line below."""
    view = section.view
    lines = [f"{level} {escaped(section.heading)}", ""]
    lines += [escaped(view.note), ""] if view.note else []
    lines += [_table(view), ""] if view.columns else []
    lines += [f"- {escaped(remark)}" for remark in view.remarks]
    return lines + [""] * bool(view.remarks)


def _table(view: View) -> str:
    heads = [f"{column.title} {ARROWS[column.better]}".rstrip() for column in view.columns]
    rules = ["---:" if column.numeric else "---" for column in view.columns]
    rows = [[escaped(cell) for cell in line] for line in (heads, *view.rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (rows[0], rules, *rows[1:]))


def fenced(code: str) -> list[str]:
    """Code in a fence that no line of it can close."""
    longest = max(map(len, re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, code, fence, ""]


# Of tags, tables, links, code, emphasis, strikethrough, GitHub's formulas and escapes themselves.
_MARKS = {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {c: f"&#{ord(c)};" for c in "|[]`*$\\"}
_MARKDOWN = str.maketrans(_MARKS)
# Only in some places: emphasis around words, but not in snake_case; ~~struck~~; addresses that
# become links by themselves; the beginnings of headings, lists and rules, and a heading's end.
_IN_PLACES = re.compile(
    r"(?<!\w)_|_(?!\w)|~(?=\S)|(?<=\S)~|(?<=\w):(?=//)|(?<=www)\."
    r"|^#(?=#*(\s|$))|^[+-](?=\s|$)|^-(?=-+$)|^=(?==*$)|^\d+(?=[.)](\s|$))|(?<=\s)#+$"
)


def escaped(text: Any) -> str:
    """Text that stays text in Markdown, on one line: no tags, no links, no code, no table bars."""
    line = " ".join(str(text).split()).translate(_MARKDOWN)
    return _IN_PLACES.sub(lambda found: "".join(f"&#{ord(c)};" for c in found[0]), line)


def latex(runs: Mapping[str, Record], metrics: Metrics | None = None) -> str:
    """A table environment each, note and remarks below; needs booktabs. Everything is escaped."""
    parts = ["% needs \\usepackage{booktabs}; made by: gradbridge report"]
    if len(runs) > 1:
        parts.append(environment(side_by_side(runs), ", ".join(runs)))
    for name, run in runs.items():
        known = " ".join(first_lines(run))
        parts.append(rf"\paragraph{{{tex(name)}.}} {tex(known)}" if len(runs) > 1 else tex(known))
        of = run.manifest["model"]["name"] + (f" ({name})" if len(runs) > 1 else "")
        parts += [environment(section, of) for section in sections(run)]
    parts += [environment(section) for section in further(metrics)]
    return "\n\n".join(parts) + "\n"


def environment(section: Section, of: str = "") -> str:
    """The table with what stands below it; a paragraph where there are only remarks."""
    view = section.view
    caption = tex(", ".join(filter(None, [section.heading, of])))
    below = tex(" ".join(filter(None, [view.note, *view.remarks])))
    if not view.columns:
        return rf"\paragraph{{{caption}.}} {below}"
    heads = [tex(column.title) + _ARROWS[column.better] for column in view.columns]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{{''.join('lr'[column.numeric] for column in view.columns)}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        r"\midrule",
        *(" & ".join(map(tex, row)) + r" \\" for row in view.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    lines += [r"\par\smallskip", rf"{{\footnotesize {below}\par}}"] if below else []
    return "\n".join([*lines, r"\end{table}"])


_ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "": ""}
_TEX = str.maketrans(
    {c: "\\" + c for c in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)


def tex(text: Any) -> str:
    """Text that stays text in LaTeX, on one line."""
    return " ".join(str(text).translate(_TEX).split())
