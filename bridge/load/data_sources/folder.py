"""`folder:PATH`: one folder a class, or images without labels."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from bridge.load.data import ImageData, Request, data_source
from bridge.load.images import SUFFIXES, Pixels, in_colour, read_image
from bridge.load.in_turn import InTurn
from bridge.load.labels import numbered
from bridge.load.names_of_files import FileNames

SPLITS = {"train", "training", "val", "valid", "validation", "test"}


@data_source("folder")
def folder(request: Request) -> ImageData:
    """The images below PATH in colour, gray ones repeated. Hidden files and folders do not count.

    PATH/CLASS/image.png: the folders are the classes, and take turns, so that the first n images
    show many of them. PATH/image.png: no labels. No file is opened before its image is asked for.
    """
    root = request.path
    if not os.path.isdir(root):
        raise ValueError(f"{root} is not a folder")
    top, below = _entries(root)
    names, counts, direct = FileNames(), dict.fromkeys(below, 0), False
    for name in below:  # of a million names those of one class are enough at a time
        found = sorted(_images(root / name), key=_parts)
        direct = direct or any("/" not in each for each in found)
        counts[name] = len(found)
        names.extend(f"{name}/{each}" for each in found)
    if not len(names):
        if not top:
            raise ValueError(
                f"{root} holds no images: expected {root.name}/CLASS/image.png, one folder a "
                f"class, or {root.name}/image.png without labels"
            )
        return _of_files(request, FileNames(top), None, None)
    if top:
        warnings.warn(
            f"left out: {len(top)} images beside the class folders of {root}, the first is "
            f"{top[0]}",
            stacklevel=3,
        )
    _refuse_splits(root, counts, direct)
    if request.class_names is not None:  # without them an empty folder is a class, too
        counts = {name: count for name, count in counts.items() if count}
    number, class_names = numbered(list(counts), request.class_names, str(root))
    if request.class_names is None:
        _warn_of_order(number, counts)
    classes = _Classes(list(counts.values()), [number[name] for name in counts])
    return _of_files(request, names, classes, class_names)


class _Classes:
    """Whose turn it is: images stand folder after folder, and classes take turns.

    `counts` are the images of each folder, `numbers` their classes; two folders may be of one.
    """

    def __init__(self, counts: Sequence[int], numbers: Sequence[int]) -> None:
        self._counts = counts
        self._firsts = list(itertools.accumulate(counts, initial=0))
        self._numbers = sorted(set(numbers))
        self._folders: dict[int, list[int]] = {number: [] for number in self._numbers}
        for folder, number in enumerate(numbers):
            self._folders[number].append(folder)
        self._order = InTurn(
            [sum(counts[folder] for folder in self._folders[n]) for n in self._numbers]
        )

    def label(self, index: int) -> int:
        """The class of the image whose turn is this one."""
        return self._numbers[self._order[index][0]]

    def place(self, index: int) -> int:
        """Where its name stands."""
        turn, rank = self._order[index]
        for folder in self._folders[self._numbers[turn]]:
            if rank < self._counts[folder]:
                return self._firsts[folder] + rank
            rank -= self._counts[folder]
        raise IndexError(index)


def _of_files(
    request: Request,
    names: FileNames,
    classes: _Classes | None,
    class_names: tuple[str, ...] | None,
) -> ImageData:
    root = str(request.path)

    def path(index: int) -> str:
        return os.path.join(root, names[index if classes is None else classes.place(index)])

    def label(index: int) -> int | None:
        return None if classes is None else classes.label(index)

    def read(index: int) -> tuple[Pixels, int | None]:
        return in_colour(read_image(Path(path(index)))), label(index)

    shown = class_names or request.class_names
    labelled = classes is not None
    return ImageData(request.source, len(names), read, shown, labelled, path, label=label)


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """The images and the folders right in a folder, in alphabetical order, without hidden ones.

    A link to an image that is gone is an image, too, so that somebody says that it is gone.
    """
    images, below = [], []
    try:
        with os.scandir(folder) as entries:
            for each in entries:
                if each.name.startswith(".") or each.name == "__MACOSX":
                    continue
                if each.is_dir():
                    below.append(each.name)
                elif os.path.splitext(each.name)[1].lower() in SUFFIXES and (
                    each.is_file() or (each.is_symlink() and not os.path.exists(each))
                ):
                    images.append(each.name)
    except OSError as error:
        raise ValueError(f"the folder {folder} cannot be read ({error})") from error
    return sorted(images), sorted(below)


def _images(folder: Path) -> Iterator[str]:
    """All images of a class, at any depth, by their names from there on."""
    found, below = _entries(folder)
    yield from found
    for name in below:
        if not os.path.islink(folder / name):  # a link may lead back up
            yield from (f"{name}/{each}" for each in _images(folder / name))


def _parts(name: str) -> list[str]:
    """As paths are ordered: folder by folder."""
    return name.split("/")


def _refuse_splits(root: Path, counts: dict[str, int], direct: bool) -> None:
    """PATH/train/CLASS/image.png is a data set one folder above its splits."""
    if not direct and {name.casefold() for name in counts} <= SPLITS:
        names = sorted(counts)
        raise ValueError(
            f"{root} holds the splits {', '.join(names)}, not classes: name one of them, "
            f"folder:{root / names[-1]}"
        )


def _warn_of_order(number: dict[str, int], counts: dict[str, int]) -> None:
    """Say where alphabetical numbers are probably not what is meant."""
    wrong = [name for name in number if name.isdecimal() and int(name) != number[name]]
    if wrong:
        warnings.warn(
            f"folders are numbered alphabetically: {wrong[0]!r} is class {number[wrong[0]]}; "
            "class_names= would make the names indices",
            stacklevel=4,
        )
    empty = [name for name, count in counts.items() if not count]
    if empty:
        warnings.warn(
            f"the folder {empty[0]!r} holds no images, and still is class {number[empty[0]]}",
            stacklevel=4,
        )
