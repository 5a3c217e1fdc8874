"""Where records go: a sink is a function of a record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from bridge.training.record import Record

Sink = Callable[[Record], None]


def files(folder: str | Path) -> Sink:
    """A sink that writes each record as `step-000123.safetensors` into a folder.

    It holds the logits, each method's output by its name, and `confused.*`.
    """
    from safetensors.torch import save_file

    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)

    def write(record: Record) -> None:
        tensors: dict[str, Tensor] = {"logits": record.logits, **record.outputs}
        if record.confused is not None:
            tensors |= {f"confused.{name}": value for name, value in vars(record.confused).items()}
        own = {name: value.contiguous().clone() for name, value in tensors.items()}
        save_file(own, path / f"step-{record.step:06d}.safetensors")

    return write


def tensorboard(writer: Any) -> Sink:
    """A sink for a `SummaryWriter`: accuracy on the probe's images, each output as a grid."""

    def write(record: Record) -> None:
        writer.add_scalar("probe/accuracy", record.accuracy, record.step)
        for name, output in record.outputs.items():
            shown = output.float().mean(1, keepdim=True)
            low, high = float(shown.min()), float(shown.max())
            writer.add_images(f"probe/{name}", (shown - low) / max(high - low, 1e-12), record.step)

    return write


def wandb(run: Any = None) -> Sink:
    """A sink for Weights & Biases: a run, or the current one.

    Raises ModuleNotFoundError where it is not installed.
    """
    import wandb as library

    def write(record: Record) -> None:
        images = {
            f"probe/{name}": [library.Image(map_.float().mean(0).numpy()) for map_ in output]
            for name, output in record.outputs.items()
        }
        (run or library).log({"probe/accuracy": record.accuracy, **images}, step=record.step)

    return write
