"""A study in an object store, which cannot rename: a part counts when its sidecar stands."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.study.whole.lock import SILENT, InUse, locked
from bridge.study.whole.merge import merge
from bridge.study.whole.place import Remote
from tests.study.whole._datasets import CHEAP, digits, network, same

CUT: dict[str, Any] = {**CHEAP, "batch_size": 4, "part_size": 4}


@pytest.fixture
def memory() -> Iterator[str]:
    fsspec = pytest.importorskip("fsspec")
    yield "memory://studies/first"
    fsspec.filesystem("memory").rm("/studies", recursive=True)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a real S3 server on the loopback."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import boto3
    import s3fs

    boto3.client("s3").create_bucket(Bucket="studies")
    s3fs.S3FileSystem.clear_instance_cache()
    yield "s3://studies/first"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.parametrize("store", ["memory", "s3"])
def test_a_study_in_a_store_is_the_one_in_a_folder(
    store: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after it was cut off between the files of a part and its sidecar."""
    url = request.getfixturevalue(store)
    asked = {**CUT, "keep": ["maps:float16"], "judged": 1}
    whole = bridge.run_study(network(), digits(10), out=tmp_path / "whole", **asked)
    write = Remote.write

    def cut_off(place: Remote, name: str, data: bytes) -> None:
        if name == "parts/00001.json":
            raise ConnectionError("the network is gone")
        write(place, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Remote, "write", cut_off)
        with pytest.raises(ConnectionError):
            bridge.run_study(network(), digits(10), out=url, **asked)
    assert len(bridge.Study.open(url).images) == 4
    study = bridge.run_study(network(), digits(10), out=url, **asked)
    assert study.finished
    same(whole, bridge.Study.open(url))
    assert bridge.Study.open(url).proof is not None
    merged = merge(tmp_path / "merged", [url])
    same(whole, merged)


def test_a_lock_in_a_store_ends_when_its_process_is_silent(memory: str) -> None:
    place = Remote(memory)
    other = {"process": 1, "host": "elsewhere", "time": time.time()}
    place.write("locks/whole.json", json.dumps(other).encode())
    with pytest.raises(InUse, match="process 1 on elsewhere"), locked(place):
        pass
    other["time"] -= SILENT + 1
    place.write("locks/whole.json", json.dumps(other).encode())
    with locked(place):
        with pytest.raises(InUse), locked(place):
            pass
        with pytest.raises(InUse), locked(place, "1-of-2"):
            pass
    with locked(place, "1-of-2"), locked(place, "2-of-2"):
        pass


def test_a_store_whose_library_is_not_here_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gradbridge\[remote\]|Protocol not known"):
        bridge.Study.open("nosuch://bucket/study")
