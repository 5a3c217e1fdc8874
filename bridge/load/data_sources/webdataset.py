"""`webdataset:FILES`: images in tar files, `train-{000..146}.tar`, read in place by index."""

from __future__ import annotations

import glob
import io
import json
import os
import re
import tarfile
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from bridge.load.data import ImageData, Request, data_source
from bridge.load.images import SUFFIXES, Pixels, Unreadable, decoded, in_colour
from bridge.load.labels import numbered
from bridge.load.names_of_files import FileNames

TEXTS = (".cls", ".label", ".txt", ".json")  # of a sample's members these may state its label


@data_source("webdataset")
def webdataset(request: Request) -> ImageData:
    """A sample is the files of one name up to its first dot: an image, and its label.

    The label is a number or a class's name, as the text of NAME.cls, or "label" in NAME.json.
    Braces and wildcards name several tar files. They are scanned once, and never unpacked.
    """
    index = _Index(_files(request.name))
    if any(index.texts) and not all(index.texts):
        raise ValueError(f"{index.called(index.texts.index(''))} has no label, and others have one")
    labelled = any(index.texts)
    number, names = _numbers(index.texts, request) if labelled else ({}, None)

    def label(place: int) -> int | None:
        return number[index.texts[place]] if labelled else None

    def read(place: int) -> tuple[Pixels, int | None]:
        return in_colour(index.pixels(place)), label(place)

    shown = names or request.class_names
    return ImageData(request.source, len(index), read, shown, labelled, index.called, label=label)


@dataclass
class _Index:
    """Where each image is: its tar file, from which byte on, and how many."""

    paths: list[Path]
    names: FileNames = field(default_factory=FileNames)
    files: array[int] = field(default_factory=lambda: array("L"))
    starts: array[int] = field(default_factory=lambda: array("Q"))
    sizes: array[int] = field(default_factory=lambda: array("Q"))
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number, path in enumerate(self.paths):
            try:
                with tarfile.open(path, "r:") as archive:
                    self._scan(number, archive)
            except (OSError, tarfile.TarError) as error:
                raise ValueError(f"{path} is not a readable tar file ({error})") from error

    def _scan(self, number: int, archive: tarfile.TarFile) -> None:
        key, image, text = "", None, ""
        for member in archive:
            folder, base = os.path.split(member.name)
            stem, dot, suffix = base.partition(".")
            if not member.isfile() or not dot:
                continue
            if (found := f"{folder}/{stem}") != key:
                self._add(number, image, text)
                key, image, text = found, None, ""
            suffix = f".{suffix.lower()}"
            if suffix in SUFFIXES and image is None:
                image = member
            elif suffix in TEXTS and not text:
                text = _text(archive, member, suffix)
            archive.members = []  # type: ignore[attr-defined] # what was seen need not be kept
        self._add(number, image, text)

    def _add(self, number: int, image: tarfile.TarInfo | None, text: str) -> None:
        if image is not None:
            self.names.extend([image.name])
            self.files.append(number)
            self.starts.append(image.offset_data)
            self.sizes.append(image.size)
            self.texts.append(text)

    def __len__(self) -> int:
        return len(self.names)

    def called(self, place: int) -> str:
        """The image's name, inside its tar file."""
        return f"{self.paths[self.files[place]]}/{self.names[place]}"

    def pixels(self, place: int) -> Pixels:
        """The image. Raises Unreadable, as of a file."""
        try:
            with self.paths[self.files[place]].open("rb") as file:
                file.seek(self.starts[place])
                data = io.BytesIO(file.read(self.sizes[place]))
        except OSError as error:
            raise Unreadable(f"{self.called(place)} is not a readable image ({error})") from error
        return decoded(data, self.called(place))


def _text(archive: tarfile.TarFile, member: tarfile.TarInfo, suffix: str) -> str:
    """The label that a member states, "" where it states none."""
    file = archive.extractfile(member)
    text = file.read().decode("utf-8", "replace").strip() if file else ""
    if suffix != ".json":
        return text
    try:
        found = json.loads(text)
    except ValueError:
        return ""
    stated = found.get("label", found.get("cls", "")) if isinstance(found, dict) else ""
    return str(stated)


def _numbers(texts: list[str], request: Request) -> tuple[dict[str, int], tuple[str, ...] | None]:
    """The class of each label text; numbers stay what they are."""
    known = sorted(set(texts))
    if all(re.fullmatch("[0-9]{1,9}", text) for text in known):
        return {text: int(text) for text in known}, None
    return numbered(known, request.class_names, request.source)


def _files(pattern: str) -> list[Path]:
    """The tar files that braces and wildcards name, in order. Raises ValueError for none."""
    found = []
    for each in _braces(os.path.expanduser(pattern)):
        there = sorted(glob.glob(each)) if glob.has_magic(each) else [each]
        found += [Path(path) for path in there]
    missing = [path for path in found if not os.path.isfile(path)]
    if missing or not found:
        raise ValueError(f"there is no file {missing[0] if missing else pattern}")
    return found


def _braces(pattern: str) -> list[str]:
    """ "a-{08..10}.tar" as ["a-08.tar", "a-09.tar", "a-10.tar"]."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if match is None:
        return [pattern]
    first, last = match.groups()
    before, behind = pattern[: match.start()], pattern[match.end() :]
    numbers = (str(k).zfill(len(first)) for k in range(int(first), int(last) + 1))
    return [each for number in numbers for each in _braces(f"{before}{number}{behind}")]
