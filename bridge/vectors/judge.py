"""Are these outputs the method's? Judged against the test vectors alone, without any model."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bridge.conformance.report import CheckReport, CheckResult
from bridge.vectors.diagnose import causes, gap, scales, unfit
from bridge.vectors.read import Array, Told, load_outputs, reader, told

NOT_ANSWERED = "no output of this name"
ALIKE = 3  # causes that explain as much, at most
GATHERED = 1.5  # as many pass elsewhere: a third at least


@dataclass(frozen=True)
class Judged:
    """One case: its result, and everything that explains a failure."""

    result: CheckResult
    traps: tuple[str, ...]
    causes: tuple[str, ...] = ()


def check_outputs(
    outputs: str | os.PathLike[str] | Mapping[str, Any],
    method: str,
    *,
    vectors: str | os.PathLike[str] | None = None,
    partial: bool = False,
) -> CheckReport:
    """Whether outputs computed anywhere, in any framework, are the method's, and why not.

    `outputs` is a .safetensors or .npz file, or a mapping, of arrays by case id ("pgd/plain/0"), in
    float64 or float32. `vectors` is the folder whose cases were computed (`bridge.vectors.write`);
    without it they are made anew, which takes some seconds. A case without an output fails, unless
    `partial`. Where the outputs of "logits", "gradient" or "loss_gradient" are there too, it is
    said whether these are wrong already.

    Returns a report with a check a case and a diagnosis. Raises ValueError for a file that cannot
    be read or has no case of the method, KeyError for a method without vectors.

    >>> import numpy as np, bridge
    >>> from bridge.vectors import read, write
    >>> from pathlib import Path; from tempfile import mkdtemp
    >>> folder = write(Path(mkdtemp()), ["saliency"])
    >>> told = read.told(read.reader(folder), "saliency")
    >>> right = {case["id"]: told.tensor(case, "expected") for case in told.cases}
    >>> bridge.check_outputs(right, "saliency", vectors=folder).passed
    True
    >>> halves = {name: answer / 2 for name, answer in right.items()}
    >>> bridge.check_outputs(halves, "saliency", vectors=folder).cause
    'it is the right answer times a constant factor (7 of 7 failures)'
    """
    source = "the outputs" if isinstance(outputs, Mapping) else os.fspath(outputs)
    given = _arrays(outputs)
    read = reader(vectors) if vectors is not None else _made(method, given)
    found = told(read, method)
    _check_names(found, given, source)
    judged = [_judge(found, case, given.get(case["id"]), partial) for case in found.cases]
    if all(each.result.status == "skipped" for each in judged):
        raise ValueError(
            f"{source}: no case of {method} can be judged in float32: compute in float64"
        )
    failed = [each for each in judged if each.result.status == "failed"]
    cause = "; ".join(
        filter(None, [_blocks(read, given, method), _cause(failed), _gathered(found, judged)])
    )
    name = source if isinstance(outputs, Mapping) else Path(source).name
    reproduce = "" if isinstance(outputs, Mapping) else _command(source, method, vectors, partial)
    return CheckReport(name, method, tuple(each.result for each in judged), cause, reproduce)


def _arrays(outputs: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Array]:
    if isinstance(outputs, Mapping):
        return {str(name): np.asarray(value) for name, value in outputs.items()}
    return load_outputs(outputs)


def _made(method: str, given: Mapping[str, Array]) -> Any:
    """The vectors of the method, and of the building blocks whose outputs are there."""
    from bridge.vectors.write import files

    with_outputs = [name for name in _block_names() if _has(given, name) and name != method]
    return files([method, *with_outputs]).__getitem__


def _block_names() -> list[str]:
    from bridge.vectors.blocks import BLOCKS

    return list(BLOCKS)


def _has(given: Mapping[str, Array], method: str) -> bool:
    return any(name.startswith(f"{method}/") for name in given)


def _check_names(found: Told, given: Mapping[str, Array], source: str) -> None:
    """Raise ValueError where nothing is the method's, or something has an unknown name."""
    known = [case["id"] for case in found.cases]
    if not _has(given, found.method):
        there = f"{source} holds {', '.join(sorted(given)[:3]) or 'nothing'}"
        raise ValueError(f"{there}: expected arrays by case id, {', '.join(known[:3])}, ...")
    unknown = [n for n in given if n.startswith(f"{found.method}/") and n not in known]
    if unknown:
        raise ValueError(
            f"{source}: there is no case {unknown[0]}: were other test vectors computed? "
            "Pass their folder"
        )


def _judge(found: Told, case: Mapping[str, Any], output: Array | None, partial: bool) -> Judged:
    name, traps = case["id"], tuple(case["traps"])
    if output is None:
        return Judged(CheckResult(name, "skipped" if partial else "failed", NOT_ANSWERED), traps)
    expected = found.tensor(case, "expected")
    wrong = unfit(output, expected)
    if wrong:
        return Judged(CheckResult(name, "failed", wrong), traps, tuple(causes(found, case, output)))
    tolerance = case["tolerance"][str(output.dtype)]
    if tolerance is None:
        told_why = "float32 changes a decision here: not judged, compute in float64"
        return Judged(CheckResult(name, "skipped", told_why), traps)
    apart = gap(output, expected, scales(expected, attack=found.attack))
    figures = {"gap": apart, "tolerance": tolerance}
    if apart <= tolerance:
        return Judged(CheckResult(name, "passed", figures=figures), traps)
    why = causes(found, case, output)
    parameters = ", ".join(f"{key}={value}" for key, value in case["parameters"].items())
    message = f"gap {apart:.1e}, tolerance {tolerance:.0e}" + (f"; {parameters}" * bool(parameters))
    message += "".join(f"\n{line}" for line in why[:1])
    return Judged(CheckResult(name, "failed", message, figures), traps, tuple(why))


def _cause(failed: list[Judged]) -> str:
    """What explains most failures, "" where there is none; several where they cannot be told."""
    if not failed:
        return ""
    counts = Counter(cause for each in failed for cause in dict.fromkeys(each.causes))
    most = max(counts.values(), default=0)
    if most:
        causes = [cause for cause, count in counts.items() if count == most][:ALIKE]
        return f"{', or '.join(causes)} ({most} of {len(failed)} failures)"
    answered = [each.result for each in failed if each.result.message != NOT_ANSWERED]
    if not answered:
        return f"{len(failed)} cases have no output"
    unfit = [result.message for result in answered if not result.figures]
    if unfit:
        return f"{unfit[0]} ({len(unfit)} of {len(failed)} failures)"
    return "cause not recognised: the outputs are none of the known mistakes"


def _gathered(found: Told, judged: list[Judged]) -> str:
    """The trap in which failures gather: all cases fail that have it, and few others.

    Where something explains the failures, only a trap of that.
    """
    known = {cause for each in judged for cause in each.causes}
    answered = [each for each in judged if each.result.figures]
    gathered = []
    for name, trap in found.traps.items():
        inside = [each.result.status == "failed" for each in answered if name in each.traps]
        outside = [each.result.status == "failed" for each in answered if name not in each.traps]
        few = sum(outside) * GATHERED < len(outside) if len(inside) > 1 else not any(outside)
        if inside and all(inside) and few and (not known or known.intersection(trap["mistakes"])):
            share = sum(outside) / max(len(outside), 1)
            gathered.append((share, f"all {len(inside)} of {name} ({trap['text']})"))
    return f"failures gather: {min(gathered)[1]}" if gathered else ""


def _blocks(read: Any, given: Mapping[str, Array], method: str) -> str:
    """The first building block whose outputs are there and wrong already."""
    for name in _block_names():
        if name == method or not _has(given, name):
            continue
        block = told(read, name)
        judged = [_judge(block, case, given.get(case["id"]), True) for case in block.cases]
        failed = [each for each in judged if each.result.status == "failed"]
        if failed:
            return f"begin with its {name}, wrong in {len(failed)} of {len(judged)} cases"
    return ""


def _command(source: str, method: str, vectors: Any, partial: bool) -> str:
    folder = [] if vectors is None else ["--vectors", os.fspath(vectors)]
    words = ["gradbridge", "check", "--outputs", source, "--as", method, *folder]
    return shlex.join([*words, *(["--partial"] if partial else [])])
