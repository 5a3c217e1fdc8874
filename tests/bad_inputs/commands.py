"""The other commands: bench, check, report, methods, doctor."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from bridge.conformance import self_test
from tests.bad_inputs._command import FAILS, MISSING, with_files
from tests.bad_inputs._expectations import Case, Exits, gradbridge
from tests.bad_inputs.command_line import without


def bench(arguments: list[str], place: Path) -> Any:
    given = ["--methods", "saliency", "--batch", "2", "--rounds", "1"]
    return gradbridge("bench", *given, "--out", place / "out", *with_files(arguments, place))


def check(arguments: list[str], place: Path) -> Any:
    return gradbridge("check", *with_files(arguments, place))


def plain(arguments: list[str], place: Path) -> Any:
    return gradbridge(*with_files(arguments, place))


BENCH: list[tuple[str, list[str], tuple[str, ...]]] = [
    ("an unknown option", ["--round", "1"], ("--round", "--rounds")),
    ("a misspelled method", ["--methods", "salincy"], ("salincy", "did you mean", "saliency")),
    ("no methods", ["--methods", ""], ("methods", "empty|at least one|name")),
    ("a misspelled implementation", ["--implementations", "captm"],
        ("captm", "did you mean", "captum")),
    ("a batch of 0", ["--batch", "0"], ("batch", "at least 1|1 or more")),
    ("a negative batch", ["--batch", "-1"], ("batch", "at least 1|1 or more")),
    ("half an image", ["--batch", "1.5"], ("batch|1.5", "whole|integer")),
    ("a batch as a word", ["--batch", "small"], ("small", "number")),
    ("no batch", ["--batch", ""], ("batch", "empty|at least|number")),
    ("a batch of NaN", ["--batch", "nan"], ("batch|nan", "whole|integer")),
    ("an infinite batch", ["--batch", "inf"], ("batch|inf", "whole|integer")),
    ("no rounds", ["--rounds", "0"], ("rounds", "at least 1|x>=1")),
    ("no threads", ["--threads", "0"], ("threads", "at least 1|x>=1")),
    ("negative threads", ["--threads", "-2"], ("threads", "at least 1|x>=1")),
    ("an unknown acceleration", ["--accelerate", "warp"], ("warp", "compile")),
    ("an unknown model", ["--model", "resnet18"], ("resnet18", "torchvision:")),
    ("an unknown device", ["--device", "gpu"], ("gpu", "cuda")),
    ("a device that is not there", ["--device", "cuda:7"], ("cuda:7",)),
    ("a parameter outside", ["--methods", "pgd", "--param", "pgd.steps=0"], ("steps", "1 or more")),
    ("an unknown parameter", ["--param", "saliency.steps=3"], ("steps", "parameters are")),
    ("a function in no file", ["--function", "saliency=no.py:f"], (r"no\.py", "no file")),
    ("a size of 0", ["--size", "0"], ("size", "at least 1|x>=1")),
]  # fmt: skip


BENCH_FAILS: list[tuple[str, list[str], tuple[str, ...]]] = [
    ("a model that raises", ["--model", "python:{mine_py}:raising", "--data", "samples:mnist"],
        ("boom", "KeyError")),
    ("a factory that exits", ["--model", "python:{mine_py}:exits"], ("exit", "7")),
]  # fmt: skip


CHECK: list[tuple[str, list[str], tuple[str, ...]]] = [
    ("nothing", [], ("option", "--as")),
    ("no function", ["--as", "fgsm"], ("FUNCTION", "--outputs")),
    ("no method", ["{mine_py}:fine"], ("--as",)),
    ("an unknown method", ["{mine_py}:fine", "--as", "nonsense"], ("nonsense", "saliency")),
    ("a misspelled method", ["{mine_py}:fine", "--as", "fgms"], ("fgms", "did you mean", "fgsm")),
    ("no file", ["no.py:f", "--as", "fgsm"], (r"no\.py", "no file")),
    ("no module", ["no_such_module:f", "--as", "fgsm"], ("no_such_module",)),
    ("no name", ["{mine_py}", "--as", "fgsm"], ("NAME",)),
    ("a name that is not there", ["{mine_py}:fines", "--as", "fgsm"], ("fines", r"mine\.py")),
    ("a folder", ["{here}:fine", "--as", "fgsm"], ("module|file|NAME",)),
    ("a number", ["{mine_py}:number", "--as", "fgsm"], ("function", "int")),
    ("a parameter without a value", ["{mine_py}:fine", "--as", "fgsm", "--param", "epsilon"],
        ("NAME=VALUE",)),
    ("an unknown parameter", ["{mine_py}:fine", "--as", "fgsm", "--param", "eps=1"],
        ("eps", "parameters are", "epsilon")),
    ("a parameter outside", ["{mine_py}:fine", "--as", "fgsm", "--param", "epsilon=-1"],
        ("epsilon", "0 or more")),
    ("a parameter as a word", ["{mine_py}:fine", "--as", "fgsm", "--param", "epsilon=small"],
        ("epsilon", "number")),
    ("a seed as a word", ["{mine_py}:fine", "--as", "fgsm", "--seed", "lucky"],
        ("lucky", "integer")),
]  # fmt: skip


CHECK_FAILS: list[tuple[str, list[str], tuple[str, ...]]] = [
    ("a syntax error", ["{syntax_py}:f", "--as", "fgsm"], (r"syntax\.py", "line 1|syntax")),
    ("a file that raises", ["{bad_py}:f", "--as", "fgsm"], (r"bad\.py", "boom")),
    ("a file that exits", ["{quits_py}:f", "--as", "fgsm"], (r"quits\.py", "exit")),
]  # fmt: skip


CHECKED: list[tuple[str, str, tuple[str, ...]]] = [
    ("a function that raises", "boom", ("KeyError", "boom", "FAILED")),
    ("a function that exits", "bye", ("exit", "FAILED")),
    ("a function that returns None", "none", ("NoneType", "FAILED")),
    ("a function that does nothing", "fine", ("FAILED", "agreement")),
]


PLAIN: list[tuple[str, list[str], tuple[str, ...]]] = [
    ("an unknown command", ["frobnicate"], ("frobnicate", "compare")),
    ("a misspelled command", ["comprae"], ("comprae", "did you mean", "compare")),
    ("an unknown option", ["--versoin"], ("--versoin", "--version")),
    ("methods: an argument", ["methods", "saliency"], ("argument", "saliency")),
    ("methods: an unknown option", ["methods", "--jsn"], ("--jsn", "--json")),
    ("doctor: an argument", ["doctor", "who"], ("argument", "who")),
    ("doctor: an unknown option", ["doctor", "--jsn"], ("--jsn", "--json")),
    ("report: nothing", ["report"], ("argument", "RUN")),
    ("report: a folder that is not there", ["report", MISSING, "-o", "{out}.html"],
        (MISSING, r"run\.json|no such|not")),
    ("report: a file", ["report", "{mine_py}", "-o", "{out}.html"],
        (r"mine\.py", "file|folder|directory")),
    ("report: a folder without a run", ["report", "{here}", "-o", "{out}.html"],
        (r"run\.json", "missing")),
    ("report: an unknown option", ["report", "{here}", "--titel", "x"], ("--titel", "--title")),
]  # fmt: skip


def a_report(change: Callable[[Path], Any], out: str, place: Path) -> Any:
    from tests.bad_inputs.runs import found

    folder = found().save(place / "run")
    change(folder)
    return gradbridge("report", folder, "-o", place / out)


def nothing_changed(folder: Path) -> None:
    """The run is whole."""


def json_cut(folder: Path) -> None:
    (folder / "run.json").write_text('{"format": 1,')


def tensors_gone(folder: Path) -> None:
    (folder / "tensors.safetensors").unlink()


def table_of_zeros(folder: Path) -> None:
    (folder / "agreement.parquet").write_bytes(bytes(400))


def tensors_are_a_pipe(folder: Path) -> None:
    (folder / "tensors.safetensors").unlink()
    os.mkfifo(folder / "tensors.safetensors")


def out_is_a_folder(folder: Path) -> None:
    (folder.parent / "r.html").mkdir()


def out_is_in_a_file(folder: Path) -> None:
    (folder.parent / "file").write_text("mine")


REPORT: list[tuple[str, Callable[[Path], Any], str, tuple[str, ...]]] = [
    ("an unknown ending", nothing_changed, "r.docx", (r"\.docx", r"\.html")),
    ("a manifest cut off", json_cut, "r.html", (r"run\.json", "cannot be read")),
    ("tensors gone", tensors_gone, "r.html", (r"tensors\.safetensors", "missing")),
    ("a table of zeros", table_of_zeros, "r.html", (r"agreement\.parquet", "cannot be read")),
    ("tensors in a pipe", tensors_are_a_pipe, "r.html", (r"tensors\.safetensors",)),
    ("a page onto a folder", out_is_a_folder, "r.html", (r"r\.html", "folder|directory|file")),
    ("a page in a file", out_is_in_a_file, "file/r.html", ("file", "folder|directory")),
]


def no_browser(place: Path) -> Any:
    with mock.patch("shutil.which", return_value=None):
        return a_report(nothing_changed, "r.pdf", place)


def doctor_without(library: str, place: Path) -> Any:
    """One method is enough: the others would be tested in the same way."""
    with without(library), mock.patch.object(self_test, "methods", return_value=("saliency",)):
        return gradbridge("doctor")


CASES = [
    *(Case(f"bench: {name}", partial(bench, given), Exits(2, *words)) for name, given,
        words in BENCH),
    *(Case(f"bench: {name}", partial(bench, given), Exits(FAILS, *words)) for name, given,
        words in BENCH_FAILS),
    *(Case(f"check: {name}", partial(check, given), Exits(2, *words)) for name, given,
        words in CHECK),
    *(Case(f"check: {name}", partial(check, given), Exits(FAILS, *words)) for name, given,
        words in CHECK_FAILS),
    *(
        Case(f"check: {name}", partial(check, [f"{{mine_py}}:{function}", "--as", "fgsm"]),
            Exits(1, *words))
        for name, function, words in CHECKED
    ),
    *(Case(name, partial(plain, given), Exits(2, *words)) for name, given, words in PLAIN),
    *(
        Case(f"report: {name}", partial(a_report, change, out), Exits(FAILS, *words))
        for name, change, out, words in REPORT
    ),
    Case("report: a PDF without a browser", no_browser, Exits(FAILS, "browser", r"\.html")),
    Case("doctor: without Captum", partial(doctor_without, "captum"),
        Exits(1, "captum", "not installed|import|missing|No module")),
]  # fmt: skip
