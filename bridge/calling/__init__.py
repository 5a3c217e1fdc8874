"""Take what people have: functions, classes and objects of any signature, called as they want.

`understand` gives a function of our signature, f(model, x, target, **params), and says how it is
called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bridge.calling.called import Called
from bridge.calling.forms import Form, candidates, single
from bridge.calling.signature import Refused, ours
from bridge.calling.sources import Source, is_asked, source
from bridge.calling.words import roles as naming
from bridge.core.errors import ends_us, in_words
from bridge.core.method import Fused, Method, Served
from bridge.core.model import ModelAdapter
from bridge.core.state import seeded
from bridge.core.tags import Function

__all__ = ["Called", "Form", "Refused", "is_asked", "understand"]


def understand(
    code: Any, method: Method, model: ModelAdapter, x: Tensor, target: Tensor, params: Any = None
) -> Function:
    """`code` itself where it is written as ours are, else a `Called`, tried on these images.

    `params` are small parameters of the method. Raises Refused (a TypeError) for what cannot be
    called, naming the parameter or the first error, and what to do.
    """
    known = tuple(method.defaults)
    if isinstance(code, Method | Fused | Served | Called) or (callable(code) and ours(code, known)):
        return code
    found = source(code, known)
    roles = {slot.role for slot in found.slots}
    if not {"y", "one-hot", "gradient", "criterion"} & roles and not _says_what_it_takes(found):
        return code  # the call fails, and the report says how
    if not {"x", "gradient", "scores"} & roles:
        raise Refused(f"none of the parameters of {found.name} looks like images: call one x")
    return _tried(Called(code, found, method, Form()), model, x, target, params or {})


def _says_what_it_takes(found: Source) -> bool:
    """Whether code without classes names a model and images: it takes the predicted class."""
    named = naming([slot.name for slot in found.slots], ())
    return {"model", "x"} <= set(named.values()) or bool(found.building)


def _tried(
    called: Called, model: ModelAdapter, x: Tensor, target: Tensor, params: Mapping[str, Any]
) -> Called:
    """The code in the first form that it takes; one image at a time where its names say so."""
    given = {k: v for k, v in params.items() if k in called.tells}
    slots, good, first = called.source.slots, None, ""
    for form in candidates(slots):
        trial = replace(called, form=form)
        try:
            with seeded(0), torch.inference_mode(False):
                _check(trial(model, x, target, **given), called.method, x)
        except Refused:
            raise
        except BaseException as error:
            if ends_us(error):
                raise
            first = first or f"{trial}, it raised {in_words(error)}"
            continue
        if not single(slots) or form.each != "batch":
            return trial
        good = good or trial
    if good is None:
        raise Refused(f"{called.source.name} cannot be called: {first}")
    return good


def _check(output: Tensor, method: Method, x: Tensor) -> None:
    """Raise ValueError for what is no answer at all."""
    if method.kind == "attack" and output.shape != x.shape:
        raise ValueError(f"it returned shape {tuple(output.shape)} for images {tuple(x.shape)}")
    if not bool(output.isfinite().any()):
        raise ValueError("it returned no finite number")
