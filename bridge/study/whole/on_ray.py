"""The shards of a study as Ray tasks, on one machine or many (extra `ray`).

Every task is `run_study(..., shard="i/n")` in a process of its own, into the same `out`, which all
machines must reach: a shared folder or an object store. A task that is lost with its machine is
started again and goes on where it stopped. Ray is imported only here.

A Ray cluster runs whatever it is sent: let nobody reach its ports. Newer versions of Ray ask for a
token, those in between where RAY_AUTH_MODE=token is set on all machines: the one in
~/.ray/auth_token (`ray get-auth-token --generate` makes it), or that of RAY_AUTH_TOKEN or
RAY_AUTH_TOKEN_PATH. All machines need the same, and so does who starts a study. What `out` asks
for (AWS_... and the like) is read on each worker, and never sent by us.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bridge.core.model import ModelAdapter
from bridge.core.preflight import check_model
from bridge.load import ImageData, load_data
from bridge.study.whole import manifest
from bridge.study.whole.merge import merge
from bridge.study.whole.place import place_of
from bridge.study.whole.progress import Progress
from bridge.study.whole.run import prepared, run_study
from bridge.study.whole.study import Study

RETRIES = 5
# Tasks for each process that the cluster can run, so that none waits long for the last.
EACH = 2
WAIT = 1.0  # seconds between two looks at how far it is
DEFAULTS: dict[str, Any] = {
    "methods": None,
    "params": None,
    "epsilons": None,
    "metrics": None,
    "target": None,
    "limit": None,
    "sample": None,
    "balanced": False,
    "keep": (),
    "batch_size": None,
    "part_size": None,
    "seed": 0,
    "judged": 4,
}


def run_on_ray(
    model: nn.Module,
    data: Any,
    *,
    out: str | Path,
    address: str | None = None,
    shards: int | None = None,
    cpus: float = 1,
    gpus: float | None = None,
    workers: int = 0,
    progress: bool = True,
    **asked: Any,
) -> Study:
    """`run_study` by the processes of a Ray cluster: the same records, the same folder.

    `address` as of ray.init: None takes the cluster that RAY_ADDRESS names, else starts one here.
    `shards` tasks ask for `cpus` and `gpus` each (a model on a GPU: for one, and runs there). The
    model is shipped once; a dataset by its source goes by name and parameters, any other is
    pickled. `asked` and what is raised as of `run_study`; ValueError where Ray is not installed,
    ray's own errors where a task fails for good.
    """
    try:
        import ray
    except ImportError as error:
        raise ValueError('ray is not installed: pip install "gradbridge[ray]"') from error
    given = {**DEFAULTS, **asked}
    adapter = check_model(model)
    found = prepared(adapter, data, out=out, **given)
    # As it is cut here, so it is cut everywhere, whatever the devices there.
    given |= {"batch_size": found.asked.batch_size, "part_size": found.asked.part_size}
    place, total = place_of(out), len(found.images.places)
    if manifest.read(place) is None:
        manifest.settle(place, found.configured, found.asked, found.images)
    device = adapter.device or torch.device("cpu")
    gpus = (1.0 if device.type == "cuda" else 0.0) if gpus is None else gpus
    source = described(data, found.images.data)
    with _connected(ray, address):
        able = _processes(ray.cluster_resources(), cpus, gpus)
        parts = -(-total // found.asked.part_size)
        of = min(shards or EACH * able, parts)
        shipped = ray.put(_on_cpu(adapter)), ray.put(source)
        task = ray.remote(_shard).options(
            num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES, scheduling_strategy="SPREAD"
        )
        kind = device.type if gpus or device.type != "cuda" else "cpu"
        waiting = [
            task.remote(*shipped, str(out), f"{k}/{of}", kind, workers, given)
            for k in range(1, of + 1)
        ]
        with Progress(total, shown=progress) as shown:
            while waiting:
                done, waiting = ray.wait(waiting, timeout=WAIT)
                for images, failures in ray.get(done):
                    shown.advance(images, failures)
    study = merge(out)
    return Study(study.place, study.manifest, found.images.data, found.asked.work)


def described(data: Any, loaded: Any) -> Any:
    """How a worker gets the data: the arguments of `load_data`, or the dataset itself."""
    if isinstance(data, str):
        return {"source": data}
    if isinstance(data, ImageData) and data.loading:
        return dict(data.loading)
    return loaded


def _shard(
    model: ModelAdapter,
    source: Any,
    out: str,
    shard: str,
    device: str,
    workers: int,
    given: Mapping[str, Any],
) -> tuple[int, int]:
    """One shard, on a worker; its images and its failures."""
    adapter = model.to(torch.device(device)).eval()
    data = source
    if isinstance(source, Mapping):
        data = source["source"] if set(source) == {"source"} else load_data(**source)
    with _quiet():
        study = run_study(
            adapter, data, out=out, shard=shard, workers=workers, progress=False, **given
        )
    number, _, of = shard.partition("/")
    mine = [card for part, card in study.cards.items() if part % int(of) == int(number) - 1]
    rows = [[card["files"][name]["rows"] for card in mine] for name in ("images", "failures")]
    return sum(card["images"] for card in mine), sum(rows[1])


def _quiet() -> AbstractContextManager[Any]:
    """What a worker prints goes to its log, and is no part of the driver's output."""
    import sys

    return redirect_stdout(sys.stderr)


def _on_cpu(model: ModelAdapter) -> ModelAdapter:
    """The model as it is shipped: a machine without a GPU must be able to unpack it."""
    if model.device is None or model.device.type == "cpu":
        return model
    return model.astype(model.dtype or torch.float32).to("cpu")


def _processes(there: Mapping[str, float], cpus: float, gpus: float) -> int:
    """How many tasks a cluster can run at once."""
    counts = [int(there.get("CPU", 1) / cpus)] if cpus else []
    counts += [int(there.get("GPU", 0) / gpus)] if gpus else []
    if gpus and not counts[-1]:
        raise ValueError(f"each task asks for {gpus:g} GPUs, and this cluster has none to give")
    return max(1, min(counts, default=1))


def _connected(ray: Any, address: str | None) -> AbstractContextManager[Any]:
    """Inside, ray is there; who started it himself keeps it."""
    if ray.is_initialized():
        return nullcontext()
    started: AbstractContextManager[Any] = ray.init(
        address=address, log_to_driver=False, include_dashboard=False if address is None else None
    )
    return started
