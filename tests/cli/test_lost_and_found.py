"""The command line at a user's own folder of photographs, and at a folder that is taken."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import bridge
from bridge.cli import main

NETWORK = """
import torch
from torch import nn

import bridge


def network():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4)).eval()
    return bridge.wrap(module, class_names=["ant", "bee", "cat", "dog"])
"""


def gradbridge(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A network with named classes, and photographs in folders that an alphabet would misnumber."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETWORK)
    pixels = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3), dtype=np.uint8)
    for index, name in enumerate(("cat", "cat", "dog", "dog")):
        Path("photos", name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[index]).save(Path("photos", name, f"{index}.png"))
        Path("flat").mkdir(exist_ok=True)
        Image.fromarray(pixels[index]).save(Path("flat", f"{index}.png"))
    return tmp_path


def compare(data: str, *more: str):
    return gradbridge(
        *("compare", "--model", "python:nets.py:network", "--data", data, "-n", "4"),
        *("--methods", "saliency", "--repeats", "1", "--out", "run", *more),
    )


def test_folders_are_labelled_by_the_names_of_the_models_classes(here):
    done = compare("folder:photos")
    assert done.exit_code == 0, done.output
    assert sorted(bridge.Comparison.load("run").labels.tolist()) == [2, 2, 3, 3]
    assert "The model gets" in "\n".join(done.output.splitlines()[:8])


def test_a_folder_of_no_such_class_is_refused_with_the_nearest_names(here):
    Path("photos", "dog").rename(Path("photos", "dogg"))
    done = compare("folder:photos")
    assert done.exit_code == 2
    assert re.search(r"'dogg'.*\bdog\b", done.output)
    assert not Path("run").exists()


def test_a_flat_folder_is_explained_for_the_predictions_and_says_so(here):
    done = compare("folder:flat")
    assert done.exit_code == 0, done.output
    assert "own prediction, no label" in done.output
    report = Path("run", "report.html").read_text()
    assert "own prediction, no label" in report


def test_out_that_exists_is_refused_before_anything_runs_and_forced_on_demand(here):
    assert compare("folder:flat", "--no-report").exit_code == 0
    first = bridge.Comparison.load("run").manifest["id"]
    again = compare("folder:flat", "--no-report")
    assert again.exit_code == 2
    assert "--force" in again.output
    assert bridge.Comparison.load("run").manifest["id"] == first
    assert compare("folder:flat", "--no-report", "--force").exit_code == 0
    assert bridge.Comparison.load("run").manifest["id"] != first


def test_how_many_images_are_judged_and_how_long_it_may_take(here):
    for index in range(4, 8):
        Path("flat", f"{index}.png").write_bytes(Path("flat", "3.png").read_bytes())
    few = compare("folder:flat", "-n", "8", "--no-report", "--judged", "3")
    assert few.exit_code == 0, few.output
    assert "Judged on 3 of 8 images" in few.output
    assert bridge.Comparison.load("run").sample == [0, 2, 5]
    none = compare("folder:flat", "-n", "8", "--no-report", "--force", "--time-limit", "0")
    assert none.exit_code == 0, none.output
    assert "time limit" in none.output
    wrong = compare("folder:flat", "--judged", "most", "--force")
    assert wrong.exit_code == 2
    assert "expected a number or 'all'" in wrong.output


def test_the_tables_are_printed_even_where_they_cannot_be_saved(here, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bridge.record.store.parquet.write_table", full)
    done = compare("folder:flat")
    assert done.exit_code == 1
    assert "pairs agree with our reference" in done.output
    assert "No space left" in done.output
