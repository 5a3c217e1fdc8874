"""What is left of `gradbridge compare` when SIGKILL, Ctrl-C or SIGTERM end it, at many moments.

    python benchmarks/kills.py                        # 40 kills, 20 Ctrl-C, 20 SIGTERM
    python benchmarks/kills.py --kills 3 --others 2   # fewer

Every run is the real command in a process of its own, ended at moments spread over what it takes
undisturbed. It notes each cell (a method by an implementation at one epsilon) in a file of its own
as it finishes it, so that one sees what was lost. Outputs, verdicts and attacks of what is left are
compared with those of the undisturbed run. Writes benchmarks/results/kills.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

import bridge
from bridge.record.manifest import installed
from bridge.study import measure
from bridge.tables import stated

RESULTS = Path(__file__).parent / "results"
# Every kind of method, none of which takes long on two images.
METHODS = "saliency,layer_gradcam,integrated_gradients,occlusion,fgsm,pgd,deepfool_l2,fool"
SMALL = ["pgd.steps=8", "integrated_gradients.n_steps=16", "deepfool_l2.steps=10"]
LOG = "BRIDGE_KILLS_LOG"
LONGEST = 300  # seconds that a run may take

Key = tuple[str, str, float | None]


def network() -> torch.nn.Module:
    """The embedded classifier, in a process that notes each cell that it has finished."""
    log = os.open(os.environ[LOG], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    cell = measure.Cell

    def noted(method: Any, name: str, epsilon: float | None, *rest: Any) -> Any:
        made = cell(method, name, epsilon, *rest)
        os.write(log, f"{method.name}\t{name}\t{epsilon!r}\n".encode())
        return made

    measure.Cell = noted  # type: ignore[assignment,misc]
    return bridge.load_model("zoo:fashion_cnn")


@dataclass(frozen=True)
class End:
    """What became of one run: `lost` cells of `finished`, and what is wrong with what is left."""

    code: int
    state: str  # "nothing", "unfinished" or "whole"
    finished: int
    lost: int
    wrong: str = ""


def command(folder: Path) -> list[str]:
    """The command that is ended."""
    params = [part for each in SMALL for part in ("--param", each)]
    model = f"python:{Path(__file__).resolve()}:network"
    data = ["--data", "samples:fashion_mnist", "-n", "2", "--repeats", "1"]
    return [
        *(sys.executable, "-m", "bridge.cli", "compare", "--model", model, *data),
        *("--methods", METHODS, *params, "--out", str(folder)),
    ]


def started(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """The command in a process of its own, with the usual handling of Ctrl-C."""
    return subprocess.Popen(
        command(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, LOG: str(log), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def ended(place: Path, number: signal.Signals | None, moment: float, whole: Any = None) -> End:
    """A run in a new folder, ended by a signal after so many seconds."""
    place.mkdir()
    folder, log = place / "run", place / "log"
    process = started(folder, log)
    try:
        process.wait(moment if number is not None else LONGEST)
    except subprocess.TimeoutExpired:
        if number is not None:
            process.send_signal(number)
    _, errors = process.communicate(timeout=LONGEST)
    # As a shell says it, also of a process that a signal ended before it could handle any.
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return looked_at(folder, finished(log), code, errors.decode(), number, whole)


def finished(log: Path) -> list[Key]:
    """The cells that a run noted."""
    if not log.is_file():
        return []
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    return [
        (method, name, None if epsilon == "None" else float(epsilon))
        for method, name, epsilon in lines
    ]


def looked_at(
    folder: Path,
    done: Sequence[Key],
    code: int,
    errors: str,
    number: signal.Signals | None,
    whole: Any,
) -> End:
    """What is left of a run, against the whole one."""
    faults = [f"a traceback:\n{errors}"] if "Traceback" in errors else []
    if number in (signal.SIGINT, signal.SIGTERM) and code not in (0, 128 + number):
        faults.append(f"exit code {code}")
    strays = [each.name for each in folder.parent.iterdir() if each.name not in ("run", "log")]
    if number is not signal.SIGKILL and strays:
        faults.append(f"left {strays}")
    faults += [f"{name} has no name of a leftover" for name in strays if ".partial" not in name]
    try:
        found = bridge.Comparison.load(folder)
    except ValueError as error:
        if "no complete run" not in str(error):
            faults.append(str(error))
        return End(code, "nothing", len(done), len(done), "; ".join(faults))
    faults += differences(found, whole) if whole is not None else []
    faults += modes(folder)
    if found.finished and set(found.outputs) != set(done):
        faults.append("it says that it is finished")
    lost = [key for key in done if key not in found.outputs]
    state = "whole" if found.finished else "unfinished"
    return End(code, state, len(done), len(lost), "; ".join(faults))


def differences(found: Any, whole: Any) -> list[str]:
    """What of a run is not as in the whole one."""
    faults = [
        f"another output of {key}"
        for key, output in found.outputs.items()
        if not torch.equal(output, whole.outputs[key])
    ]
    for name in ("agreement", "attacks"):
        expected = rows(whole.tables[name])
        faults += [
            f"another row of {name}: {key}"
            for key, row in rows(found.tables[name]).items()
            if expected.get(key) != row
        ]
    return faults


def rows(frame: Any) -> dict[Key, str]:
    """The rows of a table by their cells."""
    found = {}
    for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
        key = row["method"], row["implementation"], stated(row["epsilon"])
        found[key] = repr(sorted(row.items()))
    return found


def modes(folder: Path) -> list[str]:
    """Whether all files have one mode."""
    found = {f.stat().st_mode for f in folder.rglob("*") if f.is_file()}
    return [f"files of {len(found)} modes"] if len(found) > 1 else []


def unfair(number: signal.Signals, ends: Iterable[End], together: int) -> list[str]:
    """What must not be: a wrong run, or more lost than the cell in hand.

    After SIGKILL that is a method at one epsilon by all its implementations, which are timed in
    turns: `together` at most.
    """
    most = together if number is signal.SIGKILL else 1
    faults = [end.wrong for end in ends if end.wrong]
    return faults + [f"{end.lost} of {end.finished} lost" for end in ends if end.lost > most]


def report(name: str, ends: Sequence[End]) -> str:
    """A line of the table."""
    states = Counter(end.state for end in ends)
    codes = ", ".join(str(code) for code in sorted({end.code for end in ends}))
    lost = max((end.lost for end in ends), default=0)
    wrong = sum(bool(end.wrong) for end in ends)
    counts = " | ".join(str(states[state]) for state in ("nothing", "unfinished", "whole"))
    return f"| {name} | {len(ends)} | {counts} | {wrong} | {lost} | {codes} |"


TEXT = """# What is left of a run that is ended

`gradbridge compare` with {methods} methods, {cells} cells (a method by an implementation at one
epsilon), ended at moments spread over the {seconds:.1f} s that it takes undisturbed, importing
torch included. "Nothing": it had not finished a cell, or not written one. What is left was compared
with the undisturbed run, bit by bit: outputs, verdicts, attacks. "Lost" are cells that were
finished and are not in what is left: after SIGKILL, which no program sees coming, those of the
method in hand at one epsilon (up to {together} here, which are timed in turns).

| signal | moments | nothing | unfinished | whole | wrong or mixed | most cells lost | exit codes |
|---|---|---|---|---|---|---|---|
{lines}

{versions}.
Made by `python benchmarks/kills.py`.
"""


@click.command()
@click.option("--kills", default=40, show_default=True, help="Moments of SIGKILL.")
@click.option("--others", default=20, show_default=True, help="Moments of Ctrl-C and of SIGTERM.")
@click.option("--workers", default=2, show_default=True, help="Runs at a time.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "kills.md")
def main(kills: int, others: int, workers: int, out: Path) -> None:
    with tempfile.TemporaryDirectory() as root, ThreadPoolExecutor(workers) as pool:
        start = time.perf_counter()
        first = ended(Path(root) / "whole", None, LONGEST)
        seconds = time.perf_counter() - start
        if first.state != "whole" or first.wrong:
            raise click.ClickException(f"the undisturbed run failed: {first}")
        whole = bridge.Comparison.load(Path(root) / "whole" / "run")
        together = max(Counter((method, epsilon) for method, _, epsilon in whole.outputs).values())
        faults, lines = [], []
        counts = {signal.SIGKILL: kills, signal.SIGINT: others, signal.SIGTERM: others}
        for number, count in counts.items():
            runs = [
                pool.submit(
                    ended,
                    Path(root) / f"{number.name}{index}",
                    number,
                    seconds * (index + 0.5) / count,
                    whole,
                )
                for index in range(count)
            ]
            ends = [run.result() for run in runs]
            faults += [f"{number.name}: {fault}" for fault in unfair(number, ends, together)]
            lines.append(report(number.name, ends))
            click.echo(lines[-1])
    text = TEXT.format(
        methods=len(METHODS.split(",")),
        cells=len(whole.outputs),
        seconds=seconds,
        together=together,
        lines="\n".join(lines),
        versions=installed(),
    )
    out.write_text(text, encoding="utf-8")
    click.echo("\n".join(faults) or f"Nothing wrong, nothing lost: {out}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
