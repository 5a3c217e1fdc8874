"""`gradbridge bench`: how long methods take by all their implementations."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from bridge.cli._folder import RunFolder
from bridge.cli._options import (
    MethodChoice,
    device_option,
    fitting,
    fitting_images,
    gather,
    option,
    size_option,
    some_of,
)
from bridge.cli._parse import whole_numbers
from bridge.cli._terminal import command_line, one_line, show, tell, usage_errors

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.core.model import ModelAdapter
    from bridge.load import ImageData
    from bridge.study.benchmark_record import Benchmark

    Models = Mapping[str, ModelAdapter]
    Datasets = Mapping[str, ImageData]

# What `--quick` runs: every kind of work, each in seconds; their parameters are the methods' own.
QUICK = (
    "saliency",
    "input_x_gradient",
    "layer_gradcam",
    "guided_backprop",
    "integrated_gradients",
    "occlusion",
    "fgsm",
    "bim",
    "pgd",
    "fool",
)
QUICK_ROUNDS = 3


@dataclass(frozen=True)
class Networks:
    """Which models run on which images, and where."""

    given: tuple[str, ...] = option(
        "--model",
        multiple=True,
        metavar="SOURCE",
        help="As for compare. Repeatable. [default: zoo:fashion_cnn]",
    )
    random: bool = option(
        "--random",
        is_flag=True,
        help="Random weights: nothing is downloaded, and times do not depend on weights.",
    )
    data: str | None = option(
        "--data", metavar="SOURCE", help="As for compare [default: fits the model]."
    )
    size: int | None = size_option()
    batches: tuple[int, ...] = option(
        "--batch",
        type=whole_numbers,
        default="8",
        show_default=True,
        metavar="SIZES",
        help="Images in a batch.",
    )
    device: str = device_option()

    @property
    def sources(self) -> tuple[str, ...]:
        """The models, by their sources."""
        return self.given or ("zoo:fashion_cnn",)

    def load(self) -> Models:
        """The wrapped models by their sources."""
        from bridge.load import load_model

        return {
            source: load_model(source, pretrained=not self.random, device=self.device)
            for source in self.sources
        }

    def datasets(self, models: Models) -> Datasets:
        """The images of each model."""
        return {
            source: fitting(model, self.data or fitting_images(source), self.size)
            for source, model in models.items()
        }

    def images(self, models: Models, data: Datasets, source: str, n: int) -> tuple[Tensor, Tensor]:
        """n images for the model of a source, with their labels, or with what it says of them."""
        from bridge.metrics.attack import classify

        model = models[source]
        x, labels = some_of(data[source], n, model)
        x = x.to(self.device)
        return x, classify(model, x)[0] if labels is None else labels

    def side(self, data: Datasets) -> int:
        """The shortest side of all models' images."""
        from bridge.load import first_of

        return min(min(first_of(each, 1)[0].shape[2:]) for each in data.values())


@dataclass(frozen=True)
class Timing:
    """How the time is taken."""

    accelerations: tuple[str, ...] = option(
        "--accelerate",
        multiple=True,
        type=click.Choice(["compile", "bf16", "cuda_graph"]),
        help="Time the fused engine with this too, and state what it costs in agreement. "
        "Repeatable.",
    )
    rounds: int = option(
        "--rounds",
        type=click.IntRange(min=1),
        default=5,
        show_default=True,
        help="Timed runs of each, taken in turns.",
    )
    threads: int = option(
        "--threads",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="CPU threads; with one, other processes disturb least.",
    )
    quick: bool = option(
        "--quick",
        is_flag=True,
        help="Fewer methods, steps and rounds: under three minutes.",
    )


@click.command()
@gather(networks=Networks, methods=MethodChoice, timing=Timing)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(),
    help="The folder for the results, which must not exist yet [default: runs/<time>-bench].",
)
@click.option("--force", is_flag=True, help="Replace the run that is in --out.")
def bench(
    networks: Networks,
    methods: MethodChoice,
    timing: Timing,
    seed: int,
    out: str | None,
    force: bool,
) -> None:
    """Time methods by all their implementations, taken in turns.

    Prints ratios, passes, memory and whether the answer is right as Markdown, and saves the tables
    with a figure. Ctrl-C keeps what is finished. Exit code 0 when something was timed, 1 when
    nothing was, 2 for wrong usage, 130 or 143 when a signal ended it.
    """
    import torch

    from bridge.study.benchmark import benchmark
    from bridge.study.interruption import interruptible, orderly

    torch.set_num_threads(timing.threads)
    with orderly() as stop:
        folder = RunFolder(out, "bench", force)
        try:
            with usage_errors(), redirect_stdout(sys.stderr):
                with interruptible():
                    models = networks.load()
                    data = networks.datasets(models)
                    functions = methods.functions()
                chosen, params, rounds = methods.chosen, methods.params, timing.rounds
                if timing.quick:
                    chosen, rounds = chosen or QUICK, min(rounds, QUICK_ROUNDS)
                    params = _small(chosen, params, networks.side(data))
                result = benchmark(
                    models,
                    partial(networks.images, models, data),
                    methods=chosen,
                    implementations=methods.implementations,
                    functions=functions,
                    params=params,
                    batches=networks.batches,
                    accelerations=timing.accelerations,
                    rounds=rounds,
                    seed=seed,
                )
            result.manifest["command"] = command_line()
            well = show(str(result))
            well &= _save(result, folder)
        finally:
            folder.discard()
    if not result.finished or stop.exit_code:
        sys.exit(stop.exit_code or 128 + signal.SIGINT)
    sys.exit(0 if len(result.records) and well else 1)


def _save(result: Benchmark, folder: RunFolder) -> bool:
    """Save it; whether that went well."""
    try:
        path = folder.save(result)
    except (OSError, ValueError) as error:
        tell(
            f"Error: the results could not be saved in {folder.path}: {one_line(error)}; what is "
            "printed is all that is left of them"
        )
        return False
    return show(f"Saved in {path}: run.json, records (Parquet), benchmark.md and benchmark.png")


def _small(
    chosen: Iterable[str], params: dict[str, dict[str, Any]], side: int
) -> dict[str, dict[str, Any]]:
    """The methods' own small parameters, for images of this side, under those that were given."""
    from bridge.core.registry import get

    small = {name: get(name).small("quick", side) for name in chosen}
    return {name: {**small.get(name, {}), **params.get(name, {})} for name in {**small, **params}}
