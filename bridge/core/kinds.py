"""What kind of model somebody brought, where that explains what it cannot do."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.jit._trace import TopLevelTracedModule

from bridge.core.skeleton import submodules

QUANTISED = (
    "torch.ao.nn.quantized",
    "torch.ao.nn.intrinsic.quantized",
    "bitsandbytes.",
    "torchao.",
)


def kind_of(module: nn.Module) -> str:
    """ "a scripted model (torch.jit.script)", ...: what a model is besides plain modules, or "".

    >>> kind_of(torch.jit.script(nn.Linear(2, 2)))
    'a scripted model (torch.jit.script)'
    >>> kind_of(nn.Linear(2, 2))
    ''
    """
    parts = submodules(module)
    if any(isinstance(part, TopLevelTracedModule) for part in parts):
        return "a traced model (torch.jit.trace)"
    if any(is_scripted(part) for part in parts):
        return "a scripted model (torch.jit.script)"
    if any(type(part).__module__.startswith(QUANTISED) for part in parts):
        return "a quantised model"
    if any(is_compiled(part) for part in parts):
        return "a compiled model (torch.compile)"
    if is_exported(module):
        return "an exported program (torch.export)"
    if any(isinstance(part, torch.fx.GraphModule) for part in parts):
        return "a torch.fx graph"
    return ""


def is_scripted(module: nn.Module) -> bool:
    """Whether a module runs in TorchScript, where no submodule can be hooked."""
    return isinstance(module, torch.jit.ScriptModule)


def is_exported(module: nn.Module) -> bool:
    """Whether it is what torch.export made, whose modes are built in, whatever its flags say."""
    return any(base.__module__.startswith("torch.export.") for base in type(module).__mro__)


def is_compiled(module: nn.Module) -> bool:
    """Whether torch.compile was called on a module, or the module compiled in place."""
    return (
        type(module).__name__ == "OptimizedModule"
        or getattr(module, "_compiled_call_impl", None) is not None
    )


def eagerly(module: nn.Module, *, when: bool = True) -> AbstractContextManager[Any]:
    """Inside, what torch.compile compiled runs as it was written (where `when` is true).

    Compiled code does not call hooks that were set after it was compiled, and goes on calling those
    that were set before.
    """
    if when and any(map(is_compiled, submodules(module))):
        return torch.compiler.set_stance("force_eager")
    return nullcontext()
