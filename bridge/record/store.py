"""The run directory: `run.json`, one Parquet file a table, `tensors.safetensors`.

It stores, and computes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pandas as pd
from pyarrow import ArrowException
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

FORMAT = 1


def tensor_name(method: str, implementation: str, epsilon: float | None) -> str:
    """`method/implementation`, with `/epsilon` for an attack of a stated size.

    The key in `tensors.safetensors`. A `/` in the name of a user's function is written as %2F.

    >>> tensor_name("pgd", "mine/own", 0.25)
    'pgd/mine%2Fown/0.25'
    """
    size = [] if epsilon is None else [repr(epsilon)]
    return "/".join([method, quote(implementation, safe=" <>+"), *size])


def tensor_key(name: str) -> tuple[str, str, float | None]:
    """The inverse of `tensor_name`.

    >>> tensor_key("pgd/mine%2Fown/0.25")
    ('pgd', 'mine/own', 0.25)
    """
    method, implementation, *epsilon = name.split("/")
    return method, unquote(implementation), float(epsilon[0]) if epsilon else None


def write(
    folder: str | Path,
    manifest: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    tensors: Mapping[str, Tensor],
) -> Path:
    """Write a run directory, `run.json` last: where it exists, the run is complete.

    Returns the folder's path.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    for name in _listed(path):  # by the run that stood here before
        (path / f"{name}.parquet").unlink(missing_ok=True)
    for name, table in tables.items():
        table.to_parquet(path / f"{name}.parquet", index=False)
    save_file(
        {name: tensor.contiguous().clone() for name, tensor in tensors.items()},
        path / "tensors.safetensors",
    )
    # NaN is no JSON, so that any reader can read it.
    card = {"format": FORMAT, **manifest, "tables": list(tables)}
    text = json.dumps(card, indent=2, allow_nan=False)
    (path / "run.json").write_text(text + "\n", encoding="utf-8")
    return path


def read(
    folder: str | Path,
) -> tuple[dict[str, Any], dict[str, pd.DataFrame], dict[str, Tensor]]:
    """Manifest, tables and tensors of a run directory: every table that lies there.

    Raises ValueError naming the file that is missing or corrupt.
    """
    path = Path(folder)
    file = path / "run.json"
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if manifest.get("format") != FORMAT:
            raise ValueError(f"format {manifest.get('format')!r}, this version reads {FORMAT}")
        frames = {}
        there = sorted(found.stem for found in path.glob("*.parquet"))
        for name in dict.fromkeys([*manifest.get("tables", ()), *there]):
            file = path / f"{name}.parquet"
            frames[name] = pd.read_parquet(file)
        file = path / "tensors.safetensors"
        return manifest, frames, load_file(file)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is no complete run directory: {file.name} is missing") from error
    except (ArrowException, SafetensorError, OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error


def _listed(path: Path) -> list[str]:
    """The tables that the `run.json` of a folder lists; none where there is no run."""
    try:
        manifest = json.loads((path / "run.json").read_text(encoding="utf-8"))
        return [str(name) for name in manifest.get("tables", ())]
    except (OSError, ValueError, AttributeError):
        return []
