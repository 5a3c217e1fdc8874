"""Sources of images: files that are missing, broken or without an end; counts and sizes."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import bridge
from tests.bad_inputs._entries import network
from tests.bad_inputs._expectations import (
    Case,
    Either,
    Error,
    Expectation,
    Right,
    Warns,
    anything,
)
from tests.bad_inputs._offline import offline
from tests.bad_inputs._spoil import BROKEN, READERS, Executes, Spoil, broken, empty, safe, text

# Images and labels.


def arrays(place: Path, **given: Any) -> str:
    np.savez(place / "a.npz", **given)
    return f"npz:{place / 'a.npz'}"


GOOD = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)


FOUR = np.array([0, 1, 2, 3])


def floats(change: float) -> Any:
    found = GOOD.astype(np.float32) / 255
    found[2, 1, 1, 0] = change
    return found


ARRAYS: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("of other names", {"pictures": GOOD, "classes": FOUR}, ("pictures", "images", "labels")),
    ("without labels", {"images": GOOD}, ("images", "labels")),
    ("without images", {"labels": FOUR}, ("images", "labels")),
    ("of nothing", {}, ("images", "labels")),
    ("no image", {"images": GOOD[:0], "labels": FOUR[:0]}, ("no images",)),
    ("one label too few", {"images": GOOD, "labels": FOUR[:3]}, ("4 images", "3 labels")),
    ("a label for all", {"images": GOOD, "labels": np.array(1)}, ("labels", r"\(n,\)")),
    ("one-hot labels", {"images": GOOD, "labels": np.eye(4)}, ("labels", r"\(n,\)")),
    ("float labels", {"images": GOOD, "labels": FOUR / 2}, ("labels", "integers")),
    ("negative labels", {"images": GOOD, "labels": FOUR - 1}, ("-1", "from 0")),
    ("labels of objects", {"images": GOOD, "labels": np.array([None] * 4, dtype=object)},
        ("Object|pickle|object",)),
    ("flat images", {"images": GOOD.reshape(4, -1), "labels": FOUR}, (r"\(n, h, w\)",)),
    ("two channels", {"images": GOOD[..., :2], "labels": FOUR}, ("1 or 3 channels",)),
    ("films", {"images": GOOD[None], "labels": FOUR[:1]}, (r"\(n, h, w",)),
    ("no pixels", {"images": GOOD[:, :0], "labels": FOUR}, (r"\(n, h, w",)),
    ("NaN", {"images": floats(np.nan), "labels": FOUR}, ("image 2", "NaN")),
    ("infinity", {"images": floats(np.inf), "labels": FOUR}, ("image 2", "infinity")),
    ("int64", {"images": GOOD.astype(np.int64), "labels": FOUR}, ("int64", "uint8")),
    ("booleans", {"images": GOOD > 127, "labels": FOUR}, ("bool", "uint8")),
    ("complex", {"images": GOOD + 0j, "labels": FOUR}, ("complex", "uint8|float")),
    ("16 bits up to 255", {"images": GOOD.astype(np.uint16), "labels": FOUR}, ("uint16", "uint8")),
]  # fmt: skip


def archive(given: dict[str, Any], place: Path) -> Any:
    return bridge.load_batch(arrays(place, **given), n=4)


def shown_as_they_are(place: Path) -> Any:
    """Floats of 0 to 255: kept, and refused where they are used."""
    x, labels = bridge.load_batch(arrays(place, images=GOOD.astype(np.float32), labels=FOUR), n=4)
    return bridge.run("saliency", network(), x, labels)


def with_code(place: Path) -> Any:
    given = {"images": np.array([Executes(place / "ran")], dtype=object), "labels": FOUR[:1]}
    np.savez(place / "a.npz", allow_pickle=True, **given)
    return bridge.load_batch(f"npz:{place / 'a.npz'}")


def truncated_archive(place: Path) -> Any:
    source = arrays(place, images=GOOD, labels=FOUR)
    path = place / "a.npz"
    path.write_bytes(path.read_bytes()[:-200])
    return bridge.load_batch(source)


def huge_archive(place: Path) -> Any:
    """A header that promises more than any machine has."""
    header = io.BytesIO()
    declared = {"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**16, 2**16, 3)}
    np.lib.format.write_array_header_1_0(header, declared)
    labels = io.BytesIO()
    np.lib.format.write_array(labels, FOUR)
    with zipfile.ZipFile(place / "a.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
        archive.writestr("labels.npy", labels.getvalue())
    return bridge.load_batch(f"npz:{place / 'a.npz'}")


def one_array(place: Path) -> Any:
    np.save(place / "a.npy", GOOD)
    return bridge.load_batch(f"npz:{place / 'a.npy'}")


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(GOOD[0]).save(path)
    return path


def truncated_picture(path: Path) -> None:
    path.write_bytes(picture(path).read_bytes()[:60])


def a_bomb(path: Path) -> None:
    """A PNG of a few bytes that says it has 10^10 pixels."""
    data = bytearray(picture(path).read_bytes())
    data[16:24] = struct.pack(">II", 100_000, 100_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(bytes(data))


def transparent(path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 100)).save(path)


def animated(path: Path) -> None:
    frames = [Image.new("L", (8, 8), value) for value in (0, 255)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


PICTURES: list[tuple[str, Spoil, tuple[str, ...]]] = [
    ("empty", empty, ("not a readable image",)),
    ("text", text, ("not a readable image",)),
    ("truncated", truncated_picture, ("not a readable image",)),
    ("a decompression bomb", a_bomb, ("not a readable image", "pixels|bomb")),
    ("transparent", transparent, ("transparen|alpha",)),
    ("animated", animated, ("frames|animat",)),
]


def the_only_picture(spoil: Spoil, place: Path) -> Any:
    (place / "cat").mkdir()
    spoil(place / "cat" / "a.png")
    return bridge.load_batch(f"folder:{place}")


def one_of_two_pictures(spoil: Spoil, place: Path) -> Any:
    picture(place / "cat" / "good.png")
    spoil(place / "cat" / "bad.png")
    return bridge.load_batch(f"folder:{place}", n=2)


def one_left(found: Any) -> None:
    """The good one is there, with its label."""
    x, labels = found
    assert len(x) == 1
    assert labels.tolist() == [0]


def in_a_folder(names: tuple[str, ...], options: dict[str, Any], place: Path) -> Any:
    for name in names:
        picture(place / name)
    return bridge.load_batch(f"folder:{place}", **options)


CATS = ("cat/a.png", "dog/b.png")


FOLDERS: list[tuple[str, tuple[str, ...], dict[str, Any], Expectation]] = [
    ("empty", (), {}, Error(ValueError, "no images", "CLASS/image")),
    ("of texts", ("cat/a.txt.png",), {"class_names": ["dog", "fox"]},
        Error(ValueError, "cat", "dog|fox")),
    ("classes that the model lacks", CATS, {"class_names": ["cat", "fox"]},
        Error(ValueError, "dog", "fox|nearest|cat")),
    ("a class misspelled", CATS, {"class_names": ["caat", "dog"]},
        Error(ValueError, "cat", "nearest", "caat")),
    ("above its splits", ("train/cat/a.png", "val/cat/a.png"), {},
        Error(ValueError, "splits", "val")),
    ("pictures beside classes", (*CATS, "loose.png"), {}, Warns("left out", r"loose\.png")),
    ("more images than there are", CATS, {"n": 50}, Warns("2 images", "50")),
]  # fmt: skip


def in_a_table(rows: str, options: dict[str, Any], place: Path) -> Any:
    picture(place / "a.png")
    (place / "t.csv").write_text(rows)
    return bridge.load_batch(f"csv:{place / 't.csv'}", **options)


TABLES: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    ("no rows", "path,label\n", {}, ("no images",)),
    ("a path alone", "path\na.png\n", {}, ("label",)),
    ("a row cut off", "path,label\na.png\n", {}, ("line 2", "path and label")),
    ("a file that is not there", "path,label\nb.png,0\n", {}, ("line 2", r"b\.png", "no file")),
    ("no label", "path,label\na.png,\n", {}, ("line 2", "no label")),
    ("an unknown class", "path,label\na.png,ct\n", {"class_names": ["cat", "dog"]},
        ("ct", "nearest|cat")),
    ("an index too high", "path,label\na.png,7\n", {"class_names": ["cat", "dog"]},
        ("7", "2 classes|cat")),
    ("an open quote", 'path,label\n"a.png,0\n', {}, ("readable table|quote|no file",)),
    ("a null byte", "path,label\na.png\0,0\n", {}, ("line 2|readable table",)),
]  # fmt: skip


SOURCES: list[tuple[str, Any, Expectation]] = [
    ("None", None, Error(TypeError, "source", "folder:PATH")),
    ("a number", 3, Error(TypeError, "source", "folder:PATH")),
    ("a Path", Path("photos"), Error(TypeError, "source", "folder:PATH")),
    ("empty", "", Error(ValueError, "unknown data source", "folder:")),
    ("a folder without its scheme", "photos", Error(ValueError, "unknown data source", "folder:")),
    ("a scheme alone", "folder:", Error(ValueError, "unknown data source|path|name", "folder:")),
    ("a scheme misspelled", "foldr:photos", Error(ValueError, "foldr", "folder:")),
    ("an address", "https://example.org/a.png",
        Error(ValueError, "unknown data source", "folder:")),
    ("unknown samples", "samples:imagenette", Error(ValueError, "imagenette", "imagenet")),
    ("another scikit-learn set", "sklearn:iris", Error(ValueError, "iris", "digits")),
    ("an unknown torchvision set", "torchvision:CIFAR11",
        Error(ValueError, "CIFAR11", "torchvision")),
    ("no folder", "folder:no/such/photos", Error(ValueError, "photos", "not a folder")),
    ("a home of nobody", "folder:~nobody-at-all/photos", Error(ValueError, "not a folder")),
    ("a null byte", "folder:a\0b", Error(ValueError, "folder|null")),
]  # fmt: skip


COUNTS: list[tuple[str, dict[str, Any], Expectation]] = [
    ("n of 0", {"n": 0}, Error(ValueError, r"\bn\b", "at least 1")),
    ("n of -1", {"n": -1}, Error(ValueError, r"\bn\b", "at least 1")),
    ("n of 1.5", {"n": 1.5}, Error(TypeError, r"\bn\b", "whole")),
    ("n as text", {"n": "4"}, Error(TypeError, r"\bn\b", "whole")),
    ("size of 0", {"size": 0}, Error(ValueError, "size", "at least 1")),
    ("size of -8", {"size": -8}, Error(ValueError, "size", "at least 1")),
    ("size as text", {"size": "224"}, Error(TypeError, "size", "whole")),
    ("size of (8, 8)", {"size": (8, 8)}, Error(TypeError, "size", "whole")),
    ("a size beyond memory", {"size": 10**8},
        Error((ValueError, MemoryError), "size|memory|large")),
    ("two channels", {"channels": 2}, Error(ValueError, "channels", "1", "3")),
    ("an unknown split", {"split": "tset"}, Either(Error(ValueError, "split", "tset", "test"),
        Right(anything))),
    ("class names as text", {"class_names": "cats"}, Error(TypeError, "class_names", "list")),
    ("class names in a set", {"class_names": {"a"}}, Error(TypeError, "class_names", "list")),
    ("too few class names", {"class_names": ["Bag", "Coat"]},
        Error(ValueError, "Ankle boot", "no class of the model")),
]  # fmt: skip


def from_source(source: Any, place: Path) -> Any:
    return bridge.load_batch(source)


def counted(options: dict[str, Any], place: Path) -> Any:
    x, _ = bridge.load_batch("samples:fashion_mnist", **options)
    return len(x)


def split_of_digits(place: Path) -> Any:
    return bridge.load_batch("sklearn:digits", split="tset")


def downloading(source: str, place: Path) -> Any:
    with offline(place):
        return bridge.load_batch(source, root=str(place))


CASES = [
    *(
        Case(f"{kind}: {name}", partial(broken, file, spoil, read), Error(ValueError, file))
        for kind, file, read in READERS
        for name, spoil in BROKEN
        if not (kind == "csv" and name == "text")  # a table of one column; see the tables below
    ),
    *(
        Case(f"npz: {name}", partial(archive, given), Error(ValueError, *words))
        for name, given, words in ARRAYS
    ),
    Case("npz: floats of 0 to 255", shown_as_they_are, Error(ValueError, "/ 255")),
    Case("npz: code", partial(safe, with_code), Error(ValueError, "pickle|object")),
    Case("npz: truncated", truncated_archive, Error(ValueError, r"a\.npz", "readable")),
    Case("npz: a huge declared shape", huge_archive,
        Error(ValueError, r"a\.npz", "memory|allocate|large|read")),
    Case("npz: one array", one_array, Error(ValueError, r"a\.npy", "npz")),
    *(
        Case(f"the only picture: {name}", partial(the_only_picture, spoil),
            Error(ValueError, *words))
        for name, spoil, words in PICTURES
    ),
    *(
        Case(
            f"one of two pictures: {name}",
            partial(one_of_two_pictures, spoil),
            Warns("left out", r"bad\.png", *words, then=one_left),
        )
        for name, spoil, words in PICTURES
    ),
    *(
        Case(f"folder: {name}", partial(in_a_folder, names, options), must)
        for name, names, options, must in FOLDERS
    ),
    *(
        Case(f"table: {name}", partial(in_a_table, rows, options), Error(ValueError, *words))
        for name, rows, options, words in TABLES
    ),
    *(Case(f"images: {name}", partial(from_source, source), must) for name, source,
        must in SOURCES),
    *(Case(f"images: {name}", partial(counted, options), must) for name, options, must in COUNTS),
    Case("images: a split that is not there", split_of_digits,
        Error(ValueError, "split", "tset", "test")),
    Case("images: no network", partial(downloading, "torchvision:MNIST"),
        Error(ValueError, "MNIST", "download|network|connection")),
]  # fmt: skip
