"""Long lists of images in chunks: memory of one chunk, at a batch size that the first chunks find to be the fastest."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from bridge.gradients import input_gradient
from bridge.model import ModelAdapter

SIZES = (4, 8, 16, 32, 64, 128, 256)
# On a CPU a chunk has at most this many images and input numbers (13 images of 3x224x224): more only leaves the caches.
CPU_IMAGES, CPU_NUMBERS = 64, 2**21
# Gradients on a CPU take the same time an image in chunks of 4 to 32 (within 10 % on ResNet-20 and ResNet-18), so that there is
# nothing to find out: a fixed size keeps the memory the same however long the list is, and the last bits in every process.
CPU_GRADIENTS = 8
TRIES = 3
GRADIENT = "gradient"
BETTER = 0.97  # a larger chunk must save at least 3 % an image, which is more than the clock's noise, to be worth its memory
DEARER = 1.1  # and where an image takes 10 % more than in a smaller chunk, no larger one is tried
FREE_SHARE = 0.5  # of a GPU's free memory: the caching allocator holds blocks of other sizes besides

_fixed: ContextVar[int | None] = ContextVar("chunk size", default=None)
_times: WeakKeyDictionary[nn.Module, dict[Any, dict[int, float]]] = WeakKeyDictionary()  # seconds an image, by size


@contextmanager
def chunk_size(images: int) -> Iterator[None]:
    """Use chunks of this many images inside instead of measuring: the same bits in every process.

    Batch sizes change which kernel computes an image and hence the last bits of sums. Raises ValueError below 1.
    """
    if images < 1:
        raise ValueError(f"a chunk has at least 1 image, got {images}")
    token = _fixed.set(images)
    try:
        yield
    finally:
        _fixed.reset(token)


def chunks(model: ModelAdapter, x: Tensor, total: int, work: str) -> Iterator[slice]:
    """Slices of a list of `total` images like those of `x`; while one is worked on, the clock runs.

    Where there is a choice, sizes are tried on the list itself, so that no pass is wasted: each three times, since the first
    batch of a new size sets up its kernels and one of the others may be disturbed, and doubled until an image gets dearer or
    memory becomes short. What was found is kept for this module, shape, device and kind of work, and the next call goes on
    from there.
    """
    key = (work, tuple(x.shape[1:]), x.dtype, x.device, torch.get_num_threads())
    times = _times.setdefault(model.module, {}).setdefault(key, {})
    done = 0
    sizes = [fixed] if (fixed := _fixed.get()) else _candidates(x, work)
    for size in sizes if len(sizes) > 1 else ():
        if size in times:
            continue
        if done + TRIES * size > total or _settled(times):
            break
        seconds, memory = [], _peak(x, reset=True)
        for first in range(done, done + TRIES * size, size):
            start = clock(x)
            yield slice(first, first + size)
            seconds.append(clock(x) - start)
        times[size], done = min(seconds[1:]) / size, done + TRIES * size
        if 2 * (_peak(x) - memory) > _free(x):
            times[2 * size] = float("inf")
            break
    # The rest in equal parts: a small last one would need kernels of its own.
    size = sizes[0] if len(sizes) == 1 else _best(times) or sizes[1]
    count = -(-(total - done) // size)
    edges = [done + (total - done) * k // count for k in range(count + 1)] if count else []
    yield from (slice(*pair) for pair in itertools.pairwise(edges))


def _settled(times: dict[int, float]) -> bool:
    """Whether the largest size that was tried is clearly worse than a smaller one."""
    return bool(times) and times[max(times)] > DEARER * min(times.values())


def _best(times: dict[int, float]) -> int | None:
    """The smallest size that is about as fast as the fastest."""
    return next((size for size in sorted(times) if times[size] * BETTER <= min(times.values())), None)


def _candidates(x: Tensor, work: str) -> list[int]:
    most = min(CPU_IMAGES, CPU_NUMBERS // x[0].numel()) if x.device.type == "cpu" else SIZES[-1]
    if x.device.type == "cpu" and work == GRADIENT:
        return [max(1, min(CPU_GRADIENTS, most))]
    return [size for size in SIZES if size <= most] or [1]


def clock(x: Tensor) -> float:
    """Seconds. On one CPU thread the process's own time, which does not count what other processes take."""
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def _peak(x: Tensor, *, reset: bool = False) -> int:
    if x.device.type != "cuda":
        return 0
    if reset:
        torch.cuda.reset_peak_memory_stats(x.device)
        return torch.cuda.memory_allocated(x.device)
    return torch.cuda.max_memory_allocated(x.device)


def _free(x: Tensor) -> float:
    return FREE_SHARE * torch.cuda.mem_get_info(x.device)[0] if x.device.type == "cuda" else float("inf")


def gradient_sum(
    model: ModelAdapter, x: Tensor, target: Tensor, points: Callable[[Tensor, Tensor], Tensor], weights: Tensor
) -> Tensor:
    """sum_k weights[k] * d logit_t / d x at points(image, k), same shape as x, in the memory of one chunk.

    `points` is called with the indices of images and of points, both (m,), image after image, and gives (m, c, h, w). Summed
    in float64, which costs nothing beside a pass (where the device has it).
    """
    count = len(weights)
    wide = x.dtype if x.device.type == "mps" else torch.float64
    total = torch.zeros_like(x, dtype=wide)
    for part in chunks(model, x, len(x) * count, GRADIENT):
        place = torch.arange(part.start, part.stop, device=x.device)
        image, point = place // count, place % count
        gradient = input_gradient(model, points(image, point), target[image])
        total.index_add_(0, image, gradient.to(wide) * weights[point].to(wide).view(-1, 1, 1, 1))
    return total.to(x.dtype)
