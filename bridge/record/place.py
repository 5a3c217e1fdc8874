"""Files and folders that are there whole or not at all, whatever stops their writer.

They are written beside their place, in a folder whose name ends in `.partial`, and renamed. What a
killed writer left is removed by the next one that writes to that place.
"""

from __future__ import annotations

import datetime
import errno
import hashlib
import itertools
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nobody can tell there what a killed writer left, and it stays
    fcntl = None  # type: ignore[assignment]

LONGEST = 100  # bytes of a name that is made from another one; a file system takes 255
# A folder that others use (a mounted one, the working directory of a shell) cannot be renamed.
IN_USE = {errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EINVAL}


def short_name(text: str) -> str:
    """A text as a file's name: without what a path may not hold, and not too long.

    >>> short_name("python:nets/mine.py:network"), short_name(".."), len(short_name("a" * 300))
    ('python_nets_mine.py_network', '_.', 100)
    """
    plain = re.sub(r"[^\w.-]+", "_", text)
    plain = re.sub(r"^[.-]", "_", plain) or "_"
    if len(plain.encode()) <= LONGEST:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return plain.encode()[: LONGEST - 9].decode(errors="ignore") + "_" + digest


def free(path: Path) -> Path:
    """The path, or the first of path-2, path-3, ... where nothing is."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(each for each in itertools.chain([path], numbered) if not each.exists())


def free_folder(name: str) -> Path:
    """A folder below `runs` that is not there yet, named after the time and what runs."""
    time = f"{datetime.datetime.now():%Y%m%d-%H%M%S}"
    return free(Path("runs") / f"{time}-{short_name(name)}")


def check_folder(path: str | Path) -> None:
    """Raise ValueError where no folder can be at this place, for a file that stands there."""
    for each in (Path(path), *Path(path).parents):
        if each.exists():
            if not each.is_dir():
                raise ValueError(f"{each} exists and is no folder")
            return


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A file to write in place of `path`, which changes only once all of it is written.

    Raises ValueError where something stands there that is no file.
    """
    place = Path(path).resolve()
    if place.exists() and not place.is_file():
        raise ValueError(f"{path} exists and is no file")
    check_folder(place.parent)
    with _partial(place) as folder:
        file = folder / place.name
        yield file
        reach_the_disk(file)
        os.replace(file, place)
        reach_the_disk(place.parent)


@contextmanager
def replacing_folder(
    path: str | Path, *, last: str, keep: bool = False, sync: bool = True
) -> Iterator[Path]:
    """A folder to fill, which takes the place of `path` once all of it is written.

    It replaces a folder in one step, with all that is in there. One that shall `keep` its other
    files, or cannot be renamed, is filled file by file: `last` is taken away first and comes last,
    so that who looks for that one sees all or nothing. `sync` waits for the disk.
    """
    place = Path(path).resolve()
    with _partial(place) as folder:
        yield folder
        for file in (*folder.iterdir(), folder) if sync else ():
            reach_the_disk(file)
        if keep or Path.cwd().is_relative_to(place) or not _renamed(folder, place):
            _move_into(folder, place, last)
        if sync:
            reach_the_disk(place.parent)


def _renamed(folder: Path, place: Path) -> bool:
    """Put a folder in the place of another; False where the system cannot."""
    try:
        if not place.exists():
            os.rename(folder, place)
            return True
        with _partial(place) as old:
            os.rmdir(old)
            os.rename(place, old)
            try:
                os.rename(folder, place)
            except BaseException:
                os.rename(old, place)
                raise
            return True
    except OSError as error:
        if error.errno in IN_USE:
            return False
        raise


def _move_into(folder: Path, place: Path, last: str) -> None:
    """Put the files of a folder into another, one by one."""
    place.mkdir(exist_ok=True)
    (place / last).unlink(missing_ok=True)
    reach_the_disk(place)
    for file in sorted(folder.iterdir(), key=lambda each: (each.name == last, each.name)):
        shutil.move(file, place / file.name)
    reach_the_disk(place)


@contextmanager
def _partial(place: Path) -> Iterator[Path]:
    """A new folder beside a place, locked for as long as we live; what is left in it goes."""
    # A mounted folder may stand where nobody may write.
    beside = os.access(place.parent, os.W_OK) or not place.is_dir()
    where = place.parent if beside else place
    where.mkdir(parents=True, exist_ok=True)
    stem = short_name(place.name)
    _remove_leftovers(where, stem)
    folder = where / f"{stem}.{secrets.token_hex(4)}.partial"
    folder.mkdir()
    lock = _lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _remove_leftovers(where: Path, stem: str) -> None:
    """Remove what killed writers left: a living one has its folder locked."""
    name = re.compile(re.escape(stem) + r"\.[0-9a-f]{8}\.partial")
    for folder in [each for each in where.iterdir() if name.fullmatch(each.name)]:
        lock = _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """A lock on a folder, which ends with its process; None where it cannot be had."""
    if fcntl is None:
        return None
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def reach_the_disk(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk and not only in memory."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":  # which has no such thing
        return
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (is_folder and error.errno == errno.EINVAL):  # some file systems refuse folders
            raise
    finally:
        os.close(handle)
