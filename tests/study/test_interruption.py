"""Who ends a comparison keeps what is finished, and is told that it is not the whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import bridge
from bridge.core.types import BridgeWarning
from bridge.study.interruption import Interrupted, interruptible, orderly
from tests.networks import Plain, images, seeded

KILLS = Path(__file__).parents[2] / "benchmarks" / "kills.py"


def compared(function, **options) -> bridge.Comparison:
    """Saliency by everybody, then FGSM by a function of the user's."""
    return bridge.compare(
        bridge.wrap(seeded(Plain)),
        images(),
        [0, 1, 2],
        methods=["saliency", "fgsm"],
        functions={"fgsm": function},
        epsilons=[0.1],
        repeats=1,
        progress=False,
        **options,
    )


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard, also where these tests are a job in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_comparison_in_order(number, heard):
    def signalling(model, x, labels, *, epsilon):
        os.kill(os.getpid(), number)
        return x

    with orderly() as stop:
        c = compared(signalling)
    assert stop.exit_code == 128 + number
    assert not c.finished
    assert c.first_lines()[0].startswith("UNFINISHED: stopped by")
    assert c.verdicts().loc["saliency"].to_dict() == {"fused": "equal", "captum": "equal"}
    assert ("fgsm", "foolbox", 0.1) in c.outputs
    assert ("fgsm", "signalling", 0.1) not in c.outputs


def test_outside_of_what_is_interruptible_a_signal_waits():
    with orderly():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match="SIGTERM"), interruptible():
            pass
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_exit_in_a_users_function_is_a_failure_and_ends_nothing():
    def leaving(model, x, labels, *, epsilon):
        sys.exit("so long")

    c = compared(leaving)
    assert c.finished
    (message,) = c.failures.loc[c.failures["implementation"] == "leaving", "message"]
    assert "so long" in message
    assert c.verdicts().loc["fgsm", "foolbox"] in ("equal", "rounding")


def test_what_a_killed_run_left_loads_as_an_unfinished_one(tmp_path):
    whole = {}

    def snapshot(model, x, labels, *, epsilon):
        """What is on the disk while it runs is what a kill leaves now."""
        whole.setdefault("found", bridge.Comparison.load(tmp_path / "run"))
        return x

    c = compared(snapshot, keep=tmp_path / "run")
    found = whole["found"]
    assert not found.finished
    assert "stopped by a kill" in found.first_lines()[0]
    assert {key[0] for key in found.outputs} == {"saliency"}
    for key, output in found.outputs.items():
        assert torch.equal(output, c.outputs[key])
    c.save(tmp_path / "run")
    again = bridge.Comparison.load(tmp_path / "run")
    assert again.finished
    assert set(again.outputs) == set(c.outputs)
    assert not (tmp_path / "run" / "unfinished.partial").exists()


@pytest.mark.slow
def test_a_real_run_that_is_killed_loses_no_more_than_the_method_in_hand(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, str(KILLS), "--kills", "2", "--others", "1"),
            *("--out", str(tmp_path / "kills.md")),
        ],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing wrong, nothing lost" in done.stdout


def test_without_labels_the_predictions_are_explained_and_attacked_and_it_is_said():
    model = bridge.wrap(seeded(Plain))
    x = images()
    predicted = model(x).argmax(1)
    for c in (
        bridge.compare(model, x, None, methods=["fgsm"], repeats=1, progress=False),
        bridge.compare(
            model, x, [0, 1, 2], target="predicted", methods=["fgsm"], repeats=1, progress=False
        ),
    ):
        assert c.labels.tolist() == predicted.tolist()
        assert not c.labelled
        assert "the model's own prediction" in " ".join(c.preamble())
        assert set(c.attacks["labels"]) == {"predicted"}
        assert "model's own prediction" in str(c)


def test_too_few_right_answers_are_a_warning_that_says_what_is_likely(real_data, resnet20):
    model, x, labels = resnet20
    x, labels = x[:20], labels[:20]
    options = {"methods": ["saliency"], "repeats": 1, "progress": False}
    with pytest.warns(BridgeWarning, match="labels seem to be numbered otherwise"):
        c = bridge.compare(model, x, (labels + 3) % 10, **options)
    assert "is this what was meant?" in " ".join(c.preamble())
    # A tenth of the right std: what it was trained with is not far from ImageNet's.
    wrong = bridge.wrap(model.module, mean=0.4, std=0.02)
    with pytest.warns(BridgeWarning, match="less than a fifth: with .* it gets"):
        bridge.compare(wrong, x, labels, **options)
    assert bridge.compare(model, x, labels, **options).right == (20, 20)


def test_a_signal_while_something_is_imported_waits_until_it_is_there(tmp_path, monkeypatch):
    (tmp_path / "half_imported.py").write_text(
        "import os, signal, time\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "time.sleep(0.2)\n"
        "whole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def imports_and_waits():
        import half_imported

        assert half_imported.whole
        time.sleep(30)  # the signal comes back by itself

    with orderly() as stop, pytest.raises(Interrupted), interruptible():
        imports_and_waits()
    assert stop.exit_code == 128 + signal.SIGTERM
