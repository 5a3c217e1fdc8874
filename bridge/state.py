"""No trace: put a model's state and the random state back as they were, whatever happens in between."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

# The dictionaries in which torch keeps a module's parts and hooks. Their contents are put back in place, so that
# handles which the user holds on their own hooks stay valid.
_DICTIONARIES = (
    "_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_backward_hooks",
    "_backward_pre_hooks",
)  # fmt: skip
_FLAGS = ("training", "inplace", "forward")


@contextmanager
def frozen(module: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode, no in-place activations, empty `.grad`s; afterwards every trace is removed, also after an error.

    Put back: training flags, `inplace` flags, submodules, parameters (the objects, `requires_grad` and `.grad`), buffers
    (objects and values) and all hooks. Weights are not copied: who changes them in place changes them.
    """
    # ScriptModules keep their dictionaries in C++ and cannot be given back piecemeal.
    modules = [m for m in module.modules() if not isinstance(m, torch.jit.ScriptModule)]
    modes = [(m, m.training) for m in module.modules()]
    kept: list[tuple[nn.Module, dict[str, Any], dict[str, dict[Any, Any]]]] = [
        (
            m,
            {flag: m.__dict__[flag] for flag in _FLAGS if flag in m.__dict__},
            {name: dict(m.__dict__[name]) for name in _DICTIONARIES if name in m.__dict__},
        )
        for m in modules
    ]
    gradients = [(p, p.requires_grad, p.grad) for p in module.parameters()]
    # Buffers are few and small beside the activations of one forward pass (running statistics of batch norm).
    buffers = [(b, b.detach().clone()) for b in module.buffers()]
    try:
        for m, mode in modes:
            if mode:
                m.training = False
        for m in modules:
            if m.__dict__.get("inplace") is True:
                m.inplace = False  # type: ignore[assignment]
        for p, _, gradient in gradients:
            if gradient is not None:
                p.grad = None
        yield module
    finally:
        for m, flags, dictionaries in kept:
            for flag in _FLAGS:
                if flag in flags:
                    m.__dict__[flag] = flags[flag]
                else:
                    m.__dict__.pop(flag, None)
            for name, contents in dictionaries.items():
                current = m.__dict__[name]
                # The first test is cheap and nearly always true; keys in order and the very same values.
                if list(current) != list(contents) or any(current[k] is not v for k, v in contents.items()):
                    current.clear()
                    current.update(contents)
        for m, mode in modes:
            m.training = mode
        for p, requires_grad, gradient in gradients:
            if p.requires_grad != requires_grad:
                p.requires_grad_(requires_grad)
            if p.grad is not gradient:
                p.grad = gradient
        with torch.no_grad():
            for buffer, value in buffers:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch (every device), numpy and python inside; afterwards all their random states are what they were."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=devices):
        try:
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
