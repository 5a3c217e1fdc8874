"""No trace: a model's state and the random state are put back, whatever happens in between."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from bridge.core.notes import Notes, keeps_notes
from bridge.core.parameters import check_seed
from bridge.core.skeleton import Kept, Skeleton, submodules
from bridge.core.turns import turn


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
        # What an adapter knows of the user's module is kept; itself it is one module more.
        self.kept = module.__dict__.get("kept")
        if isinstance(self.kept, Kept):
            inner: Any = module.module
            self.skeletons = [Skeleton([module]), self.kept.skeleton(inner)]
        else:
            self.skeletons = [Skeleton(submodules(module))]
        self.notes = [Notes(m.__dict__) for s in self.skeletons for m in s.plain if keeps_notes(m)]
        self.gradients = [
            (p, p.requires_grad, p.grad) for s in self.skeletons for p in s.parameters
        ]
        # Buffers are few and small beside the activations of one forward pass (running statistics
        # of batch norm), so that their values are copied.
        self.values = [s.flat.copy() for s in self.skeletons]

    def freeze(self) -> None:
        for skeleton in self.skeletons:
            for m in skeleton.training:
                m.training = False
            for inside, value in skeleton.inplace:
                if value is True:
                    inside["inplace"] = False
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
        for skeleton, values in zip(self.skeletons, self.values, strict=True):
            if not skeleton.flat.unchanged(values):
                skeleton.flat.put_back(values)

    def _put_back_modules(self) -> None:
        """What `freeze` changed; then, where that is not all, flags, parts, hooks and the rest."""
        for skeleton in self.skeletons:
            for inside, value in skeleton.inplace:
                inside["inplace"] = value
            for m in skeleton.training:
                m.training = True
        for notes in self.notes:
            notes.put_back()
        for skeleton in self.skeletons:
            if not skeleton.same_inside():
                skeleton.put_back()
                if isinstance(self.kept, Kept) and not skeleton.same_inside():
                    self.kept.forget()


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
