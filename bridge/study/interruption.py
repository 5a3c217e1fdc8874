"""Ctrl-C and SIGTERM that end a run in order: what is finished is kept.

The command line handles signals with `orderly`. Then one that comes inside `interruptible` ends
what runs there with `Interrupted`; outside, while a model is being put back and while something is
being imported, it waits. Without `orderly` a Ctrl-C is Python's own KeyboardInterrupt, everywhere.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from bridge.core import state

RETRY = 0.05  # seconds after which a signal that could not end what runs tries again
# Some programs that run others pass a Ctrl-C on to one that has had it already.
SAME_PRESS = 0.5  # seconds
NAMES = {"SIGINT": "Ctrl-C"}
IMPORTING = "<frozen importlib._bootstrap>"
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
MESSAGE = "\n{}: ending in order, what is finished is kept; once more ends at once\n"


class Interrupted(KeyboardInterrupt):
    """A signal that asks to end."""

    def __init__(self, number: int) -> None:
        super().__init__(name_of(number))
        self.number = number


def name_of(number: int) -> str:
    """What people call a signal.

    >>> name_of(2), name_of(15)
    ('Ctrl-C', 'SIGTERM')
    """
    name = signal.Signals(number).name
    return NAMES.get(name, name)


class Stop:
    """Whether somebody asked to end: `asked` is the signal."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self.when = 0.0
        self.told = False  # whether what runs has been ended for it
        self.waits = False  # whether it could not end what runs, and will try again
        self.open = 0  # how many `interruptible` we are in

    @property
    def exit_code(self) -> int | None:
        """What a shell expects of a program that was asked to end."""
        return None if self.asked is None else 128 + self.asked

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signals."""
        now = time.monotonic()
        if self.asked is not None and not self.waits:
            if now - self.when > SAME_PRESS:
                os._exit(128 + number)
            return
        if self.asked is None:
            self.asked, self.when = number, now
            os.write(2, MESSAGE.format(name_of(number)).encode())
        self.waits = self.open > 0 and not self.told and _must_be_whole(frame)
        if self.waits:
            again = threading.Timer(RETRY, _signal_us, [self.asked])
            again.daemon = True
            again.start()
        elif self.open:
            self.end()

    def end(self) -> None:
        """End what runs, once, where somebody asked to."""
        if self.asked is not None and not self.told:
            self.told = True
            raise Interrupted(self.asked)


_stop: Stop | None = None


@contextmanager
def orderly() -> Iterator[Stop]:
    """Inside, signals end what is `interruptible`, and nothing else; a second one ends at once.

    Only in the main thread, which is where Python handles signals. A signal that is ignored stays
    so (nohup, and shells for jobs in the background).
    """
    global _stop
    stop = Stop()
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, stop.handle)
    outer, _stop = _stop, stop
    try:
        yield stop
    finally:
        _stop = outer
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, a signal raises Interrupted; one that came before does so at once."""
    stop = _stop
    if stop is None:
        yield
        return
    try:
        stop.open += 1
        stop.end()
        yield
    finally:
        stop.open -= 1


def end_if_asked() -> None:
    """Raise Interrupted where a signal came and nothing ended: a library swallowed it."""
    if _stop is not None and _stop.open:
        _stop.end()


def asked() -> bool:
    """Whether a signal asked to end."""
    return _stop is not None and _stop.asked is not None


def _signal_us(number: int) -> None:
    """Send the main thread a signal, which also ends its waiting."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


def _must_be_whole(frame: FrameType | None) -> bool:
    """Whether a model or the random state is just being frozen or put back, or a module imported.

    A module that is left half imported breaks whoever imports it next, and one in C++ may abort.
    """
    if frame is not None and frame.f_code.co_filename == contextlib.__file__:
        return True  # on the way there
    while frame is not None:
        if frame.f_code.co_filename in (state.__file__, IMPORTING):
            return True
        frame = frame.f_back
    return False
