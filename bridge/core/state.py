"""No trace: a model's state and the random state are put back, whatever happens in between."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from bridge.core.flat import Flat
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
def frozen(module: nn.Module, *, tidy: bool = False) -> Iterator[nn.Module]:
    """Evaluation mode, no in-place activations, empty `.grad`s; afterwards no trace is left.

    Put back, also after an error: training flags, `inplace` flags, submodules, parameters (the
    objects, `requires_grad` and `.grad`), buffers (objects and values), all hooks, and numbers,
    texts, lists, dictionaries and sets that are plain attributes of the user's own modules. Weights
    are not copied: who changes them in place changes them (see `bridge.core.watch`). Threads take
    turns. `tidy`: what runs inside is known to change none of them (see `Still`), so that only what
    is set here is put back.

    >>> module = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    >>> with frozen(module):
    ...     print(module.training, module[1].training)
    False False
    >>> module.training, module[1].training
    (True, True)
    """
    with turn():
        before = _Modes(_modules(module)) if tidy else _State(module)
        try:
            before.freeze()
            yield module
        finally:
            try:
                before.put_back()
            except KeyboardInterrupt:  # a second Ctrl-C, while the first is being dealt with
                before.put_back()
                raise


def _kept(module: nn.Module) -> Kept | None:
    """What an adapter keeps of the user's module; None of another module."""
    kept = module.__dict__.get("kept")
    return kept if isinstance(kept, Kept) else None


def _modules(module: nn.Module) -> list[nn.Module]:
    """The module and all in it, each once."""
    kept = _kept(module)
    if kept is None:
        return submodules(module)
    inner: Any = module.module
    return [module, *kept.modules(inner)]


class _Modes:
    """What `frozen` sets in a module: evaluation mode, and no activations in place."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        there = list(modules)
        self.training = [m for m in there if getattr(m, "training", False)]
        self.inplace = [
            (inside, inside["inplace"]) for inside in map(vars, there) if "inplace" in inside
        ]

    def freeze(self) -> None:
        for m in self.training:
            m.training = False
        for inside, value in self.inplace:
            if value is True:
                inside["inplace"] = False

    def put_back(self) -> None:
        for inside, value in self.inplace:
            inside["inplace"] = value
        for m in self.training:
            m.training = True


class _State(_Modes):
    """Those, and what may be changed inside: gradients, notes, parts, hooks, buffers."""

    def __init__(self, module: nn.Module) -> None:
        # What an adapter knows of the user's module is kept; itself it is one module more.
        self.kept = _kept(module)
        if self.kept is None:
            self.skeletons = [Skeleton(submodules(module))]
        else:
            inner: Any = module.module
            self.skeletons = [Skeleton([module]), self.kept.skeleton(inner)]
        super().__init__(m for s in self.skeletons for m in s.modules)
        self.gradients = [
            (p, p.requires_grad, p.grad) for s in self.skeletons for p in s.parameters
        ]
        self.notes = [Notes(m.__dict__) for s in self.skeletons for m in s.plain if keeps_notes(m)]
        # Buffers are few and small beside the activations of one forward pass (running statistics
        # of batch norm), so that their values are copied.
        self.values = [s.flat.copy() for s in self.skeletons]

    def freeze(self) -> None:
        super().freeze()
        for p, _, gradient in self.gradients:
            if gradient is not None:
                p.grad = None

    def same(self) -> bool:
        """Whether nothing of it was changed since."""
        return (
            all(s.same_inside() for s in self.skeletons)
            and all(notes.same() for notes in self.notes)
            and all(map(Flat.unchanged, (s.flat for s in self.skeletons), self.values))
            and all(p.requires_grad == r and p.grad is g for p, r, g in self.gradients)
        )

    def put_back(self) -> None:
        super().put_back()
        for p, requires_grad, gradient in self.gradients:
            if p.requires_grad != requires_grad:
                p.requires_grad_(requires_grad)
            if p.grad is not gradient:
                p.grad = gradient
        self._put_back_modules()
        for skeleton, values in zip(self.skeletons, self.values, strict=True):
            if not skeleton.flat.unchanged(values):
                skeleton.flat.put_back(values)

    def _put_back_modules(self) -> None:
        """Where modes and flags are not all: parts, hooks and the rest."""
        for notes in self.notes:
            notes.put_back()
        for skeleton in self.skeletons:
            if not skeleton.same_inside():
                skeleton.put_back()
                if self.kept is not None and not skeleton.same_inside():
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
def seeded(seed: int, *, tidy: bool = False) -> Iterator[None]:
    """Seed torch (every device), numpy and python inside; afterwards put their states back.

    `seed` is a whole number from 0 to 2**63 - 1. The random state is the process's own, so threads
    take turns. `tidy`: what runs inside is known to draw from torch alone, so that the others'
    state, ten times as long to copy, is left alone. Raises TypeError or ValueError for another
    seed.

    >>> with seeded(0):
    ...     first = torch.rand(1)
    >>> with seeded(0):
    ...     print(bool(torch.rand(1) == first))
    True
    """
    number = check_seed(seed)
    with turn():
        before = _Random(torch_only=tidy)
        try:
            before.seed(number)
            yield
        finally:
            before.put_back()


class _Random:
    """The states of the process's random numbers: torch's, and unless `torch_only` the others'."""

    def __init__(self, *, torch_only: bool = False) -> None:
        # Not torch.manual_seed and fork_rng: where CUDA is not in use yet, they queue a call with
        # its stack trace each time.
        self.torch = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
        self.numpy: Any = () if torch_only else np.random.get_state()
        self.python = None if torch_only else random.getstate()

    def seed(self, number: int) -> None:
        torch.default_generator.manual_seed(number)
        if self.cuda is not None:
            torch.cuda.manual_seed_all(number)
        if self.python is not None:
            np.random.seed(number % 2**32)
            random.seed(number)

    def put_back(self) -> None:
        torch.set_rng_state(self.torch)
        if self.cuda is not None:
            torch.cuda.set_rng_state_all(self.cuda)
        if self.python is not None:
            np.random.set_state(self.numpy)
            random.setstate(self.python)

    def same(self) -> bool:
        """Whether nobody drew or seeded since."""
        now = _Random()
        return (
            torch.equal(self.torch, now.torch)
            and all(map(torch.equal, self.cuda or [], now.cuda or []))
            and (self.cuda is None) == (now.cuda is None)
            and all(map(np.array_equal, self.numpy, now.numpy))
            and self.python == now.python
        )


class Still:
    """The random state, and all that `frozen` puts back in a module, at one moment."""

    def __init__(self, module: nn.Module) -> None:
        self._state, self._random = _State(module), _Random()

    def holds(self) -> bool:
        """Whether nothing of it was changed since."""
        return self._random.same() and self._state.same()
