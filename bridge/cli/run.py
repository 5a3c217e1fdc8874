"""`gradbridge run`: a whole dataset through many methods, resumed where it stopped."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from bridge.cli._options import (
    AttackSizes,
    MetricChoice,
    ModelChoice,
    fitting,
    fitting_images,
    gather,
    methods_option,
    option,
    param_option,
    size_option,
)
from bridge.cli._parse import Parameter, by_method
from bridge.cli._terminal import one_line, show, tell, usage_errors

if TYPE_CHECKING:
    from bridge.core.model import ModelAdapter
    from bridge.load import ImageData
    from bridge.study.whole.study import Study

DISAGREE, FAILURES = 1, 4
SHOWN = 3  # failures


@dataclass(frozen=True)
class DataChoice:
    """Which images of which data."""

    source: str | None = option(
        "--data",
        metavar="SOURCE",
        help="folder:PATH, csv:FILE, npz:FILE, torchvision:NAME, hf:NAME, webdataset:FILES, "
        "samples:NAME or sklearn:digits [default: fits the model].",
    )
    split: str = option("--split", default="test", show_default=True, help="train or test.")
    size: int | None = size_option()
    limit: int | None = option("--limit", type=int, help="Only so many of the first images.")
    sample: int | None = option(
        "--sample", type=int, help="Only so many images, drawn by the seed."
    )
    balanced: bool = option(
        "--balanced", is_flag=True, help="Equally many of each class, with --limit or --sample."
    )

    def load(self, model: ModelChoice, adapter: ModelAdapter) -> ImageData:
        """The dataset, as the model takes its images and counts its classes."""
        source = self.source or fitting_images(model.source)
        return fitting(adapter, source, self.size, self.split)


@dataclass(frozen=True)
class Chosen:
    """Which methods, with which parameters."""

    names: tuple[str, ...] | None = methods_option()
    parameters: tuple[Parameter, ...] = param_option()
    target: str | None = option(
        "--target", help="What is explained: labels, predicted or a class [default: labels]."
    )

    @property
    def explained(self) -> str | int | None:
        """As `run_study` takes it."""
        return int(self.target) if self.target and self.target.isdecimal() else self.target


@dataclass(frozen=True)
class Work:
    """How it is cut, and what is kept."""

    out: str = option(
        "--out", required=True, help="The study's folder, or an fsspec URL such as s3://..."
    )
    keep: str = option(
        "--keep",
        default="",
        metavar="WHAT",
        help="maps, adversarials or both, as float32, or maps:float16, maps:uint8.",
    )
    batch_size: int | None = option(
        "--batch-size", type=int, help="Images at once [default: by their size and the device]."
    )
    part_size: int | None = option(
        "--part-size", type=int, help="Images that are saved at once [default: about 256]."
    )
    workers: int = option(
        "--workers", type=int, default=0, show_default=True, help="Processes that read images."
    )
    seed: int = option("--seed", type=int, default=0, show_default=True)
    judged: int = option(
        "--judged",
        type=int,
        default=4,
        show_default=True,
        help="Images that go through all implementations, as in `compare`: the proof.",
    )
    transfer: str | None = option(
        "--transfer",
        metavar="MODEL",
        help="A second model: do images that fool the first fool it too?",
    )
    shard: str | None = option("--shard", metavar="I/N", help="Only the i-th of n shards.")
    ray: str | None = option(
        "--ray",
        is_flag=False,
        flag_value="",
        metavar="[ADDRESS]",
        help="Run the shards on a Ray cluster: the one at ADDRESS, else one started here.",
    )
    shards: int | None = option(
        "--shards", type=int, help="How many Ray tasks [default: twice what it can run at once]."
    )
    gpus: float | None = option(
        "--gpus", type=float, help="GPUs of each Ray task [default: 1 for --device cuda]."
    )
    fail_fast: bool = option("--fail-fast", is_flag=True, help="End at the first failure.")
    dry_run: bool = option(
        "--dry-run", is_flag=True, help="Time one batch and say what the whole would take."
    )


@click.command()
@gather(
    model=ModelChoice,
    data=DataChoice,
    methods=Chosen,
    sizes=AttackSizes,
    metrics=MetricChoice,
    work=Work,
)
def run(
    model: ModelChoice,
    data: DataChoice,
    methods: Chosen,
    sizes: AttackSizes,
    metrics: MetricChoice,
    work: Work,
) -> None:
    """Run methods over a whole dataset, in bounded memory; the same command goes on later.

    Exit code 0 when all is there, 1 when the proof found a disagreement, 2 for wrong usage, 4 when
    all is there but failures, 130 or 143 when a signal ended it: what was finished is kept.
    """
    from bridge.study.interruption import interruptible, orderly

    with orderly():
        with usage_errors(), redirect_stdout(sys.stderr):
            with interruptible():
                adapter = model.load()
                images = data.load(model, adapter)
                second = (
                    None
                    if work.transfer is None
                    else replace(model, source=work.transfer, weights=None).load()
                )
            given: dict[str, Any] = {
                "methods": methods.names,
                "params": by_method(methods.parameters),
                "epsilons": sizes.given,
                "metrics": metrics.params,
                "target": methods.explained,
                "limit": data.limit,
                "sample": data.sample,
                "balanced": data.balanced,
                "keep": work.keep,
                "batch_size": work.batch_size,
                "part_size": work.part_size,
                "seed": work.seed,
                "judged": work.judged,
                "transfer": second,
            }
            if work.dry_run:
                text = _forecast(adapter, images, given)
            else:
                study = _run(adapter, images, given, work)
        if work.dry_run:
            show(text)
            return
        sys.exit(report(study))


def _forecast(adapter: ModelAdapter, images: ImageData, given: dict[str, Any]) -> str:
    from bridge.study.interruption import interruptible
    from bridge.study.whole.forecast import forecast
    from bridge.study.whole.run import prepared

    with interruptible():
        found = prepared(adapter, images, out=None, **given)
        return str(forecast(found.asked, found.images.data, found.images.places))


def _run(adapter: ModelAdapter, images: ImageData, given: dict[str, Any], work: Work) -> Study:
    from bridge.study.whole.job import Failed
    from bridge.study.whole.run import run_study

    if work.ray is not None:
        from bridge.study.whole.on_ray import run_on_ray

        if work.shard is not None or work.fail_fast:
            raise ValueError("--ray cuts the shards itself: leave --shard and --fail-fast out")
        return run_on_ray(
            adapter,
            images,
            out=work.out,
            address=work.ray or None,
            shards=work.shards,
            gpus=work.gpus,
            workers=work.workers,
            **given,
        )
    try:
        return run_study(
            adapter,
            images,
            out=work.out,
            shard=work.shard,
            workers=work.workers,
            fail_fast=work.fail_fast,
            **given,
        )
    except Failed as error:
        tell(f"Error: {one_line(error)}")
        sys.exit(FAILURES)
    except OSError as error:
        raise click.ClickException(
            f"the study cannot be kept in {work.out}: {one_line(error)}; what was finished is "
            "there, and the same command goes on"
        ) from error


def report(study: Study) -> int:
    """Say what there is of a study, and its statistics once it is whole; returns the exit code."""
    show(str(study))
    failures, wrong = study.failures, study.disagreements
    for row in failures.head(SHOWN).to_dict("records"):
        who = " ".join(part for part in (row["method"], row["stage"], row["id"]) if part)
        show(f"Failed: {who}: {one_line(row['message'])}")
    if len(failures) > SHOWN:
        show(f"... and {len(failures) - SHOWN} more failures, in Study.open(...).failures")
    if study.proof is not None:
        show(f"The proof: {len(study.proof.x)} images by all implementations, in proof/.")
    for text in wrong:
        show(f"Disagreement: {text}")
    if study.finished and len(study.images):
        show(f"\n{study.summary()}")
        show(f"To look at, and to send on: gradbridge report {study.place} -o study.html")
    if wrong:
        return DISAGREE
    return FAILURES if len(failures) else 0
