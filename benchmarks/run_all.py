"""Regenerate the published speed table: the fused engine against Captum and Foolbox, called directly.

    python benchmarks/run_all.py                 # about half an hour on two cores
    python benchmarks/run_all.py --only cheap    # one part
    python benchmarks/run_all.py --quick         # the small networks only, three rounds

Every ratio is the median over rounds of two times taken one after the other in one process, in another order each round; on a
CPU with one thread and the process's own clock, so that other processes disturb least. Networks have random weights: times do
not depend on them. Writes benchmarks/results/speed.md and, with a GPU, benchmarks/results/speed_gpu.md.
"""

from __future__ import annotations

import gc
import json
import math
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import captum.attr as captum
import click
import foolbox
import torch
from torch import Tensor, nn
from worlds import EPSILON, World

import bridge
from bridge import manifest
from bridge.benchmark import _Peak
from bridge.fused import chunk_size, run_many
from bridge.fused.chunks import clock
from bridge.model import ModelAdapter
from bridge.types import Run

RESULTS = Path(__file__).parent / "results"
CHEAP: dict[str, dict] = {"saliency": {}, "input_x_gradient": {}, "layer_gradcam": {}, "fgsm": {"epsilon": EPSILON}}
Calls = dict[str, Callable[[], object]]


def seconds(call: Callable[[], object], x: Tensor) -> float:
    start = clock(x)
    call()
    return clock(x) - start


def interleaved(calls: Calls, x: Tensor, rounds: int, *, warm: bool = True) -> dict[str, list[float]]:
    """Seconds of each call, in turns, in another order each round, after a warm-up of each."""
    for call in calls.values() if warm else ():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()  # as timeit does: whose turn it is to collect is no matter of who is fast
    try:
        for number in range(rounds):
            names = list(calls)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                times[name].append(seconds(calls[name], x))
    finally:
        gc.enable()
    return times


def ratio(times: dict[str, list[float]], ours: str, theirs: str) -> tuple[float, str]:
    values = [a / b for a, b in zip(times[ours], times[theirs], strict=True)]
    middle = statistics.median(values)
    low, high = (min(values), max(values)) if len(values) < 4 else statistics.quantiles(values, n=4, method="inclusive")[::2]
    return middle, f"{low:.2f} to {high:.2f}"


class Table:
    """Rows of what was measured against its bar, part by part; written after every row, so that nothing is lost.

    Parts that were measured before are kept beside the table and stay in it until they are measured again.
    """

    def __init__(self, path: Path, device: str) -> None:
        self.path, self.kept, self.part = path, path.with_suffix(".json"), ""
        self.rows: dict[str, list[list[str]]] = json.loads(self.kept.read_text()) if self.kept.is_file() else {}
        x = torch.empty(0, device=device)
        self.head = f"{manifest.device_name(x.device)}, {torch.get_num_threads()} thread(s); " + ", ".join(
            f"{k} {v}" for k, v in manifest.versions().items() if v and k != "gradbridge"
        )

    def add(
        self, work: str, against: str, found: float, spread: str, bar: float | None, goal: float | None, passes: str = ""
    ) -> None:
        """A row: what was measured against which bar; said and written at once."""
        verdict = "" if bar is None else "yes" if found <= bar else "**no**"
        row = [work, against, f"{found:.3f}", spread, _number(bar), _number(goal), verdict, passes]
        self.rows[self.part].append(row)
        click.echo(" | ".join(row))
        self.write()

    def write(self) -> None:
        lines = [
            "# Speed of the fused engine", "", __doc__.split("\n\n")[2].replace("\n", " "), "", self.head, "",
            "| work | against | measured | quartiles | bar | goal | met | passes an image, F / B |", "|---" * 8 + "|",
            *("| " + " | ".join(row) + " |" for part in PARTS for row in self.rows.get(part, ())),
        ]  # fmt: skip
        self.kept.write_text(json.dumps(self.rows, indent=1) + "\n")
        self.path.write_text("\n".join(lines).rstrip() + "\n")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def cheap(table: Table, device: str, rounds: int, quick: bool) -> None:
    worlds = [("resnet20", 8), ("resnet18", 4), ("mobilenet_v3_small", 4), ("vit_b_16", 2)]
    for name, n in worlds[:1] if quick else worlds:
        _cheap(table, World(name, n if device == "cpu" else 64, device), 4 * rounds if name == "resnet20" else rounds)


def _cheap(table: Table, w: World, rounds: int) -> None:
    calls: Calls = {
        "ours": lambda: run_many(w.model, w.x, w.labels, CHEAP), "libraries": w.cheap_libraries, "limit": w.cheap_limit,
    }  # fmt: skip
    times = interleaved(calls, w.x, rounds)
    many = run_many(w.model, w.x, w.labels, CHEAP)
    passes = f"{many.forwards / w.n:g} / {many.backwards / w.n:g} against 6 / 4"
    table.add(f"cheap set, {w}", "Captum + Foolbox in sequence", *ratio(times, "ours", "libraries"), 0.43, 0.36, passes)
    table.add(f"cheap set, {w}", "2F + 2B timed", *ratio(times, "ours", "limit"), 1.08, 1.02)


def card(table: Table, device: str, rounds: int, quick: bool) -> None:
    """Saliency, input x gradient, IG-50, Grad-CAM, occlusion, FGSM and PGD-10."""
    gpu = device != "cpu"
    _card(table, World("resnet20", 64 if gpu else 8, device), rounds, (4, 2), (0.70, 0.76), (0.55, 0.60))
    if not quick:
        _card(table, World("resnet18", 8 if gpu else 1, device), min(rounds, 3), (15, 8), (0.40, 0.46), (0.30, 0.36))


def _card(
    table: Table, w: World, rounds: int, windows: tuple[int, int], bars: tuple[float, float], goals: tuple[float, float]
) -> None:
    window, stride = windows
    methods = CHEAP | {
        "integrated_gradients": {"n_steps": 50}, "occlusion": {"window": window, "stride": stride},
        "pgd": {"steps": 10, "epsilon": EPSILON},
    }  # fmt: skip
    at_once = w.best(lambda k: w.occlusion(window, 4 * stride if stride * 4 <= window else window, k), (1, 4, 16))
    batch = w.best(w.integrated_gradients, (8, 16, 32))

    def libraries(best: bool) -> None:
        w.cheap_libraries()
        w.integrated_gradients(batch if best else None)
        w.occlusion(window, stride, at_once if best else 1)
        w.predict(w.pgd(10))

    calls: Calls = {
        "ours": lambda: run_many(w.model, w.x, w.labels, methods), "defaults": lambda: libraries(False),
        "best": lambda: libraries(True),
    }  # fmt: skip
    times = interleaved(calls, w.x, rounds)
    many = run_many(w.model, w.x, w.labels, methods)
    passes = f"{many.forwards / w.n:.0f} / {many.backwards / w.n:.0f} and windows: {many['occlusion'].details['engine']}"
    table.add(f"card set, {w}", "libraries at their defaults", *ratio(times, "ours", "defaults"), bars[0], goals[0], passes)
    settings = f"libraries at best: {at_once} windows, {batch} IG points at once"
    table.add(f"card set, {w}", settings, *ratio(times, "ours", "best"), bars[1], goals[1], passes)


def occlusion(table: Table, device: str, rounds: int, quick: bool) -> None:
    _occlusion(table, World("resnet20", 8, device), rounds, (4, 2), (1, 2, 4), 0.70, 0.55)
    if not quick:
        _occlusion(table, World("resnet18", 1, device), min(rounds, 3), (15, 8), (1, 4, 16), 0.40, 0.34)
        _occlusion(table, World("resnet50", 1, device), min(rounds, 2), (15, 8), (1, 4), 0.48, 0.40)
        _occlusion(table, World("vgg16", 1, device), 1, (15, 8), (1, 4), 0.22, 0.15)


def _occlusion(
    table: Table, w: World, rounds: int, windows: tuple[int, int], settings: tuple[int, ...], bar: float, goal: float
) -> None:
    window, stride = windows
    # Captum's best setting is found on fewer windows; the ratio is measured on all of them.
    at_once = w.best(lambda k: w.occlusion(window, window, k), settings)

    def ours() -> Run:
        return bridge.run("occlusion", w.model, w.x, w.labels, implementation="fused", window=window, stride=stride)

    def theirs() -> Tensor:
        return w.occlusion(window, stride, at_once)

    found, expected = ours(), theirs()
    times = interleaved({"ours": ours, "captum": theirs}, w.x, rounds, warm=False)
    gap = float((found.output - expected).abs().max() / found.output.abs().max())
    share = found.details.get("multiply_adds", 1)
    how = f"{found.details['engine']}: {share} of the multiply-adds; {gap:.0e} of the map from Captum's"
    table.add(
        f"occlusion {window}/{stride}, {w}", f"Captum, {at_once} at once", *ratio(times, "ours", "captum"), bar, goal, how
    )


def attacks(table: Table, device: str, rounds: int, quick: bool) -> None:
    gpu = device != "cpu"
    _pgd(table, World("resnet20", 64 if gpu else 8, device), rounds)
    if not quick:
        _pgd(table, World("resnet18", 64 if gpu else 4, device), rounds)
    for k in (4, 8):
        for n in (1, 4):
            _epsilons(table, World("resnet20", n, device), 2 * rounds, [EPSILON * (i + 1) / k for i in range(k)])


def _pgd(table: Table, w: World, rounds: int) -> None:
    start = w.x + (torch.rand_like(w.x) * (2 * EPSILON) - EPSILON)

    def ours() -> Tensor:
        params = {"steps": 40, "epsilon": EPSILON, "start": start}
        return bridge.run("pgd", w.model, w.x, w.labels, implementation="fused", **params).output

    times = interleaved({"ours": ours, "foolbox": lambda: w.pgd(40, start)}, w.x, rounds)
    same = "bit-identical" if torch.equal(ours(), w.pgd(40, start)) else "NOT bit-identical"
    table.add(f"pgd, 40 steps, {w}", f"Foolbox ({same})", *ratio(times, "ours", "foolbox"), 0.80, 0.63, "40 / 40")


def _epsilons(table: Table, w: World, rounds: int, sizes: list[float]) -> None:
    calls: Calls = {
        "ours": lambda: bridge.run("pgd", w.model, w.x, w.labels, implementation="fused", steps=10, epsilon=sizes),
        "foolbox": lambda: foolbox.attacks.LinfPGD(steps=10)(w.fmodel, w.x, w.labels, epsilons=sizes),
    }
    times, passes = interleaved(calls, w.x, rounds), 10 * len(sizes)
    what = f"pgd, 10 steps, {len(sizes)} epsilons, {w}"
    table.add(what, "Foolbox", *ratio(times, "ours", "foolbox"), 0.55, 0.36, f"{passes} / {passes}")


def scaling(table: Table, device: str, rounds: int, quick: bool) -> None:
    """Time and memory of long runs, and the exponent of time over steps, images and windows."""
    w = World("resnet20", 8, device)

    def steps(n: int) -> Callable[[], object]:
        return lambda: bridge.run("integrated_gradients", w.model, w.x, w.labels, implementation="fused", n_steps=n)

    times = interleaved({"200": steps(200), "10": steps(10)}, w.x, 2 * rounds)
    value, spread = ratio({"200": [t / 20 for t in times["200"]], "10": times["10"]}, "200", "10")
    table.add(f"IG, time a step at 200 against 10, {w}", "itself", value, spread, 1.10, 1.0)
    if device == "cpu":
        for name, n in [("resnet20", 8)] if quick else [("resnet20", 8), ("resnet18", 4)]:
            few, many = (_memory(name, n, n_steps) for n_steps in (4, 50))
            what = f"IG, peak memory at 50 steps against 4, {name}, N={n}"
            table.add(what, "itself", many / few, f"{many:.0f} / {few:.0f} MB", 1.20, 1.1)
    _exponent(table, w, rounds, "steps", {n: steps(n) for n in (25, 50, 100, 200)})
    _exponent(table, w, rounds, "images", {n: _images(World("resnet20", n, device)) for n in (8, 16, 32, 64)})
    _exponent(table, w, rounds, "windows", {(-(-24 // s) + 1) ** 2: _windows(w, s) for s in (8, 4, 2, 1)})


def _images(w: World) -> Callable[[], object]:
    return lambda: bridge.run("integrated_gradients", w.model, w.x, w.labels, implementation="fused", n_steps=20)


def _windows(w: World, stride: int) -> Callable[[], object]:
    params = {"window": 8, "stride": stride}
    return lambda: bridge.run("occlusion", w.model, w.x, w.labels, implementation="fused", **params)


def _exponent(table: Table, w: World, rounds: int, what: str, calls: dict[int, Callable[[], object]]) -> None:
    """The slope of log time over log amount, with chunks of one size, so that only the amount of work differs."""
    with chunk_size(16):
        times = interleaved({str(n): call for n, call in calls.items()}, w.x, rounds)
    x, y = [math.log(n) for n in calls], [math.log(statistics.median(times[str(n)])) for n in calls]
    exponent = _slope(x, y)
    name = f"exponent of time over {what}, {min(calls)} to {max(calls)}"
    table.add(name, "1 (deviation)", abs(exponent - 1), f"exponent {exponent:.3f}", 0.05, 0.0)


def _slope(x: list[float], y: list[float]) -> float:
    return statistics.linear_regression(x, y).slope


def _memory(name: str, n: int, n_steps: int) -> float:
    """Peak resident MB of one IG in a process of its own, beyond what the loaded model holds."""
    here = str(Path(__file__).parent)
    script = f"import sys; sys.path.insert(0, {here!r}); import run_all; run_all.print_memory({name!r}, {n}, {n_steps})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def print_memory(name: str, n: int, n_steps: int) -> None:
    """In a fresh process: the peak of one run beyond the imported libraries, the model and its images."""
    torch.set_num_threads(1)
    w = World(name, n, "cpu")
    with _Peak(w.x.device) as peak:
        bridge.run("integrated_gradients", w.model, w.x, w.labels, implementation="fused", n_steps=n_steps)
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
        "import bridge, seconds added", "import torch", added, f"{with_bridge:.2f} s, torch {torch_alone:.2f} s", 0.1, None
    )


def _twin(table: Table, w: World, rounds: int) -> None:
    calls: Calls = {
        "ours": lambda: bridge.run("saliency", w.model, w.x, w.labels, implementation="captum"),
        "captum": lambda: captum.Saliency(w.module).attribute(w.x, target=w.labels),
    }
    times = interleaved(calls, w.x, rounds)
    bar = 1.03 if w.name == "resnet18" else None
    table.add(f"twin through bridge, saliency, {w}", "Captum called directly", *ratio(times, "ours", "captum"), bar, None)
    if w.name == "resnet20":
        small = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
        cases = (("two layers", bridge.wrap(small), torch.rand(1, 1, 8, 8), [1]), (str(w), w.model, w.x, w.labels))
        for name, model, x, y in cases:
            what = f"what bridge.run adds to a call, ms, {name}"
            table.add(what, "a function that does nothing", _added(model, x, y, rounds), "", 0.5, 0.2)


def _added(model: ModelAdapter, x: Tensor, labels: object, rounds: int) -> float:
    """Milliseconds of checks, freezing, seeding and counting around an implementation that returns at once."""

    def nothing(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        return x

    def calls() -> None:
        for _ in range(20):
            bridge.run("saliency", model, x, labels, implementation=nothing)

    calls()
    return statistics.median(seconds(calls, x) for _ in range(rounds)) / 20 * 1000


def _import(name: str) -> float:
    script = f"import time; start = time.process_time(); import {name}; print(time.process_time() - start)"
    return float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)


PARTS = {"cheap": cheap, "card": card, "occlusion": occlusion, "attacks": attacks, "scaling": scaling, "overhead": overhead}


@click.command()
@click.option("--only", "parts", multiple=True, type=click.Choice(list(PARTS)), help="Only these parts.")
@click.option("--quick", is_flag=True, help="The small networks only, three rounds.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="The Markdown file to write.")
def main(parts: tuple[str, ...], quick: bool, rounds: int, device: str, out: Path | None) -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)  # Captum's notices that it sets hooks
    path = out or RESULTS / ("speed.md" if device == "cpu" else "speed_gpu.md")
    table, start = Table(path, device), time.time()
    for name in parts or PARTS:
        table.part, table.rows[name] = name, []
        PARTS[name](table, device, 3 if quick else rounds, quick)
    click.echo(f"Took {(time.time() - start) / 60:.0f} minutes.")


if __name__ == "__main__":
    main()
