"""What all methods are built of, with test vectors of their own: where they fail, all else will."""

from __future__ import annotations

from torch import Tensor

from bridge.core.gradients import input_gradient, loss_gradient
from bridge.core.method import Method
from bridge.core.model import ModelAdapter
from bridge.core.registry import get, methods
from bridge.core.tags import Cases


def logits(model: ModelAdapter, x: Tensor, target: Tensor) -> Tensor:
    """The network's output, (n, classes)."""
    return model(x).detach()


BLOCKS = {
    "logits": Method("logits", "attribution", logits),
    "gradient": Method("gradient", "attribution", input_gradient),
    "loss_gradient": Method("loss_gradient", "attribution", loss_gradient),
}
BLOCKS["logits"].cases = Cases("the network's output, (n, classes): check this first")
BLOCKS["gradient"].cases = Cases(
    "d logit_target / d x, before the softmax, in pixel units, each image by its own target"
)
BLOCKS["loss_gradient"].cases = Cases(
    "d CE(logits, target) / d x = sum_k (softmax_k - [k = target]) d logit_k / d x; summed over "
    "the batch, not averaged"
)


def names() -> list[str]:
    """Everything that can have test vectors, building blocks first."""
    return [*BLOCKS, *methods()]


def find(name: str) -> Method:
    """A building block or a method. Raises KeyError with the names that exist."""
    return BLOCKS[name] if name in BLOCKS else get(name)


def uncovered(method: Method) -> str:
    """Why there are no vectors of a method, "" where there are."""
    missing = sorted(method.needs - {"layer", "relu"})
    if missing:
        return f"it needs {' and '.join(missing)}, which no network here has"
    return "" if method.cases else "its file brings no cases"


def covered() -> list[str]:
    """Everything that has test vectors."""
    return [name for name in names() if not uncovered(find(name))]
