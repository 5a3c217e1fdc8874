"""The shards as Ray tasks: the records of one process, also where a worker is killed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bridge
from tests.study.whole._datasets import ASKED, network, same

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.slow]

from bridge.study.whole.on_ray import run_on_ray  # noqa: E402

DATA = "sklearn:digits"
CUT: dict[str, Any] = {**ASKED, "batch_size": 4, "part_size": 8, "limit": 44}


@pytest.fixture(scope="module")
def nodes() -> Iterator[str]:
    """A cluster of two nodes on this machine, one process each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bridge.Study:
    return bridge.run_study(network(), DATA, out=tmp_path_factory.mktemp("ray") / "whole", **CUT)


def test_two_nodes_make_the_records_of_one_process(
    nodes: str, whole: bridge.Study, tmp_path: Path
) -> None:
    assert len([node for node in ray.nodes() if node["Alive"]]) == 2
    study = run_on_ray(network(), DATA, out=tmp_path, shards=3, **CUT)
    assert study.finished
    same(whole, study)


def test_a_killed_worker_is_started_again_and_goes_on(
    nodes: str, whole: bridge.Study, tmp_path: Path
) -> None:
    ended: list[int] = []

    def kill() -> None:
        lock, part = tmp_path / "lock-1-of-2", tmp_path / "parts" / "00000.json"
        for _ in range(3000):
            if part.exists():
                ended.append(json.loads(lock.read_text())["process"])
                os.kill(ended[0], signal.SIGKILL)
                return
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    study = run_on_ray(network(), DATA, out=tmp_path, shards=2, **CUT)
    thread.join()
    assert ended
    assert ended[0] != os.getpid()
    same(whole, study)
