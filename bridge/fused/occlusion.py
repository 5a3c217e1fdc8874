"""Occlusion in batches of windows: incrementally where the network can be followed, whole images elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bridge.fused.chunks import chunks
from bridge.fused.incremental import Incremental
from bridge.fused.patches import Pair, cut
from bridge.gradients import target_logits
from bridge.shared import Shared

# Above this share of the multiply-adds of whole passes, cutting and pasting rectangles costs more than it saves.
WORTHWHILE = 0.75
# Folding batch norm and other kernels move a float32 logit by about 1e-6 of the largest; a wrong trace by far more.
TRUSTED = {torch.float64: 1e-9}
TRUSTED_ELSE = 1e-3


def drops_of_windows(
    shared: Shared, tops: Sequence[int], lefts: Sequence[int], window: Pair, stride: Pair, cover: Tensor
) -> tuple[Tensor, dict[str, Any]]:
    """logit_t(x) - logit_t(x with a window covered), (n, tops, lefts), and how it was computed.

    Windows that change nothing are skipped: their drop is 0. The traced network is trusted only where it gives the user's own
    logits on the clean image and, for a first window, on the covered one.
    """
    x = shared.x
    changed = F.max_pool2d((x != cover).any(1, keepdim=True).float(), window, stride, ceil_mode=True)[:, 0].flatten(1).bool()
    places = torch.cartesian_prod(torch.tensor(tops), torch.tensor(lefts)).view(-1, 2)
    drops = torch.zeros(changed.shape, dtype=x.dtype, device=x.device)
    details: dict[str, Any] = {"windows": changed.numel(), "skipped": int((~changed).sum()), "engine": "whole images"}
    todo = changed.cpu().nonzero()  # (image, window)
    try:
        if len(todo):
            network = Incremental(shared.model.module)
            details |= _followed(shared, network, todo, places, window, cover, drops)
    except Exception as error:  # whatever tracing trips over, the network itself can be run
        details["reason"] = str(error)
        _whole(shared, None, todo, places, window, cover, drops)
    return drops.view(len(x), len(tops), len(lefts)), details


def mean_over_windows(drops: Tensor, tops: Sequence[int], lefts: Sequence[int], window: Pair, x: Tensor) -> Tensor:
    """The mean of the drops of the windows that cover a pixel, (n, 1, h, w)."""
    wide = drops.dtype if drops.device.type == "mps" else torch.float64
    down, across = (
        torch.stack([F.pad(torch.ones(min(length, side - at)), (at, side - min(side, at + length))) for at in firsts])
        for firsts, length, side in zip((tops, lefts), window, x.shape[2:], strict=True)
    )
    down, across = down.to(x.device, wide), across.to(x.device, wide)
    total = torch.einsum("nij,ih,jw->nhw", drops.to(wide), down, across)
    return (total / torch.einsum("ih,jw->hw", down, across))[:, None].to(drops.dtype)


@torch.no_grad()
def _followed(
    shared: Shared, network: Incremental, todo: Tensor, places: Tensor, window: Pair, cover: Tensor, drops: Tensor
) -> dict[str, Any]:
    model, x = shared.model, shared.x
    images, covers = model.normalised(x), model.normalised(cover)
    _check(shared, network, todo, places, window, cover)
    for image in todo[:, 0].unique().tolist():
        clean_logits = network.clean(images[image : image + 1])
        _same(clean_logits, shared["logits"][image : image + 1])
        # From the traced network too: what folding rounds differently then cancels.
        score = clean_logits[0, shared.target[image]]
        mine = todo[todo[:, 0] == image, 1]
        clean, covered = (t[image].permute(1, 2, 0).contiguous() for t in (images, covers))
        network.computed = network.whole = 0
        for part in chunks(model, x[:, :, : window[0], : window[1]], len(mine), "windows"):
            at = mine[part]
            logits = network.occluded(*_contents(clean, covered, places[at], window))
            drops[image, at.to(drops.device)] = score - logits[:, shared.target[image]]
            if network.computed > WORTHWHILE * network.whole:
                _whole(shared, network, todo[(todo[:, 0] >= image)], places, window, cover, drops)
                return {"engine": "whole images, batch norm folded, channels last"}
    return {"engine": "incremental", "multiply_adds": round(network.computed / max(1, network.whole), 3)}


def _contents(clean: Tensor, covered: Tensor, places: Tensor, window: Pair) -> tuple[Tensor, Tensor, Tensor]:
    """What is in each window's rectangle, (b, rows, columns, c), and where it is. A window over the border is moved inside."""
    height, width = clean.shape[:2]
    top, left = places[:, 0].clamp(max=height - window[0]), places[:, 1].clamp(max=width - window[1])
    rows = (top[:, None] + torch.arange(window[0])) >= places[:, :1]
    columns = (left[:, None] + torch.arange(window[1])) >= places[:, 1:]
    inside = (rows[:, :, None] & columns[:, None, :])[..., None].to(clean.device)
    return torch.where(inside, cut(covered, top, left, *window), cut(clean, top, left, *window)), top, left


@torch.no_grad()
def _whole(
    shared: Shared, network: Incremental | None, todo: Tensor, places: Tensor, window: Pair, cover: Tensor, drops: Tensor
) -> None:
    """Whole covered images in batches, through the traced network or through the user's own."""
    model, x, target = shared.model, shared.x, shared.target
    scores = target_logits(shared["logits"], target)
    if network is not None:
        images = model.normalised(x)
        logits = torch.cat([network.dense(images[part]) for part in chunks(model, x, len(x), "whole windows")])
        _same(logits, shared["logits"])
        scores = target_logits(logits, target)
    for part in chunks(model, x, len(todo), "whole windows"):
        image = todo[part, 0].to(x.device)
        covered = _covered(x, cover, todo[part], places, window)
        logits = model(covered) if network is None else network.dense(model.normalised(covered))
        drops[image, todo[part, 1].to(x.device)] = scores[image] - target_logits(logits, target[image])


def _covered(x: Tensor, cover: Tensor, todo: Tensor, places: Tensor, window: Pair) -> Tensor:
    images = x[todo[:, 0].to(x.device)]
    for row, (image, place) in enumerate(todo.tolist()):
        top, left = places[place].tolist()
        area = (..., slice(top, top + window[0]), slice(left, left + window[1]))
        images[row][area] = cover[image][area]
    return images


def _check(shared: Shared, network: Incremental, todo: Tensor, places: Tensor, window: Pair, cover: Tensor) -> None:
    """One covered image through both: the traced network and the user's own."""
    some = todo[len(todo) // 2][None]
    covered = _covered(shared.x, cover, some, places, window)
    _same(network.dense(shared.model.normalised(covered)), shared.model(covered))


def _same(found: Tensor, expected: Tensor) -> None:
    gap = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
    if not gap <= TRUSTED.get(expected.dtype, TRUSTED_ELSE):
        raise ValueError(f"the traced network's logits are {gap:.1e} off the network's own")
