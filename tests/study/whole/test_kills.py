"""SIGKILL at any moment, also between write and rename: a resume has the undisturbed numbers."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.study.whole.place import PARTIAL
from tests.study.whole._datasets import ASKED, digits, network, same

CUT: dict[str, Any] = {**ASKED, "batch_size": 4, "part_size": 8, "keep": ["maps"]}
CUT["metrics"] = {"deletion": {"step": 32}, "sparseness": {}}
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


def study(folder: Path) -> bridge.Study:
    return bridge.run_study(network(), digits(20), out=folder, **CUT)


def killed(folder: Path, *, moment: float | None = None, step: int | None = None) -> int:
    """A study that is killed after so many seconds, or at a step of its writing; its exit code."""

    def child() -> None:
        if step is not None:
            kill_at(step)
        study(folder)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(moment)
    if process.is_alive() and process.pid is not None:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return int(process.exitcode or 0)


def kill_at(step: int) -> None:
    """Die before or after a file is renamed, whichever of these comes at this step."""
    left, replace = step, os.replace

    def killing(source: Any, target: Any) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if left == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 2

    os.replace = killing  # type: ignore[assignment]


def whole_again(folder: Path, whole: bridge.Study) -> None:
    """Assert that a resume ends with what an undisturbed study has, and with nothing else."""
    same(whole, study(folder))
    resumed = bridge.Study.open(folder)
    assert [card["files"]["maps"]["sha256"] for card in resumed.cards.values()] == [
        card["files"]["maps"]["sha256"] for card in whole.cards.values()
    ]
    assert not list(folder.rglob(f"*{PARTIAL}"))


@pytest.mark.slow
def test_a_killed_study_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    start = time.perf_counter()
    whole = study(tmp_path / "whole")
    seconds, rng = time.perf_counter() - start, random.Random(0)
    for k in range(4):
        folder = tmp_path / f"moment{k}"
        folder.mkdir()
        killed(folder, moment=rng.uniform(0, seconds))
        whole_again(folder, whole)
    # The manifest, the files of the first part, its sidecar, the next part.
    for step in (0, 1, 2, 3, 7, 14, 15, 16, 20):
        folder = tmp_path / f"step{step}"
        folder.mkdir()
        assert killed(folder, step=step) == -signal.SIGKILL
        whole_again(folder, whole)


@pytest.mark.slow
def test_one_folder_that_is_killed_again_and_again_gets_done(tmp_path: Path) -> None:
    whole = study(tmp_path / "whole")
    folder = tmp_path / "again"
    folder.mkdir()
    for _ in range(20):
        if killed(folder, step=22) == 0:
            break
    whole_again(folder, whole)
    same(whole, bridge.Study.open(folder))
