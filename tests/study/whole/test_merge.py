"""Shards: each does its own, and together they are what one process makes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.study.whole.job import Shard
from bridge.study.whole.merge import merge
from bridge.study.whole.place import sha256
from tests.study.whole._datasets import ASKED, CHEAP, Digits, digits, network, same

CUT: dict[str, Any] = {**ASKED, "batch_size": 4, "part_size": 4}


def shard(folder: Path, number: int, of: int = 3, **more: Any) -> Path:
    data = more.pop("data", digits(22))
    given = {**CUT, **more}
    bridge.run_study(network(), data, out=folder, shard=f"{number}/{of}", **given)
    return folder


def files(folder: Path) -> dict[str, str]:
    """The hashes of all files that hold numbers."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes())
        for path in folder.rglob("*.parquet")
    }


def test_three_shards_merged_are_what_one_process_makes(tmp_path: Path) -> None:
    whole = bridge.run_study(network(), digits(22), out=tmp_path / "whole", **CUT)
    shards = [shard(tmp_path / f"s{k}", k) for k in (1, 2, 3)]
    assert sum(len(bridge.Study.open(each).images) for each in shards) == 22
    merged = merge(tmp_path / "merged", shards)
    assert merged.finished
    same(whole, merged)
    assert files(tmp_path / "merged") == files(tmp_path / "whole")


def test_shards_may_fill_one_folder(tmp_path: Path) -> None:
    whole = bridge.run_study(network(), digits(22), out=tmp_path / "whole", **CUT)
    for k in (2, 1, 3):
        assert not shard(tmp_path / "one", k).joinpath("merged").exists()
    same(whole, merge(tmp_path / "one"))


def test_the_same_pixels_in_two_shards_are_told_apart(tmp_path: Path) -> None:
    data = Digits([0, 1, 2, 3, 0, 1, 2, 3, 4])
    given = {**CHEAP, "params": {}, "batch_size": 2, "part_size": 2}
    whole = bridge.run_study(network(), data, out=tmp_path / "whole", **given)
    shards = [shard(tmp_path / f"s{k}", k, 2, data=data, **given) for k in (1, 2)]
    study = merge(tmp_path / "merged", shards)
    assert study.images["id"].is_unique
    assert study.images["id"][4] == f"{study.images['id'][0]}@4"
    same(whole, study)


def test_gaps_are_refused(tmp_path: Path) -> None:
    shards = [shard(tmp_path / f"s{k}", k) for k in (1, 3)]
    with pytest.raises(ValueError, match=r"2 of 6 parts are missing \(1, 4\)"):
        merge(tmp_path / "merged", shards)


def test_doubles_are_taken_once_and_refused_where_they_differ(tmp_path: Path) -> None:
    shards = [shard(tmp_path / f"s{k}", k) for k in (1, 2, 3)]
    shutil.copytree(shards[0], tmp_path / "copy")
    assert merge(tmp_path / "merged", [*shards, tmp_path / "copy"]).finished
    broken = digits(22, broken=(1,))
    other = shard(tmp_path / "other", 1, data=broken)
    with pytest.raises(ValueError, match=r"part 0 is in .*s1 and in .*other, with other rows"):
        merge(tmp_path / "again", [*shards, other])


def test_shards_of_another_study_are_refused(tmp_path: Path) -> None:
    first = shard(tmp_path / "s1", 1)
    second = shard(tmp_path / "s2", 2, seed=5)
    with pytest.raises(ValueError, match=r"no shard of the same study.*seed was 0 and is 5"):
        merge(tmp_path / "merged", [first, second])
    with pytest.raises(ValueError, match="holds no study"):
        merge(tmp_path / "merged", [tmp_path / "nowhere"])


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    shards = [shard(tmp_path / f"s{k}", k) for k in (1, 2, 3)]
    file = shards[1] / "attacks" / "00001.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(ValueError, match=r"attacks/00001\.parquet is not what its sidecar says"):
        merge(tmp_path / "merged", shards)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/", "-1/2"])
def test_a_shard_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="makes no sense: expected i/n"):
        Shard.of_text(text)
