"""Where a study is kept: a folder, or an object store by its URL; files appear there whole."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from bridge.record.place import reach_the_disk

PARTIAL = ".partial"


class Place(Protocol):
    """Files by names such as "images/00000.parquet"."""

    def read(self, name: str) -> bytes:
        """The whole file. Raises FileNotFoundError."""

    def write(self, name: str, data: bytes) -> None:
        """Put a file there, in place of an older one: all of it or nothing."""

    def remove(self, name: str) -> None:
        """Take a file away, where it is there."""

    def listed(self, folder: str) -> dict[str, int]:
        """The files right in a folder, with their sizes, by their whole names."""


@dataclass(frozen=True)
class Folder:
    """A folder of this machine. A file is written beside its place, synced and renamed."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
        try:
            with beside.open("xb") as file:
                file.write(data)
            reach_the_disk(beside)
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        reach_the_disk(path.parent)

    def remove(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def listed(self, folder: str) -> dict[str, int]:
        try:
            with os.scandir(self.root / folder) as entries:
                return {
                    f"{folder}/{each.name}": each.stat().st_size
                    for each in entries
                    if each.is_file() and not each.name.endswith(PARTIAL)
                }
        except FileNotFoundError:
            return {}

    def clear(self) -> None:
        """Remove what killed writers left. Only who holds the lock may."""
        for path in [*self.root.glob(f"*{PARTIAL}"), *self.root.glob(f"*/*{PARTIAL}")]:
            if path.is_file():
                path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Remote:
    """An object store by an fsspec URL (s3://, gs://, memory://): an object appears whole."""

    url: str

    def __str__(self) -> str:
        return self.url

    @cached_property
    def _there(self) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs

            system, root = url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            raise ValueError(
                f"{self.url} needs a library that is not here ({error}): "
                'pip install "gradbridge[remote]"'
            ) from error
        return system, root.rstrip("/")

    def read(self, name: str) -> bytes:
        system, root = self._there
        data: bytes = system.cat_file(f"{root}/{name}")
        return data

    def write(self, name: str, data: bytes) -> None:
        system, root = self._there
        system.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        system.pipe_file(f"{root}/{name}", data)

    def remove(self, name: str) -> None:
        system, root = self._there
        if system.exists(f"{root}/{name}"):
            system.rm_file(f"{root}/{name}")

    def listed(self, folder: str) -> dict[str, int]:
        system, root = self._there
        system.invalidate_cache()
        try:
            found = system.ls(f"{root}/{folder}", detail=True)
        except FileNotFoundError:
            return {}
        return {
            f"{folder}/{each['name'].rpartition('/')[2]}": int(each["size"])
            for each in found
            if each["type"] == "file"
        }


def place_of(where: str | Path | Place) -> Place:
    """The place that a path or a URL names.

    >>> place_of("runs/first")
    Folder(root=PosixPath('runs/first'))
    """
    if not isinstance(where, str | Path):
        return where
    if isinstance(where, str) and "://" in where:
        return Remote(where)
    return Folder(Path(where).expanduser())


def sha256(data: bytes) -> str:
    """The hash that sidecars state."""
    return hashlib.sha256(data).hexdigest()
