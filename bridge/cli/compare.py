"""`gradbridge compare`: methods by all their implementations on one batch."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bridge.cli._folder import RunFolder
from bridge.cli._options import (
    AttackSizes,
    ImageChoice,
    MethodChoice,
    MetricChoice,
    ModelChoice,
    gather,
    option,
)
from bridge.cli._terminal import coloured, command_line, one_line, show, tell, usage_errors

if TYPE_CHECKING:
    from bridge.study.comparison import Comparison


@dataclass(frozen=True)
class Output:
    """What is saved and printed."""

    folder: str | None = option(
        "--out",
        type=click.Path(),
        help="The run directory, which must not exist yet [default: runs/<time>-<model>].",
    )
    force: bool = option("--force", is_flag=True, help="Replace the run that is in --out.")
    report: bool = option(
        "--report/--no-report",
        default=True,
        show_default=True,
        help="Write report.html into the run directory too.",
    )
    as_json: bool = option("--json", is_flag=True, help="Print the tables as JSON instead of text.")


@click.command()
@gather(
    model=ModelChoice,
    images=ImageChoice,
    methods=MethodChoice,
    sizes=AttackSizes,
    metrics=MetricChoice,
)
@click.option(
    "--target",
    type=click.Choice(["labels", "predicted"]),
    help="What is explained and attacked: the labels, or what the model predicts "
    "[default: the labels where there are any].",
)
@click.option(
    "--autocast",
    type=click.Choice(["bfloat16", "float16"]),
    help="Compute in 16 bits where torch.autocast does, judged by rank and cosine.",
)
@click.option(
    "--judged",
    metavar="N|all",
    help="On how many images implementations are held against the reference; 0 computes only "
    "[default: as many as keep the proof below the results' own cost, 2 to 16].",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Leave out the dearest proofs where all would take longer; never results.",
)
@click.option(
    "--repeats",
    type=int,
    help="Timed runs of each cell after a warm-up [default: up to 3 of cells under 50 ms].",
)
@click.option("--seed", default=0, show_default=True)
@gather(output=Output)
def compare(
    model: ModelChoice,
    images: ImageChoice,
    methods: MethodChoice,
    sizes: AttackSizes,
    metrics: MetricChoice,
    target: str | None,
    autocast: str | None,
    judged: str | None,
    time_limit: float | None,
    repeats: int | None,
    seed: int,
    output: Output,
) -> None:
    """Run methods by all their implementations on real images; print and save the tables.

    Without arguments: 16 Fashion-MNIST samples through the embedded classifier, everything there
    is. The run directory gets the tables, the outputs, a figure and a report. Ctrl-C keeps what is
    finished. Exit code 0 when the comparison ran (disagreements are results), 1 when nothing could
    be compared or saved, 2 for wrong usage, 130 or 143 when a signal ended it.
    """
    import bridge
    from bridge.study.interruption import interruptible, orderly
    from bridge.study.measure import SHORT

    with orderly() as stop:
        folder = RunFolder(output.folder, model.source, output.force)
        try:
            # What the user's own code and downloads print is no part of the result.
            with usage_errors(), redirect_stdout(sys.stderr):
                with interruptible():
                    adapter = model.load()
                    data, x, labels = images.load(model, adapter)
                    source = data["source"]
                    if labels is None and target == "labels":
                        raise ValueError(f"the images of {source} have no labels")
                    functions = methods.functions()
                with _computing(x.device.type, autocast):
                    result = bridge.compare(
                        adapter,
                        x,
                        labels,
                        methods=methods.chosen,
                        implementations=methods.implementations,
                        functions=functions,
                        target="predicted" if target == "predicted" else None,
                        params=methods.params,
                        epsilons=sizes.given,
                        metrics=metrics.params,
                        judged=_count(judged),
                        time_limit=float("inf") if time_limit is None else time_limit,
                        repeats=3 if repeats is None else repeats,
                        seed=seed,
                        timing_seconds=SHORT if repeats is None else float("inf"),
                        keep=folder.path,
                    )
            result.manifest["data"] = data
            result.manifest["command"] = command_line()
            if not result.outputs and not result.finished:
                tell(f"Stopped by {result.manifest['stopped_by']} before anything had run.")
                sys.exit(stop.exit_code or 128 + signal.SIGINT)
            what = f"{len(x)} images of {source} through {model.source} on {model.device}"
            text = f"{what}, seed {seed}\n\n{result}"
            # First, so that it is seen whatever becomes of the files.
            well = show(_json(result, folder.path) if output.as_json else coloured(text))
            well &= _save(result, folder, output, f"{model.source} on {source}")
        finally:
            folder.discard()
    if not result.finished or stop.exit_code:
        sys.exit(stop.exit_code or 128 + signal.SIGINT)
    sys.exit(0 if result.outputs and well else 1)


def _computing(device: str, autocast: str | None) -> AbstractContextManager[object]:
    """Autocast on a device, where it is asked for."""
    import torch

    return torch.autocast(device, getattr(torch, autocast)) if autocast else nullcontext()


def _count(judged: str | None) -> int | str | None:
    """What --judged says: a number, "all" or nothing. Raises ValueError for another word."""
    if judged is None or judged == "all":
        return judged
    try:
        return int(judged)
    except ValueError:
        raise ValueError(f"--judged is {judged!r}, expected a number or 'all'") from None


def _save(result: Comparison, folder: RunFolder, output: Output, title: str) -> bool:
    """Save the run, then what is made from it; whether all of that went well."""
    try:
        path = folder.save(result)
    except (OSError, ValueError) as error:
        left = f"what is left of it is printed{', and parts are in the folder' * folder.kept}"
        tell(f"Error: the run could not be saved in {folder.path}: {one_line(error)}; {left}")
        return False
    written = "run.json, tables (Parquet), tensors.safetensors"
    well = True
    try:
        written += f" and {result.figure(path / 'panels.png').name}"
        if output.report:
            result.report(path / "report.html", title=title)
    except Exception as error:  # whatever stands between us and a picture
        tell(f"Error: the run is saved in {path}, but not all that shows it: {one_line(error)}")
        well = False
    if not output.as_json:
        show(f"\nSaved in {path}: {written}")
        if output.report and well:
            show(f"To look at, and to send on: {path / 'report.html'}")
    return well


def _json(result: Comparison, folder: Path) -> str:
    tables = {
        name: json.loads(table.to_json(orient="records")) for name, table in result.tables.items()
    }
    return json.dumps({"folder": str(folder), "manifest": result.manifest, **tables}, indent=2)
