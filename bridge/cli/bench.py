"""`gradbridge bench`: how long methods take by all their implementations."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from bridge.cli._options import MethodChoice, fitting_images, gather, labelled, option
from bridge.cli._parse import numbers
from bridge.cli._terminal import command_line, run_folder, short_warnings, usage_errors

if TYPE_CHECKING:
    from torch import Tensor

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
    size: int | None = option(
        "--size", type=int, help="Resize the shorter side to this and crop the centre."
    )
    batches: tuple[float, ...] = option(
        "--batch",
        type=numbers,
        default="8",
        show_default=True,
        metavar="SIZES",
        help="Images in a batch.",
    )
    device: str = option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:1.")

    @property
    def sources(self) -> tuple[str, ...]:
        """The models, by their sources."""
        return self.given or ("zoo:fashion_cnn",)

    def load(self) -> dict[str, Any]:
        """The wrapped models by their sources."""
        from bridge.load import load_model

        return {
            source: load_model(source, pretrained=not self.random, device=self.device)
            for source in self.sources
        }

    def images(self, source: str, n: int) -> tuple[Tensor, Tensor]:
        """n images with their labels for the model of a source."""
        x, labels = labelled(self.data or fitting_images(source), n, self.size)
        return x.to(self.device), labels

    def side(self) -> int:
        """The shortest side of all models' images."""
        return min(min(self.images(source, 1)[0].shape[2:]) for source in self.sources)


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
        "--rounds", default=5, show_default=True, help="Timed runs of each, taken in turns."
    )
    threads: int = option(
        "--threads",
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
    type=click.Path(file_okay=False),
    help="The folder for the results [default: runs/<time>-bench].",
)
def bench(
    networks: Networks, methods: MethodChoice, timing: Timing, seed: int, out: str | None
) -> None:
    """Time methods by all their implementations, taken in turns.

    Prints ratios, passes, memory and whether the answer is right as Markdown, and saves the tables
    with a figure. Exit code 0 when something was timed, 2 for wrong usage.
    """
    import torch

    from bridge.study.benchmark import benchmark

    short_warnings()
    torch.set_num_threads(timing.threads)
    with usage_errors():
        chosen, params, rounds = methods.chosen, methods.params, timing.rounds
        if timing.quick:
            chosen, rounds = chosen or QUICK, min(rounds, QUICK_ROUNDS)
            params = _small(chosen, params, networks.side())
        result = benchmark(
            networks.load(),
            networks.images,
            methods=chosen,
            implementations=methods.implementations,
            functions=methods.functions(),
            params=params,
            batches=[int(n) for n in networks.batches],
            accelerations=timing.accelerations,
            rounds=rounds,
            seed=seed,
        )
    result.manifest["command"] = command_line()
    saved = result.save(run_folder(out, "bench"))
    click.echo(str(result))
    click.echo(f"Saved in {saved}: run.json, records (Parquet), benchmark.md and benchmark.png")
    sys.exit(0 if len(result.records) else 1)


def _small(
    chosen: Iterable[str], params: dict[str, dict[str, Any]], side: int
) -> dict[str, dict[str, Any]]:
    """The methods' own small parameters, for images of this side, under those that were given."""
    from bridge.core.registry import get

    small = {name: get(name).small("quick", side) for name in chosen}
    return {name: {**small.get(name, {}), **params.get(name, {})} for name in {**small, **params}}
