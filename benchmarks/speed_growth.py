"""How time and memory grow with the work, and what bridge adds to a call: parts of run_all.py."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import captum.attr as captum
import torch
from speed_table import Calls, Table, in_turns, ratio, seconds
from torch import Tensor, nn
from worlds import World

import bridge
from bridge.core.model import ModelAdapter
from bridge.fused import chunk_size
from bridge.registry import attribution
from bridge.study.memory import Peak


def scaling(table: Table, device: str, rounds: int, quick: bool) -> None:
    """Time and memory of long runs, and the exponent of time over steps, images and windows."""
    w = World("resnet20", 8, device)

    def steps(n: int) -> Callable[[], object]:
        return lambda: bridge.run(
            "integrated_gradients", w.model, w.x, w.labels, implementation="fused", n_steps=n
        )

    times = in_turns({"200": steps(200), "10": steps(10)}, w.x, 2 * rounds)
    value, spread = ratio({"200": [t / 20 for t in times["200"]], "10": times["10"]}, "200", "10")
    table.add(f"IG, time a step at 200 against 10, {w}", "itself", value, spread, 1.10, 1.0)
    if device == "cpu":  # 16 steps are more than a chunk already
        for name, n in [("resnet20", 8)] if quick else [("resnet20", 8), ("resnet18", 4)]:
            few, many = (_memory(name, n, n_steps) for n_steps in (16, 50))
            what = f"IG, peak memory at 50 steps against 16, {name}, N={n}"
            table.add(what, "itself", many / few, f"{many:.0f} / {few:.0f} MB", 1.20, 1.1)
    _exponent(table, w, rounds, "steps", {n: steps(n) for n in (25, 50, 100, 200)})
    _exponent(
        table,
        w,
        rounds,
        "images",
        {n: _images(World("resnet20", n, device)) for n in (8, 16, 32, 64)},
    )
    _exponent(
        table, w, rounds, "windows", {(-(-24 // s) + 1) ** 2: _windows(w, s) for s in (8, 4, 2, 1)}
    )


def _images(w: World) -> Callable[[], object]:
    return lambda: bridge.run(
        "integrated_gradients", w.model, w.x, w.labels, implementation="fused", n_steps=20
    )


def _windows(w: World, stride: int) -> Callable[[], object]:
    params = {"window": 8, "stride": stride}
    return lambda: bridge.run("occlusion", w.model, w.x, w.labels, implementation="fused", **params)


def _exponent(
    table: Table, w: World, rounds: int, what: str, calls: dict[int, Callable[[], object]]
) -> None:
    """The slope of log time over log amount.

    With chunks of one size, so that only the amount of work differs.
    """
    with chunk_size(16):
        times = in_turns({str(n): call for n, call in calls.items()}, w.x, rounds)
    x, y = [math.log(n) for n in calls], [math.log(statistics.median(times[str(n)])) for n in calls]
    exponent = _slope(x, y)
    name = f"exponent of time over {what}, {min(calls)} to {max(calls)}"
    table.add(name, "1 (deviation)", abs(exponent - 1), f"exponent {exponent:.3f}", 0.05, 0.0)


def _slope(x: list[float], y: list[float]) -> float:
    return statistics.linear_regression(x, y).slope


def _memory(name: str, n: int, n_steps: int) -> float:
    """Peak resident MB of one IG in a process of its own, beyond what the loaded model holds."""
    here = str(Path(__file__).parent)
    script = (
        f"import sys; sys.path.insert(0, {here!r}); import speed_growth; "
        f"speed_growth.print_memory({name!r}, {n}, {n_steps})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


def print_memory(name: str, n: int, n_steps: int) -> None:
    """In a fresh process: the peak of one run beyond what libraries, model and images hold."""
    torch.set_num_threads(1)
    w = World(name, n, "cpu")
    with Peak(w.x.device) as peak:
        bridge.run(
            "integrated_gradients", w.model, w.x, w.labels, implementation="fused", n_steps=n_steps
        )
    print(json.dumps(peak.megabytes))


def overhead(table: Table, device: str, rounds: int, quick: bool) -> None:
    """What bridge.run adds to a library's call, and what importing it adds to importing torch."""
    for name, n in [("resnet20", 8)] if quick else [("resnet20", 8), ("resnet18", 4)]:
        _twin(table, World(name, n, device), 8 * rounds if name == "resnet20" else 3 * rounds)
    imports = {name: [_import(name) for _ in range(rounds)] for name in ("torch", "bridge")}
    torch_alone, with_bridge = (statistics.median(imports[name]) for name in ("torch", "bridge"))
    # bridge imports torch when it is first used: alone it takes less than torch does.
    added = max(0.0, with_bridge - torch_alone)
    table.add(
        "import bridge, seconds added",
        "import torch",
        added,
        f"{with_bridge:.2f} s, torch {torch_alone:.2f} s",
        0.1,
        None,
    )


def _twin(table: Table, w: World, rounds: int) -> None:
    calls: Calls = {
        "ours": lambda: bridge.run("saliency", w.model, w.x, w.labels, implementation="captum"),
        "captum": lambda: captum.Saliency(w.module).attribute(w.x, target=w.labels),
    }
    times = in_turns(calls, w.x, rounds)
    bar = 1.03 if w.name == "resnet18" else None
    table.add(
        f"twin through bridge, saliency, {w}",
        "Captum called directly",
        *ratio(times, "ours", "captum"),
        bar,
        None,
    )
    if w.name == "resnet20":
        small = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
        cases = (
            ("two layers", bridge.wrap(small), torch.rand(1, 1, 8, 8), [1]),
            (str(w), w.model, w.x, w.labels),
        )
        attribution("nothing")(nothing)
        for name, model, x, y in cases:
            own = _added("nothing", model, x, y, rounds, implementation="reference")
            watched = _added("saliency", model, x, y, rounds, implementation=_somebodys)
            beside = "a function that does nothing"
            table.add(f"what bridge.run adds to our code, ms, {name}", beside, own, "", 0.3, 0.2)
            what = f"the same to somebody's code, whose traces are looked for, ms, {name}"
            table.add(what, beside, watched, "", None, None)


def nothing(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """A reference of no work: what remains is checks, freezing, seeding and counting."""
    return x


# Only what the package itself has is trusted to leave no trace, and then not searched for any.
nothing.__module__ = "bridge.attributions.nothing"


def _somebodys(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    return x


def _added(
    method: str,
    model: ModelAdapter,
    x: Tensor,
    labels: object,
    rounds: int,
    *,
    implementation: str | Callable[..., Tensor],
) -> float:
    """Milliseconds that `bridge.run` adds around a function of no work."""

    def calls() -> None:
        for _ in range(20):
            bridge.run(method, model, x, labels, implementation=implementation)

    calls()
    return statistics.median(seconds(calls, x.device) for _ in range(rounds)) / 20 * 1000


def _import(name: str) -> float:
    script = (
        f"import time; start = time.process_time(); import {name}; "
        "print(time.process_time() - start)"
    )
    return float(
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout
    )
