"""Who writes into a model's weights: they are copied, compared, and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class _Kept:
    """One parameter or buffer: itself, its own memory, and a copy of what stood there."""

    name: str
    tensor: Tensor
    memory: Tensor
    copy: Tensor

    @property
    def changed(self) -> bool:
        now = self.tensor.detach()
        if now.shape != self.copy.shape or now.dtype != self.copy.dtype:
            return True
        return not _same(now, self.copy.to(now.device))

    def put_back(self) -> None:
        """The values, in the memory that the tensor had."""
        self.memory.copy_(self.copy)
        self.tensor.data = self.memory


class Watch:
    """A copy of a model's weights and buffers, to tell later which were changed or replaced.

    Also through `.data`, which no version counter notices. It takes the memory of the weights once
    (on the CPU where a GPU has too little) and the time to read them twice.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._kept: list[_Kept] = []
        for name, tensor in _tensors(module):
            # What cannot be copied or compared (quantised, uninitialised) is not watched.
            with suppress(RuntimeError, NotImplementedError, ValueError):
                memory = tensor.detach()
                self._kept.append(_Kept(name, tensor, memory, _copy(memory)))

    def put_back(self) -> list[str]:
        """Put back the values that were changed; the names of all that was changed or replaced.

        What was replaced by another tensor is for `frozen` to put back.
        """
        now = dict(_tensors(self._module))
        names = [kept.name for kept in self._kept if now.get(kept.name) is not kept.tensor]
        with torch.no_grad():
            for kept in self._kept:
                if kept.changed:
                    kept.put_back()
                    names.append(kept.name)
        if names:
            torch.clear_autocast_cache()  # it may hold what was written, in another dtype
        return list(dict.fromkeys(names))


@contextmanager
def watched(module: nn.Module, *, when: bool = True) -> Iterator[list[str]]:
    """Inside, a list that afterwards names the weights and buffers that were put back.

    Nothing is copied unless `when` is true.

    >>> module = nn.Linear(2, 2)
    >>> with watched(module) as written:
    ...     module.bias.data += 1
    >>> written
    ['bias']
    """
    written: list[str] = []
    watch = Watch(module) if when else None
    try:
        yield written
    finally:
        if watch is not None:
            written += watch.put_back()


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """The parameters and buffers with their names."""
    return [*module.named_parameters(), *module.named_buffers()]


def _copy(tensor: Tensor) -> Tensor:
    try:
        return tensor.clone()
    except torch.OutOfMemoryError:
        return tensor.cpu()


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether all values are equal, NaN to NaN; also where a dtype cannot be compared."""
    try:
        if torch.equal(a, b):
            return True
        return a.is_floating_point() and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)
    except (RuntimeError, NotImplementedError):
        return True
