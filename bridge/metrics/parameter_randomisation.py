"""Parameter randomisation: does the map forget what the model learnt, when the model does?"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.core.parameters import Domain
from bridge.metrics._alike import Alike, alike
from bridge.metrics._curve import Curve
from bridge.metrics.measure import Explainer
from bridge.metrics.registry import metric

Order = Annotated[Literal["cascading", "independent"], Domain(choices=("cascading", "independent"))]


@metric(
    "parameter_randomisation",
    better="lower",
    paper="arXiv:1810.03292",
    random=True,
    needs=("explain",),
    explanations=lambda **_: math.nan,  # one a layer
)
def parameter_randomisation(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    maps: Tensor,
    *,
    explain: Explainer,
    order: Order = "cascading",
    similarity: Alike = "spearman",
) -> tuple[Tensor, Curve]:
    """How alike the map and that of the model with random weights are: mean over layers, (n,).

    Adebayo et al. 2018: from the last layer to the first, on a copy, each re-initialised by its
    module's own rule (`reset_parameters`), "cascading" (it and all after it) or "independent" (it
    alone). The curve has a point a layer, at the share of layers that came before it, the logits'
    first. A layer without a rule of its own keeps its weights.

    Raises ValueError for a model none of whose layers has such a rule.
    """
    names = [name for name in _in_order(model, x) if _rule(model, name)]
    if not names:
        raise ValueError(f"no layer of {model.name} has reset_parameters, to draw its weights anew")
    changed = copy.deepcopy(model)
    found = []
    for name in reversed(names):
        if order == "independent":
            changed = copy.deepcopy(model)
        draw = _rule(changed, name)
        if draw is not None:
            draw()
        changed.forget()
        other = explain(x, model=changed)
        found.append(alike(maps, other, x, similarity))
    at = torch.arange(len(names), dtype=torch.float64) / len(names)
    values = torch.stack(found, 1)
    return values.mean(1), Curve(at, values)


def _in_order(model: ModelAdapter, x: Tensor) -> list[str]:
    """The layers' names in the order in which they ended in a forward pass."""
    return [layer.name for layer in model.facts(x).layers if layer.name]


def _rule(model: ModelAdapter, name: str) -> Callable[[], None] | None:
    """What draws a layer's weights anew, where it has some of its own and a rule for them."""
    module = model.module.get_submodule(name)
    own = any(p is not None for p in module._parameters.values())
    rule = getattr(module, "reset_parameters", None)
    return rule if own and callable(rule) else None
