"""`gradbridge compare`: what is mistyped, what is not there, and what the user's own files do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

from tests.bad_inputs._command import FAILS, MISSING, SMALL, compare
from tests.bad_inputs._entries import network
from tests.bad_inputs._expectations import Case, Exits, Expectation, gradbridge
from tests.bad_inputs._offline import offline

# Wrong usage of compare, and what the one line must say.
COMPARE: list[tuple[str, list[str], tuple[str, ...]]] = [
    ("an unknown option", ["--metods", "saliency"], ("--metods", "--methods")),
    ("an argument", ["saliency"], ("argument", "saliency")),
    ("an option without a value", ["--methods"], ("--methods", "argument|value")),
    ("an unknown method", ["--methods", "nonsense"], ("nonsense", "saliency")),
    ("a misspelled method", ["--methods", "salincy"], ("salincy", "did you mean", "saliency")),
    ("methods with spaces", ["--methods", "saliency fgsm"],
        ("saliency fgsm", "did you mean|comma|saliency")),
    ("no methods", ["--methods", ""], ("methods", "empty|at least one|name")),
    ("methods of commas", ["--methods", ",,"], ("methods", "empty|at least one|name")),
    ("a misspelled implementation", ["--implementations", "captm"],
        ("captm", "did you mean", "captum")),
    ("no implementations", ["--implementations", ""],
        ("implementations", "empty|at least one|name")),
    ("epsilons that are no numbers", ["--epsilons", "a/b"], ("a/b", "8/255")),
    ("an epsilon over 0", ["--epsilons", "1/0"], ("1/0", "8/255")),
    ("an epsilon of three parts", ["--epsilons", "1/2/3"], ("1/2/3", "8/255")),
    ("no epsilons", ["--epsilons", ""], ("epsilon", "empty|at least one|8/255")),
    ("8 of 255", ["--epsilons", "8"], ("epsilon", "8/255", r"\[0, 1\]")),
    ("a negative epsilon", ["--epsilons", "-0.1"], ("epsilon", "0 or more")),
    ("an epsilon of NaN", ["--epsilons", "nan"], ("epsilon", "finite")),
    ("an infinite epsilon", ["--epsilons", "inf"], ("epsilon", "finite")),
    ("an L2 epsilon beyond", ["--methods", "fgm_l2", "--epsilons-l2", "1e9"],
        ("epsilon", "L2|l2", r"\[0, 1\]")),
    ("an infinite L2 epsilon", ["--methods", "fgm_l2", "--epsilons-l2", "inf"],
        ("epsilon", "finite")),
    ("no images", ["-n", "0"], (r"\bn\b|images", "at least 1|1 or more|x>=1|range")),
    ("negative images", ["-n", "-3"], (r"\bn\b|images", "at least 1|1 or more|x>=1|range")),
    ("half an image", ["-n", "1.5"], (r"1\.5", "integer")),
    ("images as a word", ["-n", "many"], ("many", "integer")),
    ("no repeats", ["--repeats", "0"], ("repeats", "at least 1|x>=1|1 or more")),
    ("repeats as a word", ["--repeats", "often"], ("often", "integer")),
    ("a seed as a word", ["--seed", "lucky"], ("lucky", "integer")),
    ("a seed beyond 64 bits", ["--seed", "99999999999999999999999"], ("seed",)),
    ("a parameter without a name", ["--param", "fgsm"],
        ("METHOD.PARAMETER=VALUE|NAME=VALUE", r"pgd\.steps=10")),
    ("a parameter without a value", ["--param", "fgsm.targeted"], ("=VALUE",)),
    ("a parameter without a method", ["--param", "steps=3"], (r"pgd\.steps=10",)),
    ("a parameter without anything", ["--param", "="], (r"pgd\.steps=10",)),
    ("an unknown parameter", ["--param", "fgsm.stepz=3"], ("stepz", "parameters are")),
    ("a parameter outside", ["--methods", "pgd", "--param", "pgd.steps=0"], ("steps", "1 or more")),
    ("a parameter as a word", ["--methods", "pgd", "--param", "pgd.steps=many"],
        ("steps", "whole number")),
    ("a parameter of NaN", ["--methods", "smooth_grad", "--param", "smooth_grad.stdev=NaN"],
        ("stdev", "finite")),
    ("a parameter of a method left out", ["--param", "pgd.steps=3"], ("pgd", "compared")),
    ("a parameter of no method", ["--param", "fgms.steps=3"], ("fgms", "did you mean", "fgsm")),
    ("a function without its method", ["--function", "{mine_py}:fine"], ("METHOD=", "FILE")),
    ("a function without a name", ["--function", "fgsm={mine_py}"], ("FILE.*NAME",)),
    ("a function in no file", ["--function", "fgsm=no.py:f"], (r"no\.py", "no file")),
    ("a function that is not there", ["--function", "fgsm={mine_py}:fines"],
        ("fines", r"mine\.py", "fine")),
    ("a function of no method", ["--function", "fgms={mine_py}:fine"],
        ("fgms", "did you mean", "fgsm")),
    ("a function of a method left out", ["--function", "pgd={mine_py}:fine"], ("pgd", "compared")),
    ("a number for a function", ["--function", "fgsm={mine_py}:number"],
        ("number|int", "function")),
    ("an unknown model source", ["--model", "resnet18"], ("resnet18", "torchvision:")),
    ("a misspelled model source", ["--model", "torchvison:resnet18"],
        ("torchvison", "torchvision:")),
    ("no model source", ["--model", ""], ("model", "zoo:")),
    ("a model not in the zoo", ["--model", "zoo:fashion_cn"], ("fashion_cn", "fashion_cnn")),
    ("a model not in torchvision", ["--model", "torchvision:resnet19"],
        ("resnet19", "resnet|list_models")),
    ("a model not in timm", ["--model", "timm:resnet19"], ("resnet19", "timm")),
    ("a model in no file", ["--model", "python:no.py:network"], (r"no\.py", "no file")),
    ("a model that is not there", ["--model", "python:{mine_py}:networks"],
        ("networks", r"mine\.py", "network")),
    ("a model without a name", ["--model", "python:{mine_py}"], ("NAME",)),
    ("a number for a model", ["--model", "python:{mine_py}:number"], ("int", r"torch\.nn\.Module")),
    ("images of other channels", ["--data", "samples:cifar10"], ("channel", "1|3")),
    ("an unknown data source", ["--data", "photos"], ("photos", "folder:")),
    ("a misspelled data source", ["--data", "foldr:photos"], ("foldr", "folder:")),
    ("unknown samples", ["--data", "samples:imagenette"], ("imagenette", "imagenet")),
    ("a folder that is not there", ["--data", f"folder:{MISSING}"], (MISSING, "not a folder")),
    ("an archive that is not there", ["--data", f"npz:{MISSING}"], (MISSING, "not a file")),
    ("a table that is not there", ["--data", f"csv:{MISSING}"], (MISSING, "not a file")),
    ("an empty folder", ["--data", "folder:{here}"], ("no images", "CLASS")),
    ("a size of 0", ["--size", "0"], ("size", "at least 1|x>=1")),
    ("a negative size", ["--size", "-8"], ("size", "at least 1|x>=1")),
    ("a size as a word", ["--size", "large"], ("large", "integer")),
    ("a size that the model cannot take", ["--size", "1"], ("shape|size", "1, 1")),
    ("a mean as a word", ["--mean", "imagenet"], ("imagenet", "number")),
    ("a mean of three for gray", ["--mean", "0.5,0.5,0.5"], ("channels", "mean")),
    ("a mean of NaN", ["--mean", "nan"], ("mean", "finite")),
    ("a std of 0", ["--std", "0"], ("std", "positive")),
    ("a negative std", ["--std", "-0.3"], ("std", "positive")),
    ("no mean", ["--mean", ""], ("mean", "number|channel")),
    ("an unknown layer", ["--layer", "layer4"], ("layer4", "its layers are")),
    ("a device that is not there", ["--device", "cuda:7"], ("cuda:7",)),
    ("an unknown device", ["--device", "gpu"], ("gpu", "cuda")),
    ("no device", ["--device", ""], ("device", "cpu")),
    ("the device meta", ["--device", "meta"], ("meta", "cpu|device")),
    ("a device of a negative number", ["--device", "cuda:-1"], ("cuda:-1", "device")),
    ("an unknown dtype", ["--dtype", "float8"], ("float8", "float32")),
    ("weights that are not there", ["--weights", MISSING],
        (MISSING, "no weight file|does not exist")),
    ("weights that are a folder", ["--weights", "{here}"], ("director|folder",)),
    ("weights that are code", ["--weights", "{mine_py}"],
        (r"mine\.py", "readable|more than tensors")),
    ("an unknown target", ["--target", "predict"], ("predict", "predicted")),
]  # fmt: skip


# The user's own files fail.
MINE_FAILS: list[tuple[str, list[str], tuple[str, ...]]] = [
    ("a function with a syntax error", ["--function", "fgsm={syntax_py}:f"],
        (r"syntax\.py", "line 1|syntax")),
    ("a function in a file that raises", ["--function", "fgsm={bad_py}:f"],
        (r"bad\.py", "boom", "line 1|RuntimeError")),
    ("a function in a file that exits", ["--function", "fgsm={quits_py}:f"],
        (r"quits\.py", "exit")),
    ("a model in a file that raises", ["--model", "python:{bad_py}:f"],
        (r"bad\.py", "boom", "line 1|RuntimeError")),
    ("a model in a file that exits", ["--model", "python:{quits_py}:f"], (r"quits\.py", "exit")),
    ("a model with a syntax error", ["--model", "python:{syntax_py}:network"],
        (r"syntax\.py", "line 1|syntax")),
    ("a factory that raises", ["--model", "python:{mine_py}:raises"],
        ("boom", "KeyError", r"mine\.py|raises")),
    ("a factory that exits", ["--model", "python:{mine_py}:exits"], ("exits", "exit", "7")),
    ("a factory that returns None", ["--model", "python:{mine_py}:nothing"],
        ("NoneType", r"torch\.nn\.Module")),
    ("a model that raises", ["--model", "python:{mine_py}:raising", "--data", "samples:mnist"],
        ("boom", "KeyError")),
    ("a model that exits", ["--model", "python:{mine_py}:exiting", "--data", "samples:mnist"],
        ("exit", "7")),
    ("a model that returns a pair", ["--model", "python:{mine_py}:pair", "--data", "samples:mnist"],
        ("tuple of 2", "logits")),
    ("a model of NaN", ["--model", "python:{mine_py}:nan", "--data", "samples:mnist"],
        ("finite|NaN",)),
    ("a size beyond memory", ["--size", "100000000"], ("memory|size|large",)),
]  # fmt: skip


def no_such_cuda(place: Path) -> Any:
    """A machine without CUDA."""
    with mock.patch.object(torch.cuda, "is_available", return_value=False):
        return compare(["--device", "cuda"], place)


def with_spoilt_weights(spoil: Callable[[Path], Any], place: Path) -> Any:
    spoil(place / "w.pt")
    return compare(["--weights", str(place / "w.pt")], place)


def of_another_network(path: Path) -> None:
    torch.save(network().state_dict(), path)


def by_number(path: Path) -> None:
    torch.save({0: torch.ones(3)}, path)


def of_code(path: Path) -> None:
    torch.save(network(), path)


def with_spoilt_data(spoil: Callable[[Path], Any], place: Path) -> Any:
    spoil(place / "a.npz")
    return compare(["--data", f"npz:{place / 'a.npz'}"], place)


def of_nan(path: Path) -> None:
    np.savez(path, images=np.full((2, 28, 28), np.nan, np.float32), labels=[0, 1])


def of_bytes_as_floats(path: Path) -> None:
    np.savez(path, images=np.full((2, 28, 28), 200, np.float32), labels=[0, 1])


def of_eleven_classes(path: Path) -> None:
    np.savez(path, images=np.zeros((2, 28, 28), np.uint8), labels=[0, 10])


def of_text(path: Path) -> None:
    path.write_text("this is not what you think")


def classes_of_another_model(place: Path) -> Any:
    """Folders whose names are no class of the model's."""
    for name in ("cat", "dog"):
        (place / "photos" / name).mkdir(parents=True)
        Image.new("L", (28, 28), 90).save(place / "photos" / name / "a.png")
    return compare(["--data", f"folder:{place / 'photos'}"], place)


def without_labels(place: Path) -> Any:
    """A flat folder: the model's own predictions are explained, and that is said."""
    (place / "photos").mkdir()
    for value in (60, 90):
        Image.new("L", (28, 28), value).save(place / "photos" / f"{value}.png")
    return compare(["--data", f"folder:{place / 'photos'}"], place)


def all_wrong(place: Path) -> Any:
    """Labels that are nearly all wrong: likely the labels, or the preprocessing."""
    images = np.random.default_rng(0).integers(0, 255, (8, 28, 28), dtype=np.uint8)
    np.savez(place / "a.npz", images=images, labels=np.array([1, 3, 5, 7, 1, 3, 5, 7]))
    return compare(["-n", "8", "--data", f"npz:{place / 'a.npz'}"], place)


def onto(make: Callable[[Path], Any], options: list[str], place: Path) -> Any:
    """--out on something that exists."""
    make(place / "out")
    return compare(options, place)


def a_file(path: Path) -> None:
    path.write_text("mine")


def a_thesis(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("mine")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_run(path: Path) -> None:
    assert gradbridge("compare", *SMALL, "--out", path).exit_code == 0


def out_under_a_file(place: Path) -> Any:
    (place / "file").write_text("mine")
    return gradbridge("compare", *SMALL, "--out", place / "file" / "run")


def out_where_nothing_can_be(place: Path) -> Any:
    return gradbridge("compare", *SMALL, "--out", "/proc/no/such/run")


def out_with_a_long_name(place: Path) -> Any:
    return gradbridge("compare", *SMALL, "--out", place / ("x" * 300))


def unreachable(source: str, option: str, place: Path) -> Any:
    with offline(place):
        return compare([option, source], place)


@contextmanager
def without(library: str) -> Iterator[None]:
    """A library that cannot be imported."""
    gone = {name: None for name in sys.modules if name.partition(".")[0] == library}
    with mock.patch.dict(sys.modules, {library: None, **gone}):
        yield


def without_a_backend(library: str, method: str, place: Path) -> Any:
    with without(library):
        return compare(["--methods", method], place)


# The user's functions and models run, and what they do is a result.
RESULTS: list[tuple[str, list[str], tuple[str, ...]]] = [
    ("a function that raises", ["--function", "fgsm={mine_py}:boom"],
        ("boom", "KeyError", r"mine\.py", "failed")),
    ("a function that exits", ["--function", "fgsm={mine_py}:bye"], ("bye", "exit", "failed")),
    ("a function that returns None", ["--function", "fgsm={mine_py}:none"],
        ("none", "NoneType", "failed")),
    ("a function that returns NaN", ["--function", "fgsm={mine_py}:nans"], ("nans", "NaN|finite")),
    ("a function without epsilon", ["--function", "fgsm={mine_py}:no_epsilon"],
        ("no_epsilon", "epsilon", "differs|failed")),
    ("a function that breaks the model", ["--function", "fgsm={mine_py}:breaks"],
        ("breaks", "weight")),
    ("a function that does nothing", ["--function", "fgsm={mine_py}:fine"], ("fine", "differs")),
    ("a model of probabilities", ["--model", "python:{mine_py}:softmax", "--data", "samples:mnist"],
        ("probabilities", "softmax")),
    ("a model that draws", ["--model", "python:{mine_py}:noisy", "--data", "samples:mnist"],
        ("random|noise|twice",)),
]  # fmt: skip


def broken_while_saving(place: Path) -> Any:
    """A disk that is full: what was computed is still printed."""

    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    with mock.patch("bridge.record.store.save_file", full):
        return compare([], place)


def json_of_an_error(place: Path) -> Any:
    return compare(["--json", "--methods", "salincy"], place)


def by_debug(place: Path) -> Any:
    return compare(["--debug", "--model", "python:{mine_py}:raises"], place)


class ShowsTraceback:
    """With --debug the traceback is there."""

    def fault(self, outcome: Any) -> str:
        done = outcome.value
        if outcome.error is not None or done.exit_code == 0:
            return f"expected a traceback, came {outcome}"
        shown = "Traceback" in done.output or not isinstance(done.exception, SystemExit)
        return "" if shown else f"no traceback: {outcome}"


NETWORK = "download|network|connect|reach|offline"


OTHERS: list[tuple[str, Callable[[Path], Any], Expectation]] = [
    ("cuda without CUDA", no_such_cuda, Exits(FAILS, "cuda", "cpu|available|there")),
    ("weights of another network", partial(with_spoilt_weights, of_another_network),
        Exits(FAILS, r"w\.pt", "do not fit")),
    ("weights by number", partial(with_spoilt_weights, by_number),
        Exits(FAILS, r"w\.pt", "state dict|names")),
    ("weights that are pickled code", partial(with_spoilt_weights, of_code),
        Exits(FAILS, r"w\.pt", "more than tensors")),
    ("weights that are text", partial(with_spoilt_weights, of_text), Exits(FAILS, r"w\.pt")),
    ("weights from a pipe", partial(with_spoilt_weights, a_pipe), Exits(FAILS, r"w\.pt", "file")),
    ("images of NaN", partial(with_spoilt_data, of_nan), Exits(FAILS, r"a\.npz", "NaN")),
    ("floats of 0 to 255", partial(with_spoilt_data, of_bytes_as_floats), Exits(FAILS, "255")),
    ("a class too many", partial(with_spoilt_data, of_eleven_classes),
        Exits(FAILS, "10", "classes")),
    ("an archive of text", partial(with_spoilt_data, of_text), Exits(FAILS, r"a\.npz", "readable")),
    ("an archive from a pipe", partial(with_spoilt_data, a_pipe), Exits(FAILS, r"a\.npz", "file")),
    ("folders of other classes", classes_of_another_model,
        Exits(FAILS, "cat|dog", "nearest|Coat|Bag|class")),
    ("a folder without labels", without_labels, Exits(0, "predict")),
    ("labels that are wrong", all_wrong, Exits(0, "labels", "mean", "right|accuracy")),
    ("--out on a file", partial(onto, a_file, []), Exits(2, "out", "exists|file")),
    ("--out on a folder of others", partial(onto, a_thesis, []),
        Exits(2, "out", "exists", "--force")),
    ("--out on a run", partial(onto, a_run, []), Exits(2, "out", "exists", "--force")),
    ("--out on a run, by force", partial(onto, a_run, ["--force"]), Exits(0, "Saved")),
    ("--out on a pipe", partial(onto, a_pipe, []), Exits(2, "out", "exists|file")),
    ("--out under a file", out_under_a_file, Exits(FAILS, "file", "folder|directory|made|written")),
    ("--out where nothing can be", out_where_nothing_can_be,
        Exits(FAILS, "/proc", "folder|directory|made|written|permi")),
    ("--out with a long name", out_with_a_long_name, Exits(FAILS, "name|long")),
    ("a disk that is full", broken_while_saving,
        Exits(FAILS, "No space left", "saliency", "equal")),
    ("an error with --json", json_of_an_error, Exits(2, "did you mean")),
    ("an error with --debug", by_debug, ShowsTraceback()),
    ("no network: torchvision", partial(unreachable, "torchvision:mobilenet_v3_small", "--model"),
        Exits(FAILS, "mobilenet_v3_small", NETWORK)),
    ("no network: timm", partial(unreachable, "timm:mobilenetv3_small_050", "--model"),
        Exits(FAILS, "mobilenetv3_small_050", NETWORK)),
    ("no network: Hugging Face", partial(unreachable, "hf:nobody-at-all/no-such-model", "--model"),
        Exits(FAILS, "nobody-at-all/no-such-model", NETWORK)),
    ("no network: images", partial(unreachable, "torchvision:KMNIST", "--data"),
        Exits(FAILS, "KMNIST", f"{NETWORK}|load")),
    ("without Captum", partial(without_a_backend, "captum", "saliency"),
        Exits(0, "captum", "failed|not installed|import")),
    ("without Foolbox", partial(without_a_backend, "foolbox", "fgsm"),
        Exits(FAILS, "foolbox", "pip install|not installed|packaged")),
]  # fmt: skip


CASES = [
    *(Case(f"compare: {name}", partial(compare, given), Exits(2, *words)) for name, given,
        words in COMPARE),
    *(Case(f"compare: {name}", partial(compare, given), Exits(FAILS, *words)) for name, given,
        words in MINE_FAILS),
    *(Case(f"compare: {name}", call, must) for name, call, must in OTHERS),
    *(Case(f"compare: {name}", partial(compare, given), Exits(0, *words)) for name, given,
        words in RESULTS),
]  # fmt: skip
