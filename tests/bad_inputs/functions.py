"""Functions of the user's: what they take, return and raise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import bridge
from bridge.core.model import ModelAdapter
from tests.bad_inputs._entries import LABELS, comparison, plain_fgsm, wrapped
from tests.bad_inputs._expectations import (
    Case,
    Either,
    Error,
    Expectation,
    Failed,
    Right,
    Warns,
    Wrong,
    anything,
    missing,
)
from tests.networks import images

Attack = Callable[..., Any]


class Nasty(Exception):
    """An error that cannot even be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class NotAnException(BaseException):
    """What `except Exception` does not see."""


def returning(change: Callable[[Tensor], Any]) -> Attack:
    def mine(model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float) -> Any:
        return change(x)

    return mine


def raising(error: BaseException) -> Attack:
    def mine(model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float) -> Any:
        raise error

    return mine


def leaving(how: Callable[[Any], Any]) -> Attack:
    def mine(model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float) -> Any:
        how("goodbye")
        return x

    return mine


def deep(x: Any) -> Any:
    return deep(x)


def from_a_dictionary(x: Tensor) -> Tensor:
    settings: dict[str, float] = {}
    return x + settings["alpha"]


def out_of_memory(x: Tensor) -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def too_large(x: Tensor) -> Tensor:
    return torch.zeros(2**55)


# What `run` and `compare` must say of what a function returns or raises.
RESULTS: list[tuple[str, Attack, Expectation, tuple[str, ...]]] = [
    ("returns None", returning(lambda x: None),
        Error(TypeError, "mine returned NoneType", r"torch\.Tensor"), ("NoneType", "Tensor")),
    ("returns a number", returning(lambda x: 3),
        Error(TypeError, "mine returned int", r"torch\.Tensor"), ("int", "Tensor")),
    ("returns an array", returning(Tensor.numpy),
        Error(TypeError, "mine returned ndarray", r"torch\.Tensor"), ("ndarray", "Tensor")),
    ("returns a list", returning(list), Error(TypeError, "mine returned list", r"torch\.Tensor"),
        ("list", "Tensor")),
    ("returns three", returning(lambda x: (x, x, x)),
        Error(TypeError, "mine returned tuple", r"torch\.Tensor"), ("tuple", "Tensor")),
    ("returns two tensors", returning(lambda x: (x, x > 0)),
        Error(TypeError, "mine returned", "tuple|dict|details"), ("tuple|dict|details",)),
    ("returns x and None", returning(lambda x: (x, None)),
        Error(TypeError, "mine returned", "tuple|dict|details"), ("tuple|dict|details",)),
    ("yields", returning(lambda x: (part for part in x)),
        Error(TypeError, "mine returned generator"), ("generator",)),
    ("returns its own function", returning(lambda x: plain_fgsm),
        Error(TypeError, "mine returned function"), ("function",)),
    ("returns fewer images", returning(lambda x: x[:1]),
        Error(ValueError, r"mine returned .*\(1, 3, 12, 12\)", r"\(3, 3, 12, 12\)"), ("shape",)),
    ("returns no image", returning(lambda x: x[:0]), Error(ValueError, "mine returned", "shape"),
        ("shape",)),
    ("returns the images as one", returning(lambda x: x.flatten(1)),
        Error(ValueError, "mine returned", "shape"), ("shape",)),
    ("returns a number an image", returning(lambda x: x.mean((1, 2, 3))),
        Error(ValueError, "mine returned", "shape"), ("shape",)),
    ("returns channels last", returning(lambda x: x.permute(0, 2, 3, 1)),
        Error(ValueError, "mine returned", "shape"), ("shape",)),
    ("returns one map for all", returning(lambda x: x.mean(0)),
        Error(ValueError, "mine returned", "shape"), ("shape",)),
    ("returns an axis more", returning(lambda x: x[None]),
        Error(ValueError, "mine returned", "shape"), ("shape",)),
    ("returns float64", returning(Tensor.double),
        Error(ValueError, "mine returned", "float64", "float32"), ("float32",)),
    ("returns float16", returning(Tensor.half),
        Error(ValueError, "mine returned", "float16", "float32"), ("float32",)),
    ("returns 8-bit images", returning(lambda x: (x * 255).byte()),
        Error(ValueError, "mine returned", "uint8", "float"), ("float",)),
    ("returns booleans", returning(lambda x: x > 0),
        Error(ValueError, "mine returned", "bool", "float"), ("float",)),
    ("returns complex numbers", returning(lambda x: x + 0j),
        Error(ValueError, "mine returned", "complex", "float"), ("float",)),
    ("returns on another device", returning(lambda x: x.to("meta")),
        Error(ValueError, "mine returned", "meta", "cpu"), ("meta",)),
    ("returns sparse images", returning(Tensor.to_sparse), Error(Wrong, "mine returned", "sparse"),
        ("sparse",)),
    ("returns NaN", returning(lambda x: x * torch.nan),
        Either(Warns("mine", "NaN|finite"), Error(ValueError, "mine", "NaN|finite")),
        ("NaN|finite",)),
    ("returns infinity", returning(lambda x: x / 0),
        Either(Warns("mine", "infin|finite"), Error(ValueError, "mine", "infin|finite")),
        ("infin|finite",)),
    ("raises ValueError", raising(ValueError("boom")), Error(ValueError, "boom"), ("boom",)),
    ("raises RuntimeError", raising(RuntimeError("boom")), Error(RuntimeError, "boom"), ("boom",)),
    ("raises KeyError", returning(from_a_dictionary), Error(KeyError, "alpha"),
        ("KeyError", "alpha", r"functions\.py", "from_a_dictionary")),
    ("raises nothing to read", raising(AssertionError()), Error(AssertionError),
        ("AssertionError", r"functions\.py|raising|mine")),
    ("raises what cannot be printed", raising(Nasty()), Either(Right(anything), Error(Exception)),
        ("Nasty",)),
    ("raises StopIteration", raising(StopIteration()), Error((StopIteration, RuntimeError)),
        ("StopIteration",)),
    ("recurses for ever", returning(deep), Error(RecursionError), ("recursion",)),
    ("runs out of memory", returning(out_of_memory), Error((RuntimeError, MemoryError), "memory"),
        ("memory", "fewer|smaller")),
    ("asks for too much memory", returning(too_large),
        Error((RuntimeError, MemoryError), "memory|allocate"), ("memory", "fewer|smaller")),
    ("raises MemoryError", raising(MemoryError()), Error(MemoryError), ("memory", "fewer|smaller")),
    ("calls sys.exit", leaving(sys.exit), Error(RuntimeError, "mine", r"sys\.exit"),
        ("mine", r"sys\.exit")),
    ("raises SystemExit(0)", raising(SystemExit(0)), Error(RuntimeError, "mine", r"sys\.exit"),
        (r"sys\.exit",)),
    ("raises no exception", raising(NotAnException("boom")),
        Error((RuntimeError, NotAnException), "boom"), ("NotAnException", "boom")),
]  # fmt: skip


def no_argument() -> Any:
    return None


def two_arguments(model: Any, x: Any) -> Any:
    return x


def without_epsilon(model: Any, x: Any, labels: Any) -> Any:
    return x


def another_name(model: Any, x: Any, labels: Any, *, eps: float) -> Any:
    return x


def one_more(model: Any, x: Any, labels: Any, strength: float, *, epsilon: float) -> Any:
    return x


async def asynchronous(model: Any, x: Any, labels: Any, *, epsilon: float) -> Any:
    return x


def generating(model: Any, x: Any, labels: Any, *, epsilon: float) -> Any:
    yield x


class Unfinished:
    """A class, where an object of it was meant."""

    def __call__(self, model: Any, x: Any, labels: Any, *, epsilon: float) -> Any:
        return x


# What cannot be called as an attack is; said with what it should take.
SIGNATURES: list[tuple[str, Any, tuple[str, ...]]] = [
    ("no argument", no_argument, ("no_argument", "model, x|epsilon")),
    ("two arguments", two_arguments, ("two_arguments", "model, x|epsilon")),
    ("no epsilon", without_epsilon, ("without_epsilon", "epsilon")),
    ("an epsilon by another name", another_name, ("another_name", "epsilon")),
    ("one argument more", one_more, ("one_more", "strength")),
    ("a coroutine", asynchronous, ("asynchronous", "coroutine|async")),
    ("a generator", generating, ("generating", "generator")),
    ("a class", Unfinished, ("Unfinished",)),
    ("a builtin", len, ("len",)),
    ("a network", nn.Flatten(), ("Flatten",)),
]


def taken(found: Any) -> None:
    """Code of another signature is called as it wants to be."""
    assert not len(found.failures), str(found.failures)


def ran(function: Any, place: Path) -> Any:
    return bridge.run("fgsm", wrapped(), images(), LABELS, implementation=function)


def compared(function: Any, place: Path) -> Any:
    return comparison(
        methods=["fgsm"],
        functions={"fgsm": function},
        epsilons=[0.1],
        implementations=["reference", "foolbox"],
    )


def outside_the_ball(x: Tensor) -> Tensor:
    return (x + 0.5).clamp(0, 1)


def outside_the_bounds(x: Tensor) -> Tensor:
    return x * 0 + 1.5


def black(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


def audited(*words: str) -> Callable[[Any], None]:
    """The attack has no success, all its images are invalid, and the reason is said."""

    def found(comparison: Any) -> None:
        row = comparison.attacks.set_index("implementation").loc["mine"]
        assert row["invalid"] == 3, dict(row)
        assert not row["success"] > 0, dict(row)
        assert not missing(words, str(row["reasons"])), row["reasons"]

    return found


AUDITS: list[tuple[str, Callable[[Tensor], Any], tuple[str, ...]]] = [
    ("images outside the ball", outside_the_ball, ("ball|epsilon",)),
    ("images outside the bounds", outside_the_bounds, ("bounds",)),
    ("black images", black, ("black|ball|epsilon",)),
    ("NaN images", lambda x: x * torch.nan, ("NaN|finite",)),
]


def with_details(details: Any) -> Attack:
    def mine(model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float) -> Any:
        return x, details(epsilon)

    return mine


def several_epsilons(function: Attack, place: Path) -> Any:
    options = {"implementation": function, "epsilon": [0.1, 0.2]}
    return bridge.run("fgsm", wrapped(), images(), LABELS, **options)


def stacked(run: Any) -> None:
    """One batch an epsilon."""
    assert run.output.shape == (2, *images().shape)


DETAILS: list[tuple[str, Callable[[float], Any], Expectation]] = [
    ("numbers", lambda epsilon: {"steps": 3},
        Either(Right(stacked), Error(TypeError, "mine", "details", "tensor"))),
    ("None", lambda epsilon: {"steps": None},
        Either(Right(stacked), Error(TypeError, "mine", "details", "tensor"))),
    ("texts", lambda epsilon: {"note": "fine"},
        Either(Right(stacked), Error(TypeError, "mine", "details", "tensor"))),
    ("of other names each time", lambda epsilon: {f"at {epsilon}": torch.ones(3)},
        Either(Right(stacked), Error(ValueError, "mine", "details"))),
    ("of other shapes each time", lambda epsilon: {"steps": torch.ones(int(10 * epsilon))},
        Either(Right(stacked), Error(ValueError, "mine", "details"))),
]  # fmt: skip


def aliased(model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float) -> Tensor:
    return x


def with_graph(model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float) -> Tensor:
    x = x.clone().requires_grad_()
    return x * 1


def detached_copy(run: Any) -> None:
    """The images, without a graph."""
    assert torch.equal(run.output, images())
    assert not run.output.requires_grad


def named_like_a_twin(place: Path) -> Any:
    def foolbox(model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float) -> Tensor:
        return x

    return compared(foolbox, place)


def told_apart(found: Any) -> None:
    """Foolbox itself agrees, and the user's function of that name is another row."""
    verdict = found.agreement.set_index("implementation")["verdict"]
    assert verdict["foolbox"] in ("equal", "rounding")
    assert verdict["foolbox_2"] == "differs"


def interrupting(model: ModelAdapter, x: Tensor, labels: Tensor, *, epsilon: float) -> Tensor:
    raise KeyboardInterrupt


def interrupted(found: Any) -> None:
    """What was computed is there, and it says that the rest is not."""
    assert "saliency" in set(found.agreement["method"])
    assert not missing(("interrupt|unfinished|not finished",), str(found)), str(found)[:300]


def unfinished(place: Path) -> Any:
    return comparison(
        methods=["saliency", "fgsm"],
        functions={"fgsm": interrupting},
        implementations=["reference", "captum"],
    )


CASES = [
    *(Case(f"run: {name}", partial(ran, function), must) for name, function, must, _ in RESULTS),
    *(
        Case(f"compare: {name}", partial(compared, function), Right(Failed("mine", words)))
        for name, function, _, words in RESULTS
    ),
    *(
        Case(f"run: takes {name}", partial(ran, function), Error(Wrong, *words))
        for name, function, words in SIGNATURES
        if function is not without_epsilon  # right at the usual size
    ),
    *(
        Case(
            f"compare: takes {name}",
            partial(compared, function),
            Right(
                taken
                if function in (another_name, Unfinished)
                else Failed(getattr(function, "__name__", type(function).__name__), words)
            ),
        )
        for name, function, words in SIGNATURES
    ),
    *(
        Case(f"compare: returns {name}", partial(compared, returning(how)), Right(audited(*words)))
        for name, how, words in AUDITS
    ),
    *(
        Case(f"several epsilons, details {name}", partial(several_epsilons, with_details(d)), must)
        for name, d, must in DETAILS
    ),
    Case("run: returns the images themselves", partial(ran, aliased), Right(detached_copy)),
    Case("run: returns a graph", partial(ran, with_graph), Right(detached_copy)),
    Case("compare: a function named like a twin", named_like_a_twin, Right(told_apart)),
    Case("compare: Ctrl-C in a function", unfinished, Right(interrupted)),
]  # fmt: skip
