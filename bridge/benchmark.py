"""Methods x implementations x batch sizes on one model: interleaved times, passes, memory, and whether the answer is right."""

from __future__ import annotations

import contextlib
import gc
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from bridge import manifest, store
from bridge.cells import Book
from bridge.fused import run_many
from bridge.fused.accelerate import accelerated
from bridge.fused.chunks import clock
from bridge.metrics.agreement import gaps
from bridge.model import ModelAdapter
from bridge.preflight import check_needs, preflight
from bridge.registry import Function, Method, get
from bridge.registry import methods as all_methods
from bridge.run import name_of
from bridge.state import frozen
from bridge.types import Run

TOGETHER = "all together"
LIBRARIES = "libraries"
LIMIT = "limit"
COLUMNS = [
    "model", "device", "images", "height", "width", "method", "implementation", "seconds", "lower_quartile", "upper_quartile",
    "baseline", "ratio", "ratio_lower", "ratio_upper", "rounds", "warm_up", "forwards", "backwards", "peak_mb", "verdict",
    "gap",
]  # fmt: skip
# An answer is judged in float64 on this many images: it does not depend on how many there are, and the time does.
JUDGED = 2


@dataclass(frozen=True)
class Benchmark:
    """What `benchmark` measured: `records`, a row for each model, batch, method and implementation, and what did not run.

    `seconds` is the median with its quartiles. `ratio` is the median over the rounds of the time over that of `baseline` (the
    library where there is one, else the reference) in the same round. `peak_mb` is what a call took beyond what was held
    before. `verdict` is the agreement with the reference. The implementation "limit" is the least that the method can take: its
    passes at the fastest pass measured. The method "all together" is one plan against one call after another.
    """

    records: pd.DataFrame
    failures: pd.DataFrame
    manifest: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: str | Path) -> Path:
        """Write `run.json`, the tables as Parquet, `benchmark.md` and `benchmark.png` into a folder. Returns its path."""
        path = store.write(folder, self.manifest, {"records": self.records, "failures": self.failures}, {})
        (path / "benchmark.md").write_text(self.markdown())
        self.figure(path / "benchmark.png")
        return path

    def markdown(self) -> str:
        """Tables, one for each model and batch, with the hardware and the versions."""
        device, versions = self.manifest["device"], self.manifest["versions"]
        lines = [
            f"{device['name']}, {device['threads']} thread(s), {device['platform']}; "
            + ", ".join(f"{k} {v}" for k, v in versions.items() if v),
            "",
        ]
        by_batch = ["model", "device", "images", "height", "width"]
        for (model, where, n, h, w), rows in self.records.groupby(by_batch, sort=False):
            lines += [f"## {model}, {n} images of {h}x{w} on {where}", ""]
            lines += ["| method | by | ms | ratio to library | quartiles | F / B | peak MB | verdict |", "|---" * 8 + "|"]
            for r in rows.itertuples():
                ratio = "" if r.implementation == r.baseline else f"{r.ratio:.2f}"
                spread = "" if r.implementation in (r.baseline, LIMIT) else f"{r.ratio_lower:.2f} to {r.ratio_upper:.2f}"
                passes = "" if pd.isna(r.forwards) else f"{r.forwards:.0f} / {r.backwards:.0f}"
                memory = "" if pd.isna(r.peak_mb) else f"{r.peak_mb:.0f}"
                cells = (r.method, r.implementation, f"{1000 * r.seconds:.1f}", ratio, spread, passes, memory, r.verdict)
                lines.append("| " + " | ".join(cells) + " |")
            lines.append("")
        lines += [f"- {r.model}, {r.method} by {r.implementation}: {r.error}" for r in self.failures.itertuples()]
        return "\n".join(lines).rstrip() + "\n"

    def figure(self, path: str | Path) -> Path:
        """A PNG: for each method the times of its implementations over the library's."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        groups = list(self.records.groupby(["model", "images"], sort=False))
        rows = max((r["method"].nunique() for _, r in groups), default=1)
        figure = Figure(figsize=(5.5 * max(1, len(groups)), 1.2 + 0.45 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, ((model, n), found) in zip(figure.subplots(1, max(1, len(groups)), squeeze=False)[0], groups, strict=True):
            ratios = found.pivot_table(index="method", columns="implementation", values="ratio", sort=False)
            ratios = ratios.drop(columns=[c for c in (LIMIT,) if c in ratios])
            ratios.iloc[::-1].plot.barh(ax=axes, width=0.8, legend=True)
            axes.axvline(1, color="0.5", linewidth=0.8)
            axes.set(title=f"{model}, {n} images", xlabel="time over the library's (less is faster)", ylabel="")
            axes.legend(fontsize=7, loc="lower right")
        figure.savefig(path, dpi=150)
        return Path(path)

    def __str__(self) -> str:
        return self.markdown()


@torch.inference_mode(False)
def benchmark(
    models: Mapping[str, ModelAdapter],
    images: Callable[[str, int], tuple[Tensor, Tensor]],
    *,
    methods: Sequence[str] | None = None,
    implementations: Sequence[str] | None = None,
    functions: Mapping[str, Sequence[Function]] | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    batches: Sequence[int] = (8,),
    accelerations: Sequence[str] = (),
    rounds: int = 5,
    seed: int = 0,
    progress: bool = True,
) -> Benchmark:
    """Times of methods by their implementations, taken in turns in one process: a `Benchmark`.

    `images(model name, n)` gives n images and labels on the model's device. `functions={"pgd": [theirs]}` adds others.
    `accelerations` ("compile", "bf16", "cuda_graph") add "fused+..." columns with the agreement that they cost. Every method
    runs at its default epsilon. What raises is left out and stands in `failures`. Use one thread (torch.set_num_threads(1))
    where other processes are at work. Raises KeyError or TypeError for a method or parameter unknown, ValueError for bad
    images.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    chosen = [get(name) for name in dict.fromkeys(methods or all_methods())]
    given = {m.name: m.bind((params or {}).get(m.name, {})) for m in chosen}
    records: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    described: dict[str, Any] = {}
    jobs = [(name, n, method) for name in models for n in batches for method in [*chosen, None]]
    bar = tqdm(jobs, file=sys.stderr, disable=None if progress else True, unit="cell", leave=False)
    bench: _Bench | None = None
    try:
        for name, n, method in bar:
            bar.set_description(f"{name} {n} {method.name if method else TOGETHER}")
            if bench is None or (bench.name, bench.n) != (name, n):
                adapter, x, labels = preflight(models[name], *images(name, n))
                described = described or manifest.describe(adapter, x)
                bench = _Bench(name, n, adapter, x, labels, rounds, seed, accelerations, records, failures)
            if method is None:
                bench.together({m.name: given[m.name] for m in chosen})
            else:
                bench.measure(method, _implementations(method, implementations, functions or {}), given[method.name])
    except KeyboardInterrupt:
        failures.append({"model": "", "method": "", "implementation": "", "error": "interrupted: what follows was not run"})
    finally:
        bar.close()
    described |= {"methods": given, "rounds": rounds, "seed": seed, "batches": list(batches)}
    columns = ["model", "method", "implementation", "error"]
    return Benchmark(
        pd.DataFrame(records, columns=COLUMNS), pd.DataFrame(failures, columns=columns), manifest.plain(described)
    )  # fmt: skip


def _implementations(
    method: Method, wanted: Sequence[str] | None, functions: Mapping[str, Sequence[Function]]
) -> dict[str, Function]:
    found: dict[str, Function] = {i: method.function(i) for i in method.implementations() if wanted is None or i in wanted}
    return found | {name_of(f): f for f in functions.get(method.name, ())}


class _Bench:
    """One model at one batch size; fills the records."""

    def __init__(
        self, name: str, n: int, model: ModelAdapter, x: Tensor, labels: Tensor, rounds: int, seed: int,
        accelerations: Sequence[str], records: list[dict[str, Any]], failures: list[dict[str, Any]],
    ) -> None:  # fmt: skip
        self.name, self.n, self.model, self.x, self.labels = name, n, model, x, labels
        self.rounds, self.seed, self.records, self.failures = rounds, seed, records, failures
        self.book = Book(model, x, labels, labels, seed, 0, 0.0)
        self.judge = Book(model, x[:JUDGED], labels[:JUDGED], labels[:JUDGED], seed, 0, 0.0)
        self.fastest = _fastest_passes(model, x)
        self.accelerated: dict[str, ModelAdapter] = {}
        for how in accelerations:
            try:
                self.accelerated[f"fused+{how}"] = accelerated(model, how, x)  # type: ignore[arg-type]
            except Exception as error:
                self._failed("", f"fused+{how}", error)

    def _failed(self, method: str, implementation: str, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        self.failures.append({"model": self.name, "method": method, "implementation": implementation, "error": text})

    def measure(self, method: Method, functions: dict[str, Function], params: dict[str, Any]) -> None:
        """All implementations of one method, and the least that it can take."""
        try:
            check_needs(method, self.model, self.x)
        except ValueError as error:
            self._failed(method.name, "", error)
            return
        epsilon = params.get("epsilon")
        self.judge.compare(method, functions, params, epsilon)
        verdicts = {
            r["implementation"]: (r["verdict"], r["gap"]) for r in self.judge.agreement if r["method"] == method.name
        } | {"reference": ("equal", 0.0)}
        drawn = self.book.drawn(method, params)

        def by(name: str, function: Function, model: ModelAdapter) -> Callable[[], Run]:
            return lambda: self.book.execute(method, name, function, params, drawn, model, self.x)

        calls = {name: by(name, function, self.model) for name, function in functions.items()}
        if "fused" in functions:
            calls |= {name: by(name, functions["fused"], model) for name, model in self.accelerated.items()}
        runs = self._time(method.name, calls, next((i for i in ("captum", "foolbox") if i in functions), "reference"))
        for name in runs.keys() & self.accelerated.keys():
            expected = (runs.get("fused") or runs["reference"]).output
            scale = 1.0 if method.kind == "attack" else expected.flatten(1).abs().amax(1).clamp(min=1e-12)
            gap = float(gaps(runs[name].output, expected, scale).max())
            verdicts[name] = f"{gap:.0e} off", gap
        for row in self.records:
            if (row["model"], row["images"], row["method"]) == (self.name, self.n, method.name):
                row["verdict"], row["gap"] = verdicts.get(row["implementation"], ("", float("nan")))
        if "fused" in runs:
            self._limit(method.name, runs["fused"].forwards, runs["fused"].backwards, runs["fused"].details)

    def together(self, methods: Mapping[str, Mapping[str, Any]]) -> None:
        """One plan of all methods that have a twin, against the libraries one after another, predictions with both."""
        shared = {n: p for n, p in methods.items() if get(n).fast and get(n).twins and self._ran(n)}
        if len(shared) < 2:
            return
        twins = {name: get(name).function(next(iter(get(name).twins))) for name in shared}

        def libraries() -> Run:
            forwards, backwards = self.n, 0
            with torch.no_grad():
                self.model(self.x)
            for name, twin in twins.items():
                run = self.book.execute(get(name), "twin", twin, shared[name], {}, self.model, self.x)
                forwards, backwards = forwards + run.forwards, backwards + run.backwards
                if get(name).kind == "attack":
                    forwards += self.n
                    with torch.no_grad():
                        self.model(run.output)
            return Run(TOGETHER, LIBRARIES, {}, self.x, 0.0, forwards, backwards)

        def fused() -> Run:
            many = run_many(self.model, self.x, self.labels, shared, seed=self.seed)
            windows = many["occlusion"].details if "occlusion" in many else {}
            return Run(TOGETHER, "fused", {}, self.x, many.seconds, many.forwards, many.backwards, windows)

        runs = self._time(TOGETHER, {LIBRARIES: libraries, "fused": fused}, LIBRARIES)
        if "fused" in runs:
            self._limit(TOGETHER, runs["fused"].forwards, runs["fused"].backwards, runs["fused"].details)

    def _ran(self, method: str) -> bool:
        rows = {
            r["implementation"] for r in self.records if (r["model"], r["images"], r["method"]) == (self.name, self.n, method)
        }
        return "fused" in rows and bool(rows & {"captum", "foolbox"})

    def _time(self, method: str, calls: dict[str, Callable[[], Run]], baseline: str) -> dict[str, Run]:
        """A warm-up of each, with its memory; then in turns, in another order each round."""
        runs: dict[str, Run] = {}
        memory: dict[str, float] = {}
        first: dict[str, float] = {}
        for name, call in calls.items():
            try:
                with _Peak(self.x.device) as peak:
                    start = clock(self.x)
                    runs[name] = call()
                    first[name] = clock(self.x) - start
                memory[name] = peak.megabytes
            except Exception as error:
                self._failed(method, name, error)
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        gc.collect()
        gc.disable()  # as timeit does: whose turn it is to collect is no matter of who is fast
        try:
            for number in range(self.rounds):
                order = list(runs)
                for name in order[number % len(order) :] + order[: number % len(order)]:
                    start = clock(self.x)
                    calls[name]()
                    seconds[name].append(clock(self.x) - start)
        finally:
            gc.enable()
        for name, run in runs.items():
            quartiles = _quartiles(seconds[name])
            ratios = [a / b for a, b in zip(seconds[name], seconds.get(baseline, seconds[name]), strict=True)]
            low, middle, high = _quartiles(ratios)
            self._record(
                method, name, seconds=quartiles[1], lower_quartile=quartiles[0], upper_quartile=quartiles[2], baseline=baseline,
                ratio=middle, ratio_lower=low, ratio_upper=high, rounds=self.rounds, warm_up=first[name],
                forwards=run.forwards, backwards=run.backwards, peak_mb=memory[name],
            )  # fmt: skip
        return runs

    def _limit(self, method: str, forwards: int, backwards: int, details: Mapping[str, Any]) -> None:
        """Its passes at the fastest pass. Incremental windows count by their share of a pass's multiply-adds."""
        windows = details.get("windows", 0) - details.get("skipped", 0)
        if windows:
            share = details.get("multiply_adds", 1.0) if details["engine"] == "incremental" else 1.0
            forwards += windows * share - (windows if details["engine"] == "whole images" else 0)
        baseline = next(r for r in reversed(self.records) if r["method"] == method)
        library = next((r for r in self.records if r["method"] == method and r["implementation"] == baseline["baseline"]
                        and (r["model"], r["images"]) == (self.name, self.n)), baseline)  # fmt: skip
        seconds = forwards * self.fastest[0] + backwards * self.fastest[1]
        self._record(
            method, LIMIT, seconds=seconds, baseline=baseline["baseline"], ratio=seconds / library["seconds"],
            forwards=forwards, backwards=backwards, verdict="",
        )  # fmt: skip

    def _record(self, method: str, implementation: str, **values: Any) -> None:
        empty = {column: float("nan") for column in COLUMNS} | {"verdict": "", "rounds": 0}
        self.records.append(empty | {
            "model": self.name, "device": str(self.x.device), "images": self.n, "height": self.x.shape[2],
            "width": self.x.shape[3], "method": method, "implementation": implementation, **values,
        })  # fmt: skip


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _fastest_passes(model: ModelAdapter, x: Tensor) -> tuple[float, float]:
    """Seconds an image of the fastest forward pass and of the fastest backward pass, over several batch sizes."""
    forward, both = [], []
    with frozen(model):
        for n in sorted({1, 4, 16, len(x)}):
            batch = x[:1].expand(n, *x.shape[1:]).contiguous()
            for _ in range(4):
                forward.append(_seconds(_forward, model, batch) / n)
                both.append(_seconds(_backward, model, batch) / n)
    return min(forward), max(0.0, min(both) - min(forward))


def _forward(model: nn.Module, batch: Tensor) -> None:
    with torch.no_grad():
        model(batch)


def _backward(model: nn.Module, batch: Tensor) -> None:
    with torch.enable_grad():
        images = batch.detach().requires_grad_()
        torch.autograd.grad(model(images).sum(), images)


def _seconds(call: Callable[[nn.Module, Tensor], None], model: nn.Module, batch: Tensor) -> float:
    start = clock(batch)
    call(model, batch)
    return clock(batch) - start


class _Peak:
    """The most memory held inside, in MB beyond what was held before: of the GPU, or of this process (Linux)."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.megabytes = device, float("nan")

    def __enter__(self) -> _Peak:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device) / 2**20
        else:
            _reset_resident_peak()
            self.before = _resident("VmRSS")
        return self

    def __exit__(self, *error: object) -> None:
        cuda = self.device.type == "cuda"
        after = torch.cuda.max_memory_allocated(self.device) / 2**20 if cuda else _resident("VmHWM")
        self.megabytes = max(0.0, after - self.before)


def _reset_resident_peak() -> None:
    with contextlib.suppress(OSError):  # not Linux, or not allowed: the peak is then the process's highest so far
        Path("/proc/self/clear_refs").write_text("5")


def _resident(what: str) -> float:
    """VmRSS or its peak VmHWM of this process in MB."""
    try:
        lines: Iterator[str] = iter(Path("/proc/self/status").read_text().splitlines())
    except OSError:
        return float("nan")
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(what))
