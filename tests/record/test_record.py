"""The run directory: it gives back what was saved, also what another version wrote."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd
import pytest
import torch

import bridge
from bridge.record import manifest


@pytest.fixture(scope="module")
def comparison(fashion):
    model, x, labels = fashion
    return bridge.compare(
        model,
        x,
        labels,
        methods=["saliency", "layer_gradcam", "fgsm", "pgd"],
        params={"pgd": {"steps": 4}},
        repeats=1,
        progress=False,
    )


def test_a_run_directory_gives_back_what_was_saved(comparison, tmp_path):
    folder = comparison.save(tmp_path / "runs" / "first")
    assert {p.name for p in folder.iterdir()} == {
        "run.json",
        "tensors.safetensors",
        *(f"{name}.parquet" for name in comparison.tables),
    }
    again = bridge.Comparison.load(folder)
    for name, table in comparison.tables.items():
        assert again.tables[name].to_json() == table.to_json(), name
    assert set(again.outputs) == set(comparison.outputs)
    assert all(
        torch.equal(again.outputs[key], output) for key, output in comparison.outputs.items()
    )
    assert torch.equal(again.x, comparison.x)
    assert str(again) == str(comparison)
    recorded = json.loads((folder / "run.json").read_text())
    assert recorded["model"]["layer"] == "features.conv5"
    assert recorded["methods"]["pgd"]["params"]["steps"] == 4
    assert recorded["versions"]["captum"] == manifest.versions()["captum"]
    assert recorded["seed"] == 0


@pytest.mark.parametrize("name", ["run.json", "agreement.parquet", "tensors.safetensors"])
def test_a_missing_or_corrupt_file_of_a_run_is_named(comparison, tmp_path, name):
    folder = comparison.save(tmp_path)
    (folder / name).write_bytes(b"\x00broken")
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        bridge.Comparison.load(folder)
    (folder / name).unlink()
    with pytest.raises(ValueError, match="missing"):
        bridge.Comparison.load(folder)


def test_a_run_of_an_older_version_opens_and_what_it_lacks_is_empty(comparison, tmp_path):
    folder = comparison.save(tmp_path)
    card = json.loads((folder / "run.json").read_text())
    del card["tables"]  # as runs were written at first
    (folder / "run.json").write_text(json.dumps(card))
    (folder / "shift.parquet").unlink()
    comparison.runtime.drop(columns="warm_up").to_parquet(folder / "runtime.parquet")
    again = bridge.Comparison.load(folder)
    assert again.shift.empty
    assert list(again.shift) == list(comparison.shift)
    assert again.runtime["warm_up"].isna().all()
    assert again.agreement.to_json() == comparison.agreement.to_json()
    assert "HOW FAR" not in str(again)
    assert "RUNTIME" in str(again)


def test_a_table_that_this_version_does_not_know_is_kept_and_shown(comparison, tmp_path):
    folder = comparison.save(tmp_path)
    pd.DataFrame({"method": ["saliency"], "area": [0.123456]}).to_parquet(folder / "theirs.parquet")
    again = bridge.Comparison.load(folder)
    assert again.theirs["area"].tolist() == [0.123456]
    assert "THEIRS" in str(again)
    assert "0.1235" in str(again)
    assert (again.save(tmp_path / "copy") / "theirs.parquet").is_file()
    assert "theirs" in json.loads((tmp_path / "copy" / "run.json").read_text())["tables"]


def test_a_folder_that_is_written_again_holds_no_table_of_the_run_before(comparison, tmp_path):
    theirs = {"theirs": pd.DataFrame({"area": [0.5]})}
    dataclasses.replace(comparison, tables={**comparison.tables, **theirs}).save(tmp_path)
    assert "theirs" not in bridge.Comparison.load(comparison.save(tmp_path)).tables
