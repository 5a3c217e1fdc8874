"""Test vectors and outputs as they are read: from a folder, from files, without torch."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, load_file

Array = NDArray[Any]
FORMATS = (1,)  # of the files, that this code reads
SUFFIXES = (".safetensors", ".npz")


@dataclass(frozen=True)
class Told:
    """The vectors of one method: its cases, their tensors by id and name, images by network."""

    method: str
    attack: bool
    mistakes: list[str]
    cases: list[dict[str, Any]]
    tensors: dict[str, Array]
    images: dict[str, Array]
    traps: dict[str, dict[str, Any]]

    def tensor(self, case: Mapping[str, Any], name: str) -> Array:
        """A tensor of a case: "target", "expected", "wrong" or a draw."""
        return self.tensors[f"{case['id']}/{name}"]


def told(read: Callable[[str], bytes], method: str) -> Told:
    """The vectors of a method, from what gives the bytes of a file by its name.

    Raises KeyError where there are none of this method.
    """
    index = json.loads(read("index.json"))
    if method not in index["cases"]:
        reason = index["left_out"].get(method)
        known = ", ".join(index["cases"])
        raise KeyError(
            f"there are no test vectors of {method}: {reason}"
            if reason
            else f"there are no test vectors of {method!r}, only of: {known}"
        )
    described = json.loads(read(f"{method}.json"))
    return Told(
        method,
        described["kind"] == "attack",
        described["mistakes"],
        described["cases"],
        load(read(f"{method}.safetensors")),
        load(read("images.safetensors")),
        index["traps"],
    )


def reader(folder: str | os.PathLike[str]) -> Callable[[str], bytes]:
    """What gives the bytes of a file of a folder of vectors by its name.

    Raises ValueError for a folder without vectors, of a format that we do not read, or whose files
    are not those of its index.
    """
    path = Path(folder)
    made = f"gradbridge vectors --out {path} makes some"
    try:
        index = json.loads((path / "index.json").read_text())
        form, listed = index["format"], index["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no test vectors (index.json): {made}") from error
    if form not in FORMATS:
        raise ValueError(f"{path} has the format {form}, expected {FORMATS[-1]}: {made}")

    def read(name: str) -> bytes:
        try:
            data = (path / name).read_bytes()
        except OSError as error:
            raise ValueError(f"{path / name} cannot be read: {error}") from error
        if name in listed and hashlib.sha256(data).hexdigest() != listed[name]["sha256"]:
            raise ValueError(f"{path / name} is not what the index says (sha256): {made}")
        return data

    return read


def load_outputs(file: str | os.PathLike[str]) -> dict[str, Array]:
    """The arrays of a .safetensors or .npz file by name. Raises ValueError for any other file."""
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.suffix not in SUFFIXES:
        expected = " or ".join(SUFFIXES)
        raise ValueError(f"{path} is no {expected} file: save arrays by case id in one of these")
    try:
        if path.suffix == ".safetensors":
            found = dict(load_file(path))
            for array in found.values():  # with ml_dtypes at hand numpy knows them, and cannot sum
                if array.dtype.kind not in "fiub":
                    raise TypeError(array.dtype)
            return found
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (SafetensorError, zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    except (KeyError, TypeError) as error:  # a dtype that numpy has not, such as bfloat16
        raise ValueError(
            f"{path} has a dtype that numpy does not know ({error}): save float64 or float32"
        ) from error
