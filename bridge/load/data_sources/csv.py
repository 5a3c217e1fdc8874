"""`csv:PATH`: a table of image files and their labels."""

from __future__ import annotations

import csv as library
import io
import os
import re
from pathlib import Path

from bridge.load.data import ImageData, Request, data_source
from bridge.load.images import Pixels, in_colour, read_image
from bridge.load.labels import numbered

PATH_NAMES = ("path", "file", "filename", "file_name", "filepath", "image", "image_path")
LABEL_NAMES = ("label", "class", "class_name", "target", "wnid", "synset", "category", "name")


@data_source("csv")
def csv(request: Request) -> ImageData:
    """Rows of path and label, in their order; paths count from the table's folder.

    With a header the columns are found by name (path, label), without one there are just the two.
    Without class names, labels that are all numbers stay what they are.
    """
    table = request.path
    rows = _rows(table)
    columns = _columns(rows[0][1], table) if rows else None
    pairs = [_pair(table, row, columns) for row in (rows[1:] if columns else rows)]
    texts = [text for _, text in pairs]
    if request.class_names is None and all(re.fullmatch("[0-9]{1,9}", text) for text in texts):
        number, class_names = {text: int(text) for text in texts}, None
    else:
        number, class_names = numbered(texts, request.class_names, str(table))

    def read(index: int) -> tuple[Pixels, int]:
        path, text = pairs[index]
        return in_colour(read_image(path)), number[text]

    return ImageData(
        request.source,
        len(pairs),
        read,
        class_names,
        name=lambda index: str(pairs[index][0]),
        label=lambda index: number[pairs[index][1]],
    )


def _rows(table: Path) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, with their line numbers."""
    if not os.path.isfile(table):
        raise ValueError(f"{table} is not a file")
    try:
        text = table.read_text(encoding="utf-8-sig")
        first = text.lstrip().partition("\n")[0]
        delimiter = next((mark for mark in ",;\t" if mark in first), ",")
        reader = library.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, library.Error) as error:
        raise ValueError(f"{table} is not a readable table, UTF-8 text ({error})") from error
    return [(line, row) for line, row in rows if any(row)]


def _columns(header: list[str], table: Path) -> tuple[int, int] | None:
    """Where path and label stand, or None for a first row that is no header."""
    names = [cell.casefold() for cell in header]
    paths = [names.index(name) for name in PATH_NAMES if name in names]
    if not paths:
        return None
    labels = [names.index(name) for name in LABEL_NAMES if name in names]
    several = len(labels) > 1 and "label" not in names
    if not labels or several or len(paths) > 1:
        raise ValueError(f"the columns of {table} are {header}: expected one path and one label")
    return paths[0], labels[0]


def _pair(
    table: Path, row: tuple[int, list[str]], columns: tuple[int, int] | None
) -> tuple[Path, str]:
    line, cells = row
    path_at, label_at = columns or (0, 1)
    if len(cells) <= max(path_at, label_at) or (columns is None and len(cells) != 2):
        raise ValueError(f"line {line} of {table} has {len(cells)} cells: expected path and label")
    path, text = table.parent / os.path.expanduser(cells[path_at]), cells[label_at]
    if not cells[path_at] or not os.path.isfile(path):
        raise ValueError(
            f"line {line} of {table} names {cells[path_at]!r}, and there is no file {path}: paths "
            "count from the table's folder, and a header is path,label"
        )
    if not text:
        raise ValueError(f"line {line} of {table} has no label")
    return path, text
