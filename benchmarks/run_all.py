"""Regenerate the published speed table: the fused engine against Captum and Foolbox themselves.

    python benchmarks/run_all.py                       # about 40 minutes on two quiet cores
    python benchmarks/run_all.py --only cheap          # one part; the others' rows stay
    python benchmarks/run_all.py --only grid --threads 1
    python benchmarks/run_all.py --quick               # the small networks only, three rounds
    python benchmarks/run_all.py --device cuda --only speed_gpu

Every ratio is the median over rounds of two times taken one after the other in one process, in
another order each round; on a CPU at one thread, by the process's own clock, so that other
processes disturb least, and at all threads, by the clock on the wall. Networks have random weights:
times do not depend on them. Writes benchmarks/results/speed.md and, with a GPU,
benchmarks/results/speed_gpu.md.
"""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path

import click
import foolbox
import torch
from speed_fold import fold
from speed_gpu import speed_gpu
from speed_grid import grid
from speed_growth import overhead, scaling
from speed_peers import beside
from speed_table import Calls, Table, in_turns, ratio
from torch import Tensor
from worlds import EPSILON, World

import bridge
from bridge.core.types import Run
from bridge.fused import run_many

RESULTS = Path(__file__).parent / "results"
CHEAP: dict[str, dict] = {
    "saliency": {},
    "input_x_gradient": {},
    "layer_gradcam": {},
    "fgsm": {"epsilon": EPSILON},
}


def cheap(table: Table, device: str, rounds: int, quick: bool) -> None:
    worlds = [("resnet20", 8), ("resnet18", 4), ("mobilenet_v3_small", 4), ("vit_b_16", 2)]
    for name, n in worlds[:1] if quick else worlds:
        _cheap(
            table,
            World(name, n if device == "cpu" else 64, device),
            4 * rounds if name == "resnet20" else rounds,
        )


def _cheap(table: Table, w: World, rounds: int) -> None:
    calls: Calls = {
        "ours": lambda: run_many(w.model, w.x, w.labels, CHEAP),
        "libraries": w.cheap_libraries,
        "limit": w.cheap_limit,
    }
    times = in_turns(calls, w.x, rounds)
    many = run_many(w.model, w.x, w.labels, CHEAP)
    passes = f"{many.forwards / w.n:g} / {many.backwards / w.n:g} against 6 / 4"
    table.add(
        f"cheap set, {w}",
        "Captum + Foolbox in sequence",
        *ratio(times, "ours", "libraries"),
        0.43,
        0.36,
        passes,
    )
    table.add(f"cheap set, {w}", "2F + 2B timed", *ratio(times, "ours", "limit"), 1.03, 1.0)


def card(table: Table, device: str, rounds: int, quick: bool) -> None:
    """Saliency, input x gradient, IG-50, Grad-CAM, occlusion, FGSM and PGD-10."""
    gpu = device != "cpu"
    _card(
        table,
        World("resnet20", 64 if gpu else 8, device),
        rounds,
        (4, 2),
        (0.70, 0.76),
        (0.55, 0.60),
    )
    if not quick:
        _card(
            table,
            World("resnet18", 8 if gpu else 1, device),
            min(rounds, 3),
            (15, 8),
            (0.40, 0.46),
            (0.30, 0.36),
        )


def _card(
    table: Table,
    w: World,
    rounds: int,
    windows: tuple[int, int],
    bars: tuple[float, float],
    goals: tuple[float, float],
) -> None:
    window, stride = windows
    methods = CHEAP | {
        "integrated_gradients": {"n_steps": 50},
        "occlusion": {"window": window, "stride": stride},
        "pgd": {"steps": 10, "epsilon": EPSILON},
    }
    at_once = w.best(
        lambda k: w.occlusion(window, 4 * stride if stride * 4 <= window else window, k), (1, 4, 16)
    )
    batch = w.best(w.integrated_gradients, (8, 16, 32))

    def libraries(best: bool) -> None:
        w.cheap_libraries()
        w.integrated_gradients(batch if best else None)
        w.occlusion(window, stride, at_once if best else 1)
        w.predict(w.pgd(10))

    calls: Calls = {
        "ours": lambda: run_many(w.model, w.x, w.labels, methods),
        "defaults": lambda: libraries(False),
        "best": lambda: libraries(True),
    }
    times = in_turns(calls, w.x, rounds)
    many = run_many(w.model, w.x, w.labels, methods)
    engine = many["occlusion"].details["engine"]
    passes = f"{many.forwards / w.n:.0f} / {many.backwards / w.n:.0f} and windows: {engine}"
    table.add(
        f"card set, {w}",
        "libraries at their defaults",
        *ratio(times, "ours", "defaults"),
        bars[0],
        goals[0],
        passes,
    )
    settings = f"libraries at best: {at_once} windows, {batch} IG points at once"
    table.add(f"card set, {w}", settings, *ratio(times, "ours", "best"), bars[1], goals[1], passes)


def occlusion(table: Table, device: str, rounds: int, quick: bool) -> None:
    _occlusion(table, World("resnet20", 8, device), rounds, (4, 2), (1, 2, 4), 0.70, 0.55)
    if not quick:
        _occlusion(
            table, World("resnet18", 1, device), min(rounds, 3), (15, 8), (1, 4, 16), 0.40, 0.34
        )
        _occlusion(table, World("resnet50", 1, device), min(rounds, 2), (15, 8), (1, 4), 0.48, 0.40)
        _occlusion(table, World("vgg16", 1, device), 1, (15, 8), (1, 4), 0.22, 0.15)


def _occlusion(
    table: Table,
    w: World,
    rounds: int,
    windows: tuple[int, int],
    settings: tuple[int, ...],
    bar: float,
    goal: float,
) -> None:
    window, stride = windows
    # Captum's best setting is found on fewer windows; the ratio is measured on all of them.
    at_once = w.best(lambda k: w.occlusion(window, window, k), settings)

    def ours() -> Run:
        return bridge.run(
            "occlusion",
            w.model,
            w.x,
            w.labels,
            implementation="fused",
            window=window,
            stride=stride,
        )

    def theirs() -> Tensor:
        return w.occlusion(window, stride, at_once)

    found, expected = ours(), theirs()
    times = in_turns({"ours": ours, "captum": theirs}, w.x, rounds, warm=False)
    gap = float((found.output - expected).abs().max() / found.output.abs().max())
    share = found.details.get("multiply_adds", 1)
    work = f"{found.details['engine']}: {share} of the multiply-adds"
    how = f"{work}; {gap:.0e} of the map from Captum's"
    table.add(
        f"occlusion {window}/{stride}, {w}",
        f"Captum, {at_once} at once",
        *ratio(times, "ours", "captum"),
        bar,
        goal,
        how,
    )


def attacks(table: Table, device: str, rounds: int, quick: bool) -> None:
    gpu = device != "cpu"
    _pgd(table, World("resnet20", 64 if gpu else 8, device), rounds)
    if not quick:
        _pgd(table, World("resnet18", 64 if gpu else 4, device), rounds)
    for k in (4, 8):
        for n in (1, 4):
            _epsilons(
                table,
                World("resnet20", n, device),
                2 * rounds,
                [EPSILON * (i + 1) / k for i in range(k)],
            )


def _pgd(table: Table, w: World, rounds: int) -> None:
    start = w.x + (torch.rand_like(w.x) * (2 * EPSILON) - EPSILON)

    def ours() -> Tensor:
        params = {"steps": 40, "epsilon": EPSILON, "start": start}
        return bridge.run("pgd", w.model, w.x, w.labels, implementation="fused", **params).output

    times = in_turns({"ours": ours, "foolbox": lambda: w.pgd(40, start)}, w.x, rounds)
    same = "bit-identical" if torch.equal(ours(), w.pgd(40, start)) else "NOT bit-identical"
    table.add(
        f"pgd, 40 steps, {w}",
        f"Foolbox ({same})",
        *ratio(times, "ours", "foolbox"),
        0.80,
        0.63,
        "40 / 40",
    )


def _epsilons(table: Table, w: World, rounds: int, sizes: list[float]) -> None:
    calls: Calls = {
        "ours": lambda: bridge.run(
            "pgd", w.model, w.x, w.labels, implementation="fused", steps=10, epsilon=sizes
        ),
        "foolbox": lambda: foolbox.attacks.LinfPGD(steps=10)(
            w.fmodel, w.x, w.labels, epsilons=sizes
        ),
    }
    times, passes = in_turns(calls, w.x, rounds), 10 * len(sizes)
    what = f"pgd, 10 steps, {len(sizes)} epsilons, {w}"
    table.add(what, "Foolbox", *ratio(times, "ours", "foolbox"), 0.55, 0.36, f"{passes} / {passes}")


PARTS = {
    "cheap": cheap,
    "card": card,
    "occlusion": occlusion,
    "attacks": attacks,
    "scaling": scaling,
    "overhead": overhead,
    "peers": beside,
    "fold": fold,
    "grid": grid,
}
# What grows, and what a call adds, is no matter of threads.
ONE_THREAD = ("scaling", "overhead")
GPU_PARTS = {"speed_gpu": speed_gpu}


@click.command()
@click.option(
    "--only",
    "parts",
    multiple=True,
    type=click.Choice([*PARTS, *GPU_PARTS]),
    help="Only these parts.",
)
@click.option("--quick", is_flag=True, help="The small networks only, three rounds.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option(
    "--threads", multiple=True, type=int, help="Numbers of threads; by default 1 and all cores."
)
@click.option("--out", type=click.Path(path_type=Path), help="The Markdown file to write.")
def main(
    parts: tuple[str, ...],
    quick: bool,
    rounds: int,
    device: str,
    threads: tuple[int, ...],
    out: Path | None,
) -> None:
    warnings.filterwarnings("ignore", category=UserWarning)  # Captum's notices that it sets hooks
    on_gpu = device != "cpu"
    every = PARTS | (GPU_PARTS if on_gpu else {})
    path = out or RESULTS / ("speed_gpu.md" if on_gpu else "speed.md")
    about = __doc__.split("\n\n")[2].replace("\n", " ")
    start = time.time()
    table = Table(path, device, [*PARTS, *GPU_PARTS], about)
    for name in parts or every:
        if name not in every:
            raise click.UsageError(f"{name} needs a GPU: pass --device cuda")
        counts = threads or tuple(sorted({1, os.cpu_count() or 1}))
        table.part = name
        kept = [] if len(counts) > 1 else table.rows.get(name, [])
        table.rows[name] = [row for row in kept if not row[0].endswith(_words(counts[0]))]
        for count in counts[:1] if on_gpu or name in ONE_THREAD else counts:
            torch.set_num_threads(count)
            table.threads = 0 if on_gpu else count
            every[name](table, device, 3 if quick else rounds, quick)
    click.echo(f"Took {(time.time() - start) / 60:.0f} minutes.")


def _words(threads: int) -> str:
    """How a row ends that was measured with so many threads."""
    return f", {threads} thread{'s' if threads > 1 else ''}"


if __name__ == "__main__":
    main()
