"""`gradbridge doctor --model` prints what was found of a model, of every source."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from bridge.cli import main
from tests.networks import Plain, images, seeded

MINE = """
from torch import nn
from tests.networks import Plain, seeded

def sound():
    return seeded(Plain)

def softmax():
    return nn.Sequential(seeded(Plain), nn.Softmax(1)).eval()
"""


def doctor(*arguments):
    return CliRunner().invoke(main, ["doctor", *map(str, arguments)])


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return f"python:{tmp_path / 'mine.py'}"


def test_a_sound_model_is_found_sound():
    done = doctor("--model", "zoo:fashion_cnn")
    assert done.exit_code == 0, done.output
    for words in ("4 x 1 x 28 x 28", "10 classes, with names", "features.conv5", "the same"):
        assert words in done.output
    assert "Nothing stands in the way" in done.output


def test_what_stands_in_the_way_is_told_and_ends_with_1(mine):
    done = doctor("--model", f"{mine}:softmax", "--mean", "0.4", "--std", "0.3")
    assert done.exit_code == 1, done.output
    assert "Stands in the way:\n  it gives probabilities" in done.output
    assert "mean 0.4, std 0.3" in done.output


def test_it_is_json_on_request(mine):
    done = doctor("--model", f"{mine}:sound", "--json", "--data", "samples:cifar10")
    found = json.loads(done.stdout)
    assert found["passed"]
    assert found["images"] == [4, 3, 32, 32]
    assert "attention_rollout" in found["cannot_run"]
    assert "saliency" not in found["cannot_run"]


def test_the_size_of_the_weights_own_transform_is_used_and_said():
    done = doctor("--model", "torchvision:squeezenet1_1", "--random")
    assert "resized to 256 (bilinear), cropped to 224 x 224" in done.output
    assert "4 x 3 x 224 x 224, photographs" in done.output


def test_random_weights_of_timm_bring_their_layer():
    pytest.importorskip("timm")
    done = doctor("--model", "timm:resnet10t", "--random", "--size", "64")
    assert done.exit_code == 0, done.output
    assert "4 x 3 x 64 x 64" in done.output
    assert "layer4" in done.output


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_what_cannot_run_on_a_script_is_told_with_its_reason(tmp_path):
    torch.jit.trace(seeded(Plain), images(4)).save(str(tmp_path / "a.pt"))
    done = doctor("--model", f"torchscript:{tmp_path / 'a.pt'}", "--data", "samples:cifar10")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    line = next(each for each in lines if "guided_backprop" in each)
    assert "a scripted model (torch.jit.script)" in line
    assert "pass the module that it was made of" in line


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--model", "nope:x"], "expected one of export:NAME"),
        (["--model", "zoo:nope"], "unknown zoo model"),
        (["--model", "torchscript:none.pt"], "there is no file none.pt"),
        (["--model", "zoo:fashion_cnn", "--device", "cuda:99"], "there are cpu"),
    ],
)
def test_what_is_no_model_is_wrong_usage(arguments, words):
    done = doctor(*arguments)
    assert done.exit_code == 2, done.output
    assert words in done.output
    assert "Traceback" not in done.output


def test_weights_that_cannot_be_downloaded_are_one_line(monkeypatch, tmp_path):
    def offline(*arguments, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    done = doctor("--model", "torchvision:squeezenet1_1@IMAGENET1K_V1")
    assert done.exit_code == 1
    assert done.output.splitlines()[-1] == (
        "Error: the weights of torchvision:squeezenet1_1@IMAGENET1K_V1 are not on this machine and "
        "cannot be downloaded (OSError: Name or service not known): pass a file that you have, "
        "weights=FILE or --weights FILE"
    )
