"""`folder:PATH`: one folder a class, or images without labels."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from pathlib import Path

from bridge.load.data import ImageData, Request, data_source
from bridge.load.images import SUFFIXES, Pixels, read_image
from bridge.load.labels import numbered

SPLITS = {"train", "training", "val", "valid", "validation", "test"}


@data_source("folder")
def folder(request: Request) -> ImageData:
    """The images below PATH in colour, gray ones repeated. Hidden files and folders do not count.

    PATH/CLASS/image.png: the folders are the classes, and take turns, so that the first n images
    show many of them. PATH/image.png: no labels.
    """
    root = request.path
    if not os.path.isdir(root):
        raise ValueError(f"{root} is not a folder")
    top, below = _entries(root)
    classes = {each.name: _images(each) for each in below}
    if not any(classes.values()):
        if not top:
            raise ValueError(
                f"{root} holds no images: expected {root.name}/CLASS/image.png, one folder a "
                f"class, or {root.name}/image.png without labels"
            )
        return _of_files(request, [(path, None) for path in top], None)
    if top:
        warnings.warn(
            f"left out: {len(top)} images beside the class folders of {root}, the first is "
            f"{top[0].name}",
            stacklevel=3,
        )
    _refuse_splits(root, classes)
    if request.class_names is not None:  # without them an empty folder is a class, too
        classes = {name: paths for name, paths in classes.items() if paths}
    number, class_names = numbered(list(classes), request.class_names, str(root))
    if request.class_names is None:
        _warn_of_order(number, classes)
    files = [(path, number[name]) for name, paths in sorted(classes.items()) for path in paths]
    return _of_files(request, _in_turn(files), class_names)


def _of_files(
    request: Request,
    files: list[tuple[Path, int | None]],
    class_names: tuple[str, ...] | None,
) -> ImageData:
    def read(index: int) -> tuple[Pixels, int | None]:
        path, label = files[index]
        pixels = read_image(path)
        return (pixels.repeat(3, axis=0) if len(pixels) == 1 else pixels), label

    labelled = not files or files[0][1] is not None
    names = class_names or request.class_names
    return ImageData(
        request.source, len(files), read, names, labelled, lambda index: str(files[index][0])
    )


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images and the folders right in a folder, in alphabetical order, without hidden ones."""
    try:
        found = sorted(
            each
            for each in folder.iterdir()
            if not each.name.startswith(".") and each.name != "__MACOSX"
        )
    except OSError as error:
        raise ValueError(f"the folder {folder} cannot be read ({error})") from error
    images = [each for each in found if each.suffix.lower() in SUFFIXES and os.path.isfile(each)]
    return images, [each for each in found if os.path.isdir(each)]


def _images(folder: Path) -> list[Path]:
    """All images of a class, at any depth."""
    found, below = _entries(folder)
    for each in below:
        if not each.is_symlink():  # a link may lead back up
            found += _images(each)
    return sorted(found)


def _refuse_splits(root: Path, classes: dict[str, list[Path]]) -> None:
    """PATH/train/CLASS/image.png is a data set one folder above its splits."""
    direct = any(path.parent.parent == root for paths in classes.values() for path in paths)
    if not direct and {name.casefold() for name in classes} <= SPLITS:
        names = sorted(classes)
        raise ValueError(
            f"{root} holds the splits {', '.join(names)}, not classes: name one of them, "
            f"folder:{root / names[-1]}"
        )


def _warn_of_order(number: dict[str, int], classes: dict[str, list[Path]]) -> None:
    """Say where alphabetical numbers are probably not what is meant."""
    wrong = [name for name in number if name.isdecimal() and int(name) != number[name]]
    if wrong:
        warnings.warn(
            f"folders are numbered alphabetically: {wrong[0]!r} is class {number[wrong[0]]}; "
            "class_names= would make the names indices",
            stacklevel=4,
        )
    empty = [name for name, paths in classes.items() if not paths]
    if empty:
        warnings.warn(
            f"the folder {empty[0]!r} holds no images, and still is class {number[empty[0]]}",
            stacklevel=4,
        )


def _in_turn(files: list[tuple[Path, int]]) -> list[tuple[Path, int | None]]:
    """The first image of every class, then the second, ..."""
    seen: Counter[int] = Counter()
    order = []
    for path, label in files:
        order.append((seen[label], label, path))
        seen[label] += 1
    return [(path, label) for _, label, path in sorted(order)]
