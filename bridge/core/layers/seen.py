"""One forward pass with its graph: the output of every module, as the module gave it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from bridge.core.kinds import is_scripted
from bridge.core.layers.readings import Size
from bridge.core.state import hooked


@dataclass(frozen=True)
class Output:
    """What one module gave when it ran the last time; `calls` counts how often it ran.

    Several modules share one tensor where they pass it on: a block and its last layer.
    """

    name: str
    module: nn.Module
    tensor: Tensor
    calls: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def spread(self) -> bool:
        """Whether it has several positions: (n, c, h, w) or tokens, not (n, c) or (n, c, 1, 1)."""
        return len(self.shape) == 3 or (len(self.shape) == 4 and max(self.shape[2:]) > 1)


def outputs(
    model: Callable[[Tensor], Tensor], module: nn.Module, x: Tensor
) -> tuple[Tensor, list[Output]]:
    """The logits, and what each module inside of `module` gave, in the order in which they ended.

    The network goes on with copies, so that what works in place afterwards changes none of them.
    """
    names = {part: name for name, part in module.named_modules() if name and not is_scripted(part)}
    calls: dict[str, int] = {}
    seen: dict[str, Output] = {}
    copies: dict[int, tuple[Tensor, Tensor]] = {}  # by their ids, so they must stay alive

    def see(part: nn.Module, inputs: object, output: object) -> Tensor | None:
        name = names[part]
        calls[name] = calls.get(name, 0) + 1
        seen.pop(name, None)
        if not isinstance(output, Tensor):
            return None
        if id(output) in copies:  # it passes on what another one gave
            seen[name] = Output(name, part, copies[id(output)][1], calls[name])
            return None
        seen[name] = Output(name, part, output, calls[name])
        copy = output.clone()
        copies[id(copy)] = copy, output
        return copy

    with hooked(names, see):
        logits = model(x)
    return logits, list(seen.values())


def convolved(seen: list[Output]) -> set[Size]:
    """The grids of the convolutions that ran."""
    maps = [each.shape for each in seen if isinstance(each.module, nn.Conv2d) and each.spread]
    return {(shape[2], shape[3]) for shape in maps if len(shape) == 4}
