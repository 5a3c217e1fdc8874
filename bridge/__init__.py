"""bridge: attributions and attacks of any image classifier, by Captum, Foolbox and our own references, cross-checked."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge import registry
    from bridge.benchmark import Benchmark, benchmark
    from bridge.compare import Comparison, compare
    from bridge.conformance import CheckReport, check
    from bridge.load import load_batch, load_data, load_model
    from bridge.model import ModelAdapter, frozen, wrap
    from bridge.registry import attack, attribution, methods
    from bridge.run import run
    from bridge.types import BridgeWarning, Run, Unsupported

__version__ = "0.1.0"

# Each name is imported when it is first used: `import bridge` and `gradbridge --help` stay fast.
_WHERE = {
    "Benchmark": "benchmark", "BridgeWarning": "types",
    "CheckReport": "conformance", "Comparison": "compare", "ModelAdapter": "model", "Run": "types",
    "Unsupported": "types", "attack": "registry", "attribution": "registry", "benchmark": "benchmark",
    "check": "conformance", "compare": "compare",
    "frozen": "model", "load_batch": "load", "load_data": "load", "load_model": "load", "methods": "registry", "run": "run",
    "wrap": "model",
}  # fmt: skip
_MODULES = (
    "attacks",
    "attributions",
    "callbacks",
    "conformance",
    "fused",
    "gradients",
    "load",
    "metrics",
    "norms",
    "registry",
    "report",
    "state",
    "store",
    "visualize",
    "zoo",
)

__all__ = [
    "Benchmark", "BridgeWarning", "CheckReport", "Comparison", "ModelAdapter", "Run", "Unsupported", "attack", "attribution",
    "benchmark", "check", "compare", "frozen", "load_batch", "load_data", "load_model", "methods", "registry", "run", "wrap",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(f"bridge.{_WHERE[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"bridge.{name}")
    raise AttributeError(f"module 'bridge' has no attribute {name!r}")


class _Package(ModuleType):
    """bridge.run and bridge.compare are the functions, also once the modules of these names are imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _WHERE.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_MODULES})
