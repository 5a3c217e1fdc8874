"""Train the zoo's Fashion-MNIST networks and record weights, seed and accuracy beside them.

python benchmarks/train_zoo.py fashion_cnn                                    # by torchvision
python benchmarks/train_zoo.py fashion_alexnet --data npz:fashion_mnist.npz   # or your own file
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import torch
from safetensors.torch import save_file

from bridge.load import load_batch
from bridge.zoo import ZOO
from bridge.zoo.train import accuracy, train

RECIPES = {
    "fashion_cnn": {"epochs": 14, "learning_rate": 6e-3, "flip": True},
    "fashion_alexnet": {"epochs": 10, "learning_rate": 1.5e-3, "flip": True},
}


def show(epoch: int, loss: float) -> None:
    """An epoch's mean loss on stderr."""
    click.echo(f"epoch {epoch + 1}: loss {loss:.4f}", err=True)


@click.command()
@click.argument("name", type=click.Choice(sorted(RECIPES)))
@click.option(
    "--data",
    default="torchvision:FashionMNIST",
    show_default=True,
    help="Where the images come from.",
)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder; the zoo itself by default.",
)
def main(name: str, data: str, seed: int, out: Path | None) -> None:
    """Train one network of the zoo and write its weights and its record."""
    entry, recipe = ZOO[name], RECIPES[name]
    folder = out or Path(__file__).parent.parent / "bridge" / "zoo"
    mean, std = entry.mean[0], entry.std[0]
    x, labels = load_batch(data, n=None, split="train")
    x_test, labels_test = load_batch(data, n=None, split="test")
    torch.manual_seed(seed)
    network = entry.module()
    start = time.perf_counter()
    train(
        network,
        (x - mean) / std,
        labels,
        seed=seed,
        **recipe,
        progress=show,
    )
    minutes = (time.perf_counter() - start) / 60
    test = accuracy(network, (x_test - mean) / std, labels_test)
    save_file(network.state_dict(), folder / f"{name}.safetensors")
    recorded = {
        "script": "benchmarks/train_zoo.py",
        "model": name,
        "data": "Fashion-MNIST, 60000 training images",
        "seed": seed,
        **recipe,
        "parameters": sum(p.numel() for p in network.parameters()),
        "torch": torch.__version__,
        "minutes": round(minutes, 1),
        "test_images": len(x_test),
        "test_accuracy": round(test, 4),
    }
    (folder / f"{name}.json").write_text(json.dumps(recorded, indent=2) + "\n", encoding="utf-8")
    click.echo(f"{name}: {test:.2%} of {len(x_test)} test images right, {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
