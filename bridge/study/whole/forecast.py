"""What a study will take, from one timed batch, before it is paid for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bridge.study.whole import parts
from bridge.study.whole.items import Item, item_of
from bridge.study.whole.part_work import in_order, process
from bridge.study.whole.progress import duration
from bridge.study.whole.setting import Asked

WORKERS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Forecast:
    """Images and parts; passes, seconds and bytes an image, as one batch had them; the plan."""

    images: int
    parts: int
    part_size: int
    batch: int
    forwards: float
    backwards: float
    reading: float
    computing: float
    size: float
    failures: int
    plan: str

    def hours(self, workers: int) -> tuple[int, float]:
        """With so many processes: parts of the busiest, and the seconds that it takes."""
        most = -(-self.parts // workers)
        images = min(self.images, most * self.part_size)
        return most, images * (self.reading + self.computing)

    def __str__(self) -> str:
        """A page for a terminal."""
        passes = self.forwards + self.backwards
        lines = [
            f"{self.images:,} images in {self.parts:,} parts of {self.part_size}; measured on "
            f"{self.batch} of them"
            + (f", of which {self.failures} rows failed" * bool(self.failures)),
            "",
            self.plan,
            "",
            f"passes: {self.forwards:.2f} forwards and {self.backwards:.2f} backwards an image "
            f"({passes * self.images:,.0f} in all)",
            f"time: {1000 * self.computing:.1f} ms an image, and {1000 * self.reading:.1f} ms to "
            "read it (in parallel with --workers)",
            f"size: {self.size:,.0f} bytes an image, {_bytes(self.size * self.images)} in all",
            "",
            f"{'processes':>9}  {'parts each':>10}  {'time':>16}  command of the first",
        ]
        for workers in WORKERS:
            if workers > self.parts:
                break
            most, seconds = self.hours(workers)
            shard = f"--shard 1/{workers}" if workers > 1 else ""
            lines.append(f"{workers:>9}  {most:>10,}  {duration(seconds):>16}  {shard}".rstrip())
        return "\n".join(lines)


def forecast(asked: Asked, data: Any, places: Sequence[int]) -> Forecast:
    """One batch twice: the first sets up kernels and memory, the second is timed."""
    indices = [int(index) for index in places[: asked.batch_size]]
    start = time.perf_counter()
    items: list[Item] = [item_of(data, index) for index in indices]
    reading = (time.perf_counter() - start) / len(indices)
    process(asked.work, items)
    start = time.perf_counter()
    found = process(asked.work, items)
    computing = (time.perf_counter() - start) / len(indices)
    part = in_order(asked.work, found)
    size = sum(len(data) for _, _, data in parts.encoded_files(part).values()) / len(indices)
    return Forecast(
        len(places),
        -(-len(places) // asked.part_size),
        asked.part_size,
        len(indices),
        found.spent.get("forwards", 0) / len(indices),
        found.spent.get("backwards", 0) / len(indices),
        reading,
        computing,
        size,
        len(found.rows["failures"]),
        _plan(asked),
    )


def _plan(asked: Asked) -> str:
    """The passes of the methods, and what is measured of their maps."""
    plan, names = asked.plan.explain(), ", ".join(asked.work.metrics)
    said = f"metrics, of each attribution's maps and of the controls': {names}"
    return f"{plan}\n\n{said}" if names else plan


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
