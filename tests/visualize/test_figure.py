"""Figures for papers: the same bytes each time, fonts embedded, as wide as a column."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import bridge
from bridge.cli import main
from bridge.visualize import figure

SOME = {"images": [0, 2], "methods": ["saliency", "input_x_gradient", "fgsm"]}


@pytest.fixture(scope="module")
def run() -> bridge.Comparison:
    x, labels = bridge.load_batch("samples:fashion_mnist", 4)
    return bridge.compare(
        bridge.load_model("zoo:fashion_cnn"),
        x,
        labels,
        methods=["saliency", "input_x_gradient", "fgsm"],
        implementations=["reference"],
        epsilons=[8 / 255, 24 / 255],
        repeats=1,
        progress=False,
    )


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> Path:
    return run.save(tmp_path_factory.mktemp("saved") / "run")


def digests(folder: Path) -> list[str]:
    return [hashlib.sha256((folder / f"f.{kind}").read_bytes()).hexdigest() for kind in KINDS]


KINDS = ("pdf", "svg", "png")
ELSEWHERE = """
import sys, bridge, matplotlib
matplotlib.rcParams["font.size"] = 20
found = bridge.visualize.figure(bridge.Comparison.load(sys.argv[1]), [0, 2],
                                ["saliency", "input_x_gradient", "fgsm"], changes=True)
found.save(*(f"{sys.argv[2]}/f.{kind}" for kind in ("pdf", "svg", "png")))
"""


def test_the_bytes_are_the_same_twice_and_in_another_process(folder, tmp_path):
    """Also where that one has other settings of its own."""
    loaded = bridge.Comparison.load(folder)
    found = []
    for name in ("first", "second"):
        place = tmp_path / name
        place.mkdir()
        figure(loaded, **SOME, changes=True).save(*(place / f"f.{kind}" for kind in KINDS))
        found.append(digests(place))
    other = tmp_path / "other"
    other.mkdir()
    subprocess.run([sys.executable, "-c", ELSEWHERE, folder, other], check=True)
    assert found[0] == found[1] == digests(other)


def test_a_pdf_has_its_fonts_and_no_date(run, tmp_path):
    (path,) = figure(run, **SOME).save(tmp_path / "f.pdf")
    data = path.read_bytes()
    assert b"/FontFile2" in data  # TrueType, embedded
    assert b"/Type3" not in data
    assert b"CreationDate" not in data
    assert re.search(rb"/MediaBox \[ 0 0 495 [\d.]+ \]", data)  # 6.875 in points


def test_an_svg_has_outlines_in_place_of_fonts(run, tmp_path):
    (path,) = figure(run, **SOME, width="single").save(tmp_path / "f.svg")
    text = path.read_text()
    assert 'width="234pt"' in text  # 3.25 in points
    assert "font-family" not in text
    assert "<text" not in text
    assert not re.search("dc:date|http://(?!www.w3.org|purl.org|creativecommons.org)", text)


@pytest.mark.parametrize("width,pixels", [("single", 975), ("double", 2062), (4, 1200)])
def test_a_png_is_as_wide_as_the_column_at_300_dpi(run, tmp_path, width, pixels):
    (path,) = figure(run, **SOME, width=width).save(tmp_path / "f.png")
    with Image.open(path) as picture:
        assert picture.width == pixels
        assert round(picture.info["dpi"][0]) == 300


def test_columns_have_heads_and_each_method_its_scale(run):
    found = figure(run, **SOME, changes=True)
    heads = ["image", "saliency", "input x gradient", "fgsm 24/255", "change"]
    assert [column.head for column in found.columns] == heads
    assert found.rows == [run.class_name(int(run.labels[i])) for i in (0, 2)]
    scales = [column.largest for column in found.columns]
    assert scales[0] is scales[3] is None
    assert len(set(scales)) == 4
    shared = {column.largest for column in figure(run, **SOME, scale="shared").columns}
    assert len(shared) == 2  # None of the pictures, and one of all maps
    fgsm = run.predictions.query("method == 'fgsm' and epsilon > 0.05 and image == 0")
    now = int(fgsm["predicted"].item())
    assert found.columns[3].below[0] == ("" if now == run.labels[0] else run.class_name(now))


def test_a_key_of_an_output_may_stand_for_a_method(run):
    key = next(key for key in run.outputs if key[0] == "fgsm" and key[2] < 0.05)
    assert [column.head for column in figure(run, 1, [key]).columns] == ["image", "fgsm 8/255"]
    assert len(figure(run).columns) == 4
    assert len(figure(run).rows) == 4


def test_names_that_would_be_formulas_stay_names(run, tmp_path):
    names = ["$\\frac{", "<b>", *["a" * 200] * 8]
    manifest = {**run.manifest, "model": {**run.manifest["model"], "class_names": names}}
    named = dataclasses.replace(run, manifest=manifest, labels=torch.tensor([0, 1, 2, 3]))
    (path,) = figure(named, width="single").save(tmp_path / "f.png")
    with Image.open(path) as picture:
        assert picture.width == 975


def test_what_is_not_there_is_refused_with_what_is(run, tmp_path):
    with pytest.raises(KeyError, match="no pictures of 'salience'; it has: saliency, input_x"):
        figure(run, methods=["salience"])
    with pytest.raises(ValueError, match="there is no image 4: the run has 4, from 0 on"):
        figure(run, images=[4])
    with pytest.raises(ValueError, match="there is no image -1"):
        figure(run, images=[-1])
    with pytest.raises(ValueError, match="at least one"):
        figure(run, images=[])
    for width in ("wide", True, 0.5, float("nan")):
        with pytest.raises(ValueError, match="expected 'single', 'double' or 1 to 40 inches"):
            figure(run, width=width)
    with pytest.raises(ValueError, match="unknown scale 'log'"):
        figure(run, scale="log")
    with pytest.raises(ValueError, match=r"31 columns have no room in 6\.875 inches: at most 19"):
        figure(run, methods=["saliency"] * 30)
    with pytest.raises(ValueError, match=r"unknown kind of figure '\.jpg'"):
        figure(run).save(tmp_path / "f.png", tmp_path / "f.jpg")
    assert not list(tmp_path.iterdir())  # nothing is written where not all can be


def test_the_figure_shows_in_a_notebook(run):
    with Image.open(io.BytesIO(figure(run)._repr_png_())) as picture:
        assert picture.width == 2062


def test_the_command_line_draws_one_from_a_run_directory(folder, tmp_path):
    runner, out = CliRunner(), tmp_path / "f.pdf"
    asked = ["figure", str(folder), "-i", "0", "-i", "2", "-m", "saliency,fgsm", "-o", str(out)]
    done = runner.invoke(main, [*asked, "--width", "single"])
    assert done.exit_code == 0, done.output
    assert "3.25 x" in done.output
    assert out.read_bytes().startswith(b"%PDF")
    done = runner.invoke(main, ["figure", str(folder), "-m", "nothing", "-o", str(out)])
    assert done.exit_code == 2
    assert "it has: saliency" in done.output
