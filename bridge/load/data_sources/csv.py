"""`csv:PATH`: a table of image files and their labels."""

from __future__ import annotations

import csv as library
import os
import re
from array import array
from collections.abc import Iterator
from pathlib import Path

from bridge.load.data import ImageData, Request, data_source
from bridge.load.images import Pixels, in_colour, read_image
from bridge.load.labels import numbered
from bridge.load.names_of_files import FileNames

PATH_NAMES = ("path", "file", "filename", "file_name", "filepath", "image", "image_path")
LABEL_NAMES = ("label", "class", "class_name", "target", "wnid", "synset", "category", "name")


@data_source("csv")
def csv(request: Request) -> ImageData:
    """Rows of path and label, in their order; paths count from the table's folder.

    With a header the columns are found by name (path, label), without one there are just the two.
    Without class names, labels that are all numbers stay what they are.
    """
    table = request.path
    # Of a million rows neither paths nor labels are kept as a million objects.
    paths, classes, numbers = FileNames(), array("L"), dict[str, int]()
    for path, text in _pairs(table):
        paths.extend([str(path)])
        classes.append(numbers.setdefault(text, len(numbers)))
    texts = list(numbers)
    if request.class_names is None and all(re.fullmatch("[0-9]{1,9}", text) for text in texts):
        number, class_names = {text: int(text) for text in texts}, None
    else:
        number, class_names = numbered(texts, request.class_names, str(table))

    def label(index: int) -> int:
        return number[texts[classes[index]]]

    def read(index: int) -> tuple[Pixels, int]:
        return in_colour(read_image(Path(paths[index]))), label(index)

    return ImageData(
        request.source, len(paths), read, class_names, name=paths.__getitem__, label=label
    )


def _pairs(table: Path) -> Iterator[tuple[Path, str]]:
    """The image and the label of each row."""
    columns: tuple[int, int] | None = None
    for number, row in enumerate(_rows(table)):
        if number == 0 and (columns := _columns(row[1], table)):
            continue
        yield _pair(table, row, columns)


def _rows(table: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with their line numbers."""
    if not os.path.isfile(table):
        raise ValueError(f"{table} is not a file")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            first = next((line for line in file if line.strip()), "")
            delimiter = next((mark for mark in ",;\t" if mark in first), ",")
            file.seek(0)
            reader = library.reader(file, delimiter=delimiter, strict=True)
            for row in reader:
                cells = [cell.strip() for cell in row]
                if any(cells):
                    yield reader.line_num, cells
    except (OSError, UnicodeDecodeError, library.Error) as error:
        raise ValueError(f"{table} is not a readable table, UTF-8 text ({error})") from error


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
