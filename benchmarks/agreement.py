"""Regenerate the published agreement table: references against twins on three trained networks.

    python benchmarks/agreement.py --data FOLDER      # with load.py, see its README

Writes benchmarks/results/agreement.md and the README's picture, benchmarks/results/panels.png.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from types import ModuleType

import click

import bridge
from bridge.record import manifest

RESULTS = Path(__file__).parent / "results"
# What the README's picture shows.
PICTURED = ("integrated_gradients", "layer_gradcam", "occlusion", "guided_backprop", "pgd")


def fewer(side: int) -> dict[str, dict]:
    """Small parameters by the methods' tags: how often the loops go round, nothing else.

    On 224 pixels the whole default takes an hour on two cores. No network here has attention.
    """
    found = map(bridge.registry.get, bridge.methods())
    return {
        m.name: m.small("quickest", side) | m.small("quick", side)
        for m in found
        if not m.needs & {"attention", "tokens"}
    }


def worlds(loaders: ModuleType) -> dict[str, tuple]:
    """name -> (model, x, labels, params)."""
    x, labels = bridge.load_batch("samples:fashion_mnist", 16)
    cifar = bridge.wrap(
        loaders.cifar_resnet(), mean=loaders.CIFAR_MEAN, std=loaders.CIFAR_STD, layer="layer3"
    )
    x_cifar, labels_cifar = loaders.cifar10_test()
    squeezenet = bridge.wrap(
        loaders.squeezenet(), mean=loaders.IMAGENET_MEAN, std=loaders.IMAGENET_STD
    )
    return {
        "zoo:fashion_cnn, 16 samples": (bridge.load_model("zoo:fashion_cnn"), x, labels, {}),
        "CIFAR-10 ResNet-20, 8 images": (cifar, x_cifar[:8], labels_cifar[:8], {}),
        "ImageNet SqueezeNet, 4 photographs": (
            squeezenet,
            *loaders.imagenet_samples(n=4, step=40),
            fewer(224),
        ),
    }


@click.command()
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True
)
def main(data: Path) -> None:
    spec = importlib.util.spec_from_file_location("loaders", data / "load.py")
    loaders = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaders)
    RESULTS.mkdir(exist_ok=True)
    lines = [
        "# Agreement of the references with Captum and Foolbox",
        "",
        "Made by `benchmarks/agreement.py`. Gaps of maps are relative to each image's largest",
        "value, gaps of images to the range of pixel values; noise is the reference's own float32",
        "rounding. Attacks: the worst of the epsilons.",
        "",
        ", ".join(f"{name} {version}" for name, version in manifest.versions().items()),
        "",
    ]
    for name, (model, x, labels, params) in worlds(loaders).items():
        click.echo(name, err=True)
        c = bridge.compare(model, x, labels, params=params, judged="all", repeats=1)
        if model.name == "zoo:fashion_cnn":
            pictured = {key: output for key, output in c.outputs.items() if key[0] in PICTURED}
            dataclasses.replace(c, outputs=pictured).figure(RESULTS / "panels.png")
        lines += [
            f"## {name}",
            "",
            "| method | implementation | float64 | gap | float32 | gap | noise |",
            "|---|---|---|---|---|---|---|",
        ]
        worst = (
            c.agreement.sort_values("gap", kind="stable")
            .groupby(["method", "implementation"], sort=False)
            .tail(1)
            .sort_index()
        )
        lines += [
            f"| {r.method} | {r.implementation} | {r.verdict} | {r.gap:.1e} | {r.verdict_float32} "
            f"| {r.gap_float32:.1e} | {r.noise:.1e} |"
            for r in worst.itertuples()
        ]
        lines += [
            "",
            *(
                f"- {r.implementation}'s {r.method}: {r.cause}."
                for r in worst.itertuples()
                if r.cause
            ),
            "",
        ]
    (RESULTS / "agreement.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
