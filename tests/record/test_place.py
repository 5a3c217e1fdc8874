"""A run directory is there whole or not at all, whatever stops its writer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import bridge
from bridge.record import place, store
from tests.networks import Plain, images, seeded


@pytest.fixture(scope="module")
def runs() -> list[bridge.Comparison]:
    """Two runs that one can tell apart."""
    model = bridge.wrap(seeded(Plain))
    return [
        bridge.compare(
            model, images(), [0, 1, 2], methods=["saliency"], seed=seed, repeats=1, progress=False
        )
        for seed in (1, 2)
    ]


def everything(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.mark.parametrize("broken", ["parquet.write_table", "save_file", "json.dumps"])
def test_a_disk_that_is_full_leaves_the_run_that_was_there(runs, tmp_path, monkeypatch, broken):
    first, second = runs
    first.save(tmp_path / "run")
    before = everything(tmp_path)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(f"bridge.record.store.{broken}", full)
        with pytest.raises(OSError, match="No space left"):
            second.save(tmp_path / "run")
    assert everything(tmp_path) == before
    second.save(tmp_path / "run")
    assert bridge.Comparison.load(tmp_path / "run").manifest["seed"] == 2


def test_a_writer_that_is_killed_before_the_rename_is_as_if_it_had_never_been(
    runs, tmp_path, monkeypatch
):
    first, second = runs
    first.save(tmp_path / "run")
    with monkeypatch.context() as patched:
        # A kill leaves what is beside the place: nothing tidies up.
        patched.setattr(place.shutil, "rmtree", lambda *arguments, **options: None)
        patched.setattr(place.os, "rename", exit_in_the_middle)
        with pytest.raises(SystemExit):
            second.save(tmp_path / "run")
    assert len(list(tmp_path.iterdir())) == 2  # the run, and what the killed writer left
    assert bridge.Comparison.load(tmp_path / "run").manifest["seed"] == 1
    second.save(tmp_path / "run")
    assert [each.name for each in tmp_path.iterdir()] == ["run"]
    assert bridge.Comparison.load(tmp_path / "run").manifest["seed"] == 2


def exit_in_the_middle(*arguments, **options):
    raise SystemExit(137)


def test_files_of_two_runs_in_one_folder_are_no_run(runs, tmp_path):
    first, second = runs
    first.save(tmp_path / "a")
    second.save(tmp_path / "b")
    (tmp_path / "b" / "agreement.parquet").replace(tmp_path / "a" / "agreement.parquet")
    with pytest.raises(ValueError, match=r"agreement\.parquet.*another run"):
        bridge.Comparison.load(tmp_path / "a")


def test_a_folder_with_other_things_is_refused_and_forced_only_beside_them(runs, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"thesis\.tex, which a run does not write"):
        runs[0].save(tmp_path)
    runs[0].save(tmp_path, force=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert bridge.Comparison.load(tmp_path).manifest["seed"] == 1


def test_every_file_of_a_run_has_the_mode_that_the_user_asked_for(runs, tmp_path):
    before = os.umask(0o027)
    try:
        runs[0].save(tmp_path / "run")
    finally:
        os.umask(before)
    modes = {f.name: f.stat().st_mode & 0o777 for f in (tmp_path / "run").iterdir()}
    assert set(modes.values()) == {0o640}, modes


def test_numbers_that_are_not_finite_break_no_card(runs, tmp_path):
    runs[0].manifest["note"] = {"nan": float("nan"), "inf": float("inf")}
    runs[0].save(tmp_path / "run")
    text = (tmp_path / "run" / store.CARD).read_text()
    assert '"nan": "nan"' in text
    assert '"inf": "inf"' in text
    bridge.Comparison.load(tmp_path / "run")
