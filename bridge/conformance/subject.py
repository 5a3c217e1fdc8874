"""The function under check, called so that whatever it does, the checker goes on."""

from __future__ import annotations

import contextlib
import inspect
import io
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bridge.conformance.worlds import World
from bridge.metrics.agreement import image_scale
from bridge.registry import Function, Method
from bridge.run import accepts, name_of
from bridge.state import frozen, seeded
from bridge.types import Unsupported

TOOK_TOO_LONG = "did not return within"


class CheckFailed(Exception):
    """A check found something wrong; the text says what."""


class Skipped(Exception):
    """The check does not apply to this function; the text says why."""


class _TookTooLong(BaseException):
    """Raised inside the user's function; no `except Exception` there may swallow it."""


@dataclass(frozen=True)
class Subject:
    """A user's function and the method that it claims to be."""

    function: Function
    method: Method
    params: Mapping[str, Any]
    limit: float

    @property
    def name(self) -> str:
        return name_of(self.function)

    def accepts(self, parameter: str) -> bool:
        """Whether the function can be told this parameter."""
        return accepts(self.function, parameter)

    def names(self, parameter: str) -> bool:
        """Whether the function names this parameter, rather than taking anything."""
        with contextlib.suppress(TypeError, ValueError):
            return parameter in inspect.signature(self.function).parameters
        return False

    def settings(self, world: World) -> dict[str, Any]:
        """All parameters in this world; a random start is drawn here if both sides can take it."""
        settings = {**self.method.defaults, **self.params, **{k: v for k, v in world.params.items() if self.accepts(k)}}
        if settings.get("epsilon", 0) is None and not self.method.minimal:
            raise CheckFailed(f"{self.method.name} needs an epsilon")
        if self.method.draw is not None and settings.get("random_start", True):
            with seeded(11):
                drawn = self.method.draw(world.x, **settings)
            if all(self.accepts(name) for name in drawn):
                settings |= drawn
            elif self.accepts("random_start"):
                settings["random_start"] = False
        return settings

    def scale(self, expected: Tensor) -> Tensor | float:
        """What gaps are relative to: each map's largest value, or the range of pixel values."""
        return image_scale(expected) if self.method.kind == "attribution" else 1.0

    def own_draws(self) -> dict[str, Any]:
        """Parameters under which a random method draws its numbers itself."""
        if self.method.draw is None:
            return {}
        defaults = self.method.defaults
        changes: dict[str, Any] = {name: None for name in ("start", "noise") if name in defaults}
        return changes | ({"random_start": True} if "random_start" in defaults else {})

    def reference(self, world: World, seed: int = 0, **changes: Any) -> Tensor:
        """What the method gives in this world."""
        return reference(self.method, world, {**self.settings(world), **changes}, seed)

    def __call__(self, world: World, seed: int = 0, *, guard: bool = True, **changes: Any) -> Tensor:
        """What the function gives in this world, as a tensor; raises CheckFailed for everything else it may do."""
        given = {k: v for k, v in {**self.settings(world), **changes}.items() if self.accepts(k)}
        model, x, target = world.model, world.x, world.target
        if guard:
            x, target = x.clone(), target.clone()
        keep = frozen(model) if guard else contextlib.nullcontext()
        with seeded(seed), keep, torch.enable_grad():
            output = self.guarded(lambda: self.function(model, x, target, **given))
        if isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], dict):
            output = output[0]
        if not isinstance(output, Tensor):
            kind = type(output).__name__
            raise CheckFailed(
                f"returned {kind}, expected a torch.Tensor" + (": return torch tensors" if kind == "ndarray" else "")
            )
        return output

    def guarded(self, call: Callable[[], Any]) -> Any:
        """What the call returns; what else it may do becomes CheckFailed or Skipped."""
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                with _limited(self.limit):
                    return call()
            except _TookTooLong:
                raise CheckFailed(f"{TOOK_TOO_LONG} {self.limit:g} s") from None
            except Unsupported as error:
                raise Skipped(f"it says that it does not do this: {error}") from error
            except Exception as error:
                raise CheckFailed(f"raised {type(error).__name__}: {error}") from error
            except SystemExit as error:
                raise CheckFailed(f"called sys.exit({error.code!r})") from error


def reference(method: Method, world: World, settings: Mapping[str, Any], seed: int = 0) -> Tensor:
    """The method's reference in a world: seeded, frozen, detached."""
    settings = {k: v.to(world.x) if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in settings.items()}
    with seeded(seed), frozen(world.model), torch.enable_grad():
        output = method(world.model, world.x.clone(), world.target.clone(), **settings)
    output = output[0] if isinstance(output, tuple) else output
    result: Tensor = output.detach()
    return result


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Interrupt the block after some seconds; only the main thread of a Unix process can be interrupted."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise _TookTooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
