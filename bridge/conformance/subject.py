"""The function under check, called so that whatever it does, the checker goes on."""

from __future__ import annotations

import contextlib
import inspect
import io
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bridge.calling import Called, Form
from bridge.conformance.worlds import World
from bridge.core.engine import execute, session
from bridge.core.errors import ends_us, in_words
from bridge.core.method import Fused, Method, Served, Twin, Variant, accepts, name_of
from bridge.core.state import seeded
from bridge.core.tags import Function
from bridge.core.types import Unsupported
from bridge.metrics.agreement import image_scale

RGB = 3  # channels
TOOK_TOO_LONG = "did not return within"


class CheckFailed(Exception):
    """A check found something wrong; the text says what."""


class Skipped(Exception):
    """The check does not apply to this function; the text says why."""


class _TookTooLong(BaseException):
    """Raised inside the user's function; no `except Exception` there may swallow it."""


@dataclass(frozen=True)
class Subject:
    """A user's function and the method that it claims to be.

    `params` states what the function does where it cannot be told, `own` what was found out of
    that (values, or functions of the other settings), `limit` the seconds of a call, `seed` what
    random numbers come from unless a call says otherwise.
    """

    function: Function
    method: Method
    params: Mapping[str, Any]
    limit: float
    seed: int = 0
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def twin(self) -> Twin | None:
        """Whose registered implementation the function is, if it is one."""
        found = (t for t in self.method.twins.values() if t.function is self.function)
        return next(found, None)

    @property
    def name(self) -> str:
        """The function's name; of a registered implementation, whose it is."""
        if self.twin is not None:
            return f"{self.twin.library}'s {self.method.name}"
        if self.function is self.method.fast:
            return f"fused {self.method.name}"
        return name_of(self.function)

    @property
    def single(self) -> bool:
        """Whether it works in float32 whatever it is given."""
        form = self.function.form if isinstance(self.function, Called) else Form()
        return form.precision is torch.float32

    def accepts(self, parameter: str) -> bool:
        """Whether the function can be told this parameter."""
        return accepts(self.function, parameter)

    def names(self, parameter: str) -> bool:
        """Whether the function names this parameter, rather than taking anything."""
        with contextlib.suppress(TypeError, ValueError):
            return parameter in inspect.signature(self.function).parameters
        return False

    def _unmade(self, parameter: str, value: Any) -> bool:
        """Whether it is a draw that nobody made, and the function hands on whatever it is given."""
        domain = self.method.domains.get(parameter)
        draw = domain is not None and domain.tensor and not domain.number
        ours = isinstance(self.function, Fused | Served)  # which take whatever the method has
        return draw and value is None and not ours and not self.names(parameter)

    def settings(self, world: World) -> dict[str, Any]:
        """All parameters in this world; a random start is drawn here if both sides can take it."""
        settings = self._stated(world)
        if settings.get("epsilon", 0) is None and not self.method.minimal:
            raise CheckFailed(f"{self.method.name} needs an epsilon")
        drawn = self._drawn(world, settings)
        if all(self.accepts(name) for name in drawn):
            settings |= drawn
        elif self.accepts("random_start"):
            settings["random_start"] = False
        return settings

    def own_draws(self, world: World) -> dict[str, Any]:
        """Parameters under which a random method draws its numbers itself."""
        flags = {"random_start": True} if "random_start" in self.method.defaults else {}
        drawn = self._drawn(world, {**self._stated(world), **flags})
        return {**dict.fromkeys(drawn), **flags} if drawn else {}

    def _stated(self, world: World) -> dict[str, Any]:
        told = {k: v for k, v in world.params.items() if self.accepts(k)}
        settings = {**self.method.defaults, **self.params, **told}
        constant = {k: v for k, v in self.own.items() if not callable(v)}
        settings |= constant
        settings |= {k: v(settings) for k, v in self.own.items() if callable(v)}
        return {**settings, **world.drawn}

    def _drawn(self, world: World, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The method's random numbers as parameters."""
        if self.method.draw is None or not settings.get("random_start", True):
            return {}
        with seeded(11):
            drawn: dict[str, Any] = self.method.draw(world.x, **settings)
        return drawn

    def scale(self, expected: Tensor) -> Tensor | float:
        """What gaps are relative to: each map's largest value, or the range of pixel values."""
        return image_scale(expected) if self.method.kind == "attribution" else 1.0

    def reference(self, world: World, seed: int | None = None, **changes: Any) -> Tensor:
        """What the method gives in this world."""
        settings = {**self.settings(world), **changes}
        return self._run(self.method.reference, world, settings, seed)

    def deviating(self, variant: Variant, world: World) -> Tensor:
        """What a known deviation gives in this world. Raises where it makes no sense there."""
        return self._run(variant.function, world, self.settings(world), None)

    def _run(
        self, function: Function, world: World, settings: Mapping[str, Any], seed: int | None
    ) -> Tensor:
        """A function of ours in a world, by the engine."""
        given = {
            k: v.to(world.x) if isinstance(v, Tensor) and v.is_floating_point() else v
            for k, v in settings.items()
        }
        place = world.model, world.x, world.target
        seed = self.seed if seed is None else seed
        return execute(self.method, function, name_of(function), *place, given, seed).output

    def __call__(
        self, world: World, seed: int | None = None, *, guard: bool = True, **changes: Any
    ) -> Tensor:
        """What the function gives in this world: a tensor; CheckFailed for all else it may do."""
        settings = {**self.settings(world), **changes}
        given = {k: v for k, v in settings.items() if self.accepts(k) and not self._unmade(k, v)}
        model, x, target = world.model, world.x, world.target
        if guard:
            x, target = x.clone(), target.clone()
        seed = self.seed if seed is None else seed
        with seeded(seed), session(model) if guard else torch.enable_grad():
            output = self.guarded(partial(self.function, model, x, target, **given))
        if isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], dict):
            output = output[0]
        if not isinstance(output, Tensor):
            kind = type(output).__name__
            raise CheckFailed(
                f"returned {kind}, expected a torch.Tensor"
                + (": return torch tensors" if kind == "ndarray" else "")
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
            except SystemExit as error:
                raise CheckFailed(f"called sys.exit({error.code!r})") from error
            except BaseException as error:  # also what no `except Exception` catches
                if ends_us(error):
                    raise
                raise CheckFailed(f"raised {in_words(error)}") from error


def in_colour(world: World, output: Tensor) -> bool:
    """Whether an answer for images of one channel has three."""
    return world.x.shape[1] == 1 and RGB in output.shape[1:]


# What a cause may raise where it makes no sense, so that it is not what happened.
SENSELESS = (RuntimeError, ValueError, LookupError, TypeError, ArithmeticError, CheckFailed)

# What an implementation would give in a world; None or an exception where it makes no sense there.
Predict = Callable[[Subject, World], Tensor | None]


def variants(subject: Subject) -> Iterator[tuple[str, Predict]]:
    """The method's own known deviations, each with its sentence, without the rare ones."""
    for variant in subject.method.variants:
        if not variant.rare:
            yield variant.sentence, partial(deviating, variant)


def deviating(variant: Variant, subject: Subject, world: World) -> Tensor:
    return subject.deviating(variant, world)


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Interrupt the block after some seconds; an alarm that was set already goes off in its time.

    Only the main thread of a Unix process can be interrupted.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise _TookTooLong

    before = signal.signal(signal.SIGALRM, stop)
    start = time.monotonic()
    due, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if due:
            left = max(due - (time.monotonic() - start), 1e-6)
            signal.setitimer(signal.ITIMER_REAL, left, interval)
