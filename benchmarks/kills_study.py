"""What is left of a study when SIGKILL ends it, at many moments, and what a resume makes of it.

    python benchmarks/kills_study.py             # 40 random moments, every step of writing
    python benchmarks/kills_study.py --kills 5   # fewer

Every run is a process of its own, forked from this one so that no moment is spent on imports. It is
killed at a random moment of what it takes undisturbed, or at a step of its writing: before a
file is renamed, after it, before old files go. Then the same study is run again to its end, and its
tables are compared with the undisturbed ones, bit by bit. Writes results/kills_study.md.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

import bridge
from bridge.core.model import ModelAdapter
from bridge.record.manifest import installed
from bridge.study.whole.parts import TABLES
from bridge.study.whole.place import PARTIAL

RESULTS = Path(__file__).parent / "results"
ASKED: dict[str, Any] = {
    "methods": ["saliency", "input_x_gradient", "smooth_grad", "fgsm", "pgd"],
    "params": {"smooth_grad": {"n_samples": 2}, "pgd": {"steps": 3}},
    "epsilons": [0.1, 0.2],
    "keep": ["maps:uint8"],
    "batch_size": 8,
    "part_size": 24,
    "judged": 0,
    "progress": False,
}
DATA = "sklearn:digits"


@dataclass(frozen=True)
class Left:
    """What a killed run left: images that counted, half-written files, what is wrong."""

    images: int
    strays: int
    finished: bool
    wrong: str = ""


@functools.cache
def network() -> ModelAdapter:
    """The embedded classifier; loaded and looked at once, before anything is forked."""
    return bridge.load_model("zoo:digits_cnn")


def study(folder: Path, images: int) -> bridge.Study:
    """The study, from where it stopped."""
    return bridge.run_study(network(), DATA, out=folder, limit=images, **ASKED)


def _child(folder: Path, images: int, step: int | None) -> None:
    if step is not None:
        _kill_at(step)
    study(folder, images)
    os._exit(0)


def _kill_at(step: int) -> None:
    """Die at this step of writing: each file has one before it is renamed and one after."""
    left, replace = step, os.replace

    def killing(source: Any, target: Any) -> None:
        nonlocal left
        for act in (lambda: None, lambda: replace(source, target)):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            act()

    os.replace = killing  # type: ignore[assignment]


def killed(folder: Path, images: int, *, moment: float | None, step: int | None = None) -> Left:
    """A run that is killed after so many seconds, or at a step of writing; what it left."""
    process = multiprocessing.get_context("fork").Process(
        target=_child, args=(folder, images, step)
    )
    process.start()
    process.join(moment)
    if process.is_alive() and process.pid is not None:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    strays = len(list(folder.rglob(f"*{PARTIAL}")))
    try:
        found = bridge.Study.open(folder)
        left = len(found.images)
        whole = not found.images.duplicated("id").any()
        return Left(left, strays, found.finished, "" if whole else "doubles")
    except ValueError as error:
        return Left(0, strays, False, "" if "holds no study" in str(error) else str(error))


def differences(found: bridge.Study, whole: bridge.Study) -> list[str]:
    """The tables and kept maps that are not the same, bit by bit."""
    faults = [] if found.finished else ["it is not finished"]
    for name in TABLES:
        if not getattr(found, name).equals(getattr(whole, name)):
            faults.append(f"{name} differs")
    for number, card in whole.cards.items():
        mine = found.cards[number]["files"].get("maps", {}).get("sha256")
        if mine != card["files"]["maps"]["sha256"]:
            faults.append(f"the maps of part {number} differ")
    files = {path.name for path in Path(str(found.place)).rglob("*") if PARTIAL in path.name}
    return faults + [f"left {sorted(files)}"] * bool(files)


def resumed(folder: Path, images: int, whole: bridge.Study) -> list[str]:
    """The same study again, to its end; what is wrong then."""
    study(folder, images)
    return differences(bridge.Study.open(folder), whole)


TEXT = """# What a resume makes of a killed study

{images} digits through {methods} methods in parts of 24 images, {seconds:.1f} s undisturbed. Killed
(SIGKILL) at {kills} random moments; at each of {steps} steps of writing (before and after every
file is renamed); and one folder again and again until it was done. Each was then resumed to its
end: its tables and kept maps are compared bit by bit with the undisturbed ones.

| killed | runs | images that counted, least to most | half-written files left | wrong |
|---|---|---|---|---|
{lines}

{versions}.
Made by `python benchmarks/kills_study.py`.
"""


@click.command()
@click.option("--kills", default=40, show_default=True, help="Random moments of SIGKILL.")
@click.option("--images", default=96, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "kills_study.md")
def main(kills: int, images: int, seed: int, out: Path) -> None:
    rng, lines, faults = random.Random(seed), [], []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        study(root / "warm", images)
        start = time.perf_counter()
        whole = study(root / "whole", images)
        seconds = time.perf_counter() - start
        files = len([path for path in (root / "whole").rglob("*") if path.name != "lock"])
        steps = 2 * (files - len(list((root / "whole").iterdir())) + 2)

        def row(what: str, lefts: list[Left], wrong: list[str]) -> None:
            counts = [left.images for left in lefts]
            strays = sum(left.strays for left in lefts)
            said = [*wrong, *(left.wrong for left in lefts if left.wrong)]
            faults.extend(f"{what}: {each}" for each in said)
            counted = f"{min(counts)} to {max(counts)}"
            lines.append(f"| {what} | {len(lefts)} | {counted} | {strays} | {len(said)} |")
            click.echo(lines[-1])

        def tried(what: str, cases: int, kill: Callable[[Path, int], Left]) -> None:
            lefts, wrong = [], []
            for k in range(cases):
                folder = root / f"{what}{k}"
                folder.mkdir()
                lefts.append(kill(folder, k))
                wrong += resumed(folder, images, whole)
            row(what, lefts, wrong)

        tried(
            "random",
            kills,
            lambda at, k: killed(at, images, moment=rng.uniform(0, 1.1 * seconds)),
        )
        tried("writing", steps, lambda at, k: killed(at, images, moment=None, step=k))
        again: list[Left] = []
        folder = root / "again"
        folder.mkdir()
        while not (again and again[-1].finished) and len(again) < 100:
            again.append(killed(folder, images, moment=rng.uniform(0.2, 0.5) * seconds))
        row("one folder again and again until whole", again, resumed(folder, images, whole))
    text = TEXT.format(
        images=images,
        methods=len(ASKED["methods"]),
        seconds=seconds,
        kills=kills,
        steps=steps,
        lines="\n".join(lines),
        versions=installed(),
    )
    out.write_text(text, encoding="utf-8")
    click.echo("\n".join(faults) or f"Nothing wrong, nothing lost: {out}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
