"""Run folders: files missing, broken, swapped, of another run; manifests that are none."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import bridge
from tests.bad_inputs._entries import comparison
from tests.bad_inputs._expectations import Case, Either, Error, Expectation, Right
from tests.bad_inputs._spoil import a_folder, a_pipe, empty, text, zeros
from tests.networks import images

FILES = (
    "run.json",
    "tensors.safetensors",
    "agreement.parquet",
    "runtime.parquet",
    "attacks.parquet",
)


@functools.cache
def found() -> bridge.Comparison:
    """A small run, made once."""
    return comparison(methods=["saliency", "fgsm"], epsilons=[0.1])


@functools.cache
def found_elsewhere() -> bridge.Comparison:
    """A run of other images and other methods."""
    return comparison(images(2, seed=1), [0, 1], methods=["input_x_gradient"])


def opened(change: Callable[[Path], Any], place: Path) -> Any:
    """A saved run with something changed in its folder, loaded, shown and reported."""
    folder = found().save(place / "run")
    change(folder)
    loaded = bridge.Comparison.load(folder)
    str(loaded)
    loaded.report(place / "report.html")
    return loaded


def same_run(loaded: Any) -> None:
    """It is the run that was saved."""
    assert loaded.agreement.to_json() == found().agreement.to_json()
    assert set(loaded.outputs) == set(found().outputs)


def removed(name: str, folder: Path) -> None:
    (folder / name).unlink()


def replaced(name: str, spoil: Callable[[Path], Any], folder: Path) -> None:
    (folder / name).unlink()
    spoil(folder / name)


def cut(name: str, folder: Path) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def appended(name: str, folder: Path) -> None:
    with (folder / name).open("ab") as file:
        file.write(b"more")


def swapped(one: str, other: str, folder: Path) -> None:
    first = (folder / one).read_bytes()
    (folder / one).write_bytes((folder / other).read_bytes())
    (folder / other).write_bytes(first)


def of_another_run(name: str, folder: Path) -> None:
    other = found_elsewhere().save(folder.parent / "other")
    shutil.copy(other / name, folder / name)


# The manifest.


def card(change: Callable[[dict[str, Any]], Any], folder: Path) -> None:
    """The manifest, changed; what a change returns, unless None, stands in its place."""
    path = folder / "run.json"
    read = json.loads(path.read_text())
    changed = change(read)
    path.write_text(json.dumps(read if changed is None else changed))


def written(content: bytes, folder: Path) -> None:
    (folder / "run.json").write_bytes(content)


def setting(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(read: dict[str, Any]) -> None:
        place = read
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


def deleting(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(read: dict[str, Any]) -> None:
        place = read
        for key in keys[:-1]:
            place = place[key]
        del place[keys[-1]]

    return change


CARDS: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("a list", lambda read: [read]),
    ("a text", lambda read: "run"),
    ("a number", lambda read: 1),
    ("nothing", lambda read: {}),
    ("no format", deleting("format")),
    ("a later format", setting("format", value=99)),
    ("a format of text", setting("format", value="1")),
    ("no model", deleting("model")),
    ("a model of text", setting("model", value="resnet18")),
    ("a model without bounds", deleting("model", "bounds")),
    ("bounds upside down", setting("model", "bounds", value=[1, 0])),
    ("bounds of text", setting("model", "bounds", value="01")),
    ("class names of one text", setting("model", "class_names", value="cats")),
    ("class names of numbers", setting("model", "class_names", value=3)),
    ("no device", deleting("device")),
    ("a device of text", setting("device", value="cpu")),
    ("no versions", deleting("versions")),
    ("versions in a list", setting("versions", value=["torch"])),
    ("methods of text", setting("methods", value="saliency")),
    ("a method of text", setting("methods", "fgsm", value="all")),
    ("tables of text", setting("tables", value="agreement")),
    ("tables of numbers", setting("tables", value=[1, 2])),
    ("a table out of the folder", setting("tables", value=["../../secret"])),
    ("a table at the root", setting("tables", value=["/etc/passwd"])),
    ("images of text", setting("images", value="three")),
    ("images of another shape", setting("images", "shape", value=[9, 9, 9, 9])),
]


WRITTEN: list[tuple[str, bytes]] = [
    ("half an object", b'{"format": 1, "model": {'),
    ("no UTF-8", b'{"format": "\xff\xfe"}'),
    ("UTF-16", '{"format": 1}'.encode("utf-16")),
    ("brackets for ever", b"[" * 200_000),
    ("a number of a million digits", b'{"format": ' + b"1" * 1_000_000 + b"}"),
    ("NaN as its format", b'{"format": NaN}'),
]


def a_table_more(folder: Path) -> None:
    (folder / "theirs.parquet").write_bytes(b"PAR1 broken PAR1")


def a_file_more(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    (folder / "model.pkl").write_bytes(b"\x80\x04broken")


FOLDERS: list[tuple[str, Any, Expectation]] = [
    ("None", None, Error(TypeError, "folder|path", "None")),
    ("a number", 3, Error(TypeError, "folder|path", "int|3")),
    ("missing", "no/such/run", Error(ValueError, "run", r"run\.json|no such|not a")),
    ("empty text", "", Error(ValueError, r"run\.json|folder")),
    ("a null byte", "a\0b", Error(ValueError, "null|folder|cannot be read|run")),
]


def load(folder: Any, place: Path) -> Any:
    return bridge.Comparison.load(folder)


def load_here(make: Callable[[Path], Any], place: Path) -> Any:
    make(place / "run")
    return bridge.Comparison.load(place / "run")


def a_benchmark(path: Path) -> None:
    """The folder of a benchmark, which is no comparison."""
    model = bridge.wrap(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(432, 4)).eval())

    def batch(name: str, n: int) -> Any:
        return images(n), list(range(n))

    options = {"methods": ["saliency"], "batches": [2], "rounds": 1, "progress": False}
    bridge.benchmark({"tiny": model}, batch, **options).save(path)


def saved_to(make: Callable[[Path], Any], place: Path) -> Any:
    make(place / "run")
    return found().save(place / "run")


def a_strangers_folder(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("mine")


def still_there(path: Path) -> None:
    """The stranger's file is still there."""
    assert (path / "thesis.tex").read_text() == "mine"


def under_a_file(place: Path) -> Any:
    (place / "file").write_text("mine")
    return found().save(place / "file" / "run")


def unfinished(place: Path) -> Any:
    """What a kill may leave: everything but the manifest, which is written last."""
    folder = found().save(place / "run")
    (folder / "run.json").unlink()
    return bridge.Comparison.load(folder)


def loads_nothing_executable(place: Path) -> Any:
    """A pickle under the name of the tensors."""
    from tests.bad_inputs._spoil import Executes

    folder = found().save(place / "run")
    torch.save({"x": Executes(place / "ran")}, folder / "tensors.safetensors")
    try:
        return bridge.Comparison.load(folder)
    finally:
        if (place / "ran").exists():
            raise RuntimeError("the code in the file was executed")


def report_of(runs: Any, place: Path) -> Any:
    from bridge.report import report

    return report(runs, place / "report.html")


REPORTED: list[tuple[str, Any, Expectation]] = [
    ("no run", [], Error(ValueError, "no run", "directory|Comparison")),
    ("a missing run", "no/such/run", Error(ValueError, "run")),
    ("None", None, Error(TypeError, "run", "Comparison|directory|folder")),
    ("a number", 3, Error(TypeError, "run", "Comparison|directory|folder")),
    ("a table", pd.DataFrame({"a": [1]}), Error(TypeError, "run", "Comparison|directory|folder")),
    ("None among them", [None], Error(TypeError, "run", "Comparison|directory|folder")),
]


CASES = [
    *(
        Case(f"{name} is missing", partial(opened, partial(removed, name)),
            Error(ValueError, name, "missing"))
        for name in FILES
    ),
    *(
        Case(
            f"{name} is {what}",
            partial(opened, partial(replaced, name, spoil)),
            Error(ValueError, name, "cannot be read|is not|no file|not a file"),
        )
        for name in FILES[:3]
        for what, spoil in [("empty", empty), ("text", text), ("zeros", zeros),
            ("a folder", a_folder), ("a named pipe", a_pipe)]
    ),
    *(
        Case(f"{name} is cut off", partial(opened, partial(cut, name)),
            Error(ValueError, name, "cannot be read"))
        for name in FILES
    ),
    *(
        Case(f"{name} goes on after its end", partial(opened, partial(appended, name)),
            Error(ValueError, name, "cannot be read"))
        for name in FILES[:3]
    ),
    Case("two tables swapped", partial(opened,
        partial(swapped, "agreement.parquet", "runtime.parquet")),
        Error(ValueError, "agreement|runtime")),
    Case("two other tables swapped", partial(opened,
        partial(swapped, "attacks.parquet", "similarity.parquet")),
        Error(ValueError, "attacks|similarity")),
    Case("a table for the manifest", partial(opened,
        partial(swapped, "agreement.parquet", "run.json")),
        Error(ValueError, r"run\.json", "cannot be read")),
    *(
        Case(f"{name} of another run", partial(opened, partial(of_another_run, name)),
            Error(ValueError, r"run\.json|tensors\.safetensors|agreement"))
        for name in FILES[:3]
    ),
    *(
        Case(f"run.json: {name}", partial(opened, partial(card, change)),
            Error(ValueError, r"run\.json"))
        for name, change in CARDS
    ),
    *(
        Case(f"run.json: {name}", partial(opened, partial(written, content)),
            Error(ValueError, r"run\.json"))
        for name, content in WRITTEN
    ),
    Case("a broken table more", partial(opened, a_table_more),
        Error(ValueError, r"theirs\.parquet", "cannot be read")),
    Case("files of the user's", partial(opened, a_file_more), Right(same_run)),
    *(Case(f"load: {name}", partial(load, folder), must) for name, folder, must in FOLDERS),
    Case("load: a file", partial(load_here, text), Error(ValueError, "run", "folder|directory")),
    Case("load: an empty folder", partial(load_here, a_folder),
        Error(ValueError, r"run\.json", "missing")),
    Case("load: a benchmark", partial(load_here, a_benchmark),
        Error(ValueError, "benchmark|comparison|x|images")),
    Case("load: a run cut short", unfinished, Error(ValueError, r"run\.json", "missing")),
    Case("load: a pickle", loads_nothing_executable,
        Error(ValueError, r"tensors\.safetensors", "cannot be read")),
    Case("save: onto a file", partial(saved_to, text),
        Error((ValueError, OSError), "run", "exists|folder|directory")),
    Case("save: under a file", under_a_file, Error((ValueError, OSError), "file",
        "folder|directory")),
    Case("save: into a stranger's folder", partial(saved_to, a_strangers_folder), Either(
        Error((ValueError, OSError), "run", "exists|empty|holds"), Right(still_there),
    )),
    *(Case(f"report: {name}", partial(report_of, runs), must) for name, runs, must in REPORTED),
]  # fmt: skip
