"""Long lists of images in chunks: memory of one, of a size that the first chunks find fastest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from bridge.core.gradients import input_gradient
from bridge.core.model import ModelAdapter
from bridge.core.norms import per_image
from bridge.core.parameters import check_whole
from bridge.core.timer import clock

SIZES = (4, 8, 16, 32, 64, 128, 256)
# On a CPU a chunk has at most this many images and input numbers (13 images of 3x224x224): more
# only leaves the caches.
CPU_IMAGES, CPU_NUMBERS = 64, 2**21
# Gradients on a CPU: as many images as make this many activations for each thread. With fewer, each
# operation's fixed cost is not shared (ResNet-20 takes 1.3 times as long an image in chunks of 8 as
# of 64, at one thread and more so at two); with more, memory is touched that is in no cache
# (SqueezeNet at 224 pixels: 1.2 times in chunks of 32, ResNet-18: 1.2; ResNet-20 in chunks of 128:
# 1.15, MobileNet-V3-small of 64: 1.1). A rule and no measurement: chunks, memory and last bits are
# the same in every process with as many threads.
ACTIVATIONS, MOST_ACTIVATIONS = 3 * 2**23, 2**28
# The most images of such a chunk; and the least, where the images themselves are not huge: a large
# network's weights are read again for every chunk.
GRADIENT_IMAGES, LEAST_IMAGES = 64, 4
TRIES = 3
GRADIENT = "gradient"
# A larger chunk must save at least 3 % an image, which is more than the clock's noise, to be worth
# its memory; and where an image takes 10 % more than in a smaller chunk, no larger one is tried.
BETTER, DEARER = 0.97, 1.1
# Of a GPU's free memory: the caching allocator holds blocks of other sizes besides.
FREE_SHARE = 0.5

_fixed: ContextVar[int | None] = ContextVar("chunk size", default=None)
# Seconds an image by chunk size, for each module and kind of work.
_times: WeakKeyDictionary[nn.Module, dict[Any, dict[int, float]]] = WeakKeyDictionary()


@contextmanager
def chunk_size(images: int) -> Iterator[None]:
    """Use chunks of this many images inside instead of measuring: the same bits in every process.

    Batch sizes change which kernel computes an image and hence the last bits of sums. Raises
    ValueError below 1.

    >>> import bridge
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> x, labels = bridge.load_batch("samples:fashion_mnist", n=2)
    >>> with chunk_size(16):
    ...     found = bridge.run("smooth_grad", model, x, labels, implementation="fused")
    >>> found.forwards
    40
    """
    token = _fixed.set(check_whole("the size of a chunk", images, 1))
    try:
        yield
    finally:
        _fixed.reset(token)


def fixed_size() -> int | None:
    """The size that `chunk_size` states; None where sizes are measured."""
    return _fixed.get()


def largest(x: Tensor) -> int:
    """The largest chunk of images like x that is ever tried without gradients."""
    return _candidates(x[0].numel(), x.device)[-1]


def chunks(
    model: ModelAdapter, x: Tensor, total: int, work: str, *, shape: Sequence[int] | None = None
) -> Iterator[slice]:
    """Slices of a list of `total` images like those of `x`; while one is worked on, the clock runs.

    `work` names the kind of work; `shape` (c, rows, columns) is what it does at once of an image,
    where that is not the whole. Where there is a choice, sizes are tried on the list itself, so
    that no pass is wasted: each three times, since the first batch of a new size sets up its
    kernels and one of the others may be disturbed, and doubled until an image gets dearer or memory
    becomes short. What was found is kept for this module, shape, device and kind of work, and the
    next call goes on from there.
    """
    shape, device = tuple(x.shape[1:] if shape is None else shape), x.device
    key = (work, shape, x.dtype, device, torch.get_num_threads())
    times = _times.setdefault(model.module, {}).setdefault(key, {})
    done = 0
    if fixed := fixed_size():
        sizes = [fixed]
    elif work == GRADIENT and device.type == "cpu":
        sizes = [_for_gradients(math.prod(shape), model.facts(x).activations)]
    else:
        sizes = _candidates(math.prod(shape), device)
        if work == GRADIENT:  # of a GPU's memory; what is larger is not even tried
            room = _free(device) / max(1, model.facts(x).activations * x.element_size())
            sizes = [size for size in sizes if size <= room] or [1]
    for size in sizes if len(sizes) > 1 else ():
        if size in times:
            continue
        if done + TRIES * size > total or _settled(times):
            break
        seconds, memory = [], _memory_before(device)
        for first in range(done, done + TRIES * size, size):
            start = clock(device)
            yield slice(first, first + size)
            seconds.append(clock(device) - start)
        times[size], done = min(seconds[1:]) / size, done + TRIES * size
        if 2 * (_peak(device) - memory) > _free(device):
            times[2 * size] = math.inf
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
    good = [size for size, seconds in times.items() if seconds * BETTER <= min(times.values())]
    return min(good, default=None)


def _candidates(numbers: int, device: torch.device) -> list[int]:
    """Chunk sizes to choose from, where a piece of work has this many input numbers."""
    most = min(CPU_IMAGES, CPU_NUMBERS // numbers) if device.type == "cpu" else SIZES[-1]
    return [size for size in SIZES if size <= most] or [1]


def _for_gradients(numbers: int, activations: int) -> int:
    """The chunk size of gradients on a CPU, of images of this many numbers and activations."""
    room = min(MOST_ACTIVATIONS, ACTIVATIONS * torch.get_num_threads())
    least = max(1, min(LEAST_IMAGES, CPU_NUMBERS // numbers))
    return max(least, min(GRADIENT_IMAGES, room // max(1, activations, numbers)))


def _memory_before(device: torch.device) -> int:
    """A GPU's memory in use, from which on the peak is taken."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def _free(device: torch.device) -> float:
    if device.type != "cuda":
        return math.inf
    return FREE_SHARE * torch.cuda.mem_get_info(device)[0]


def gradient_sum(
    model: ModelAdapter,
    x: Tensor,
    target: Tensor,
    points: Callable[[Tensor, Tensor], Tensor],
    weights: Tensor,
) -> Tensor:
    """sum_k weights[k] * d logit_t / d x at points(image, k), same shape as x.

    In the memory of one chunk. `points(image, point)` is called with the indices of images and of
    points, both (m,), image after image, and gives (m, c, h, w). Summed in float64, which costs
    nothing beside a pass (where the device has it).
    """
    count = len(weights)
    wide = x.dtype if x.device.type == "mps" else torch.float64
    total = torch.zeros_like(x, dtype=wide)
    for part in chunks(model, x, len(x) * count, GRADIENT):
        place = torch.arange(part.start, part.stop, device=x.device)
        image, point = place // count, place % count
        gradient = input_gradient(model, points(image, point), target[image])
        total.index_add_(0, image, gradient.to(wide) * per_image(weights[point].to(wide), x))
    return total.to(x.dtype)
