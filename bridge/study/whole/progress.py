"""How far a study is: a bar where somebody watches, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

EVERY = 10.0  # seconds


@dataclass
class Progress:
    """Images that are done of `total`, at what speed, and how many failures there were.

    `shown` False: it says nothing.
    """

    total: int
    done: int = 0
    failures: int = 0
    shown: bool = True
    start: float = field(default_factory=time.monotonic)
    here: int = 0  # done by us, at our speed
    told: float = field(default_factory=time.monotonic)
    bar: Any = None

    def __enter__(self) -> Self:
        if self.shown and sys.stderr.isatty():
            self.bar = tqdm(
                total=self.total,
                initial=self.done,
                unit="image",
                file=sys.stderr,
                dynamic_ncols=True,
                leave=False,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.shown and self.here:
            self._tell()

    def advance(self, images: int, failures: int) -> None:
        """So many images more are done, with so many failures."""
        self.done, self.here = self.done + images, self.here + images
        self.failures += failures
        if self.bar is not None:
            self.bar.update(images)
            if self.failures:
                self.bar.set_postfix_str(f"{self.failures} failures")
        elif self.shown and time.monotonic() - self.told >= EVERY:
            self._tell()

    def _tell(self) -> None:
        self.told = time.monotonic()
        print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """ "1,024 of 10,000 images, 105.2 images/s, 1:25 left, 3 failures"."""
        rate = self.here / max(time.monotonic() - self.start, 1e-9)
        left = duration((self.total - self.done) / rate) if rate else "unknown"
        failures = f", {self.failures} failures" if self.failures else ""
        return f"{self.done:,} of {self.total:,} images, {rate:.1f} images/s, {left} left{failures}"


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(85), duration(4000), duration(200_000)
    ('1:25', '1:06:40', '2 days 7:33:20')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours}:{minutes:02}:{rest:02}" if hours or days else f"{minutes}:{rest:02}"
    return f"{days} days {clock}" if days else clock
