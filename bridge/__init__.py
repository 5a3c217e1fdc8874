"""bridge: attributions and attacks of any image classifier, cross-checked.

By Captum, Foolbox and our own references. Wrap a classifier once; `run`, `compare`, `check`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge import registry
    from bridge.conformance import CheckReport, ModelReport, check, check_model
    from bridge.core import gradients, norms, state
    from bridge.core.engine import run
    from bridge.core.model import ModelAdapter, wrap
    from bridge.core.registry import attack, attribution, methods
    from bridge.core.state import frozen
    from bridge.core.types import BridgeWarning, Run, Unsupported
    from bridge.load import load_batch, load_data, load_model
    from bridge.metrics.explanation_attack import attack_explanation
    from bridge.metrics.measure import measure
    from bridge.metrics.ranking import measure_all, ranked
    from bridge.study.benchmark import benchmark
    from bridge.study.benchmark_record import Benchmark
    from bridge.study.compare import compare
    from bridge.study.comparison import Comparison
    from bridge.study.whole.run import run_study
    from bridge.study.whole.study import Study
    from bridge.vectors import check_outputs

__version__ = "0.1.0"

# Each name is imported when it is first used: `import bridge` and `gradbridge --help` stay fast.
_WHERE = {
    "Benchmark": "study.benchmark_record",
    "BridgeWarning": "core.types",
    "CheckReport": "conformance",
    "Comparison": "study.comparison",
    "ModelAdapter": "core.model",
    "ModelReport": "conformance",
    "Run": "core.types",
    "Study": "study.whole.study",
    "Unsupported": "core.types",
    "attack": "core.registry",
    "attack_explanation": "metrics.explanation_attack",
    "attribution": "core.registry",
    "benchmark": "study.benchmark",
    "check": "conformance",
    "check_model": "conformance",
    "check_outputs": "vectors",
    "compare": "study.compare",
    "frozen": "core.state",
    "load_batch": "load",
    "load_data": "load",
    "load_model": "load",
    "measure": "metrics.measure",
    "measure_all": "metrics.ranking",
    "methods": "core.registry",
    "ranked": "metrics.ranking",
    "run": "core.engine",
    "run_study": "study.whole.run",
    "wrap": "core.model",
}
# Building blocks of the core by their short names, and the other packages.
_CORE = ("gradients", "norms", "state")
_PACKAGES = (
    "attacks",
    "attributions",
    "conformance",
    "core",
    "explore",
    "fused",
    "load",
    "metrics",
    "record",
    "registry",
    "report",
    "statistics",
    "study",
    "tables",
    "training",
    "vectors",
    "visualize",
    "zoo",
)

__all__ = [
    "Benchmark",
    "BridgeWarning",
    "CheckReport",
    "Comparison",
    "ModelAdapter",
    "ModelReport",
    "Run",
    "Study",
    "Unsupported",
    "attack",
    "attack_explanation",
    "attribution",
    "benchmark",
    "check",
    "check_model",
    "check_outputs",
    "compare",
    "frozen",
    "gradients",
    "load_batch",
    "load_data",
    "load_model",
    "measure",
    "measure_all",
    "methods",
    "norms",
    "ranked",
    "registry",
    "run",
    "run_study",
    "state",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(f"bridge.{_WHERE[name]}"), name)
        globals()[name] = value
        return value
    if name in _CORE:
        return importlib.import_module(f"bridge.core.{name}")
    if name in _PACKAGES:
        return importlib.import_module(f"bridge.{name}")
    raise AttributeError(f"module 'bridge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_CORE, *_PACKAGES})
