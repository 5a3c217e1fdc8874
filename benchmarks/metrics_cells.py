"""Cells of a table that takes hours: values of each image, kept as they come, so that it goes on.

A cell is a method and a metric on the images of one chunk. All are in one JSON, rewritten after
each; who starts the script again does only what is not there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

DIGITS = 6  # significant ones that are kept of a value


class Cells:
    """The cells in a file, made under `asked`. Raises ValueError where it was made otherwise."""

    def __init__(self, path: Path, asked: Mapping[str, Any]) -> None:
        self.path = path
        self.asked = json.loads(json.dumps(asked))
        self.found: dict[str, dict[str, dict[str, Any]]] = {}
        if path.is_file():
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["asked"] != self.asked:
                raise ValueError(f"{path} was made otherwise: {kept['asked']}; remove it to begin")
            self.found = kept["cells"]

    def get(self, method: str, metric: str, first: int) -> dict[str, Any] | None:
        """A cell by its first image; None where it is not there."""
        return self.found.get(method, {}).get(metric, {}).get(str(first))

    def put(self, method: str, metric: str, first: int, cell: Mapping[str, Any]) -> None:
        """Keep a cell at once: the file is whole at any moment."""
        values = [None if v != v else float(f"{v:.{DIGITS}g}") for v in cell["values"]]
        chunks = self.found.setdefault(method, {}).setdefault(metric, {})
        chunks[str(first)] = {**cell, "values": values}
        part = self.path.with_suffix(".partial")
        rows = json.dumps({"asked": self.asked, "cells": self.found})
        part.write_text(rows.replace('}}, "', '}},\n"') + "\n", encoding="utf-8")
        os.replace(part, self.path)

    def frame(self, firsts: Mapping[int, int]) -> pd.DataFrame:
        """A row a method, metric and image of the chunks {first: images}: value, error."""
        rows = []
        for method, by_metric in self.found.items():
            for metric, chunks in by_metric.items():
                for first, count in firsts.items():
                    cell = chunks.get(str(first))
                    if cell is None:
                        continue
                    values = cell["values"] or [None] * count
                    rows += [
                        {
                            "method": method,
                            "metric": metric,
                            "image": first + k,
                            "value": float("nan") if value is None else value,
                            "error": cell.get("error", ""),
                        }
                        for k, value in enumerate(values)
                    ]
        return pd.DataFrame(rows, columns=["method", "metric", "image", "value", "error"])
