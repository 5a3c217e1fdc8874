"""The fused engine beside other fast libraries, each where it does the same work: a part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peers
import torch
from speed_table import Table, in_turns, ratio
from torch import Tensor
from torch.nn import functional as F
from worlds import EPSILON, World

import bridge

Peer = Callable[..., Tensor]
DESCENT: dict[str, Any] = {"epsilon": EPSILON, "steps": 40, "step_size": EPSILON / 10}


def beside(table: Table, device: str, rounds: int, quick: bool) -> None:
    """A row a peer that is installed: its time, and how far its output is from ours."""
    w = World("resnet20", 16, device)
    start = {"random_start": False}  # so that outputs can be compared
    descents: dict[str, Peer] = {
        "adv-lib (keeps the last iterate that it saw fool)": peers.adv_lib_pgd,
        "torchattacks": peers.torchattacks_pgd,
    }
    for name, peer in descents.items():
        _row(table, w, "pgd", name, peer, DESCENT | start, rounds)
    _row(table, w, "saliency", "zennit", peers.zennit_saliency, {}, 4 * rounds)
    steps = {"n_steps": 20, "method": "riemann_right"}
    _row(table, w, "integrated_gradients", "zennit", peers.zennit_ig, steps, rounds)
    samples = {"n_samples": 20, "stdev": 0.1}
    noise = "zennit (its own noise, none in its first copy)"
    _row(table, w, "smooth_grad", noise, peers.zennit_smooth_grad, samples, rounds)
    relu = {"relu": True}
    _row(table, w, "layer_gradcam", "torchcam", _without(peers.torchcam_layer), relu, 4 * rounds)
    scaled = "pytorch-grad-cam (upsampled and scaled to [0, 1]: compared after both)"
    _row(table, w, "layer_gradcam", scaled, _without(peers.grad_cam_layer), relu, 4 * rounds, _same)


def _without(peer: Peer) -> Peer:
    """The peer without the ReLU as a parameter: it always has one."""

    def called(model: Any, x: Tensor, target: Tensor, *, relu: bool) -> Tensor:
        return peer(model, x, target)

    return called


def _same(map_: Tensor, x: Tensor) -> Tensor:
    """A class activation map as pytorch-grad-cam gives it."""
    large = F.interpolate(map_, x.shape[2:], mode="bilinear")
    low, high = (end(large, (1, 2, 3), keepdim=True) for end in (torch.amin, torch.amax))
    return (large - low) / (high - low + 1e-7)


def _row(
    table: Table,
    w: World,
    method: str,
    name: str,
    peer: Peer,
    params: dict[str, Any],
    rounds: int,
    like: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> None:
    def ours() -> Tensor:
        return bridge.run(method, w.model, w.x, w.labels, implementation="fused", **params).output

    def theirs() -> Tensor:
        return peer(w.model, w.x, w.labels, **params)

    try:
        output = theirs().detach()
    except ImportError as error:
        table.say(f"{name} is not installed: {error}")
        return
    expected = ours() if like is None else like(ours(), w.x)
    gap = float((output - expected).abs().max() / expected.abs().max())
    same = "bit-identical" if gap == 0 else f"largest gap {gap:.0e} of the largest value"
    times = in_turns({"ours": ours, "peer": theirs}, w.x, rounds)
    count = params.get("steps") or params.get("n_steps") or params.get("n_samples") or 1
    work = f"{method}{f', {count} passes' if count > 1 else ''}, {w}"
    table.add(work, name, *ratio(times, "ours", "peer"), 1.05, 1.0, same)
