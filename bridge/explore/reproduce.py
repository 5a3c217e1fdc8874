"""What is seen, as text that computes it again: Python, and a command.

Both make the very calls of `bridge.explore.calls`, so their numbers are the page's own, to
the bit (on the same machine, with the same number of threads).
"""

from __future__ import annotations

import json
import shlex
from typing import Any

import torch

from bridge.core.registry import get
from bridge.explore.calls import CHUNK, is_small
from bridge.explore.opened import Images, Model, Opened
from bridge.explore.seen import Eye, Subject
from bridge.explore.view import View

RUN = "c"  # what a run in memory, and its model, are called in the text
MODEL = "model"


def python(view: View, eye: Eye) -> str:
    """A script whose `map_`, `attacked`, `map_attacked` and probabilities are what is seen."""
    opened, subject = eye.opened, eye.subject(view)
    images = opened.images(view.model, view.data)
    lines = ["import torch", "", "import bridge", ""]
    if is_small(subject.x):
        lines.append("torch.set_num_threads(1)  # as the page does for small images")
    lines += _model(opened.models[view.model], view)
    lines += _image(images, view, opened.models[view.model], subject)
    lines += [
        "",
        "",
        "def logits_of(images):",
        "    with torch.inference_mode(False), torch.no_grad(), bridge.frozen(model):",
        "        return model(images)",
        "",
        "",
        "logits = logits_of(x)",
        "probabilities = logits.softmax(1)",
        f"target = torch.tensor([{subject.target}]){_named(subject, subject.target)}",
        f"labels = torch.tensor([{subject.attacked}]){_named(subject, subject.attacked)}",
        f"with bridge.fused.chunk_size({CHUNK}):  # measured sizes may give other last bits",
        _call("map_", view.attribution, view, "x", "target"),
    ]
    if view.attack:
        lines += [
            _call("attacked", view.attack, view, "x", "labels"),
            _call("map_attacked", view.attribution, view, "attacked", "target"),
            "probabilities_attacked = logits_of(attacked).softmax(1)",
        ]
    if view.cover is not None:
        rows, columns = view.cover.area(int(subject.x.shape[2]), int(subject.x.shape[3]))
        lines += [
            "",
            "covered = x.clone()",
            f"covered[:, :, {rows.start}:{rows.stop}, {columns.start}:{columns.stop}] = "
            f"{view.cover.baseline!r}",
            "logits_covered = logits_of(covered)",
            f"moved = logits_covered[0, {subject.target}] - logits[0, {subject.target}]",
        ]
    return "\n".join(lines) + "\n"


def _call(name: str, method: str, view: View, x: str, classes: str) -> str:
    given: dict[str, Any] = {"implementation": get(method).quickest, **view.given(method)}
    if view.seed:
        given["seed"] = view.seed
    listed = "".join(f", {key}={value!r}" for key, value in given.items())
    return f"    {name} = bridge.run({method!r}, model, {x}, {classes}{listed}).output"


def _model(model: Model, view: View) -> list[str]:
    if model.given is not None:
        lines = [f"# {MODEL}: the one that you explored"]
        if view.layer is not None:
            lines += [
                "resizing = model.resizing",
                "model = bridge.wrap(model.module, mean=model.mean, std=model.std, "
                f"layer={view.layer!r}, bounds=model.bounds, class_names=model.class_names, "
                "name=model.name)",
                "model.resizing = resizing",
            ]
        return lines
    loading = {**model.loading, **({} if view.layer is None else {"layer": view.layer})}
    listed = "".join(f", {k}={v!r}" for k, v in loading.items() if (k, v) != ("device", "cpu"))
    lines = [f"model = bridge.load_model({model.source!r}{listed})"]
    if model.dtype != "float32":
        lines.append(f"model = model.astype(torch.{model.dtype})")
    return lines


def _image(images: Images, view: View, model: Model, subject: Subject) -> list[str]:
    """The lines that make `x`."""
    if images.record is not None:
        lines = [f"# {RUN}: the comparison that you explored"]
        if images.folder:
            lines = [f"{RUN} = bridge.Comparison.load({images.folder!r})"]
        lines.append(f"x = {RUN}.x[{view.image} : {view.image + 1}]")
    else:
        data = images.data
        assert data is not None
        loading = {**(data.loading or {})}
        source = loading.pop("source")
        if loading.get("class_names") is not None:
            loading["class_names"] = None if subject.model.class_names is None else MODEL
        given = {
            name: value
            for name, value in loading.items()
            if value is not None and (name, value) not in (("split", "test"), ("root", "data"))
        }
        listed = "".join(
            f", {name}={'model.class_names' if name == 'class_names' else repr(value)}"
            for name, value in given.items()
        )
        lines = []
        if view.data not in (source, "run"):
            lines.append("# the file that was dropped: a browser does not tell its folder")
        lines += [
            f"data = bridge.load_data({source!r}{listed})",
            f"image, label = data[{view.image}]",
            "x = image[None]",
        ]
    device, dtype = subject.x.device, subject.x.dtype
    if device.type != "cpu" or dtype != torch.float32:
        lines[-1] += f".to({str(device)!r}, {dtype})"
    return lines


def _named(subject: Subject, number: int) -> str:
    """The class as a comment; a name with a line end in it must not begin a line of code."""
    names = subject.model.class_names
    if not names or number >= len(names):
        return ""
    return "  # " + names[number].encode("unicode_escape").decode()


def command(view: View, eye: Eye, out: str = "") -> str:
    """`gradbridge explore ...`: opens this view; with `--out DIR` it computes and saves it.

    "" where the model or the run are objects in memory, which no command reaches.
    """
    words = arguments(view, eye.opened)
    if words is None:
        return ""
    return shlex.join(["gradbridge", "explore", *words, *(["--out", out] if out else [])])


def arguments(view: View, opened: Opened) -> list[str] | None:
    """The words behind `gradbridge explore`; None where there is no such command."""
    model, images = opened.models[view.model], opened.images(view.model, view.data)
    if model.given is not None or (images.record is not None and not images.folder):
        return None
    words = [images.folder] if images.record is not None else []
    words += ["--model", model.source]
    for name, value in model.loading.items():
        if (name, value) != ("device", "cpu") and name != "layer":
            joined = ",".join(map(repr, value)) if isinstance(value, tuple | list) else str(value)
            words += [f"--{name}", joined]
    if model.dtype != "float32":
        words += ["--dtype", model.dtype]
    layer = view.layer or model.loading.get("layer")
    words += ["--layer", layer] if layer else []
    if images.data is not None:
        words += ["--data", (images.data.loading or {})["source"]]
        words += ["--size", str(images.size)] if images.size else []
    words += ["--image", str(view.image), "--target", str(view.target)]
    words += ["--methods", ",".join(name for name in (view.attribution, view.attack) if name)]
    for method in (view.attribution, view.attack):
        for name, value in view.given(method).items() if method else ():
            words += ["--param", f"{method}.{name}={_value(value)}"]
    words += [] if view.reach is None or not view.aims else ["--reach", str(view.reach)]
    if view.cover is not None:
        square = view.cover
        words += ["--cover", f"{square.row},{square.column},{square.size},{square.baseline!r}"]
    return words + (["--seed", str(view.seed)] if view.seed else [])


def _value(value: Any) -> str:
    """As `--param` reads it: JSON, or the text itself."""
    return value if isinstance(value, str) else json.dumps(value)
