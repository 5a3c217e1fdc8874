"""`gradbridge run` and `gradbridge merge`: what people type, see, and get as exit codes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import bridge
from bridge.cli import main
from bridge.core.registry import get
from tests.study.whole._datasets import same

CHEAP = ["--methods", "saliency,fgsm", "--epsilons", "0.1", "--judged", "0"]


def gradbridge(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def folder_of_images(root: Path, count: int) -> Path:
    """Fashion-like images of two classes, as files."""
    rng = np.random.default_rng(0)
    for k in range(count):
        below = root / ("Sneaker", "Bag")[k % 2]
        below.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (28, 28), dtype=np.uint8)).save(below / f"{k}.png")
    return root


def test_a_study_is_run_and_said(tmp_path: Path) -> None:
    ended = gradbridge("run", "--out", tmp_path / "s", *CHEAP[:-1], 2)
    assert ended.exit_code == 0, ended.output
    assert "20 of 20 images, finished, 0 failures" in ended.stdout
    assert "The model gets 19 of 20 images right." in ended.stdout
    assert "The proof: 2 images by all implementations" in ended.stdout
    assert "ACCURACY, CLEAN AND UNDER ATTACK" in ended.stdout
    assert f"gradbridge report {tmp_path / 's'}" in ended.stdout
    assert "20 of 20 images" in ended.stderr  # progress
    assert bridge.Study.open(tmp_path / "s").finished


def test_failures_are_exit_code_4_and_named(tmp_path: Path) -> None:
    images = folder_of_images(tmp_path / "images", 6)
    (images / "Bag" / "broken.png").write_bytes(b"no image")
    ended = gradbridge("run", "--data", f"folder:{images}", "--out", tmp_path / "s", *CHEAP)
    assert ended.exit_code == 4, ended.output
    assert "6 of 7 images, finished, 1 failures" in ended.stdout
    assert "broken.png is not a readable image" in ended.stdout
    failed = bridge.Study.open(tmp_path / "s").failures
    assert failed["message"].str.contains("broken.png").all()
    (images / "Bag" / "broken.png").write_bytes((images / "Bag" / "1.png").read_bytes())
    again = gradbridge("run", "--data", f"folder:{images}", "--out", tmp_path / "s", *CHEAP)
    assert again.exit_code == 0, again.output
    ended = gradbridge(
        *("run", "--data", f"folder:{folder_of_images(tmp_path / 'b', 3)}", "--limit", 2),
        *("--out", tmp_path / "t", "--fail-fast", *CHEAP),
    )
    assert ended.exit_code == 0, ended.output


def test_a_disagreement_is_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = get("saliency")
    monkeypatch.setitem(
        vars(method), "reference", lambda model, x, target: 2 * method.fast(model, x, target)
    )
    ended = gradbridge("run", "--out", tmp_path / "s", *CHEAP[:-1], 1)
    assert ended.exit_code == 1, ended.output
    assert "Disagreement: fused's saliency differs" in ended.stdout


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["--methods", "salience"], "did you mean saliency?"),
        (["--shard", "4/3"], "shard 4/3 makes no sense"),
        (["--keep", "everything"], "cannot keep 'everything'"),
        (["--limit", "0"], "limit"),
        (["--limit", "2", "--sample", "2"], "choose one of them"),
        (["--batch-size", "0"], "batch_size"),
        (["--target", "worst"], "unknown target 'worst'"),
    ],
)
def test_wrong_usage_is_exit_code_2(tmp_path: Path, arguments: list[str], text: str) -> None:
    ended = gradbridge("run", "--out", tmp_path / "s", *CHEAP, *arguments)
    assert ended.exit_code == 2, ended.output
    assert text in ended.stderr
    assert not (tmp_path / "s").exists()


def test_a_dry_run_says_what_it_would_take_and_leaves_nothing(tmp_path: Path) -> None:
    ended = gradbridge("run", "--out", tmp_path / "s", "--part-size", 5, *CHEAP, "--dry-run")
    assert ended.exit_code == 0, ended.output
    assert "20 images in 4 parts of 5" in ended.stdout
    assert "passes: 2.00 forwards and 2.00 backwards an image (80 in all)" in ended.stdout
    assert "--shard 1/4" in ended.stdout
    assert not (tmp_path / "s").exists()


def test_shards_are_merged_by_command(tmp_path: Path) -> None:
    cut = ["--part-size", 4, "--batch-size", 4, *CHEAP]
    for k in (1, 2):
        ended = gradbridge("run", "--out", tmp_path / f"s{k}", "--shard", f"{k}/2", *cut)
        assert ended.exit_code == 0, ended.output
        assert "unfinished" in ended.stdout
    refused = gradbridge("merge", tmp_path / "m", tmp_path / "s1")
    assert refused.exit_code == 2
    assert "2 of 5 parts are missing (1, 3)" in refused.stderr
    merged = gradbridge("merge", tmp_path / "m", tmp_path / "s1", tmp_path / "s2")
    assert merged.exit_code == 0, merged.output
    assert gradbridge("run", "--out", tmp_path / "whole", *cut).exit_code == 0
    same(bridge.Study.open(tmp_path / "whole"), bridge.Study.open(tmp_path / "m"))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_and_the_same_command_goes_on(tiny_disk: Path) -> None:
    out = tiny_disk / "s"
    digits = ["--data", "sklearn:digits", "--model", "zoo:digits_cnn", "--part-size", 16]
    ended = gradbridge("run", *digits, "--out", out, *CHEAP)
    assert ended.exit_code == 1, ended.output
    assert "No space left on device; what was finished is there" in ended.stderr
    assert 0 < len(bridge.Study.open(out).images) < 360
    subprocess.run(["mount", "-o", "remount,size=8m", str(tiny_disk)], check=True)
    again = gradbridge("run", *digits, "--out", out, *CHEAP)
    assert again.exit_code == 0, again.output
    assert "360 of 360 images, finished, 0 failures" in again.stdout


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_keeps_what_was_finished(tmp_path: Path, number: int, code: int) -> None:
    command = [
        *(sys.executable, "-m", "bridge.cli", "run", "--out", str(tmp_path / "s")),
        *("--data", "sklearn:digits", "--model", "zoo:digits_cnn", "--judged", "0"),
        *("--methods", "smooth_grad,occlusion", "--param", "smooth_grad.n_samples=200"),
        *("--batch-size", "4", "--part-size", "16"),
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    sidecar = tmp_path / "s" / "parts" / "00000.json"
    for _ in range(600):
        if sidecar.exists() or process.poll() is not None:
            break
        time.sleep(0.2)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == code, said
    assert "Traceback" not in said
    cut = bridge.Study.open(tmp_path / "s")
    assert not cut.finished
    assert len(cut.images) >= 16
    assert len(cut.images) % 4 == 0
