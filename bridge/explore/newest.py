"""One piece of work at a time; of those that wait, only the newest of each page and kind starts.

What has started cannot be interrupted: it is one call into the engine, which holds its lock
(`bridge.core.turns`) until the model is put back as it was. So the newest request waits for at most
one older piece of each kind, and everything between is dropped before it starts.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

Found = TypeVar("Found")

PAGES = 64  # whose newest numbers are known


class Superseded(Exception):
    """A newer request of the same page and kind has come."""


class Newest:
    """The queue. Requests carry a number, which a page counts up."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._newest: dict[tuple[str, str], int] = {}

    async def run(
        self, page: str, kind: str, number: int, work: Callable[[], Found], *, alone: bool = True
    ) -> Found:
        """What `work` returns, in a thread of its own. Raises Superseded where it is too old.

        Without `alone` it runs beside the others: long work, whose single calls take turns in the
        engine, so that a slider waits for one of them and not for all.
        """
        key = page, kind
        if number <= self._newest.get(key, -1):
            raise Superseded
        while len(self._newest) >= PAGES and key not in self._newest:
            self._newest.pop(next(iter(self._newest)))
        self._newest[key] = number
        if not alone:
            return await in_thread(work)
        async with self._turn:
            if self._newest.get(key, number) != number:
                raise Superseded
            return await in_thread(work)


async def in_thread(work: Callable[[], Found]) -> Found:
    """What `work` returns or raises, in a thread that nobody waits for when the server ends."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Found] = loop.create_future()

    def tell(found: Any, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(found)
        else:
            future.set_exception(error)

    def go() -> None:
        found, raised = None, None
        try:
            found = work()
        except Exception as error:
            raised = error
        with suppress(RuntimeError):  # the server has ended meanwhile
            loop.call_soon_threadsafe(tell, found, raised)

    threading.Thread(target=go, daemon=True, name="explore: work").start()
    return await future
