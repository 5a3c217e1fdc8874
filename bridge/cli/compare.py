"""`gradbridge compare`: methods by all their implementations on one batch."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bridge.cli._options import ImageChoice, MethodChoice, ModelChoice, gather, option
from bridge.cli._parse import numbers
from bridge.cli._terminal import (
    coloured,
    command_line,
    run_folder,
    short_warnings,
    usage_errors,
)

if TYPE_CHECKING:
    from bridge.study.comparison import Comparison

# Without --repeats slow cells are timed once or twice, so that the default run takes under a
# minute on two cores.
TENTH_OF_A_SECOND = 0.1


@dataclass(frozen=True)
class AttackSizes:
    """The epsilons of the attacks, by norm."""

    linf: tuple[float, ...] | None = option(
        "--epsilons",
        type=numbers,
        metavar="SIZES",
        help="Sizes of the Linf attacks [default: 2/255,8/255].",
    )
    l2: tuple[float, ...] | None = option(
        "--epsilons-l2",
        type=numbers,
        metavar="SIZES",
        help="Sizes of the L2 attacks [default: 0.25,1].",
    )

    @property
    def given(self) -> dict[str, tuple[float, ...]]:
        """By norm, those that were given."""
        return {name: sizes for name, sizes in vars(self).items() if sizes}


@dataclass(frozen=True)
class Output:
    """What is saved and printed."""

    folder: str | None = option(
        "--out",
        type=click.Path(file_okay=False),
        help="The run directory [default: runs/<time>-<model>].",
    )
    report: bool = option(
        "--report/--no-report",
        default=True,
        show_default=True,
        help="Write report.html into the run directory too.",
    )
    as_json: bool = option("--json", is_flag=True, help="Print the tables as JSON instead of text.")


@click.command()
@gather(model=ModelChoice, images=ImageChoice, methods=MethodChoice, sizes=AttackSizes)
@click.option(
    "--repeats",
    type=int,
    help="Timed runs of each cell after a warm-up [default: 3, fewer where slow].",
)
@click.option("--seed", default=0, show_default=True)
@gather(output=Output)
def compare(
    model: ModelChoice,
    images: ImageChoice,
    methods: MethodChoice,
    sizes: AttackSizes,
    repeats: int | None,
    seed: int,
    output: Output,
) -> None:
    """Run methods by all their implementations on real images; print and save the tables.

    Without arguments: 16 Fashion-MNIST samples through the embedded classifier, everything there
    is. The run directory gets the tables, the outputs, a figure and a report. Exit code 0 when the
    comparison ran (disagreements are results), 1 when nothing could be compared, 2 for wrong usage.
    """
    import bridge

    short_warnings()
    with usage_errors():
        adapter = model.load()
        source, x, labels = images.load(model)
        result = bridge.compare(
            adapter,
            x,
            labels,
            methods=methods.chosen,
            implementations=methods.implementations,
            functions=methods.functions(),
            params=methods.params,
            epsilons=sizes.given,
            repeats=3 if repeats is None else repeats,
            seed=seed,
            timing_seconds=TENTH_OF_A_SECOND if repeats is None else float("inf"),
        )
    result.manifest["data"] = {"source": source, "images": len(x), "size": images.size}
    result.manifest["command"] = command_line()
    folder = result.save(run_folder(output.folder, model.source))
    figure = result.figure(folder / "panels.png")
    report = folder / "report.html"
    if output.report:
        result.report(report, title=f"{model.source} on {source}")
    if output.as_json:
        click.echo(_json(result, folder))
    else:
        what = f"{len(x)} images of {source} through {model.source} on {model.device}"
        click.echo(f"{what}, seed {seed}\n")
        click.echo(coloured(str(result)))
        files = f"run.json, tables (Parquet), tensors.safetensors and {figure.name}"
        click.echo(f"\nSaved in {folder}: {files}")
        if output.report:
            click.echo(f"To look at, and to send on: {report}")
    sys.exit(0 if result.outputs else 1)


def _json(result: Comparison, folder: Path) -> str:
    tables = {
        name: json.loads(table.to_json(orient="records")) for name, table in result.tables.items()
    }
    return json.dumps({"folder": str(folder), "manifest": result.manifest, **tables}, indent=2)
