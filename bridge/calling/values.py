"""Values whose form depends on what the parameter that takes them is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from bridge.calling.signature import Slot


@dataclass(frozen=True)
class Layer:
    """The layer to explain: the module, its name, or a list of one."""

    module: nn.Module
    name: str

    def fitting(self, slot: Slot) -> Any:
        by_name = "name" in slot.name or slot.parameter.annotation in (str, "str")
        value = self.name if by_name else self.module
        return [value] if slot.name.endswith("s") else value


@dataclass(frozen=True)
class Extent:
    """A window or a stride; Captum's also span the channels."""

    value: Any
    channels: int

    def fitting(self, slot: Slot) -> Any:
        if slot.name not in ("sliding_window_shapes", "strides"):
            return self.value
        pair = self.value if isinstance(self.value, tuple) else (self.value, self.value)
        return (self.channels, *pair)
