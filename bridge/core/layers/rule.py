"""Which layer Grad-CAM should explain: found by what layers do, without a list of names."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from bridge.core.layers.grid_layer import GridLayer
from bridge.core.layers.paths import Paths, keeps_places
from bridge.core.layers.probing import agreement, probed
from bridge.core.layers.readings import Reading, Size, readings
from bridge.core.layers.seen import Output, convolved, outputs
from bridge.core.state import hooked

TRIES = 4  # outputs that are probed
DEPTH = 0.5  # the least share of the layers with weights and positions up to the one that is chosen
OPERATIONS = "every operation between image and layer keeps places"
UNPROVEN = "unproven: only the grid of a convolution speaks for it"


class NoGrid(ValueError):
    """No layer can be read as a grid, and why."""


@dataclass
class Look:
    """One pass of a model with its graph, on one image where it takes one.

    `batch` is the only number of images that it takes, None for any.
    """

    model: Callable[[Tensor], Tensor]
    module: nn.Module
    x: Tensor
    bounds: tuple[float, float]
    batch: int | None = None

    def __post_init__(self) -> None:
        self.x = (self.x if self.batch else self.x[:1]).detach().clone().requires_grad_()
        self.logits, self.seen = outputs(self.model, self.module, self.x)
        self.order = {each.name: number for number, each in enumerate(self.seen)}
        self.size: Size = (self.x.shape[2], self.x.shape[3])
        self.known = convolved(self.seen)

    def readings(self, output: Output) -> list[Reading]:
        """All that an output can be; none where it ran twice or is not of these images."""
        if output.calls > 1 or len(output.tensor) != len(self.x):
            return []
        return readings(output.shape, self.size, self.known)

    @cached_property
    def able(self) -> list[Output]:
        """Outputs that the image reaches and that can be read as a grid."""
        return [o for o in self.seen if o.tensor.requires_grad and self.readings(o)]

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """The gradient of the first image's largest logit, by layer."""
        if not self.able or not self.logits.requires_grad:
            return {}
        tensors = [each.tensor for each in self.able]
        found = torch.autograd.grad(
            self.logits[0].max(), tensors, allow_unused=True, retain_graph=True
        )
        return {o.name: g[:1] for o, g in zip(self.able, found, strict=True) if g is not None}

    @cached_property
    def silent(self) -> bool:
        """Whether the gradient is zero everywhere, as before a head of zeros."""
        return not any(bool(gradient.any()) for gradient in self.gradients.values())

    def reached(self, output: Output) -> list[Reading]:
        """The readings whose cells receive gradient.

        More than half of them; of maps several, since a ReLU or a pooling may stop it elsewhere.
        Not those that are one score a class, of which the target's alone receives any.
        """
        gradient = self.gradients.get(output.name)
        if gradient is None:
            return []
        if self.silent:
            return [each for each in self.readings(output) if each.layout == "nchw"]
        found = []
        for reading in self.readings(output):
            flow = reading.grid(gradient)[0].flatten(1) != 0
            scores = len(flow) == self.logits.shape[1] and int(flow.any(1).sum()) == 1
            cells = int(flow.any(0).sum())
            if not scores and cells > (1 if reading.layout == "nchw" else flow.shape[1] / 2):
                found.append(reading)
        return found

    def depth(self, output: Output) -> float:
        """The share of layers with weights and positions that ran up to this one."""
        weighted = [
            self.order[o.name]
            for o in self.seen
            if o.spread and _leaf(o.module) and _weighted(o.module)
        ]
        upto = sum(number <= self.order[output.name] for number in weighted)
        return upto / len(weighted) if weighted else 1.0

    def run(self, name: str) -> Callable[[Tensor], Tensor]:
        """A function of images that gives the output of one layer."""

        def output_of(images: Tensor) -> Tensor:
            kept: list[Tensor] = []
            layer = self.module.get_submodule(name)
            with hooked(
                [layer], lambda module, inputs, output: kept.append(output.detach().clone())
            ):
                # With a graph, as Grad-CAM has it: without, torch may run blocks in one kernel.
                self.model(images.detach().requires_grad_())
            return kept[-1]

        return output_of

    def prove(self, output: Output, candidates: list[Reading]) -> tuple[GridLayer | None, str]:
        """The first reading that is proved, or why there is none."""
        maps = [each for each in candidates if each.layout == "nchw"]
        if maps and keeps_places(output.tensor):
            return _chosen(output, maps[0], "operations", OPERATIONS), ""
        why, denied = [], False
        for (h, w), same in itertools.groupby(candidates, key=lambda r: (r.h, r.w)):
            probe = probed(self.run(output.name), self.x, (h, w), self.bounds, batch=self.batch)
            told = [(agreement(probe, reading), reading) for reading in same]
            best, reading = max(told, key=lambda each: (each[0].proved, each[0].answer))
            if best.proved:
                return _chosen(output, reading, "cells", f"proved: {best}"), ""
            denied |= any(each.denied for each, r in told if r.layout == "nchw")
            why.append(f"as {reading} on {h} x {w} {best}")
        on_convolution = [each for each in maps if (each.h, each.w) in self.known]
        if on_convolution and not denied:
            return _chosen(output, on_convolution[0], "unproven", UNPROVEN), ""
        return None, f"{output.name!r} {output.shape} {'; '.join(why)}"


def look(
    model: Callable[[Tensor], Tensor], module: nn.Module, x: Tensor, bounds: tuple[float, float]
) -> Look:
    """One pass of the first image; of all images where the model takes no single one.

    Raises what the single one raises.
    """
    try:
        return Look(model, module, x, bounds)
    except Exception as error:
        try:
            return Look(model, module, x, bounds, batch=len(x))
        except Exception:
            raise error from None


def find(look: Look) -> GridLayer:
    """The last layer that all of the image goes through and whose cells receive gradient.

    Raises NoGrid, saying why, where no layer's cells can be told.
    """
    silent = look.silent and look.gradients
    why = ["the gradient of the logits is zero everywhere (a head of zeros?)"] if silent else []
    for candidate in _candidates(look):
        reached = look.reached(candidate)
        if not reached:
            continue
        depth = look.depth(candidate)
        if depth < DEPTH or len(why) >= TRIES:
            early = f"{candidate.name!r} comes after {depth:.0%} of the layers only"
            raise NoGrid(_refusal([*why[:1], early]))
        found, reason = look.prove(candidate, reached)
        if found is not None:
            return found
        why.append(reason)
    raise NoGrid(_refusal(why[:2] or ["no layer's output carries the whole image on a grid"]))


def _candidates(look: Look) -> Iterator[Output]:
    """The outputs that every path goes through, the last first; but see `_norm_after`."""
    paths = Paths(look.logits, look.x) if look.logits.requires_grad else None
    through = [o for o in look.able if paths and paths.all_through(o.tensor) and not _pools(o)]
    for _, same in itertools.groupby(reversed(through), key=lambda o: id(o.tensor)):
        group = list(same)  # a block, its last layer, and what passes that on
        named = next((o for o in group if _weighted(o.module)), group[0])
        yield from _norm_after(look, group[0])
        yield named


def _norm_after(look: Look, output: Output) -> list[Output]:
    """The normalisation of tokens that runs next, of the same shape.

    Where a class token collects them at the end, `norm1` of the last block is the last that the
    patches' gradient goes through: not all paths do, since the block adds to its input.
    """
    later = [o for o in look.able if look.order[o.name] > look.order[output.name]]
    after = [o for o in later if o.tensor is not output.tensor][:1]
    norms = [o for o in after if isinstance(o.module, nn.LayerNorm | nn.RMSNorm)]
    return [o for o in norms if o.shape == output.shape]


def _pools(output: Output) -> bool:
    """Whether a module is the pooling of a head; one of fixed windows may be any layer."""
    module = output.module
    fixed = isinstance(module, nn.MaxPool2d | nn.AvgPool2d)
    return "Pool" in type(module).__name__ and not fixed and not _weighted(module)


def _chosen(output: Output, reading: Reading, proof: str, evidence: str) -> GridLayer:
    shape = tuple(reading.grid(output.tensor).shape[1:])
    return GridLayer(output.name, shape, proof, evidence, reading)  # type: ignore[arg-type]


def _refusal(why: list[str]) -> str:
    return (
        f"no layer of this model can be read as a grid (n, c, h, w), and Grad-CAM needs one: "
        f"{'; '.join(why)}; pass wrap(..., layer=NAME), and where that layer gives another shape "
        "reshape=FUNCTION that makes (n, c, h, w) of it"
    )


def _weighted(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None
