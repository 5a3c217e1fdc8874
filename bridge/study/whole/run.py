"""A whole dataset through many methods: streamed, resumed, sharded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bridge.core.parameters import check_seed, check_whole
from bridge.core.preflight import check_model
from bridge.core.warn import warn
from bridge.study import interruption
from bridge.study.interruption import interruptible
from bridge.study.request import Epsilons, Metrics, Params
from bridge.study.whole import manifest, merge, proof
from bridge.study.whole.images import Images, images_of
from bridge.study.whole.items import listing
from bridge.study.whole.job import Job, Shard
from bridge.study.whole.lock import locked
from bridge.study.whole.place import place_of
from bridge.study.whole.progress import Progress
from bridge.study.whole.setting import Asked, ask, configuration, fingerprint
from bridge.study.whole.study import Study


@torch.inference_mode(False)
def run_study(
    model: nn.Module,
    data: Any,
    *,
    out: str | Path,
    methods: Sequence[str] | None = None,
    params: Params | None = None,
    epsilons: Epsilons | None = None,
    metrics: Metrics | None = None,
    target: Any = None,
    limit: int | None = None,
    sample: int | None = None,
    balanced: bool = False,
    keep: Sequence[str] | str = (),
    batch_size: int | None = None,
    part_size: int | None = None,
    workers: int = 0,
    seed: int = 0,
    judged: int = 4,
    transfer: nn.Module | None = None,
    shard: str | None = None,
    fail_fast: bool = False,
    progress: bool = True,
) -> Study:
    """Every image of a dataset through many methods, in bounded memory: a `Study` in `out`.

    `data` is a source string (see `bridge.load_data`), a torch Dataset of (image, label) with a
    length, or a DataLoader of one. `methods`, `params`, `epsilons` as in `compare`; each method
    runs by its fused implementation, on one clean pass that all share. `metrics`, as in `compare`,
    measure the attributions' maps and those of the controls. `target`: None explains the label,
    "predicted" what the model says, a number that class. `limit` takes the first images,
    `sample` so many drawn by `seed`, `balanced` equally many of each class.

    Called again it goes on where it stopped, and tries again what failed. Images are known by their
    pixels, and random numbers are seeded by them: the numbers do not depend on where it was cut, on
    the batch size, on workers or on order. An image that cannot be read, and a method that raises,
    become rows of `failures` (`fail_fast` ends at the first). `out` is a folder or an fsspec URL.

    `judged` images, drawn over the whole set, go through all implementations as in `compare`:
    `study.proof`. `transfer` is a second model, which is shown every attack's images. `keep` "maps"
    and "adversarials", with ":float16" or ":uint8" behind it, keeps these too. `shard="2/3"` does
    the second third; `bridge.study.whole.merge.merge` puts shards together. `part_size` images are
    on the disk at once, all or none.

    Raises what `compare` raises for a request that makes no sense; ValueError where `out` holds
    a study that was asked for otherwise (says in what), or another process works on it; Failed with
    `fail_fast`; KeyboardInterrupt with the batch in hand finished and kept.

    >>> import tempfile
    >>> import bridge
    >>> folder = tempfile.mkdtemp()
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> given = {"methods": ["saliency", "fgsm"], "epsilons": [0.1], "judged": 0}
    >>> study = run_study(model, "samples:fashion_mnist", out=folder, progress=False, **given)
    >>> study.finished, len(study.images), len(study.attacks), int(study.images["right"].sum())
    (True, 20, 20, 19)
    """
    place, part = place_of(out), Shard() if shard is None else Shard.of_text(shard)
    with interruptible():
        workers = check_whole("workers", workers, 0)
        found = prepared(
            model,
            data,
            out=out,
            methods=methods,
            params=params,
            epsilons=epsilons,
            metrics=metrics,
            target=target,
            limit=limit,
            sample=sample,
            balanced=balanced,
            keep=keep,
            batch_size=batch_size,
            part_size=part_size,
            seed=seed,
            judged=judged,
            transfer=transfer,
        )
    images, asked, configured = found.images, found.asked, found.configured
    with locked(place, str(part)) as lock:
        card = manifest.settle(place, configured, asked, images)
        if judged and part.number == 1 and proof.kept(place) is None:
            _prove(place, asked, images, judged)
        job = Job(
            place,
            images.data,
            images.places,
            asked,
            fingerprint(configured),
            lock,
            part,
            workers,
            fail_fast,
        )
        job.look()
        total = sum(len(job.span(number)) for number in job.numbers)
        with Progress(total, shown=progress) as shown:
            job.run(shown)
        study = Study(place, card, images.data, asked.work)
        if part.of == 1 and study.finished:
            merge.tell_apart(place, study.cards)
            study = Study(place, card, images.data, asked.work)
    return study


@dataclass(frozen=True)
class Prepared:
    """A study before anything of it runs."""

    images: Images
    asked: Asked
    configured: dict[str, Any]


def prepared(
    model: nn.Module,
    data: Any,
    *,
    out: str | Path | None,
    methods: Sequence[str] | None,
    params: Params | None,
    epsilons: Epsilons | None,
    target: Any,
    limit: int | None,
    sample: int | None,
    balanced: bool,
    keep: Sequence[str] | str,
    batch_size: int | None,
    part_size: int | None,
    seed: int,
    judged: int,
    metrics: Metrics | None = None,
    transfer: nn.Module | None = None,
) -> Prepared:
    """All checks, cut as what stands in `out` already; raises what `run_study` raises."""
    judged, seed = check_whole("judged", judged, 0), check_seed(seed)
    for name, value in (("batch_size", batch_size), ("part_size", part_size)):
        if value is not None:
            check_whole(name, value, 1)
    before = None if out is None else manifest.read(place_of(out))
    if before is not None:
        part_size = part_size or before["parts"]["size"]
        batch_size = batch_size or before["batch_size"]
    adapter = check_model(model)
    images = images_of(adapter, data, limit, sample, balanced, seed)
    asked = ask(
        adapter,
        images.x,
        methods=methods,
        params=params,
        epsilons=epsilons,
        metrics=metrics,
        target=target,
        labelled=images.labelled,
        keep=keep,
        batch_size=batch_size,
        part_size=part_size,
        seed=seed,
        second=None if transfer is None else check_model(transfer),
    )
    listed = listing(images.data, images.places)
    configured = configuration(asked, listed, images.described, judged)
    if before is not None:
        manifest.expect(place_of(out or ""), before, configured)
    return Prepared(images, asked, configured)


def _prove(place: Any, asked: Asked, images: Images, judged: int) -> None:
    items = proof.chosen(images.data, images.places, judged, asked.work.seed)
    if not items:
        return
    try:
        found = proof.prove(asked, items)
    except (ValueError, TypeError) as error:  # of one of its images: the others go on
        warn(f"there is no proof: {error}")
        return
    if found.finished:
        proof.keep(place, found)
    with interruptible():
        interruption.end_if_asked()
