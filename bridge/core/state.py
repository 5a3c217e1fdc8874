"""No trace: a model's state and the random state are put back, whatever happens in between."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bridge.core.notes import Notes, holds, keeps_notes
from bridge.core.parameters import check_seed
from bridge.core.turns import turn

# The dictionaries in which torch keeps a module's parts and hooks. Their contents are put back in
# place, so that handles which the user holds on their own hooks stay valid.
_DICTIONARIES = (
    "_parameters",
    "_buffers",
    "_modules",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def submodules(module: nn.Module) -> list[nn.Module]:
    """The module and all in it, each once.

    Walked by hand: nn.Module.modules() takes five times as long, at every call.
    """
    found, left = {id(module): module}, [module]
    while left:
        for child in left.pop()._modules.values():
            if child is not None and id(child) not in found:
                found[id(child)] = child
                left.append(child)
    return list(found.values())


@contextmanager
def hooked(modules: Iterable[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    """Inside, `hook(module, inputs, output)` follows every forward call of each of the modules.

    What it returns, unless None, replaces the output.
    """
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def frozen(module: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode, no in-place activations, empty `.grad`s; afterwards no trace is left.

    Put back, also after an error: training flags, `inplace` flags, submodules, parameters (the
    objects, `requires_grad` and `.grad`), buffers (objects and values), all hooks, and numbers,
    texts, lists, dictionaries and sets that are plain attributes of the user's own modules. Weights
    are not copied: who changes them in place changes them (see `bridge.core.watch`). Threads take
    turns.

    >>> module = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    >>> with frozen(module):
    ...     print(module.training, module[1].training)
    False False
    >>> module.training, module[1].training
    (True, True)
    """
    with turn():
        before = _State(module)
        try:
            before.freeze()
            yield module
        finally:
            try:
                before.put_back()
            except KeyboardInterrupt:  # a second Ctrl-C, while the first is being dealt with
                before.put_back()
                raise


class _State:
    """What `frozen` may change in a module, and what may be changed inside."""

    def __init__(self, module: nn.Module) -> None:
        self.everything = submodules(module)
        # Frozen scripts have no mode.
        self.training = [m for m in self.everything if getattr(m, "training", False)]
        # ScriptModules keep their dictionaries in C++ and cannot be given back piecemeal.
        modules = [m for m in self.everything if not isinstance(m, torch.jit.ScriptModule)]
        self.insides = [(m, m.__dict__) for m in modules]
        self.notes = [Notes(m.__dict__) for m in modules if keeps_notes(m)]
        self.inplace = [(m, inside["inplace"]) for m, inside in self.insides if "inplace" in inside]
        self.forward = {
            id(m): inside["forward"] for m, inside in self.insides if "forward" in inside
        }
        self.places = [
            (inside, name, inside[name])
            for _, inside in self.insides
            for name in _DICTIONARIES
            if name in inside
        ]
        dictionaries = [dictionary for _, _, dictionary in self.places]
        # Most of them are empty; the others are compared by the identity of what they hold.
        self.empty = [d for d in dictionaries if not d]
        self.filled = [(d, list(d.items())) for d in dictionaries if d]
        # Not module.parameters() and .buffers(), which take as long as all the rest here together.
        self.gradients = [
            (p, p.requires_grad, p.grad)
            for m in self.everything
            for p in m._parameters.values()
            if p is not None
        ]
        # Buffers are few and small beside the activations of one forward pass (running statistics
        # of batch norm), so that their values are copied.
        self.buffers = [b for m in self.everything for b in m._buffers.values() if b is not None]
        self.values = _values(self.buffers)

    def freeze(self) -> None:
        for m in self.training:
            m.training = False
        for m, value in self.inplace:
            if value is True:
                m.inplace = False  # type: ignore[assignment]
        for p, _, gradient in self.gradients:
            if gradient is not None:
                p.grad = None

    def put_back(self) -> None:
        self._put_back_modules()
        for p, requires_grad, gradient in self.gradients:
            if p.requires_grad != requires_grad:
                p.requires_grad_(requires_grad)
            if p.grad is not gradient:
                p.grad = gradient
        now = _values(self.buffers)
        if not all(torch.equal(*pair) for pair in zip(now, self.values, strict=True)):
            self._put_back_buffers()

    def _put_back_modules(self) -> None:
        """Flags, parts, hooks, and functions that replaced a module's own forward."""
        for m, value in self.inplace:
            m.__dict__["inplace"] = value
        for m, inside in self.insides:
            if "forward" in inside or id(m) in self.forward:
                inside.pop("forward", None)
                if id(m) in self.forward:
                    inside["forward"] = self.forward[id(m)]
        for inside, name, dictionary in self.places:  # some replace it as a whole
            if inside.get(name) is not dictionary:
                inside[name] = dictionary
        for dictionary in self.empty:
            if dictionary:
                dictionary.clear()
        for dictionary, items in self.filled:
            if not holds(dictionary, items):
                dictionary.clear()
                dictionary.update(items)
        for m in self.everything:
            if getattr(m, "training", False):
                m.training = False
        for m in self.training:
            m.training = True
        for notes in self.notes:
            notes.put_back()

    @torch.no_grad()
    def _put_back_buffers(self) -> None:
        for group, values in zip(_groups(self.buffers), self.values, strict=True):
            parts = values.split([b.numel() for b in group])
            for buffer, value in zip(group, parts, strict=True):
                buffer.copy_(value.view_as(buffer))


def _groups(buffers: list[Tensor]) -> list[list[Tensor]]:
    """The buffers by dtype and device."""
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for buffer in buffers:
        groups.setdefault((buffer.dtype, buffer.device), []).append(buffer)
    return list(groups.values())


@torch.no_grad()
def _values(buffers: list[Tensor]) -> list[Tensor]:
    """A copy of all buffers as one tensor a dtype and device.

    A few copies instead of one for each of a hundred.
    """
    return [torch.cat([b.reshape(-1) for b in group]) for group in _groups(buffers)]


@contextmanager
def settings() -> Iterator[None]:
    """Put torch's default dtype and number of threads back afterwards."""
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch (every device), numpy and python inside; afterwards put their states back.

    `seed` is a whole number from 0 to 2**63 - 1. The random state is the process's own, so threads
    take turns. Raises TypeError or ValueError for another seed.

    >>> with seeded(0):
    ...     first = torch.rand(1)
    >>> with seeded(0):
    ...     print(bool(torch.rand(1) == first))
    True
    """
    number = check_seed(seed)
    with turn():
        # Not torch.manual_seed and fork_rng: where CUDA is not in use yet, they queue a call with
        # its stack trace each time.
        cuda = torch.cuda.is_initialized()
        states = torch.get_rng_state(), np.random.get_state(), random.getstate()
        cuda_states = torch.cuda.get_rng_state_all() if cuda else []
        try:
            torch.default_generator.manual_seed(number)
            if cuda:
                torch.cuda.manual_seed_all(number)
            np.random.seed(number % 2**32)
            random.seed(number)
            yield
        finally:
            torch.set_rng_state(states[0])
            if cuda:
                torch.cuda.set_rng_state_all(cuda_states)
            np.random.set_state(states[1])
            random.setstate(states[2])
