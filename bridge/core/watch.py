"""Who writes into a model's weights: they are copied, compared, and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bridge.core.skeleton import Kept


@dataclass(frozen=True)
class _Copied:
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
    (on the CPU where a GPU has too little) and the time to read them twice. `kept` is what is known
    of the module's insides: small weights are then copied and compared as one.
    """

    def __init__(self, module: nn.Module, kept: Kept | None = None) -> None:
        self._module, self._kept = module, kept
        skeleton = None if kept is None else kept.weights(module)
        self._skeleton = skeleton if skeleton and skeleton.small else None
        self._tensors: list[_Copied] = []
        if self._skeleton is not None:
            self._before = self._skeleton.flat_tensors.copy()
            return
        for name, tensor in _tensors(module):
            # What cannot be copied or compared (quantised, uninitialised) is not watched.
            with suppress(RuntimeError, NotImplementedError, ValueError):
                memory = tensor.detach()
                self._tensors.append(_Copied(name, tensor, memory, _copy(memory)))

    def put_back(self) -> list[str]:
        """Put back the values that were changed; the names of all that was changed or replaced.

        What was replaced by another tensor is for `frozen` to put back.
        """
        skeleton = self._skeleton
        if skeleton is not None:
            flat = skeleton.flat_tensors
            if skeleton.weights.unchanged() and flat.unchanged(self._before):
                flat.give_back(self._before)
                return []
            self._tensors = [
                _Copied(name, tensor, memory, copy)
                for (name, tensor), (memory, copy) in zip(
                    skeleton.tensors, self._before.each(), strict=True
                )
            ]
        now = dict(_tensors(self._module))
        names = [each.name for each in self._tensors if now.get(each.name) is not each.tensor]
        with torch.no_grad():
            for each in self._tensors:
                if each.changed:
                    each.put_back()
                    names.append(each.name)
        if names:
            torch.clear_autocast_cache()  # it may hold what was written, in another dtype
        return list(dict.fromkeys(names))


@contextmanager
def watched(
    module: nn.Module, *, when: bool = True, kept: Kept | None = None
) -> Iterator[list[str]]:
    """Inside, a list that afterwards names the weights and buffers that were put back.

    Nothing is copied unless `when` is true.

    >>> module = nn.Linear(2, 2)
    >>> with watched(module) as written:
    ...     module.bias.data += 1
    >>> written
    ['bias']
    """
    written: list[str] = []
    watch = Watch(module, kept) if when else None
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
