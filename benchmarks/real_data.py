"""The loaders of real weights and images, which stand beside the project and are no part of it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

BESIDE = Path(os.environ.get("BRIDGE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def loaders(folder: Path = BESIDE) -> ModuleType | None:
    """The module `load.py` of the folder of real data; None where there is none."""
    spec = importlib.util.spec_from_file_location("real_data", folder / "load.py")
    if spec is None or spec.loader is None or not (folder / "load.py").is_file():
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
