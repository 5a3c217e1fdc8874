"""Data sets of the hub and tar files of samples: read by index, named where they are broken."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bridge
from bridge.load import Unreadable


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), value, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def test_tar_files_are_read_by_index(tmp_path: Path) -> None:
    for shard in range(3):
        members = {}
        for k in range(2):
            members[f"s/{shard}{k}.png"] = png(10 * shard + k)
            members[f"s/{shard}{k}.cls"] = str(k).encode()
        tar(tmp_path / f"t-{shard:03}.tar", members)
    data = bridge.load_data(f"webdataset:{tmp_path}/t-{{000..002}}.tar")
    assert len(data) == 6
    assert [round(float(data[k][0].max()) * 255) for k in range(6)] == [0, 1, 10, 11, 20, 21]
    assert [data[k][1] for k in range(6)] == [0, 1] * 3
    assert data.label is not None
    assert data.label(5) == 1
    assert data.where(2).endswith("t-001.tar/s/10.png")
    assert len(bridge.load_data(f"webdataset:{tmp_path}/t-*.tar")) == 6
    with pytest.raises(ValueError, match=r"there is no file .*t-003\.tar"):
        bridge.load_data(f"webdataset:{tmp_path}/t-{{002..003}}.tar")


def test_labels_of_tar_files_may_be_names_or_json(tmp_path: Path) -> None:
    tar(
        tmp_path / "a.tar",
        {
            "1.png": png(1),
            "1.json": json.dumps({"label": "fox"}).encode(),
            "2.png": b"broken",
            "2.json": json.dumps({"label": "dog"}).encode(),
        },
    )
    data = bridge.load_data(f"webdataset:{tmp_path}/a.tar", class_names=["dog", "cat", "fox"])
    assert data[0][1] == 2
    with pytest.raises(Unreadable, match=r"a\.tar/2\.png is not a readable image"):
        data[1]
    (tmp_path / "b.tar").write_bytes(b"no tar")
    with pytest.raises(ValueError, match=r"b\.tar is not a readable tar file"):
        bridge.load_data(f"webdataset:{tmp_path}/b.tar")
    tar(tmp_path / "c.tar", {"1.png": png(1), "2.png": png(2), "2.cls": b"0"})
    with pytest.raises(ValueError, match=r"1\.png has no label"):
        bridge.load_data(f"webdataset:{tmp_path}/c.tar")


def test_a_data_set_that_was_saved_is_read_by_index(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    kinds = datasets.Features(
        {"picture": datasets.Image(), "label": datasets.ClassLabel(names=["dog", "cat"])}
    )
    rows = {
        "picture": [Image.fromarray(np.full((4, 5), 9 * k, dtype=np.uint8)) for k in range(4)],
        "label": [0, 1, 1, 0],
    }
    datasets.Dataset.from_dict(rows, features=kinds).save_to_disk(str(tmp_path / "d"))
    data = bridge.load_data(f"hf:{tmp_path / 'd'}")
    assert [data[k][1] for k in range(4)] == [0, 1, 1, 0]
    assert data.class_names == ("dog", "cat")
    assert data[3][0].shape == (3, 4, 5)
    assert round(float(data[3][0].max()) * 255) == 27
    assert data.label is not None
    assert data.label(2) == 1
    turned = bridge.load_data(f"hf:{tmp_path / 'd'}", class_names=["cat", "dog"])
    assert [turned[k][1] for k in range(4)] == [1, 0, 0, 1]
    with pytest.raises(ValueError, match="cannot be loaded"):
        bridge.load_data(f"hf:{tmp_path}")
