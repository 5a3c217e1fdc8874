"""`compare` and `run` bring images to the size of the model's own transform, and say so."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import bridge
from bridge.cli import main

METHODS = ("--methods", "saliency")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A small model that save_pretrained wrote, and photographs of several sizes."""
    transformers = pytest.importorskip("transformers")
    model, photos = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("photos")
    config = transformers.ViTConfig(
        image_size=24,
        patch_size=8,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        num_labels=2,
        id2label={0: "ant", 1: "bee"},
        label2id={"ant": 0, "bee": 1},
    )
    transformers.ViTForImageClassification(config).save_pretrained(model)
    transformers.BitImageProcessor(
        size={"shortest_edge": 30}, crop_size={"height": 24, "width": 24}
    ).save_pretrained(model)
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 50 + index, 3), dtype=np.uint8)
        folder = photos / ("ant", "bee")[index % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return f"hf:{model}", f"folder:{photos}"


def gradbridge(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


def compared(places, out, *arguments):
    model, data = places
    place = ("--model", model, "--data", data, "--out", out, "--no-report")
    done = gradbridge("compare", *place, "-n", "3", *METHODS, *arguments)
    assert done.exit_code == 0, done.output
    return done, bridge.Comparison.load(out)


def test_compare_resizes_as_the_models_own_transform_and_says_so(places, tmp_path):
    done, run = compared(places, tmp_path / "run")
    said = f"{places[1]}: images resized to 30 (bicubic), cropped to 24 x 24, as {places[0]}'s own"
    assert said in done.stderr
    assert run.x.shape == (3, 3, 24, 24)
    assert run.manifest["data"]["size"] == {
        "resize": 30,
        "crop": [24, 24],
        "interpolation": "bicubic",
    }


def test_a_size_that_is_told_is_taken(places, tmp_path):
    done, run = compared(places, tmp_path / "run", "--size", "24")
    assert "resized" not in done.stderr
    assert run.manifest["data"]["size"] == 24


def test_autocast_is_judged_by_rank_and_cosine(places, tmp_path):
    done, run = compared(places, tmp_path / "run", "--autocast", "bfloat16")
    assert "WHAT 16 BITS LEAVE" in done.stdout
    assert run.manifest["device"]["autocast"] == "torch.bfloat16"


def test_a_study_records_the_size_and_goes_on_with_it(places, tmp_path):
    model, data = places
    command = ("run", "--model", model, "--data", data, "--out", tmp_path / "s", *METHODS)
    for _ in range(2):
        done = gradbridge(*command)
        assert done.exit_code == 0, done.output
        assert "cropped to 24 x 24" in done.stderr
    loading = bridge.Study.open(tmp_path / "s").manifest["data"]["loading"]
    assert loading["size"] == {"resize": 30, "crop": [24, 24], "interpolation": "bicubic"}
    assert bridge.load_data(**loading)[0][0].shape == (3, 24, 24)
