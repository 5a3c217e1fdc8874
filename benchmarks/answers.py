"""How long `compare` takes to answer, against the libraries alone, and how well it says so before.

    python benchmarks/answers.py            # about ten minutes on two cores
    python benchmarks/answers.py --threads 1

Four parts: the default comparison against calling every Captum and Foolbox twin once on the same
batch, in one process; twenty ImageNet photographs through SqueezeNet (where they are at hand); the
estimate that is printed at the start against what it took, on six networks; and the memory of a
comparison of 16, 64 and 256 small images, each in a process of its own. Writes
benchmarks/results/answers.md.
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import click
import torch
import torchvision
from real_data import loaders
from torch import Tensor

import bridge
from bridge.core.model import ModelAdapter
from bridge.core.preflight import without_attention
from bridge.core.registry import get, methods
from bridge.core.types import Unsupported
from bridge.record.manifest import installed
from bridge.study.request import EPSILONS

RESULTS = Path(__file__).parent / "results"
CARD = "saliency,integrated_gradients,layer_gradcam,occlusion,fgsm,pgd".split(",")
SIZES = (16, 64, 256, 512)
World = tuple[ModelAdapter, Tensor, Tensor]


def fashion(n: int = 16) -> World:
    model = bridge.load_model("zoo:fashion_cnn")
    x, labels = bridge.load_batch("samples:fashion_mnist", n=min(n, 20))
    places = [k % len(x) for k in range(n)]
    return model, x[places], labels[places]


def cifar(n: int = 16) -> World | None:
    data = loaders()
    if data is None:
        return None
    model = bridge.wrap(
        data.cifar_resnet(), mean=data.CIFAR_MEAN, std=data.CIFAR_STD, layer="layer3"
    )
    x, labels = data.cifar10_test()
    return model, x[:n], labels[:n]


def photographs(n: int = 20) -> World | None:
    data = loaders()
    if data is None:
        return None
    model = bridge.wrap(data.squeezenet(), mean=data.IMAGENET_MEAN, std=data.IMAGENET_STD)
    return model, *data.imagenet_samples(n=n, step=200 // n)


def untrained(name: str, n: int, side: int) -> World:
    """A torchvision network with random weights, and the classes that it predicts."""
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None).eval()
    model = bridge.wrap(module, name=name)
    x = torch.rand(n, 3, side, side)
    with torch.no_grad():
        return model, x, model(x).argmax(1)


def worlds() -> Iterator[tuple[str, Callable[[], World | None], list[str] | None]]:
    """Six networks with the methods that are compared on them, None for all."""
    yield "fashion_cnn, 16 of 28 px, all methods", fashion, None
    yield "ResNet-20, 8 of 32 px, all methods", lambda: cifar(8), None
    yield "SqueezeNet, 6 photographs of 224 px", lambda: photographs(6), CARD
    yield "ResNet-18, 6 of 96 px", lambda: untrained("resnet18", 6, 96), CARD
    yield (
        "MobileNet-V3-small, 8 of 96 px",
        lambda: untrained("mobilenet_v3_small", 8, 96),
        CARD,
    )
    yield "VGG-11, 5 of 64 px", lambda: untrained("vgg11_bn", 5, 64), CARD


def twins_once(world: World) -> float:
    """Seconds of every library's implementation of every method, at the same sizes, once."""
    model, x, labels = world
    total = 0.0
    for name in methods():
        method = get(name)
        if without_attention(method, model, x):
            continue
        sizes: tuple[Any, ...] = (None,)
        if method.kind == "attack" and not method.minimal:
            sizes = EPSILONS[method.norm or "linf"]
        for library in method.twins:
            for size in sizes:
                given = {} if size is None else {"epsilon": size}
                try:
                    total += bridge.run(
                        name, model, x, labels, implementation=library, **given
                    ).seconds
                except Unsupported:
                    continue
    return total


def compared(
    world: World, names: list[str] | None, **options: Any
) -> tuple[bridge.Comparison, float, float]:
    """A comparison, the seconds that it took, and the seconds until the first number was shown."""
    model, x, labels = world
    start = time.perf_counter()
    said = Clock()
    with redirect_stderr(said):
        found = bridge.compare(model, x, labels, methods=names, **options)
    return found, time.perf_counter() - start, said.first - start


class Clock(io.StringIO):
    """A stream that notes when the first number of a result came."""

    first = float("nan")

    def write(self, text: str) -> int:
        if self.first != self.first and text.startswith("  "):
            self.first = time.perf_counter()
        return super().write(text)


def memory(n: int) -> dict[str, float]:
    """MB by which a comparison of `n` small images raises the peak of its process."""
    world = fashion(n)
    bridge.compare(world[0], world[1][:8], world[2][:8], progress=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bridge.compare(*world, progress=False)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"images": n, "mb": (after - before) / 1024}


def in_a_process(part: str, *arguments: str, threads: int) -> Any:
    """What this script prints as JSON for a part, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--part", part, *arguments, "--threads", str(threads)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def default_part() -> dict[str, float]:
    world = fashion()
    twins_once(world)  # imports and warms
    libraries = twins_once(world)
    _, first, _ = compared(world, None)
    _, seconds, _ = compared(world, None)
    return {"libraries": libraries, "first": first, "compare": seconds}


def photographs_part() -> dict[str, float] | None:
    world = photographs()
    if world is None:
        return None
    found, seconds, shown = compared(world, CARD)
    agree = found.agreement["verdict"].isin(["equal", "rounding"])
    return {"compare": seconds, "shown": shown, "verdicts": len(agree), "agree": int(agree.sum())}


def estimate_part(place: int) -> dict[str, Any] | None:
    name, make, names = list(worlds())[place]
    world = make()
    if world is None:
        return None
    twins = world[0], world[1][:2], world[2][:2]
    bridge.compare(*twins, methods=["saliency", "fgsm"], progress=False)  # imports
    found, _, _ = compared(world, names)
    expected = sum(sum(part.values()) for part in found.manifest["expected"].values())
    return {"name": name, "expected": expected, "spent": found.manifest["spent"]}


TEXT = """# How long an answer takes

{threads} thread(s) of {cores} cores. {versions}.
Made by `python benchmarks/answers.py --threads {threads}`.

| what | seconds | goal |
|---|---|---|
| every Captum and Foolbox twin once, fashion_cnn, 16 images | {libraries:.1f} | |
| `compare`, second in the process | {compare:.1f}: {ratio:.1f} times | at most 4 |
| the same, first time | {first:.1f} | |
{photographs}
| network | said at the start | took | ratio |
|---|---|---|---|
{estimates}

| small images compared | MB that it raises the peak of memory by |
|---|---|
{memory}

Results go through in parts, so that what grows with the images is what is kept of them. The sample
that is judged grows up to 16 images, and Captum's integrated gradients hold all 50 steps of it at
once, in float64: that is the peak.
"""


@click.command()
@click.option("--threads", default=os.cpu_count(), show_default=True)
@click.option("--part", default=None, hidden=True)
@click.option("--place", default=0, hidden=True)
def main(threads: int, part: str | None, place: int) -> None:
    torch.set_num_threads(threads)
    if part is not None:
        parts: dict[str, Callable[[], Any]] = {
            "default": default_part,
            "photographs": photographs_part,
            "estimate": lambda: estimate_part(place),
            "memory": lambda: memory(place),
        }
        click.echo(json.dumps(parts[part]()))
        return
    said = in_a_process("default", threads=threads)
    click.echo(said)
    photos = in_a_process("photographs", threads=threads)
    click.echo(photos)
    rows = []
    for number in range(len(list(worlds()))):
        row = in_a_process("estimate", "--place", str(number), threads=threads)
        click.echo(row)
        if row is not None:
            rows.append(row)
    grown = [in_a_process("memory", "--place", str(n), threads=threads) for n in SIZES]
    click.echo(grown)
    lines = ""
    if photos is not None:
        lines = (
            f"| 20 photographs, SqueezeNet, {len(CARD)} methods | "
            f"{photos['compare']:.0f} | under 180 |\n"
            f"| its first number on the screen | {photos['shown']:.1f} | under 10 |\n"
        )
    text = TEXT.format(
        threads=threads,
        cores=os.cpu_count(),
        versions=installed(),
        **said,
        ratio=said["compare"] / said["libraries"],
        photographs=lines,
        estimates="\n".join(
            f"| {row['name']} | {row['expected']:.1f} s | {row['spent']:.1f} s "
            f"| {row['expected'] / row['spent']:.2f} |"
            for row in rows
        ),
        memory="\n".join(f"| {row['images']} | {row['mb']:.0f} |" for row in grown),
    )
    suffix = "" if threads == os.cpu_count() else f"_{threads}_thread"
    (RESULTS / f"answers{suffix}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
