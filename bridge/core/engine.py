"""Run a method: the only place that seeds, freezes, times, counts, validates and detaches."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bridge.core.budget import check_budget
from bridge.core.errors import ends_us, left, remedy
from bridge.core.kinds import eagerly, is_scripted
from bridge.core.method import Method, accepts, name_of, several, sizes
from bridge.core.model import ModelAdapter, logits_of
from bridge.core.output import (
    as_one,
    check_output,
    is_ours,
    not_finite,
    not_finite_logits,
    parts,
    together,
    traces,
)
from bridge.core.parameters import check_seed
from bridge.core.preflight import check_needs, preflight
from bridge.core.registry import get
from bridge.core.state import frozen, seeded, settings
from bridge.core.tags import Function
from bridge.core.timer import synchronise
from bridge.core.turns import turn
from bridge.core.types import Run, Unsupported
from bridge.core.warn import warn
from bridge.core.watch import watched
from bridge.core.within import attacked, checked_mask


@torch.inference_mode(False)
def run(
    name: str,
    /,
    model: nn.Module,
    x: Tensor,
    target: Any,
    *,
    implementation: str | Function = "reference",
    mask: Tensor | None = None,
    seed: int = 0,
    **params: Any,
) -> Run:
    """One method on one batch by one implementation: a `Run`.

    `x` (n, c, h, w) within the model's bounds. `target` (n,): the class to explain, or the true
    label to attack (with `targeted=True` the class to reach). `implementation` is "reference",
    "fused", a library with a twin, or a function of the same signature. Random numbers come from
    `seed`; the random state, the model and the images are left as they were. An attack takes a list
    as `epsilon`, and its output then has a leading axis ("fused" runs them in one batch). With
    `mask` (n, h, w), True where pixels may change, any attack by any implementation attacks the
    model as a function of those pixels alone. Threads take turns. Warns where the output is not
    finite, and where the implementation changed the model's weights, which are put back.

    Raises KeyError for an unknown method or implementation, TypeError for an unknown parameter,
    ValueError for parameters, images, labels or a model that do not fit (see
    `bridge.core.preflight`), and whatever the implementation raises (RuntimeError for sys.exit).

    >>> import bridge
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> x, labels = bridge.load_batch("samples:fashion_mnist", n=2)
    >>> found = bridge.run("saliency", model, x, labels)
    >>> found.output.shape, found.forwards, found.backwards
    (torch.Size([2, 1, 28, 28]), 2, 2)
    """
    check_seed(seed)
    method = get(name)
    bound = method.bind(params)
    what = "target" if method.kind == "attribution" else "labels"
    with turn():
        adapter, images, classes = preflight(model, x, target, what=what)
        method.check(images, bound)
        check_budget(method, bound.get("epsilon"), images, adapter.bounds)
        check_needs(method, adapter, images)
        if isinstance(implementation, str):
            function, by = method.function(implementation), implementation
        elif callable(implementation):
            function, by = implementation, name_of(implementation)
        else:
            raise TypeError(
                f"implementation must be a function or one of the names "
                f"{list(method.implementations())}, got {implementation!r}"
            )
        call = partial(execute, method, function, by, params=bound, seed=seed, watch=True)
        if mask is None:
            found = call(adapter, images, classes)
        else:
            if method.kind != "attack":
                raise ValueError(f"mask says what an attack may change, {name} is no attack")
            alone = not isinstance(implementation, str)
            found = attacked(call, adapter, images, classes, checked_mask(mask, images), alone)
    for each in found.noticed:
        if each.stage == "logits":
            raise ValueError(each.message)
        warn(each.message)
    return found


@dataclass
class Passes:
    """Images that went forwards and backwards through the whole model.

    `finite`: whether the first logits were (a tensor, so that nobody waits for a GPU).
    """

    forwards: int = 0
    backwards: int = 0
    finite: Tensor | None = None


@contextmanager
def session(model: ModelAdapter, *, tidy: bool = False) -> Iterator[Passes]:
    """Everything that runs on a model runs in one: gradients on, frozen, its passes counted.

    Torch's own settings are put back too. `tidy`: the model and all that runs are known to leave
    nothing behind.
    """
    with torch.enable_grad(), settings(), frozen(model, tidy=tidy), _counted(model) as passes:
        yield passes


def execute(
    method: Method,
    function: Function,
    implementation: str,
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    params: Mapping[str, Any],
    seed: int,
    passes: Passes | None = None,
    *,
    watch: bool = False,
) -> Run:
    """Run checked images through one implementation; parameters and output are checked here.

    `params` are all of the method's. Several epsilons run one after another and are stacked, unless
    the implementation takes them at once. `passes` belong to a session that is open already. With
    `watch` the weights are copied around an implementation that is not our own, put back where it
    changed them, and that is noticed; outside of the seconds that it is said to take.
    """
    method.check(x, params)
    given = dict(params)
    watch = watch and (model.writes or not is_ours(method, function))
    call = partial(_once, method, function, implementation, model, x, target)
    if not several(given.get("epsilon")):
        return call(given, seed, passes, watch)
    given["epsilon"] = sizes(given["epsilon"])
    if getattr(function, "takes_several", False):
        return call(given, seed, passes, watch)
    runs = [call({**given, "epsilon": each}, seed, passes, watch) for each in given["epsilon"]]
    return as_one(
        runs,
        torch.stack([run.output for run in runs]),
        params=given,
        details=together([run.details for run in runs]),
    )


def _once(
    method: Method,
    function: Function,
    implementation: str,
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    params: dict[str, Any],
    seed: int,
    passes: Passes | None,
    watch: bool,
) -> Run:
    """One call: seeded, frozen, timed, counted; its output checked and detached."""
    given = accepted(function, method.defaults, params)
    if implementation not in method.implementations():
        check_call(function, method, given)
    # Our own implementations write into no image, take their hooks away again, and draw from torch
    # alone, or not at all.
    ours = is_ours(method, function)
    images, classes = (x, target) if ours else (x.clone(), target.clone())
    known = model.known(x) if ours else None
    tidy = known is not None and known.tidy
    counting = session(model, tidy=tidy) if passes is None else nullcontext(passes)
    with (
        nullcontext() if tidy and not method.random else seeded(seed, tidy=tidy),
        counting as counter,
        eagerly(model.module, when=bool(method.needs)),  # these hook modules inside
        watched(model.module, when=watch, kept=model.kept) as written,
    ):
        forwards, backwards = counter.forwards, counter.backwards
        synchronise(x.device)
        start = time.perf_counter()
        with _its_own_failure(implementation):
            returned = function(model, images, classes, **given)
        synchronise(x.device)
        seconds = time.perf_counter() - start
        spent = counter.forwards - forwards, counter.backwards - backwards
    output, details = parts(method, implementation, returned)
    check_output(method, implementation, x, params, output)
    output = output.detach()
    if ours and output.untyped_storage().data_ptr() == x.untyped_storage().data_ptr():
        output = output.clone()  # the images themselves, which are nobody's to write into
    unsure = passes is None and counter.finite is not None and not bool(counter.finite)
    noticed = (
        *(not_finite_logits(method, implementation, model, x) if unsure else ()),
        *traces(method, implementation, model, x, written),
        *not_finite(method, implementation, output, several(params.get("epsilon"))),
    )
    return Run(method.name, implementation, params, output, seconds, *spent, details, noticed)


@contextmanager
def _its_own_failure(by: str) -> Iterator[None]:
    """What an implementation raises is its failure: sys.exit too; and what helps is said."""
    try:
        yield
    except Exception as error:
        for hint in remedy(error):
            error.add_note(hint)
        raise
    except BaseException as error:
        if ends_us(error):
            raise
        raise left(error, by) from error


def check_call(function: Function, method: Method, given: Mapping[str, Any]) -> None:
    """Raise TypeError where a user's function cannot be called as the method is."""
    try:
        inspect.signature(function).bind(None, None, None, **given)
    except TypeError as error:
        classes = "target" if method.kind == "attribution" else "labels, *, epsilon"
        raise TypeError(
            f"{name_of(function)} cannot be called as f(model, x, {classes}, **params): {error}"
        ) from error
    except ValueError:  # builtins and some callables hide their signature
        return


def accepted(
    function: Function, defaults: Mapping[str, Any], params: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters to call a function with: those it knows.

    A user's function need not know every parameter of the method, as long as the ones it does not
    know have their default value. Raises Unsupported where it would ignore a choice.
    """
    unknown = {k: v for k, v in params.items() if not accepts(function, k)}
    ignored = {k: v for k, v in unknown.items() if k not in defaults or not _same(v, defaults[k])}
    if ignored:
        listed = ", ".join(f"{k}={v!r}" for k, v in ignored.items())
        raise Unsupported(f"{name_of(function)} does not take {listed}, which would be ignored")
    return {k: v for k, v in params.items() if k not in unknown}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a is b
    return bool(a == b)


@contextmanager
def _counted(model: ModelAdapter) -> Iterator[Passes]:
    """Passes by a hook on the user's module, forwards, and on its logits, backwards: no noise."""
    passes = Passes()

    def forward(module: nn.Module, inputs: Any, output: Any) -> None:
        logits = logits_of(output)
        passes.forwards += len(logits)
        if passes.finite is None:
            passes.finite = logits.detach().isfinite().all()
        if logits.requires_grad:
            logits.register_hook(backward)

    def backward(gradient: Tensor) -> None:
        passes.backwards += len(gradient)

    # Whose module runs in TorchScript, or compiled with its hooks, is counted at the adapter.
    hidden = is_scripted(model.module) or getattr(model.module, "_compiled_call_impl", None)
    handle = (model if hidden else model.module).register_forward_hook(forward)
    try:
        yield passes
    finally:
        handle.remove()
