"""The layer that somebody stated: taken at their word where its shape allows no doubt."""

from __future__ import annotations

from collections.abc import Callable

from bridge.core.facts import Facts, LayerCall
from bridge.core.layers.grid_layer import GridLayer, Reshape, check_reshape
from bridge.core.layers.readings import Size, readings
from bridge.core.layers.rule import Look, NoGrid


def stated(
    name: str, reshape: Reshape | None, facts: Facts, size: Size, look: Callable[[], Look]
) -> GridLayer:
    """The grid of the layer `name`; `reshape` makes it of the layer's output.

    Without one, an output (n, c, h, w) of the image's aspect ratio is taken as it is, and where it
    may be something else that is proved as in `find`, on the pass that `look` makes. Raises
    ValueError for a layer that does not run once, gives no tensor, or whose cells cannot be told.
    """
    call = next((layer for layer in facts.layers if layer.name == name), None)
    if call is not None:
        _check_call(call, facts)
        if reshape is None and call.shape and _no_doubt(call.shape, size):
            return GridLayer(name, call.shape[1:], "stated", "stated")
    looked = look()  # with a graph some modules run that do not without
    output = next((each for each in looked.seen if each.name == name), None)
    if output is None:
        raise ValueError(f"layer {name!r} did not run in the model's forward pass")
    _check_call(LayerCall(name, output.shape, output.calls), facts)
    if reshape is not None:
        shape = check_reshape(reshape, output.tensor, name)
        return GridLayer(name, shape, "stated", "stated", reshape=reshape)
    candidates = looked.readings(output)
    if not candidates:
        raise ValueError(
            f"layer {name!r} gives shape {output.shape}, Grad-CAM needs (n, c, h, w): choose a "
            f"convolutional layer, for example {suggested(facts)}, or pass wrap(..., reshape="
            "FUNCTION) that makes it of this layer's output"
        )
    found, why = looked.prove(output, candidates)
    if found is not None and found.proof == "unproven":
        return GridLayer(name, found.shape, "stated", "stated")
    if found is None:
        raise NoGrid(
            f"the cells of layer {name!r} cannot be told: {why}; pass wrap(..., reshape=FUNCTION) "
            "that makes (n, c, h, w) of its output"
        )
    return found


def suggested(facts: Facts) -> str:
    """The last layers with a spatial output."""
    return (
        ", ".join(repr(layer.name) for layer in facts.spatial_layers[-3:]) or "none of this model's"
    )


def _check_call(call: LayerCall, facts: Facts) -> None:
    if call.shape is None or len(call.shape) < 3:
        given = "no tensor" if call.shape is None else f"shape {call.shape}"
        raise ValueError(
            f"layer {call.name!r} gives {given}, Grad-CAM needs (n, c, h, w): "
            "choose a convolutional layer, for example " + suggested(facts)
        )
    if call.calls > 1:
        raise ValueError(
            f"layer {call.name!r} runs {call.calls} times in one forward pass and Grad-CAM "
            "would see the last call only: choose a layer that runs once, for example "
            + suggested(facts)
        )


def _no_doubt(shape: tuple[int, ...], size: Size) -> bool:
    """Whether it can be channels first only."""
    if len(shape) != 4:
        return False
    alone = max(shape[2:]) == 1
    return alone or [each.layout for each in readings(shape, size)] == ["nchw"]
