"""What a page can choose: models, images, methods with their controls, layers and classes."""

from __future__ import annotations

from typing import Any

from bridge.core.preflight import check_needs
from bridge.core.registry import get, methods
from bridge.explore.controls import controls
from bridge.explore.judged import by_method
from bridge.explore.seen import Eye
from bridge.explore.view import View, beginning
from bridge.tables.agreement import verdict_matrix

CLASSES = 100_000  # more names are not listed


def offer(
    eye: Eye, begins: View | None, model: str | None, data: str | None, layer: str | None
) -> dict[str, Any]:
    """All of it for one model and its images, and the view to begin with.

    Raises KeyError for what was not opened, ValueError for images that cannot be read.
    """
    opened = eye.opened
    name = model or (begins.model if begins else opened.first)
    adapter = opened.model(name, layer or None)
    there = opened.names(name)
    source = data if data in there else begins.data if begins and begins.data in there else there[0]
    images = opened.images(name, source)
    start = begins.image if begins and begins.data == source and not data else 0
    image = images.read(start if start < images.count else 0)[0]
    x = image[None].to(adapter.device, adapter.dtype)
    facts = adapter.facts(x)
    can = {each: _why_not(each, adapter, x) for each in methods()}
    names = adapter.class_names
    side = min(int(x.shape[2]), int(x.shape[3]))
    same = begins is not None and (model or begins.model) == begins.model and not data
    view = begins if same and begins is not None else beginning(name, source, x, can)
    record = opened.run if source == "run" else None
    return {
        "models": list(opened.models),
        "model": name,
        "datas": [{"key": key, "name": _called(eye, key)} for key in there],
        "data": source,
        "count": images.count,
        "classes": list(names[:CLASSES]) if names else [],
        "class_count": int(facts.logits.shape[1]),
        "bounds": list(adapter.bounds),
        "shape": list(x.shape[1:]),
        "layers": [each.name for each in facts.spatial_layers],
        "layer": layer or None,
        "methods": [
            {
                "name": each,
                "kind": (method := get(each)).kind,
                "summary": method.summary,
                "norm": method.norm,
                "layer": "layer" in method.needs,
                "targetable": method.targetable,
                "random": method.random,
                "why_not": can[each],
                "controls": [c.plain for c in controls(method, side, adapter.bounds)],
            }
            for each in methods()
        ],
        "view": view.plain,
        "verdicts": {} if record is None else _verdicts(record),
        "run": opened.folder,
    }


def _why_not(name: str, adapter: Any, x: Any) -> str:
    try:
        check_needs(get(name), adapter, x)
    except ValueError as error:
        return str(error)
    return ""


def _called(eye: Eye, key: str) -> str:
    """What people call images: dropped ones by their file's name."""
    if key in eye.opened.uploads:
        return eye.opened.uploads[key][0]
    return "the run's own images" if key == "run" else key


def _verdicts(record: Any) -> dict[str, Any]:
    """A run's own, which were judged with its own parameters."""
    return by_method(verdict_matrix(record.agreement, record.failures))
