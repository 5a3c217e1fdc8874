"""What a module consists of, walked once and used again as long as nothing in it was changed."""

from __future__ import annotations

import operator
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from bridge.core.flat import Flat

# The dictionaries in which torch keeps a module's parts and hooks.
TENSORS = ("_parameters", "_buffers")
DICTIONARIES = (
    *TENSORS,
    "_modules",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)

PARTS = operator.attrgetter("_modules")
SMALL = 2**22  # of weights; with more, it is the reading that takes the time


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


class Contents:
    """What some dictionaries hold: the same objects under the same names, in the same order."""

    def __init__(self, dictionaries: list[dict[Any, Any]]) -> None:
        self.dictionaries = dictionaries
        self.sizes = list(map(len, dictionaries))
        self.names = list(chain.from_iterable(dictionaries))
        self.values = self._now()

    def _now(self) -> list[Any]:
        return list(chain.from_iterable(map(dict.values, self.dictionaries)))

    def unchanged(self) -> bool:
        """Whether they still do."""
        return (
            list(map(len, self.dictionaries)) == self.sizes
            and list(chain.from_iterable(self.dictionaries)) == self.names
            and all(map(operator.is_, self._now(), self.values))
        )

    def put_back(self) -> None:
        """Fill them again, in place, so that handles which the user holds on hooks stay valid."""
        names, values = iter(self.names), iter(self.values)
        for dictionary, size in zip(self.dictionaries, self.sizes, strict=True):
            before = [(next(names), next(values)) for _ in range(size)]
            if list(dictionary) != [name for name, _ in before] or not all(
                dictionary[name] is value for name, value in before
            ):
                dictionary.clear()
                dictionary.update(before)


class Skeleton:
    """Modules, their attributes, and what their dictionaries hold, at one moment.

    To see that it still holds takes a fifth of the time that it takes to build one.
    """

    def __init__(self, modules: list[nn.Module]) -> None:
        self.modules = modules
        # ScriptModules keep their dictionaries in C++ and cannot be given back piecemeal.
        self.plain = [m for m in modules if not isinstance(m, torch.jit.ScriptModule)]
        self.scripted = len(self.plain) < len(modules)
        self.children = [] if self.scripted else [m._modules.copy() for m in modules]
        self.insides = [m.__dict__ for m in self.plain]
        self.before = [inside.copy() for inside in self.insides]
        self.inplace = [(i, i["inplace"]) for i in self.insides if "inplace" in i]
        # Frozen scripts have no mode.
        self.training = [m for m in modules if getattr(m, "training", False)]
        self.places = [
            (inside, name, inside[name])
            for inside in self.insides
            for name in DICTIONARIES
            if name in inside
        ]
        # Most of them are empty; the others are compared by the identity of what they hold.
        self.empty = [d for _, _, d in self.places if not d]
        filled = [place for place in self.places if place[2]]
        self.filled = [d for _, _, d in filled]
        self.where = [inside for inside, _, _ in filled], [name for _, name, _ in filled]
        self.weights = Contents([d for _, name, d in filled if name in TENSORS])
        self.others = Contents([d for _, name, d in filled if name not in TENSORS])
        # Not module.parameters() and .buffers(), which take as long as all the rest here together.
        self.parameters: list[nn.Parameter] = _tensors(modules, "_parameters")
        self.buffers: list[Tensor] = _tensors(modules, "_buffers")

    def same_parts(self) -> bool:
        """Whether the module still consists of the same submodules."""
        return list(map(PARTS, self.modules)) == self.children

    def same_inside(self) -> bool:
        """Whether all attributes and all that the dictionaries hold is as it was.

        Numbers and texts by value, submodules, tensors and hooks by identity. An empty dictionary
        in place of another one is the same: nobody holds a handle on what is not in it.
        """
        try:
            same = self.insides == self.before
        except Exception:  # a tensor in place of another one cannot be compared: it is another one
            same = False
        return (
            same
            and not any(self.empty)
            and all(map(operator.is_, map(operator.getitem, *self.where), self.filled))
            and self.weights.unchanged()
            and self.others.unchanged()
        )

    def put_back(self) -> None:
        """Flags, parts, hooks, and functions that replaced a module's own forward."""
        for inside, before in zip(self.insides, self.before, strict=True):
            if "forward" in before:
                inside["forward"] = before["forward"]
            else:
                inside.pop("forward", None)
        for inside, value in self.inplace:
            inside["inplace"] = value
        for inside, name, dictionary in self.places:  # some replace it as a whole
            if inside.get(name) is not dictionary:
                inside[name] = dictionary
        for dictionary in self.empty:
            if dictionary:
                dictionary.clear()
        for contents in (self.weights, self.others):
            if not contents.unchanged():
                contents.put_back()
        for m in self.modules:
            if getattr(m, "training", False):
                m.training = False
        for m in self.training:
            m.training = True

    @cached_property
    def flat(self) -> Flat:
        """The buffers as few tensors."""
        return Flat(self.buffers)

    @cached_property
    def tensors(self) -> list[tuple[str, Tensor]]:
        """The parameters and buffers with their names in the first module."""
        module = self.modules[0]
        return [*module.named_parameters(), *module.named_buffers()]

    @cached_property
    def small(self) -> bool:
        """Whether they are plain tensors that are quickly copied into one."""
        tensors = [tensor for _, tensor in self.tensors]
        plain = all(t.is_contiguous() and t.layout == torch.strided for t in tensors)
        return plain and sum(t.numel() for t in tensors) <= SMALL

    @cached_property
    def flat_tensors(self) -> Flat:
        """All of them as few tensors."""
        return Flat([tensor for _, tensor in self.tensors])


def _tensors(modules: list[nn.Module], which: str) -> list[Any]:
    return [t for m in modules for t in getattr(m, which).values() if t is not None]


class Kept:
    """A module's skeleton, used again as long as it holds. Copies and pickles of it are empty.

    It holds the module, which must not hold it, so that both go when nobody needs them.
    """

    def __init__(self) -> None:
        self._skeleton: Skeleton | None = None

    def skeleton(self, module: nn.Module) -> Skeleton:
        """The skeleton of `module`, always the same module, as it is now."""
        kept = self._skeleton
        if kept is None or kept.modules[0] is not module or not kept.same_inside():
            kept = Skeleton(submodules(module))
            self._skeleton = None if kept.scripted else kept
        return kept

    def modules(self, module: nn.Module) -> list[nn.Module]:
        """`submodules(module)`, the same list as long as they are the same."""
        kept = self._skeleton
        if kept is None or kept.modules[0] is not module or not kept.same_parts():
            return submodules(module)
        return kept.modules

    def weights(self, module: nn.Module) -> Skeleton | None:
        """The skeleton where its parameters and buffers are the module's, else None."""
        kept = self._skeleton
        if kept is None or self.modules(module) is not kept.modules:
            return None
        return kept if kept.weights.unchanged() else None

    def forget(self) -> None:
        """Hold nothing, such as activations that a module keeps in an attribute."""
        self._skeleton = None

    def __reduce__(self) -> tuple[type[Kept], tuple[()]]:
        return Kept, ()
