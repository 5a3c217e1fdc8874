"""Time, taken one way everywhere: calls in turns, in another order each round."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch


def synchronise(device: torch.device) -> None:
    """Wait for a GPU, whose calls return before their work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock(device: torch.device) -> float:
    """Seconds; on one CPU thread the process's own, which does not count what others take."""
    synchronise(device)
    if device.type == "cpu" and torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def rounds_of(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Each name once a round, each round beginning with another one."""
    for number in range(rounds):
        first = number % max(1, len(names))
        yield from (*names[first:], *names[:first])


@contextmanager
def no_collection() -> Iterator[None]:
    """Whose turn it is to collect garbage is no matter of who is fast (as in timeit)."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def interleaved(
    calls: Mapping[str, Callable[[], float]],
    rounds: int,
    *,
    spent: Mapping[str, Sequence[float]] | None = None,
    enough: float = float("inf"),
) -> dict[str, list[float]]:
    """The seconds that each call says it took, `rounds` times in turns.

    `spent` are seconds known before; who has had `enough` seconds in all is not called again. A
    call that fails notes it for itself and says NaN, which ends its turns and is left out.
    """
    seconds = {name: list((spent or {}).get(name, ())) for name in calls}
    with no_collection():
        for name in rounds_of(list(calls), rounds):
            if sum(seconds[name]) < enough:
                seconds[name].append(calls[name]())
    return {name: [s for s in values if s == s] for name, values in seconds.items()}
