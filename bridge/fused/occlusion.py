"""Occlusion in batches: only what a window changes where a network can be followed, else whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridge.core.facts import HALF
from bridge.core.gradients import target_logits
from bridge.core.shared import Shared
from bridge.core.timer import clock
from bridge.fused.chunks import chunk_size, chunks, fixed_size, largest
from bridge.fused.incremental import Incremental
from bridge.fused.layers import Untraceable
from bridge.fused.patches import Pair, cut

# Above this share of the multiply-adds of whole passes, cutting and pasting rectangles costs more
# than it saves.
WORTHWHILE = 0.75
# Images after the first that tell what takes less time.
ASKED = 3
# Whether patches do, for each module and kind of windows.
_known: WeakKeyDictionary[nn.Module, dict[Any, bool]] = WeakKeyDictionary()
# Folding batch norm and other kernels move a float32 logit by about 1e-6 of the largest; a wrong
# trace by far more.
TRUSTED = {torch.float64: 1e-9}
TRUSTED_ELSE = 1e-3


@dataclass(frozen=True)
class Windows:
    """Windows of `size` over images `x`, their content `cover` (like x), at `places` (k, 2).

    A place is the top left pixel; a window may reach over the far border. `todo` (m, 2) are the
    pairs (image, window) in which something changes, image by image, on the CPU.
    """

    x: Tensor
    cover: Tensor
    places: Tensor
    size: Pair
    todo: Tensor

    def covered(self, pairs: Tensor) -> Tensor:
        """Whole images, each with one window covered, for pairs (b, 2): (b, c, h, w)."""
        images = self.x[pairs[:, 0].to(self.x.device)]
        for row, (image, window) in enumerate(pairs.tolist()):
            top, left = self.places[window].tolist()
            area = (..., slice(top, top + self.size[0]), slice(left, left + self.size[1]))
            images[row][area] = self.cover[image][area]
        return images

    def rectangles(
        self, clean: Tensor, covered: Tensor, windows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What these windows (b,) make of an image: values (b, rows, columns, c), top, left (b,).

        `clean` and `covered` (h, w, c) are the image and its cover as the network sees them. A
        window over the border is moved inside, and its first rows or columns are the image's own.
        """
        places = self.places[windows]
        top = places[:, 0].clamp(max=clean.shape[0] - self.size[0])
        left = places[:, 1].clamp(max=clean.shape[1] - self.size[1])
        rows = (top[:, None] + torch.arange(self.size[0])) >= places[:, :1]
        columns = (left[:, None] + torch.arange(self.size[1])) >= places[:, 1:]
        inside = (rows[:, :, None] & columns[:, None, :])[..., None].to(clean.device)
        contents = torch.where(
            inside, cut(covered, top, left, *self.size), cut(clean, top, left, *self.size)
        )
        return contents, top, left


def drops_of_windows(
    shared: Shared,
    tops: Sequence[int],
    lefts: Sequence[int],
    window: Pair,
    stride: Pair,
    cover: Tensor,
) -> tuple[Tensor, dict[str, Any]]:
    """logit_t(x) - logit_t(x with a window covered), (n, tops, lefts), and how it was computed.

    `cover` (like x) is what stands in a window. Windows that change nothing are skipped: their drop
    is 0. The traced network is trusted only where it gives the user's own logits on the clean image
    and, for a first window, on the covered one; `details["reason"]` says why it was not.
    """
    x = shared.x
    differs = (x != cover).any(1, keepdim=True).float()
    changed = F.max_pool2d(differs, window, stride, ceil_mode=True).flatten(1).bool()
    places = torch.cartesian_prod(torch.tensor(tops), torch.tensor(lefts)).view(-1, 2)
    windows = Windows(x, cover, places, window, changed.cpu().nonzero())
    drops = torch.zeros(changed.shape, dtype=x.dtype, device=x.device)
    details: dict[str, Any] = {
        "windows": changed.numel(),
        "skipped": changed.numel() - len(windows.todo),
        "engine": "whole images",
    }
    if len(windows.todo):
        try:
            if x.dtype not in HALF and shared.model.facts(x).half:
                # Rounding to 16 bits would hide a wrong trace: under autocast, or with it inside,
                # which tracing leaves out.
                raise Untraceable("it computes in 16 bits what it is given in more")
            details |= _follow(shared, windows, drops)
        except Exception as error:  # whatever tracing trips over, the network itself can be run
            details["reason"] = str(error)
            _cover_whole_images(shared, windows, shared.model, shared["logits"], drops)
    return drops.view(len(x), len(tops), len(lefts)), details


def mean_over_windows(
    drops: Tensor, tops: Sequence[int], lefts: Sequence[int], window: Pair, x: Tensor
) -> Tensor:
    """The mean of the drops (n, tops, lefts) of the windows that cover a pixel, (n, 1, h, w)."""
    wide = drops.dtype if drops.device.type == "mps" else torch.float64
    down = _coverage(tops, window[0], x.shape[2]).to(x.device, wide)
    across = _coverage(lefts, window[1], x.shape[3]).to(x.device, wide)
    total = torch.einsum("nij,ih,jw->nhw", drops.to(wide), down, across)
    return (total / torch.einsum("ih,jw->hw", down, across))[:, None].to(drops.dtype)


def _coverage(firsts: Sequence[int], length: int, side: int) -> Tensor:
    """1 where a window covers a pixel along one axis, else 0: (windows, side)."""
    rows = torch.zeros(len(firsts), side)
    for row, first in zip(rows, firsts, strict=True):
        row[first : first + length] = 1
    return rows


@torch.no_grad()
def _follow(shared: Shared, windows: Windows, drops: Tensor) -> dict[str, Any]:
    """Fill the drops through the traced network, by patches or by whole images.

    The first image tells whether patches pay, and of several the next three which takes less time:
    many whole images at once make better use of a processor than many small rectangles.
    """
    model = shared.model
    network = Incremental(model.module)

    def logits_of_whole(images: Tensor) -> Tensor:
        return network.dense(model.normalised(images))

    @cache
    def clean() -> Tensor:
        parts = chunks(model, shared.x, len(shared.x), "whole windows")
        logits = torch.cat([logits_of_whole(shared.x[part]) for part in parts])
        _check_same(logits, shared["logits"])
        return logits

    def whole(images: list[int]) -> None:
        some = torch.isin(windows.todo[:, 0], torch.tensor(images))
        todo = replace(windows, todo=windows.todo[some])
        _cover_whole_images(shared, todo, logits_of_whole, clean(), drops)

    patches = partial(_cover_patches, shared, windows, network, drops)
    one = windows.covered(windows.todo[len(windows.todo) // 2][None])
    _check_same(logits_of_whole(one), model(one))
    first, *left = windows.todo[:, 0].unique().tolist()
    share = patches(first, most=WORTHWHILE)
    if share > WORTHWHILE:
        pay, left = False, [first, *left]
    else:
        pay, left = _asked(
            shared.x, windows, left, patches, whole, _known.setdefault(model.module, {})
        )
    if pay:
        for image in left:
            share = patches(image)
        return {"engine": "incremental", "multiply_adds": round(share, 3)}
    whole(left)
    return {"engine": "whole images, batch norm folded, channels last"}


def _asked(
    x: Tensor,
    windows: Windows,
    images: list[int],
    patches: Callable[[int], float],
    whole: Callable[[list[int]], None],
    known: dict[Any, bool],
) -> tuple[bool, list[int]]:
    """Whether patches take less time than whole images, and the images that are left.

    The clock is asked once a kind of windows, so that later calls give the same bits; and not where
    chunks of a stated size have to give them in every process.
    """
    key = (windows.size, tuple(x.shape[1:]), x.dtype, x.device, torch.get_num_threads())
    if fixed_size() or key in known or len(images) <= ASKED:
        return fixed_size() is not None or known.get(key, True), images
    one, two, three, *left = images
    start = clock(x.device)
    patches(one)
    took = clock(x.device) - start
    with chunk_size(largest(x)):
        whole([two])  # sets up its kernels
        start = clock(x.device)
        whole([three])
        known[key] = took <= clock(x.device) - start
    return known[key], left


def _cover_patches(
    shared: Shared,
    windows: Windows,
    network: Incremental,
    drops: Tensor,
    image: int,
    *,
    most: float = math.inf,
) -> float:
    """One image's drops from patches, unless they take more than `most` of whole images' work.

    The share of that work that was spent, until all was done or it was too much.
    """
    model, x, target = shared.model, shared.x, shared.target[image]
    clean, cover = (model.normalised(t[image : image + 1]) for t in (x, windows.cover))
    clean_logits = network.clean(clean)
    _check_same(clean_logits, shared["logits"][image : image + 1])
    # From the traced network too: what folding rounds differently then cancels.
    score = clean_logits[0, target]
    mine = windows.todo[windows.todo[:, 0] == image, 1]
    clean_map, cover_map = (t[0].permute(1, 2, 0).contiguous() for t in (clean, cover))
    shape = (x.shape[1], *windows.size)
    for part in chunks(model, x, len(mine), "windows", shape=shape):
        at = mine[part]
        logits = network.occluded(*windows.rectangles(clean_map, cover_map, at))
        drops[image, at.to(drops.device)] = (score - logits[:, target]).to(drops)
        if network.share > most:
            break
    return network.share


@torch.no_grad()
def _cover_whole_images(
    shared: Shared,
    windows: Windows,
    logits_of: Callable[[Tensor], Tensor],
    clean_logits: Tensor,
    drops: Tensor,
) -> None:
    """All drops from batches of whole images (pixels); `clean_logits` come from `logits_of` too."""
    x, target = shared.x, shared.target
    scores = target_logits(clean_logits, target)
    for part in chunks(shared.model, x, len(windows.todo), "whole windows"):
        pairs = windows.todo[part]
        image, window = pairs.to(x.device).unbind(1)
        logits = logits_of(windows.covered(pairs))
        drops[image, window] = (scores[image] - target_logits(logits, target[image])).to(drops)


def _check_same(found: Tensor, expected: Tensor) -> None:
    """Raise ValueError where the traced network is not the user's."""
    gap = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
    if not gap <= TRUSTED.get(expected.dtype, TRUSTED_ELSE):
        raise ValueError(f"the traced network's logits are {gap:.1e} off the network's own")
