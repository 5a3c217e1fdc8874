"""What people see while they wait: what it will take, a bar, and the first numbers."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

EVERY = 10.0  # seconds between lines where nobody can see a bar move
LONG = 5.0  # seconds that are worth a word before
FORMAT = "{desc} {percentage:3.0f}%|{bar:20}| {postfix}"


class Progress:
    """A bar in expected seconds on a terminal, a line every ten seconds elsewhere; on stderr.

    It only shows: with `quiet`, nothing. The time left is what is expected of the rest, stretched
    as what is done was.
    """

    def __init__(self, expected: float, what: str, *, quiet: bool) -> None:
        self.expected, self.what, self.quiet = expected, what, quiet
        self.done, self.doing = 0.0, ""
        self.start = time.monotonic()
        self._bar: Any = None
        self._over = threading.Event()

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.start

    @property
    def left(self) -> float:
        """Seconds that the rest will take."""
        if self.done <= 0:
            return self.expected
        return max(0.0, self.expected - self.done) * self.spent / self.done

    def begin(self, doing: str) -> None:
        """Say what runs now."""
        self.doing = doing
        self._show()

    def advance(self, seconds: float) -> None:
        """Something is done that was expected to take so long."""
        self.done = min(self.expected, self.done + seconds)
        self._show()

    @property
    def speaks(self) -> bool:
        """Whether it takes long enough that somebody waits for a word."""
        return not self.quiet and self.expected >= LONG

    def say(self, text: str) -> None:
        """A line that stays."""
        if self.speaks:
            tqdm.write(text, file=sys.stderr)

    @contextmanager
    def shown(self) -> Iterator[Progress]:
        """Show it for as long as this lasts."""
        if self.quiet:
            yield self
            return
        self.say(self.what)
        terminal = sys.stderr.isatty()
        if terminal:
            self._bar = tqdm(total=self.expected, file=sys.stderr, bar_format=FORMAT, leave=False)
        every = 1.0 if terminal else EVERY
        ticking = threading.Thread(target=self._tick, args=(every,), daemon=True)
        ticking.start()
        try:
            yield self
        finally:
            self._over.set()
            ticking.join()
            if self._bar is not None:
                self._bar.close()

    def _tick(self, every: float) -> None:
        while not self._over.wait(every):
            if self._bar is not None:
                self._show()
            else:
                share = self.done / self.expected if self.expected else 1.0
                text = f"{self.doing}: {share:.0%} after {self.spent:.0f} s, {self._left()}"
                print(text, file=sys.stderr, flush=True)

    def _show(self) -> None:
        if self._bar is not None and not self._over.is_set():
            self._bar.n = min(self.done, self.expected)
            self._bar.set_description_str(self.doing, refresh=False)
            self._bar.set_postfix_str(self._left())

    def _left(self) -> str:
        return f"about {self.left:.0f} s left"
