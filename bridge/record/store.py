"""The run directory: `run.json`, one Parquet file a table, `tensors.safetensors`.

It stores, and computes nothing. Reading executes nothing: JSON, and numbers and text from the rest.
"""

from __future__ import annotations

import fnmatch
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pandas as pd
import pyarrow as pa
from pyarrow import parquet
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bridge.record.manifest import plain
from bridge.record.place import check_folder, replacing_folder

FORMAT = 1
CARD = "run.json"
UNFINISHED = "unfinished.partial"  # parts of a run that goes on
TENSORS = "tensors.safetensors"
# What may lie in a run directory: what is written here, and what our own commands add.
PICTURES = ("panels.png", "report.html", "benchmark.md", "benchmark.png")
OURS = (CARD, TENSORS, "*.parquet", *PICTURES, "*.partial")
RUN = "bridge.run"  # each file says in its metadata which run it is of
SAFE = " <>+"  # of the characters in a name, those that stay as they are in a tensor's


def tensor_name(method: str, implementation: str, epsilon: float | None) -> str:
    """`method/implementation`, with `/epsilon` for an attack of a stated size.

    The key in `tensors.safetensors`. A `/` in a name is written as %2F.

    >>> tensor_name("pgd", "mine/own", 0.25)
    'pgd/mine%2Fown/0.25'
    """
    size = [] if epsilon is None else [repr(float(epsilon))]
    return "/".join([quote(method, safe=SAFE), quote(implementation, safe=SAFE), *size])


def tensor_key(name: str) -> tuple[str, str, float | None]:
    """The inverse of `tensor_name`. Raises ValueError for what it never gives.

    >>> tensor_key("pgd/mine%2Fown/0.25")
    ('pgd', 'mine/own', 0.25)
    """
    parts = name.split("/")
    try:
        epsilon = float(parts[2]) if len(parts) == 3 else None
    except ValueError:
        epsilon = math.nan
    if len(parts) not in (2, 3) or "" in parts or (epsilon is not None and not epsilon >= 0):
        raise ValueError(f"{name!r} should be method/implementation or method/implementation/size")
    return unquote(parts[0]), unquote(parts[1]), epsilon


def check_free(folder: str | Path) -> None:
    """Raise ValueError where a run cannot take the place of what is there without losing it.

    An absent or empty folder is free, and so is one that holds a run and nothing else.
    """
    path = Path(folder)
    if not path.is_dir() or not any(path.iterdir()):
        return
    others = sorted(each.name for each in path.iterdir() if not _is_ours(each))
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise ValueError(
            f"{path} holds {others[0]}{more}, which a run does not write: choose another folder, "
            "or pass force=True to add the run to it"
        )
    if not (path / CARD).is_file() and not (path / UNFINISHED).is_dir():
        raise ValueError(
            f"{path} holds files but no {CARD}, so they are no run's: choose another folder, or "
            "pass force=True to write over them"
        )


def write(
    folder: str | Path,
    manifest: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    tensors: Mapping[str, Tensor],
    *,
    force: bool = False,
    more: Callable[[Path], None] | None = None,
    sync: bool = True,
) -> Path:
    """Write a run directory, whole or not at all; a run that stood there is replaced.

    Numbers of the manifest that are not finite become text ("nan", "inf"), which any reader of JSON
    can read. `more(folder)` writes further files. `force`: a folder with other things in it keeps
    them. Without `sync` a failing power supply may take it. Returns the folder's path.

    Raises ValueError for a folder that holds something else, OSError where it cannot be written: a
    full disk, no permission; then all is as it was.
    """
    path = Path(folder)
    check_folder(path)
    if not force:
        check_free(path)
    keep = path.is_dir() and not all(map(_is_ours, path.iterdir()))
    identity = uuid.uuid4().hex
    with replacing_folder(path, last=CARD, keep=keep, sync=sync) as partial:
        for name, table in tables.items():
            stamped = _arrow(table).replace_schema_metadata({RUN: identity})
            parquet.write_table(stamped, partial / f"{name}.parquet")
        card = {
            **plain(manifest),
            "format": FORMAT,
            "run": identity,
            "tables": list(tables),
            "tensors": _shapes(tensors),
        }
        text = json.dumps(card, indent=2, allow_nan=False)
        (partial / CARD).write_text(text + "\n", encoding="utf-8")
        _save_tensors(tensors, partial / TENSORS, identity)
        # It comes as a private file, whatever the user's umask says.
        os.chmod(partial / TENSORS, (partial / CARD).stat().st_mode)
        if more is not None:
            more(partial)
    shutil.rmtree(path / UNFINISHED, ignore_errors=True)  # where other things were kept
    return path


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in tensors.items()}


def _save_tensors(tensors: Mapping[str, Tensor], file: Path, identity: str) -> None:
    apart = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    try:
        save_file(apart, file, metadata={RUN: identity})
    except SafetensorError as error:  # its word for a full disk
        raise OSError(f"{file.name} cannot be written: {error}") from error


def _arrow(table: pd.DataFrame) -> pa.Table:
    """A table as numbers and text, which is what can be read again; anything else as its text."""
    columns = {}
    for name in table:
        try:
            values = pa.Array.from_pandas(table[name])
        except (pa.ArrowException, UnicodeEncodeError):  # of several kinds, or no Unicode
            values = None
        if values is None or not _is_plain(values.type):
            values = pa.array([_text(value) for value in table[name]], pa.string())
        columns[str(name)] = values
    return pa.table(columns)


def _text(value: Any) -> str | None:
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value).encode("utf-8", "backslashreplace").decode()


def read(
    folder: str | Path,
) -> tuple[dict[str, Any], dict[str, pd.DataFrame], dict[str, Tensor]]:
    """Manifest, tables and tensors of a run directory: every table that lies there.

    Raises ValueError naming the file that is missing, corrupt or of another run.
    """
    path = Path(folder)
    file = path / CARD
    try:
        manifest = _read_card(file)
        frames = {}
        there = sorted(found.stem for found in path.glob("*.parquet"))
        for name in dict.fromkeys([*manifest.get("tables", ()), *there]):
            file = path / f"{name}.parquet"
            frames[name] = _read_table(file, manifest.get("run"))
        file = path / TENSORS
        tensors = _read_tensors(file, manifest.get("run"))
        _expect_shapes(tensors, manifest.get("tensors"))
        return manifest, frames, tensors
    except FileNotFoundError as error:
        raise ValueError(f"{path} is no complete run directory: {file.name} is missing") from error
    except Exception as error:  # a broken file raises whatever its reader stumbles over
        raise ValueError(f"{file} cannot be read: {error}") from error


def _read_card(file: Path) -> dict[str, Any]:
    _expect_file(file)
    manifest = json.loads(file.read_text(encoding="utf-8"), parse_constant=str)
    if not isinstance(manifest, dict):
        raise ValueError(f"it holds a {type(manifest).__name__}, expected an object")
    if manifest.get("format") != FORMAT:
        raise ValueError(f"format {manifest.get('format')!r}, this version reads {FORMAT}")
    listed = manifest.get("tables", [])
    if not isinstance(listed, list) or not all(_is_name(name) for name in listed):
        raise ValueError(f"tables is {listed!r}, expected a list of names")
    return manifest


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and Path(name).name == name


def _read_table(file: Path, run: str | None) -> pd.DataFrame:
    """A table as numbers and text; what pandas would do with the file's own words is not done."""
    _expect_file(file)
    with parquet.ParquetFile(file) as opened:
        schema = opened.schema_arrow
        _expect_run((schema.metadata or {}).get(RUN.encode(), b"").decode(), run)
        for column in schema:
            if not _is_plain(column.type):
                raise ValueError(
                    f"column {column.name!r} holds {column.type}, expected numbers or text"
                )
        if len(set(schema.names)) < len(schema.names):
            raise ValueError(f"two columns have the same name: {', '.join(schema.names)}")
        return opened.read().to_pandas(ignore_metadata=True)


def _is_plain(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return any(is_it(kind) for is_it in (*tests, pa.types.is_string, pa.types.is_large_string))


def _read_tensors(file: Path, run: str | None) -> dict[str, Tensor]:
    _expect_file(file)
    with safe_open(file, "pt") as opened:
        _expect_run((opened.metadata() or {}).get(RUN, ""), run)
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118, no mapping


def _expect_file(file: Path) -> None:
    """Opening a named pipe would wait for ever."""
    if not file.exists():
        raise FileNotFoundError(file)
    if not file.is_file():
        raise ValueError("it is no file")


def _expect_run(found: str, run: str | None) -> None:
    """Raise ValueError for a file that says that it is another run's; older ones say nothing."""
    if found and found != run:
        raise ValueError(f"it belongs to another run than {CARD}")


def _expect_shapes(tensors: Mapping[str, Tensor], listed: Any) -> None:
    """Raise ValueError where tensors are not those that a card lists; older ones list none."""
    if listed is None:
        return
    found = _shapes(tensors)
    for name in dict.fromkeys([*listed, *found]):
        if found.get(name) != listed.get(name):
            shape, expected = found.get(name, "not there"), listed.get(name, "none such")
            raise ValueError(f"{name} is {shape}, and {CARD} says {expected}")


def _is_ours(file: Path) -> bool:
    known = any(fnmatch.fnmatchcase(file.name, pattern) for pattern in OURS)
    parts = file.name == UNFINISHED and file.is_dir()
    return (parts or (known and file.is_file())) and not file.is_symlink()
