"""How results look in a notebook: facts as a small table, outputs as small pictures; no widgets.

All text is escaped, and pictures are in the text itself: a saved notebook needs nothing else.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

if TYPE_CHECKING:
    from bridge.core.types import Run

SHOWN = 8  # pictures
SIDE = 112  # pixels on the screen
# Below 0, 0, above 0: told apart with every kind of colour vision.
BELOW, ZERO, ABOVE = (33, 102, 172), (247, 247, 247), (178, 24, 43)
FULL = 98.0  # the percentile of |value| from which on the colour is full

Bytes = npt.NDArray[np.uint8]


def table(rows: Iterable[Sequence[Any]], heads: Sequence[Any] = ()) -> str:
    """Rows of texts as an HTML table; without `heads` the first cell of each is its head.

    >>> table([("a", "<b>")])
    '<table><tr><th>a</th><td>&lt;b&gt;</td></tr></table>'
    """
    first = "td" if heads else "th"
    lines = [_line(heads, "th", "th")] if heads else []
    lines += [_line(row, first, "td") for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _line(row: Sequence[Any], first: str, rest: str) -> str:
    kinds = [first, *[rest] * (len(row) - 1)]
    cells = (f"<{k}>{html.escape(str(c))}</{k}>" for k, c in zip(kinds, row, strict=True))
    return f"<tr>{''.join(cells)}</tr>"


def run_html(run: Run) -> str:
    """A Run: what ran, its first pictures with their scale in words, what it took."""
    output = run.output.detach().float().cpu()
    sizes = run.params.get("epsilon")
    several = output.ndim == 5
    shown = output[-1] if several else output
    notes = [note for note in (_at(sizes, several), _more(len(shown))) if note]
    found, words = pictures(run.method, shown[:SHOWN]) if shown.ndim == 4 else ([], "")
    text = "; ".join(part for part in (words, *notes) if part)
    facts = [
        ("shape", " × ".join(map(str, output.shape))),
        ("parameters", _listed(run.params)),
        ("passes", f"{run.forwards} images forwards, {run.backwards} backwards"),
        ("seconds", f"{run.seconds:.3g}"),
        *(("noticed", each.message) for each in run.noticed),
    ]
    title = f"{html.escape(run.method)} by {html.escape(run.implementation)}"
    return f"<div><h4>{title}</h4>{''.join(found)}<p>{html.escape(text)}</p>{table(facts)}</div>"


def _at(sizes: Any, several: bool) -> str:
    return f"at epsilon {list(sizes)[-1]:g}, the last of {len(sizes)}" if several else ""


def _more(count: int) -> str:
    return f"the first {SHOWN} of {count} images" if count > SHOWN else ""


def _listed(params: Mapping[str, Any]) -> str:
    texts = (
        f"{name}=tensor{tuple(value.shape)}" if isinstance(value, Tensor) else f"{name}={value!r}"
        for name, value in params.items()
    )
    return ", ".join(texts) or "none"


def gallery(columns: Mapping[str, Sequence[str]]) -> str:
    """Pictures in columns under their names."""
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    rows = zip(*columns.values(), strict=True)
    lines = ("".join(f"<td>{each}</td>" for each in row) for row in rows)
    return f"<table><tr>{heads}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def pictures(method: str, output: Tensor) -> tuple[list[str], str]:
    """Pictures of outputs (n, c, h, w) by the kind of the method, and their scale in words.

    Without a method they are images.
    """
    from bridge.core.registry import methods

    values = output.detach().float().cpu().numpy()
    if not method or method in methods("attack"):
        low, high = min(0.0, np.nanmin(values)), max(1.0, np.nanmax(values))
        pixels, words = _images(values, low, high), "the attacked images"
    else:
        flat = np.nan_to_num(values.sum(1, dtype=np.float64))
        limit = float(np.percentile(np.abs(flat), FULL)) or float(np.abs(flat).max()) or 1.0
        pixels = _maps(flat, limit)
        words = (
            "channels summed; blue is below 0, white is 0, red is above 0, full colour from "
            f"±{limit:.3g} on"
        )
    return list(map(_picture, pixels)), words


def _images(values: npt.NDArray[Any], low: Any, high: Any) -> Bytes:
    scaled = ((np.nan_to_num(values) - low) / (high - low) * 255).round().clip(0, 255)
    if scaled.shape[1] != 3:
        scaled = scaled.mean(1, keepdims=True).repeat(3, axis=1)
    return np.ascontiguousarray(scaled.transpose(0, 2, 3, 1).astype(np.uint8))


def _maps(flat: npt.NDArray[Any], limit: float) -> Bytes:
    share = (flat / limit).clip(-1, 1)[..., None]
    ends = np.where(share < 0, np.array(BELOW), np.array(ABOVE))
    mixed = np.array(ZERO) + (ends - np.array(ZERO)) * np.abs(share)
    return np.ascontiguousarray(mixed.round().astype(np.uint8))


def _picture(pixels: Bytes) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    look = f"width:{SIDE}px;margin:2px;image-rendering:pixelated"
    return f'<img alt="" style="{look}" src="data:image/png;base64,{data}">'
