"""What a page draws, in the coordinates of its small SVGs: curves, bars, dots on a log scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.tables import Column, View, epsilon_text

SHARE = Column("share", format=".0%")
# A chart: its plot from LEFT to RIGHT, from TOP (100%) to BOTTOM (0%).
LEFT, RIGHT, TOP, BOTTOM = 36, 250, 10, 118
# A row of dots: from FIRST to LAST of so many units, and half its height.
FIRST, LAST, HALF = 8, 392, 10
# One shape an implementation, so that colour is not all that tells them apart: paths about (0, 0).
SHAPES = (
    "m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",  # circle
    "m-4-4h8v8h-8z",  # square
    "m0-5.5l5 9h-10z",  # triangle
    "m0-5.5l5 5.5l-5 5.5l-5-5.5z",  # diamond
    "m0 5.5l5-9h-10z",  # triangle downwards
    "m-1.5-5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z",  # cross
    "m-5-2h10v4h-10z",  # bar
    "m-2-5h4v10h-4z",  # bar upwards
)


def percent(share: float) -> str:
    """A share as text, "" where it is not known."""
    return SHARE.show({SHARE.name: share})


def chart(
    what: str,
    norm: str,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    bands: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    styles: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Shares over epsilon as lines, in the coordinates of a 260 x 150 drawing.

    `curves` are points (epsilon, share) by name, `bands` the two ends at each point, `styles` the
    class of a curve that has not the next colour.
    """
    largest = max(e for points in curves.values() for e, _ in points) or 1.0

    def at(epsilon: float, share: float) -> tuple[str, str]:
        x = LEFT + (RIGHT - LEFT) * epsilon / largest
        return f"{x:.1f}", f"{BOTTOM - (BOTTOM - TOP) * share:.1f}"

    drawn = []
    for name, points in curves.items():
        dots = []
        for epsilon, share in points:
            x, y = at(epsilon, share)
            says = f"{name} at {epsilon_text(epsilon, norm)}: {percent(share)}"
            dots.append({"x": x, "y": y, "says": says})
        ends = list(zip(points, (bands or {}).get(name, ()), strict=False))
        outline = [at(e, low) for (e, _), (low, _) in ends]
        outline += [at(e, high) for (e, _), (_, high) in reversed(ends)]
        band = " ".join(",".join(corner) for corner in outline)
        style = (styles or {}).get(name, "")
        drawn.append({"method": name, "points": dots, "band": band, "style": style})
    return {"what": what, "norm": norm, "largest": epsilon_text(largest, norm), "curves": drawn}


def bars(what: str, shares: Mapping[str, float]) -> dict[str, Any]:
    """Shares by name as bars, of 100 units at most."""
    rows = [(name, f"{100 * share:.1f}", percent(share)) for name, share in shares.items()]
    return {"what": what, "rows": rows}


def dots(view: View) -> dict[str, Any] | None:
    """A row a method, a dot an implementation, on one log scale; None where nothing was timed.

    From the columns of a view that hold times: values in seconds, shown in milliseconds.
    """
    timed = [j for j, column in enumerate(view.columns) if column.unit == "ms"]
    values = [[row[j] for j in timed] for row in view.values]
    known = [math.log10(v) for row in values for v in row if v is not None and v > 0]
    if not known:
        return None
    low, high = math.floor(min(known) + 1e-9), math.ceil(max(known) - 1e-9)
    high = max(high, low + 1)

    def at(power: float) -> str:
        return f"{FIRST + (LAST - FIRST) * (power - low) / (high - low):.1f}"

    rows = []
    for texts, line in zip(view.rows, values, strict=True):
        marks = [
            {
                "x": at(math.log10(value)),
                "shape": SHAPES[k % len(SHAPES)],
                "colour": k % 8,
                "says": f"{texts[0]} by {view.columns[j].name}: {texts[j]} ms",
            }
            for k, (j, value) in enumerate(zip(timed, line, strict=True))
            if value is not None and value > 0
        ]
        rows.append({"name": texts[0], "marks": marks})
    names = [
        {"name": view.columns[j].name, "shape": SHAPES[k % len(SHAPES)], "colour": k % 8}
        for k, j in enumerate(timed)
    ]
    ticks = [{"x": at(power), "text": _duration(power)} for power in range(low, high + 1)]
    ticks[0]["anchor"], ticks[-1]["anchor"] = "start", "end"
    return {"rows": rows, "names": names, "ticks": ticks}


def _duration(power: int) -> str:
    """10 to `power` seconds as people write it.

    >>> _duration(-2), _duration(1)
    ('10 ms', '10 s')
    """
    unit, shift = ("s", 0) if power >= 0 else ("ms", 3) if power >= -3 else ("µs", 6)
    return f"{10.0 ** (power + shift):g} {unit}"
