"""Below the pass limit, by another network: what folding saves and what agreement it costs."""

from __future__ import annotations

import torch
from speed_table import Calls, Table, in_turns, ratio
from worlds import World

from bridge.core.gradients import input_gradient
from bridge.core.state import frozen
from bridge.fused.accelerate import accelerated


def fold(table: Table, device: str, rounds: int, quick: bool) -> None:
    """A gradient pass of the folded network, also with channels last, against the user's own."""
    worlds = [("resnet20", 16), ("mobilenet_v2", 4), ("resnet50", 2)]
    for name, n in worlds[:1] if quick else worlds:
        w = World(name, n, device)
        fast = accelerated(w.model, "fold", w.x)
        last = accelerated(w.model, "fold", w.x)
        last.module.to(memory_format=torch.channels_last)
        columns = w.x.contiguous(memory_format=torch.channels_last)
        calls: Calls = {
            "plain": lambda w=w: input_gradient(w.model, w.x, w.labels),
            "fold": lambda w=w, fast=fast: input_gradient(fast, w.x, w.labels),
            "last": lambda w=w, last=last, x=columns: input_gradient(last, x, w.labels),
        }
        with frozen(w.model):
            expected = input_gradient(w.model, w.x, w.labels)
            gap = (input_gradient(fast, w.x, w.labels) - expected).abs().max()
            times = in_turns(calls, w.x, 2 * rounds)
        cost = f"gradients {float(gap / expected.abs().max()):.0e} off"
        for key, what in (("fold", "folded"), ("last", "folded, channels last")):
            table.add(
                f"gradient pass, {what}, {w}",
                "as it is",
                *ratio(times, key, "plain"),
                1,
                None,
                cost,
            )
