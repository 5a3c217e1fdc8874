"""What a GPU makes of it: float32 and bfloat16, small and large batches, CUDA graphs: a part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import captum.attr as captum
import torch
from speed_table import Calls, Table, in_turns, ratio
from worlds import EPSILON, World

import bridge
from bridge.core.model import ModelAdapter
from bridge.fused.accelerate import Acceleration, accelerated

BATCHES = (1, 16, 64, 256)
WAYS: tuple[Acceleration | None, ...] = (None, "bf16", "cuda_graph")
# At most so many images go through Captum's integrated gradients at once.
CAPTUM_IMAGES = 256
WORK: dict[str, dict[str, Any]] = {
    "saliency": {},
    "integrated_gradients": {"n_steps": 50},
    "pgd": {"steps": 40, "epsilon": EPSILON},
}


def speed_gpu(table: Table, device: str, rounds: int, quick: bool) -> None:
    """Each method by the fused engine, its seconds and its most memory, against its library."""
    for name in ("resnet20",) if quick else ("resnet20", "resnet18", "resnet50"):
        for n in BATCHES:
            w = World(name, n, device)
            libraries = _libraries(w)
            for how in WAYS:
                model = w.model if how is None else accelerated(w.model, how, w.x)
                for method, params in WORK.items():
                    _row(table, w, how, method, _ours(model, w, method, params), libraries, rounds)


def _libraries(w: World) -> dict[str, Callable[[], object]]:
    return {
        "saliency": lambda: captum.Saliency(w.module).attribute(w.x, target=w.labels),
        "integrated_gradients": lambda: w.integrated_gradients(max(w.n, CAPTUM_IMAGES)),
        "pgd": lambda: w.pgd(40),
    }


def _ours(
    model: ModelAdapter, w: World, method: str, params: dict[str, Any]
) -> Callable[[], object]:
    return lambda: bridge.run(method, model, w.x, w.labels, implementation="fused", **params)


def _row(
    table: Table,
    w: World,
    how: str | None,
    method: str,
    ours: Callable[[], object],
    libraries: dict[str, Callable[[], object]],
    rounds: int,
) -> None:
    what = f"{method}, {how or 'float32'}, {w}"
    calls: Calls = {"ours": ours, "library": libraries[method]}
    try:
        torch.cuda.reset_peak_memory_stats()
        ours()
        memory = torch.cuda.max_memory_allocated() / 2**30
        times = in_turns(calls, w.x, rounds)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        table.say(f"{what}: out of memory")
        return
    seconds = min(times["ours"])
    note = f"{1000 * seconds:.3g} ms, {memory:.2f} GiB"
    library = "Foolbox" if method == "pgd" else "Captum"
    table.add(what, f"{library}, float32", *ratio(times, "ours", "library"), 1.05, 1.0, note)
