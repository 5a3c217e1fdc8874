"""The user's own code by a short string: `package.module:name` or `file.py:name`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def load_object(name: str) -> Any:
    """The object behind `package.module:name` or `file.py:name`. Raises ValueError for none.

    >>> load_object("math:tau")
    6.283185307179586
    """
    where, _, attribute = name.rpartition(":")
    if not where or not attribute:
        raise ValueError(f"{name!r} should be PACKAGE.MODULE:NAME or FILE.py:NAME")
    module = _of_file(Path(where)) if where.endswith(".py") else _of_name(where)
    if not hasattr(module, attribute):
        raise ValueError(f"{where} has no {attribute!r}")
    return getattr(module, attribute)


def _of_file(path: Path) -> ModuleType:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:  # never for a .py file, but its type says it may be
        raise ValueError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # the file may import its neighbours
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def _of_name(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"there is no module {name!r} ({error})") from error
