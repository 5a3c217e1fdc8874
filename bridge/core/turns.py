"""One at a time: what changes a model's state or the process's random state takes its turn."""

from __future__ import annotations

import os
import threading

from bridge.core.warn import warn

PATIENCE = 60.0  # seconds after which who waits says what for


class Turn:
    """A lock that its own thread may enter again, as a context manager."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._holder = ""

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=PATIENCE):
            warn(
                f"waiting for the thread {self._holder}, which is inside of a run or of "
                "`with frozen(...)`: threads take turns, and who starts threads from inside and "
                "waits for them waits for ever"
            )
            self._lock.acquire()
        self._holder = threading.current_thread().name

    def __exit__(self, *error: object) -> None:
        self._lock.release()


# One for both: the random state is the process's own, whatever the model, and two locks would be
# taken in either order.
_turn = Turn()


def turn() -> Turn:
    """Inside, no other thread is inside; a thread may enter again.

    Whatever looks at a model's modes and hooks, changes them or seeds waits here, on one model as
    on several: threads get the numbers that they would get one after another.
    """
    return _turn


def _renew() -> None:
    """A forked child has none of its parent's other threads, one of which may be inside."""
    global _turn
    _turn = Turn()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
