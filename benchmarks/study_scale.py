"""What a study of ten times the images takes: memory, time and passes an image.

    BRIDGE_TEST_DATA=... python benchmarks/study_scale.py

Four cheap methods over 1,000 and 10,000 Fashion-MNIST images through the embedded classifier, and
over 1,000 CIFAR-10 images through ResNet-20; each in a process of its own. A pass is a forward or
a backward pass of an image, by count; and by time, one forward with its backward pass in batches of
the same size. Writes results/study_scale.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import torch

import bridge
from bridge.record.manifest import installed

RESULTS = Path(__file__).parent / "results"
METHODS = ["saliency", "input_x_gradient", "layer_gradcam", "fgsm"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the CIFAR-10 ResNet
CASES = (("Fashion-MNIST", 1000), ("Fashion-MNIST", 10_000), ("CIFAR-10", 1000))
TRIES = 8


def loaded(name: str, root: Path) -> tuple[Any, str]:
    """The model, and the source of its images."""
    if name == "Fashion-MNIST":
        source = f"npz:{root / 'fashion_mnist' / 'fashion_mnist.npz'}"
        return bridge.load_model("zoo:fashion_cnn"), source
    model = bridge.load_model(f"python:{root / 'load.py'}:cifar_resnet", mean=MEAN, std=STD)
    return model, f"npz:{root / 'cifar10' / 'cifar10_test1000.npz'}"


def measured(name: str, images: int, root: Path) -> dict[str, float]:
    """One study, in this process."""
    model, source = loaded(name, root)
    with tempfile.TemporaryDirectory() as folder:
        bridge.run_study(model, source, out=f"{folder}/warm", limit=64, **asked())
        start, cpu = time.perf_counter(), time.process_time()
        study = bridge.run_study(model, source, out=f"{folder}/study", limit=images, **asked())
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        spent, failures = study.spent, len(study.failures)
        x = bridge.load_data(source)[0][0][None].repeat(64, 1, 1, 1)
    return {
        "images": images,
        "seconds": seconds,
        "cpu_ms": 1000 * cpu / images,
        "forwards": spent["forwards"] / images,
        "backwards": spent["backwards"] / images,
        "pass_ms": 1000 * fastest(model, x) / len(x),
        "memory_mb": spent["memory_mb"],
        "failures": failures,
    }


def asked() -> dict[str, Any]:
    return {"methods": METHODS, "epsilons": [8 / 255], "judged": 0, "progress": False}


def fastest(model: Any, x: torch.Tensor) -> float:
    """Seconds of this processor for one forward and backward pass."""
    taken = []
    for _ in range(TRIES):
        start = time.process_time()
        images = x.clone().requires_grad_()
        torch.autograd.grad(model(images).sum(), images)
        taken.append(time.process_time() - start)
    return min(taken)


TEXT = """# A study of ten times the images

{methods}, on one thread. Passes by count are images forwards and backwards through
the model: one clean pass forwards, one backwards for the three attributions, one for the attack,
and a look at the attack's images. By time: all that a study does, reading, tables and writing
included, over one forward and backward pass of an image.

| data | images | ms an image (processor) | forwards, backwards | passes by time | peak memory |
|---|---|---|---|---|---|
{lines}

Memory at 10,000 images is {growth:+.1%} of that at 1,000; the cost of an image {cost:+.1%}.

{versions}.
Made by `python benchmarks/study_scale.py`.
"""


@click.command()
@click.option("--one", nargs=2, type=str, hidden=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "study_scale.md")
def main(one: tuple[str, str] | None, out: Path) -> None:
    root = Path(os.environ["BRIDGE_TEST_DATA"])
    if one:
        click.echo(json.dumps(measured(one[0], int(one[1]), root)))
        return
    rows, lines = [], []
    for name, images in CASES:
        command = [sys.executable, __file__, "--one", name, str(images)]
        ended = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        row = json.loads(ended.stdout.splitlines()[-1])
        rows.append(row)
        lines.append(
            f"| {name} | {images:,} | {row['cpu_ms']:.2f} | {row['forwards']:.2f}, "
            f"{row['backwards']:.2f} | {row['cpu_ms'] / row['pass_ms']:.2f} | "
            f"{row['memory_mb']:.0f} MB |"
        )
        click.echo(lines[-1])
    text = TEXT.format(
        methods=", ".join(METHODS),
        lines="\n".join(lines),
        growth=rows[1]["memory_mb"] / rows[0]["memory_mb"] - 1,
        cost=rows[1]["cpu_ms"] / rows[0]["cpu_ms"] - 1,
        versions=installed(),
    )
    out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
