"""`gradbridge explore`: what it opens, what it writes, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from click.testing import CliRunner

import bridge
from bridge.cli import main


def said(*words: str) -> tuple[int, str]:
    """The exit code, and what was printed."""
    result = CliRunner().invoke(main, ["explore", *words])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--methods", "salience"], "did you mean saliency"),
        (["--methods", "fgsm,pgd"], "two attacks"),
        (["--param", "pgd.stepps=3"], "no parameter 'stepps'"),
        (["--target", "mine"], "expected 'label', 'predicted'"),
        (["--image", "20"], "image 20 of 20"),
        (["--cover", "1,2"], "expected ROW,COLUMN,SIZE,VALUE"),
        (["--model", "zoo:nothing"], "unknown zoo model"),
        (["--data", "folder:nothing"], "is not a folder"),
        (["--data", "file:nothing.png"], "is not a file"),
        (["nothing"], "no complete run directory"),
    ],
)
def test_what_cannot_be_opened_is_refused_in_a_line(words, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, printed = said(*words, "--out", "out")
    assert code == 2
    assert text in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "out").exists()


def test_a_run_directory_is_opened_with_its_own_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    compared = runner.invoke(
        main, ["compare", "-n", "3", "--methods", "saliency", "--out", "first", "--no-report"]
    )
    assert compared.exit_code == 0
    code, printed = said("first", "--image", "2", "--methods", "saliency", "--out", "second")
    assert code == 0, printed
    again = bridge.Comparison.load("second")
    assert again.manifest["explore"]["view"]["data"] == "run"
    assert (again.x == bridge.Comparison.load("first").x[2:]).all()
    code, printed = said("first", "--out", "first")
    assert code == 2
    assert "holds a run" in printed


def test_without_the_extra_it_says_how_to_install_it(monkeypatch):
    from bridge.explore import serving

    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    code, printed = said("--no-browser")
    assert code == 2
    assert 'pip install "gradbridge[explore]"' in printed


def test_it_serves_until_it_is_told_to_end():
    command = [sys.executable, "-m", "bridge.cli", "explore", "--no-browser"]
    environment = {**os.environ, "GRADBRIDGE_EXPLORE_TOKEN": "x" * 32}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.split()[-1]
        assert url.startswith("http://127.0.0.1:")
        assert url.endswith(f"/{'x' * 32}/")
        with urllib.request.urlopen(f"{url}alive", timeout=60) as answer:
            assert answer.read() == b'{"alive":true}'
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(url.replace("x" * 32, "y" * 32), timeout=60)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert process.returncode in (0, 130)
