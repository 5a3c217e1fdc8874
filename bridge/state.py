"""No trace: put a model's state and the random state back as they were, whatever happens in between."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

# The dictionaries in which torch keeps a module's parts and hooks. Their contents are put back in place, so that
# handles which the user holds on their own hooks stay valid.
_DICTIONARIES = (
    "_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_backward_hooks",
    "_backward_pre_hooks",
)  # fmt: skip


def submodules(module: nn.Module) -> list[nn.Module]:
    """The module and all in it, each once. Walked by hand: nn.Module.modules() takes five times as long, at every call."""
    found, left = {id(module): module}, [module]
    while left:
        for child in left.pop()._modules.values():
            if child is not None and id(child) not in found:
                found[id(child)] = child
                left.append(child)
    return list(found.values())


@contextmanager
def frozen(module: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode, no in-place activations, empty `.grad`s; afterwards every trace is removed, also after an error.

    Put back: training flags, `inplace` flags, submodules, parameters (the objects, `requires_grad` and `.grad`), buffers
    (objects and values) and all hooks. Weights are not copied: who changes them in place changes them.
    """
    everything = submodules(module)
    # ScriptModules keep their dictionaries in C++ and cannot be given back piecemeal.
    modules = [m for m in everything if not isinstance(m, torch.jit.ScriptModule)]
    training = [m for m in everything if m.training]
    insides = [(m, m.__dict__) for m in modules]
    inplace = [(m, inside["inplace"]) for m, inside in insides if "inplace" in inside]
    forward = {id(m): inside["forward"] for m, inside in insides if "forward" in inside}
    dictionaries = [inside[name] for _, inside in insides for name in _DICTIONARIES if name in inside]
    # Most of them are empty; the others are compared by the identity of what they hold.
    empty = [d for d in dictionaries if not d]
    filled = [(d, list(d.items())) for d in dictionaries if d]
    # Not module.parameters() and .buffers(), which take as long as all the rest here together.
    gradients = [(p, p.requires_grad, p.grad) for m in everything for p in m._parameters.values() if p is not None]
    # Buffers are few and small beside the activations of one forward pass (running statistics of batch norm).
    buffers = [b for m in everything for b in m._buffers.values() if b is not None]
    values = _values(buffers)
    try:
        for m in training:
            m.training = False
        for m, value in inplace:
            if value is True:
                m.inplace = False  # type: ignore[assignment]
        for p, _, gradient in gradients:
            if gradient is not None:
                p.grad = None
        yield module
    finally:
        for m, value in inplace:
            m.__dict__["inplace"] = value
        for m, inside in insides:
            if "forward" in inside or id(m) in forward:
                inside.pop("forward", None)
                inside |= {"forward": forward[id(m)]} if id(m) in forward else {}
        for dictionary in empty:
            if dictionary:
                dictionary.clear()
        for dictionary, items in filled:
            if len(dictionary) != len(items) or any(
                k is not key or v is not value for (k, v), (key, value) in zip(dictionary.items(), items, strict=True)
            ):
                dictionary.clear()
                dictionary.update(items)
        for m in everything:
            if m.training:
                m.training = False
        for m in training:
            m.training = True
        for p, requires_grad, gradient in gradients:
            if p.requires_grad != requires_grad:
                p.requires_grad_(requires_grad)
            if p.grad is not gradient:
                p.grad = gradient
        if not all(torch.equal(now, before) for now, before in zip(_values(buffers), values, strict=True)):
            with torch.no_grad():
                for group, before in zip(_groups(buffers), values, strict=True):
                    for buffer, value in zip(group, before.split([b.numel() for b in group]), strict=True):
                        buffer.copy_(value.view_as(buffer))


def _groups(buffers: list[Tensor]) -> list[list[Tensor]]:
    """The buffers by dtype and device."""
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for buffer in buffers:
        groups.setdefault((buffer.dtype, buffer.device), []).append(buffer)
    return list(groups.values())


@torch.no_grad()
def _values(buffers: list[Tensor]) -> list[Tensor]:
    """A copy of all buffers as one tensor a dtype and device: a few copies instead of one for each of a hundred."""
    return [torch.cat([b.reshape(-1) for b in group]) for group in _groups(buffers)]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch (every device), numpy and python inside; afterwards all their random states are what they were."""
    # Not torch.manual_seed and fork_rng: where CUDA is not in use yet, they queue a call with its stack trace each time.
    cuda = torch.cuda.is_initialized()
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    cuda_states = torch.cuda.get_rng_state_all() if cuda else []
    try:
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed_all(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        yield
    finally:
        torch.set_rng_state(states[0])
        if cuda:
            torch.cuda.set_rng_state_all(cuda_states)
        np.random.set_state(states[1])
        random.setstate(states[2])
