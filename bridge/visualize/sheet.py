"""A sheet of pictures in rows and columns, drawn for print: the same bytes each time."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from bridge.visualize.heatmap import PERCENTILE

KINDS = (".pdf", ".svg", ".png")
DPI = 300
# In inches: least side of a picture, the gap between two, the names at the left, a line of text.
LEAST, GAP, LEFT, LINE = 0.3, 0.04, 0.16, 0.115
BAR = 0.36  # the colour bar with its words
POINTS = 7.0
# Fonts are in the file: in a PDF as TrueType, which publishers ask for, in an SVG as outlines. No
# text is a formula, and no bytes depend on when it was written.
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": POINTS,
    "text.parse_math": False,
    "axes.linewidth": 0.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "gradbridge",
}
METADATA: dict[str, dict[str, None]] = {
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
}


@dataclass(frozen=True)
class Column:
    """Pictures below one another: (n, h, w) on a scale up to `largest`, or (n, h, w, 3)."""

    head: str
    pictures: Tensor
    largest: float | None = None
    below: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure that was laid out, `width` x `height` inches. `save` writes it."""

    columns: Sequence[Column]
    rows: Sequence[str]
    scale: str
    width: float

    @property
    def height(self) -> float:
        """Inches: the heads, the rows, and the colour bar where something has one."""
        signed = any(column.largest is not None for column in self.columns)
        return self.head + len(self.rows) * (self.tall + self.below + GAP) + BAR * signed

    @property
    def side(self) -> float:
        """How wide a picture is."""
        return (self.width - LEFT - GAP * len(self.columns)) / len(self.columns)

    @property
    def tall(self) -> float:
        """How high a picture is."""
        height, width = self.columns[0].pictures.shape[1:3]
        return self.side * int(height) / int(width)

    @property
    def head(self) -> float:
        """The room for the names of the columns."""
        return LINE * max(len(_wrapped(each.head, self.side)) for each in self.columns) + GAP

    @property
    def below(self) -> float:
        """The room for a line below each picture, where one has any."""
        return LINE * any(any(column.below) for column in self.columns)

    def save(self, *paths: str | Path) -> list[Path]:
        """Write .pdf, .svg or .png (300 dpi), by the ending; the same bytes each time.

        Returns the paths. Raises ValueError for another ending, OSError where none can be written.
        """
        found = [Path(path) for path in paths]
        for path in found:
            if path.suffix not in KINDS:
                raise ValueError(
                    f"unknown kind of figure {path.suffix!r}: expected {', '.join(KINDS)}"
                )
        for path, data in [(path, self._bytes(path.suffix)) for path in found]:
            path.write_bytes(data)
        return found

    def _repr_png_(self) -> bytes:
        """The figure, in a notebook."""
        return self._bytes(".png")

    def _bytes(self, suffix: str) -> bytes:
        import matplotlib.style

        buffer = io.BytesIO()
        # Whatever the user's own settings are, the figure is the same.
        with matplotlib.style.context(["default", STYLE]):
            drawn = _drawn(self)
            drawn.savefig(buffer, format=suffix[1:], dpi=DPI, metadata=METADATA[suffix])
        return buffer.getvalue()


def _wrapped(text: str, inches: float) -> list[str]:
    """Text in lines of so many inches."""
    return textwrap.wrap(text, _letters(inches)) or [""]


def _fitted(text: str, inches: float) -> str:
    """As much of a text as has room."""
    most = _letters(inches)
    return text if len(text) <= most else text[: most - 1] + "…"


def _letters(inches: float) -> int:
    """How many letters have room, each taken as 0.6 of its height."""
    return max(4, int(inches * 72 / POINTS / 0.6))


def _drawn(shown: Figure) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    width, height, side, tall = shown.width, shown.height, shown.side, shown.tall
    canvas = Canvas(figsize=(width, height))  # no pyplot: nothing global, no display
    FigureCanvasAgg(canvas)
    signed = None
    for j, column in enumerate(shown.columns):
        left = LEFT + j * (side + GAP)
        heading = "\n".join(_wrapped(column.head, side))
        at = ((left + side / 2) / width, 1 - (shown.head - GAP / 2) / height)
        canvas.text(*at, heading, ha="center", va="bottom")
        for i, name in enumerate(shown.rows):
            bottom = height - shown.head - tall - i * (tall + shown.below + GAP)
            box = (left / width, bottom / height, side / width, tall / height)
            axes = canvas.add_axes(box, xticks=[], yticks=[])
            drawn = _picture(axes, column, i)
            signed = drawn or signed
            where: dict[str, Any] = {"ha": "center", "transform": axes.transAxes}
            if column.below:
                axes.text(0.5, -0.02, _fitted(column.below[i], side), va="top", **where)
            if j == 0:
                at = (-LEFT / 2 / side, 0.5)
                axes.text(*at, _fitted(name, tall), va="center", rotation=90, **where)
    if signed is not None:
        _colour_bar(canvas, shown, signed)
    return canvas


def _picture(axes: Any, column: Column, row: int) -> Any:
    """Draw one; what the colour bar is of, None for a picture as it is."""
    axes.spines[:].set_visible(column.largest is not None)
    picture = column.pictures[row].cpu().numpy()
    how: dict[str, Any] = {"interpolation": "nearest", "aspect": "auto"}
    if column.largest is None:
        axes.imshow(picture, **how)
        return None
    return axes.imshow(picture, cmap="bwr", vmin=-column.largest, vmax=column.largest, **how)


def _colour_bar(canvas: Any, shown: Figure, drawn: Any) -> None:
    """The bar below all, its ends as numbers of the one scale, or of each method's own."""
    largest = drawn.norm.vmax
    long = min(1.4, shown.width / 3)
    box = (LEFT / shown.width, (BAR - 0.17) / shown.height, long / shown.width, 0.07 / shown.height)
    bar = canvas.colorbar(drawn, cax=canvas.add_axes(box), orientation="horizontal")
    if shown.scale == "shared":
        ends, of = [f"−{largest:.2g}", "0", f"{largest:.2g}"], "all maps"
    else:
        ends, of = ["−1", "0", "1"], "each column's maps"
    bar.set_ticks([-largest, 0, largest], labels=ends)
    bar.ax.tick_params(length=2, pad=1, labelsize=POINTS - 1)
    bar.outline.set_linewidth(0.5)
    share = f"{PERCENTILE:g}th percentile of |value|, {of}"
    words = f"full colour: {share}" if shown.scale == "shared" else f"1 is the {share}"
    room = shown.width - LEFT - long - 3 * GAP
    text = "\n".join(_wrapped(words, room))
    at = ((LEFT + long + 3 * GAP) / shown.width, (BAR - 0.08) / shown.height)
    canvas.text(*at, text, va="top", fontsize=POINTS - 1)
