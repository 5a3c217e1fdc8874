"""The user's own code by a short string: `package.module:name` or `file.py:name`."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any


def load_object(name: str) -> Any:
    """The object behind `package.module:name` or `file.py:name`; its file or module is executed.

    Raises ValueError where there is none, and where the code raises or exits.

    >>> load_object("math:tau")
    6.283185307179586
    """
    where, _, attribute = name.rpartition(":")
    if not where or not attribute:
        raise ValueError(f"{name!r} should be PACKAGE.MODULE:NAME or FILE.py:NAME")
    module = _of_file(Path(where)) if where.endswith(".py") else _of_name(where)
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, dir(module))
        hint = f": did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"{where} has no {attribute!r}{hint}")
    return getattr(module, attribute)


def _of_file(path: Path) -> ModuleType:
    named, path = path, Path(os.path.realpath(os.path.expanduser(path)))
    if not os.path.isfile(path):
        raise ValueError(f"there is no file {named}")
    # Dataclasses look for their module by its name, which must not hide another: random.py.
    digest = hashlib.sha256(bytes(path)).hexdigest()[:8]
    name = re.sub(r"[^0-9a-zA-Z]", "_", path.stem) + f"_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:  # never for a .py file, but its type says it may be
        raise ValueError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    sys.path.insert(0, str(path.parent))  # the file may import its neighbours
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ValueError(f"{path} cannot be imported: {failed(error)}") from error
    finally:
        sys.path[:] = before
    return module


def _of_name(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"there is no module {name!r} ({error})") from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"the module {name} cannot be imported: {failed(error)}") from error


def failed(error: BaseException) -> str:
    """What the user's own code did instead of what it should: its error, and where."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    did = f"it called sys.exit({error.code!r})" if isinstance(error, SystemExit) else ""
    return (did or f"{type(error).__name__}: {error}") + where
