"""How a file may be broken, whatever should be in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bridge
from bridge.load import load_weights
from tests.bad_inputs._entries import network

Spoil = Callable[[Path], Any]


class Executes:
    """Unpickling it makes a file: code that ran."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def safe(call: Callable[[Path], Any], place: Path) -> Any:
    """A call that must not execute what is in the file."""
    try:
        return call(place)
    finally:
        if (place / "ran").exists():
            raise RuntimeError("the code in the file was executed")


# How a file may be broken, whatever should be in it.


def absent(path: Path) -> None:
    """There is none."""


def a_folder(path: Path) -> None:
    path.mkdir()


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("This is not what you think.\n")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(4096))


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_broken_link(path: Path) -> None:
    path.symlink_to(path.parent / "nothing")


def a_circular_link(path: Path) -> None:
    path.symlink_to(path)


def unreadable(path: Path) -> None:
    """Without permission to read; root may read it all the same, and then it is broken."""
    path.write_bytes(b"\x93")
    path.chmod(0)


BROKEN: list[tuple[str, Spoil]] = [
    ("missing", absent),
    ("a folder", a_folder),
    ("empty", empty),
    ("text", text),
    ("zeros", zeros),
    ("a named pipe", a_pipe),
    ("a broken link", a_broken_link),
    ("a link to itself", a_circular_link),
    ("unreadable", unreadable),
]


READERS: list[tuple[str, str, Callable[[Path], Any]]] = [
    ("npz", "a.npz", lambda path: bridge.load_batch(f"npz:{path}")),
    ("csv", "a.csv", lambda path: bridge.load_batch(f"csv:{path}")),
    ("safetensors", "w.safetensors", lambda path: load_weights(network(), path)),
    ("pt", "w.pt", lambda path: load_weights(network(), path)),
    ("python", "m.py", lambda path: bridge.load_model(f"python:{path}:network")),
]


def broken(name: str, spoil: Spoil, read: Callable[[Path], Any], place: Path) -> Any:
    path = place / name
    spoil(path)
    try:
        return read(path)
    finally:
        if path.is_file():
            path.chmod(0o600)
