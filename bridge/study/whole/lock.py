"""One process at a time on one study, or on one shard of it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from bridge.study.whole.place import Folder, Place

try:
    import fcntl
except ImportError:  # Windows: as on an object store
    fcntl = None  # type: ignore[assignment]

# On a store without locks a process says now and then that it lives; who was silent for so long
# (seconds) is taken for dead.
SILENT, EVERY = 600.0, 60.0


class InUse(ValueError):
    """Another process works on this study."""


@dataclass
class Held:
    """A lock that is held; `beat` says on an object store that its process lives."""

    place: Place
    name: str
    spoken: float = field(default=float("-inf"))
    silent: bool = False

    def beat(self) -> None:
        """Say so, at most every minute."""
        if not self.silent and time.time() - self.spoken > EVERY:
            self.spoken = time.time()
            self.place.write(self.name, json.dumps(_holder()).encode())


@contextmanager
def locked(place: Place, shard: str = "") -> Iterator[Held]:
    """Inside, nobody else works on this study, or on this shard ("1-of-3") of it.

    Whoever works on the whole works alone. In a folder the system's own locks are used, which end
    with their process, however that ends. An object store has none: who finds no living process
    there goes on, and two that start in the same second both do, which costs time and no numbers,
    since parts are whole or not there. Raises InUse, which names the process.
    """
    if isinstance(place, Folder) and fcntl is not None:
        with _flocked(place, "lock", shared=bool(shard)):
            if not shard:
                place.clear()  # what killed writers left: nobody else writes now
                yield Held(place, "lock", silent=True)
                return
            with _flocked(place, f"lock-{shard}", shared=False):
                yield Held(place, "lock", silent=True)
        return
    name = f"locks/{shard or 'whole'}.json"
    for other, holder in _others(place):
        if other == name or not shard or other == "locks/whole.json":
            raise InUse(_refusal(place, holder))
    held = Held(place, name)
    held.beat()
    try:
        yield held
    finally:
        with suppress(Exception):
            place.remove(name)


@contextmanager
def _flocked(place: Folder, name: str, *, shared: bool) -> Iterator[None]:
    place.root.mkdir(parents=True, exist_ok=True)
    handle = os.open(place.root / name, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(_refusal(place, _said(os.pread(handle, 4096, 0)))) from None
        said = json.dumps(_holder()).encode()
        os.pwrite(handle, said, 0)
        os.truncate(handle, len(said))
        yield
    finally:
        os.close(handle)


def _holder() -> dict[str, Any]:
    return {"process": os.getpid(), "host": socket.gethostname(), "time": time.time()}


def _said(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _others(place: Place) -> list[tuple[str, dict[str, Any]]]:
    """The living holders of locks on an object store."""
    found = []
    for name in place.listed("locks"):
        try:
            holder = _said(place.read(name))
        except FileNotFoundError:
            continue
        if _lives(holder):
            found.append((name, holder))
    return found


def _lives(holder: dict[str, Any]) -> bool:
    if time.time() - float(holder.get("time", 0)) > SILENT:
        return False
    if holder.get("host") != socket.gethostname():
        return True
    try:
        os.kill(int(holder.get("process", 0)), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError):
        return True
    return True


def _refusal(place: Place, holder: dict[str, Any]) -> str:
    who = f"process {holder.get('process')} on {holder.get('host')}" if holder else "another one"
    return (
        f"{place} is being worked on by {who}: wait for it, or end it; whatever it finished is kept"
    )
