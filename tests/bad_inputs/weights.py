"""Sources of models and their weights: names, factories, state dicts, code in a pickle."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

import bridge
from bridge.load import load_object, load_weights
from tests.bad_inputs._entries import LABELS, network
from tests.bad_inputs._expectations import (
    Case,
    Either,
    Error,
    Expectation,
    Right,
    Wrong,
    anything,
)
from tests.bad_inputs._offline import offline
from tests.bad_inputs._spoil import Executes, safe
from tests.networks import images

# Models and their weights.

MODELS: list[tuple[str, Any, dict[str, Any], Expectation]] = [
    ("None", None, {}, Error(TypeError, "source", "zoo:")),
    ("a module", network(), {}, Error(TypeError, "source", "wrap")),
    ("a Path", Path("model.pt"), {}, Error(TypeError, "source", "zoo:|python:")),
    ("empty", "", {}, Error(ValueError, "unknown model source", "zoo:")),
    ("a name without its scheme", "resnet18", {},
        Error(ValueError, "unknown model source", "torchvision:")),
    ("a file", "model.pt", {}, Error(ValueError, "unknown model source", "python:")),
    ("a scheme alone", "zoo:", {}, Error(ValueError, "zoo:")),
    ("a scheme misspelled", "torchvison:resnet18", {},
        Error(ValueError, "torchvison", "torchvision:")),
    ("not in the zoo", "zoo:fashion_cn", {}, Error(ValueError, "fashion_cn", "fashion_cnn")),
    ("not in torchvision", "torchvision:resnet19", {},
        Error(ValueError, "resnet19", "list_models|resnet18")),
    ("a detector", "torchvision:fasterrcnn_resnet50_fpn", {"pretrained": False},
        Error(ValueError, "fasterrcnn", "classif")),
    ("not in timm", "timm:resnet19", {"pretrained": False}, Error(ValueError, "resnet19", "timm")),
    ("a device that is not there", "zoo:fashion_cnn", {"device": "cuda:7"},
        Error(ValueError, "cuda:7", "cpu|there")),
    ("an unknown device", "zoo:fashion_cnn", {"device": "gpu"}, Error(ValueError, "gpu", "cuda")),
    ("no device", "zoo:fashion_cnn", {"device": ""}, Error(ValueError, "device")),
    ("the device meta", "zoo:fashion_cnn", {"device": "meta"}, Error(ValueError, "meta")),
    ("a device of None", "zoo:fashion_cnn", {"device": None},
        Either(Right(anything), Error(Wrong, "device"))),
    ("an unknown option", "zoo:fashion_cnn", {"pretraned": True}, Error(TypeError, "pretraned")),
    ("another layer", "zoo:fashion_cnn", {"layer": "layer4"},
        Error(ValueError, "layer4", "its layers are")),
    ("a mean of three for gray", "zoo:fashion_cnn", {"mean": [0.5] * 3},
        Either(Error(ValueError, "mean"), Right(anything))),
]  # fmt: skip


def loaded(source: Any, options: dict[str, Any], place: Path) -> Any:
    with offline(place):
        return bridge.load_model(source, **options)


CLASS_WITH_ARGUMENTS = """
from torch import nn
class network(nn.Module):
    def __init__(self, depth): pass
"""


CLASS_WITHOUT_BASE = """
from torch import nn
class network(nn.Module):
    def __init__(self): self.a = nn.ReLU()
"""


FACTORIES: list[tuple[str, str, Expectation]] = [
    ("a syntax error", "def network(:\n", Error(ValueError, r"m\.py", "line 1|syntax")),
    ("an error on import", "raise RuntimeError('boom')\n",
        Error(ValueError, r"m\.py", "boom", "line 1|RuntimeError")),
    ("an exit on import", "import sys\nsys.exit(3)\n",
        Error(ValueError, r"m\.py", r"sys\.exit|exit")),
    ("a module that is not there", "import no_such_module_at_all\n",
        Error(ValueError, "no_such_module_at_all")),
    ("imports itself in circles", "from m import network\n", Error(ValueError, "m|network")),
    ("no such name", "def other(): pass\n", Error(ValueError, "network")),
    ("a factory that raises", "def network():\n    raise KeyError('boom')\n",
        Error(ValueError, "boom", r"KeyError", "network")),
    ("a factory that exits", "import sys\ndef network():\n    sys.exit('bye')\n",
        Error(ValueError, "network", "exit")),
    ("a factory that returns None", "def network():\n    pass\n",
        Error(ValueError, "NoneType", r"torch\.nn\.Module")),
    ("a factory with arguments", "def network(depth):\n    pass\n",
        Error(ValueError, "depth", "network")),
    ("a class with arguments", CLASS_WITH_ARGUMENTS, Error(ValueError, "depth", "network")),
    ("no constructor of the base", CLASS_WITHOUT_BASE, Error(ValueError, "network", "__init__")),
    ("a number", "network = 3\n", Error(ValueError, "int", r"torch\.nn\.Module")),
    ("a state dict", "network = {'weight': 1}\n", Error(ValueError, "dict", r"torch\.nn\.Module")),
    ("a coroutine", "async def network():\n    pass\n",
        Error(ValueError, "coroutine", r"torch\.nn\.Module")),
]  # fmt: skip


def made(source: str, place: Path) -> Any:
    (place / "m.py").write_text(source)
    return bridge.load_model(f"python:{place / 'm.py'}:network")


OBJECTS: list[tuple[str, Any, tuple[str, ...]]] = [
    ("no name", "mine.py", (r"FILE\.py:NAME",)),
    ("no file", ":name", (r"FILE\.py:NAME",)),
    ("nothing", "", (r"FILE\.py:NAME",)),
    ("a colon", ":", (r"FILE\.py:NAME",)),
    ("a missing file", "no/such/mine.py:f", ("no file",)),
    ("a missing module", "no_such_module_at_all:f", ("no module",)),
    ("a missing name", "math:tao", ("math", "tao")),
    ("a relative module", ".math:tau", (r"\.math", "module|name")),
    ("an empty part", "os..path:join", (r"os\.\.path", "module|name")),
]


def an_object(name: Any, place: Path) -> Any:
    return load_object(name)


def state() -> dict[str, Any]:
    return network().state_dict()


def odd_state(change: Callable[[dict[str, Any]], Any], place: Path) -> Any:
    torch.save(change(state()), place / "w.pt")
    return load_weights(network(), place / "w.pt")


def _renamed(s: dict[str, Any]) -> Any:
    return {f"backbone.{name}": value for name, value in s.items()}


def _without(s: dict[str, Any]) -> Any:
    return dict(list(s.items())[1:])


def _with_more(s: dict[str, Any]) -> Any:
    return {**s, "head.weight": torch.ones(3)}


def _reshaped(s: dict[str, Any]) -> Any:
    return {name: value.flatten()[:1] for name, value in s.items()}


def _by_number(s: dict[str, Any]) -> Any:
    return dict(enumerate(s.values()))


def _by_pair(s: dict[str, Any]) -> Any:
    return {(name, 0): value for name, value in s.items()}


def _nested(s: dict[str, Any]) -> Any:
    return {"model": {"state_dict": s}}


def _with_numbers(s: dict[str, Any]) -> Any:
    return {**s, "epoch": 3}


def _as_lists(s: dict[str, Any]) -> Any:
    return {name: value.tolist() for name, value in s.items()}


def _of_nan(s: dict[str, Any]) -> Any:
    return {n: v * torch.nan if v.is_floating_point() else v for n, v in s.items()}


def _integers(s: dict[str, Any]) -> Any:
    return {name: value.to(torch.int64) for name, value in s.items()}


def _complex(s: dict[str, Any]) -> Any:
    return {name: value + 0j for name, value in s.items()}


STATES: list[tuple[str, Callable[[dict[str, Any]], Any], Expectation]] = [
    ("of other names", _renamed, Error(ValueError, "do not fit", "backbone|missing|0.weight")),
    ("one too few", _without, Error(ValueError, "do not fit", r"0\.weight")),
    ("one too many", _with_more, Error(ValueError, "do not fit", r"head\.weight")),
    ("of other shapes", _reshaped, Error(ValueError, "do not fit", "shape|size")),
    ("by number", _by_number, Error(ValueError, "names|state dict|keys")),
    ("by pairs", _by_pair, Error(ValueError, "names|state dict|keys")),
    ("too deep", _nested, Error(ValueError, "state dict")),
    ("with numbers among them", _with_numbers, Error(ValueError, "state dict", "epoch")),
    ("as lists", _as_lists, Error(ValueError, "state dict")),
    ("a tensor alone", lambda s: torch.ones(3), Error(ValueError, "state dict")),
    ("a list", lambda s: list(s.values()), Error(ValueError, "state dict")),
    ("None", lambda s: None, Error(ValueError, "state dict")),
    ("nothing", lambda s: {}, Error(ValueError, "do not fit|state dict|empty")),
    ("a whole model", lambda s: network(), Error(ValueError, "more than tensors", "state_dict")),
    ("integers", _integers, Either(Right(anything), Error(ValueError, "int64", "float"))),
    ("complex numbers", _complex, Error(ValueError, "complex", "float")),
]


def weights_of_nan(place: Path) -> Any:
    """Taken, or refused at once; never explained."""
    module = network()
    torch.save(_of_nan(state()), place / "w.pt")
    load_weights(module, place / "w.pt")
    return bridge.run("saliency", module, images(), LABELS)


def pickled_code(place: Path) -> Any:
    (place / "w.pt").write_bytes(pickle.dumps({"0.weight": Executes(place / "ran")}))
    return load_weights(network(), place / "w.pt")


def zipped_code(place: Path) -> Any:
    torch.save({"0.weight": Executes(place / "ran")}, place / "w.pt")
    return load_weights(network(), place / "w.pt")


def truncated_weights(ending: str, place: Path) -> Any:
    path = place / f"w{ending}"
    if ending == ".pt":
        torch.save(state(), path)
    else:
        save_file(state(), path)
    path.write_bytes(path.read_bytes()[:-100])
    return load_weights(network(), path)


def header_of(header: bytes, size: int, place: Path) -> Any:
    (place / "w.safetensors").write_bytes(struct.pack("<Q", size) + header)
    return load_weights(network(), place / "w.safetensors")


def _entry(**changes: Any) -> bytes:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}
    return json.dumps({"0.weight": entry}).encode()


def _headed(header: bytes, place: Path) -> Any:
    return header_of(header + bytes(4), len(header), place)


HEADERS: list[tuple[str, Callable[[Path], Any]]] = [
    ("a header beyond the file", partial(header_of, b"{}", 2**40)),
    ("a header beyond 64 bits", partial(header_of, b"{}", 2**64 - 1)),
    ("a header that is no JSON", partial(_headed, b"{{{{{{{{")),
    ("a shape beyond the data", partial(_headed, _entry(shape=[2**40]))),
    ("data beyond the file", partial(_headed, _entry(shape=[2**20], data_offsets=[0, 2**22]))),
    ("a negative shape", partial(_headed, _entry(shape=[-1]))),
    ("an unknown dtype", partial(_headed, _entry(dtype="F17"))),
]


OTHERS: list[tuple[str, Any, tuple[str, ...]]] = [
    ("a number", 3, ("path", "str|Path|int")),
    ("bytes", b"w.pt", ("path", "str|Path|bytes")),
    ("a state dict", {"0.weight": torch.ones(1)}, ("path", "load_state_dict|str|dict")),
]


def weights_of(value: Any, place: Path) -> Any:
    return load_weights(network(), value)


def of_another_ending(place: Path) -> Any:
    """Pickled weights that are called safetensors."""
    torch.save(state(), place / "w.safetensors")
    return load_weights(network(), place / "w.safetensors")


def unfit_are_not_half_loaded(place: Path) -> tuple[nn.Module, nn.Module]:
    """What is refused leaves the model as it was."""
    module = network()
    torch.save(_reshaped(state()) | {"0.bias": torch.ones(6)}, place / "w.pt")
    try:
        load_weights(module, place / "w.pt")
    except ValueError:
        return network(), module
    raise AssertionError("these weights were taken")


def same_weights(pair: tuple[nn.Module, nn.Module]) -> None:
    """Both have the same weights."""
    for name, value in pair[0].state_dict().items():
        assert torch.equal(value, pair[1].state_dict()[name]), name


def pretrained(source: str, place: Path) -> Any:
    with offline(place):
        return bridge.load_model(source)


PRETRAINED = (
    "torchvision:mobilenet_v3_small",
    "timm:mobilenetv3_small_050",
    "hf:nobody-at-all/no-such-model",
)


CASES = [
    *(
        Case(f"model: {name}", partial(loaded, source, options), must)
        for name, source, options, must in MODELS
    ),
    *(Case(f"factory: {name}", partial(made, source), must) for name, source, must in FACTORIES),
    *(
        Case(f"object: {name}", partial(an_object, where), Error(ValueError, *words))
        for name, where, words in OBJECTS
    ),
    *(Case(f"weights: {name}", partial(odd_state, change), must) for name, change, must in STATES),
    Case("weights: NaN", weights_of_nan, Error(ValueError, "NaN|finite", "weights")),
    Case("weights: pickled code", partial(safe, pickled_code),
        Error(ValueError, "more than tensors|not a readable", r"w\.pt")),
    Case("weights: zipped code", partial(safe, zipped_code),
        Error(ValueError, "more than tensors", "safetensors")),
    *(
        Case(f"weights: truncated {ending}", partial(truncated_weights, ending),
            Error(ValueError, "readable", f"w{ending}"))
        for ending in (".pt", ".safetensors")
    ),
    *(
        Case(f"weights: {name}", call, Error(ValueError, r"w\.safetensors", "readable"))
        for name, call in HEADERS
    ),
    *(
        Case(f"weights: {name}", partial(weights_of, value), Error(TypeError, *words))
        for name, value, words in OTHERS
    ),
    Case("weights: pickled, called safetensors", of_another_ending,
        Error(ValueError, r"w\.safetensors", "readable")),
    Case("weights: unfit ones leave no trace", unfit_are_not_half_loaded, Right(same_weights)),
    *(
        Case(f"no network: {source}", partial(pretrained, source),
            Error((ValueError, ConnectionError), source.partition(":")[2],
            "download|network|connect|reach|offline|load"))
        for source in PRETRAINED
    ),
]  # fmt: skip
