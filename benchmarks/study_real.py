"""Real studies: CIFAR-10 through ResNet-20, photographs through SqueezeNet; their summaries.

    python benchmarks/study_real.py --only cifar         # about twenty minutes on one core
    python benchmarks/study_real.py --only photographs   # about half an hour

Seven methods, the attacks at four sizes each, on the real weights and images that stand beside the
project. Each is an ordinary study: stopped and started again, it goes on. Writes
benchmarks/results/study_cifar.md and study_photographs.md.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import click
import torch
from real_data import loaders
from torch.utils.data import Dataset, TensorDataset

import bridge
from bridge.core.model import ModelAdapter
from bridge.record.manifest import installed

RESULTS = Path(__file__).parent / "results"
METHODS = [
    "saliency",
    "integrated_gradients",
    "layer_gradcam",
    "occlusion",
    "fgsm",
    "pgd",
    "pgd_l2",
]
EPSILONS = {
    "linf": [1 / 255, 2 / 255, 4 / 255, 8 / 255],
    "l2": [0.125, 0.25, 0.5, 1.0],
}


def cifar(data: ModuleType) -> tuple[ModelAdapter, Dataset[Any]]:
    model = bridge.wrap(
        data.cifar_resnet(),
        mean=data.CIFAR_MEAN,
        std=data.CIFAR_STD,
        layer="layer3",
        name="ResNet-20",
    )
    return model, TensorDataset(*data.cifar10_test())


def photographs(data: ModuleType) -> tuple[ModelAdapter, Dataset[Any]]:
    model = bridge.wrap(
        data.squeezenet(), mean=data.IMAGENET_MEAN, std=data.IMAGENET_STD, name="SqueezeNet 1.1"
    )
    return model, TensorDataset(*data.imagenet_samples(n=200, step=1))


WORLDS = {"cifar": cifar, "photographs": photographs}
TEXT = """# {title}

{images} images, {methods} methods, {threads} thread(s); {spent}
Made by `python benchmarks/study_real.py --only {name}`. {versions}.

```text
{summary}
```
"""


def spent(study: bridge.Study) -> str:
    """What it took, in a line."""
    return ", ".join(f"{name} {value:,.0f}" for name, value in study.spent.items()) + "."


@click.command()
@click.option("--only", type=click.Choice(list(WORLDS)), multiple=True, help="Which studies.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
def main(only: tuple[str, ...], out: Path) -> None:
    data = loaders()
    if data is None:
        raise click.ClickException("no real data beside the project, and none at BRIDGE_TEST_DATA")
    for name in only or WORLDS:
        model, images = WORLDS[name](data)
        study = bridge.run_study(
            model, images, out=out / f"study_{name}", methods=METHODS, epsilons=EPSILONS
        )
        text = TEXT.format(
            title=f"A study: {name}",
            images=len(study.images),
            methods=len(METHODS),
            threads=torch.get_num_threads(),
            spent=spent(study),
            name=name,
            versions=installed(),
            summary=study.summary(),
        )
        (RESULTS / f"study_{name}.md").write_text(text, encoding="utf-8")
        click.echo(RESULTS / f"study_{name}.md")


if __name__ == "__main__":
    main()
