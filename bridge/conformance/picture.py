"""The smallest case that shows a difference, as a picture: image, ours, theirs, the difference."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bridge.conformance.subject import CheckFailed, Skipped, Subject
from bridge.conformance.worlds import World


@dataclass(frozen=True)
class Shown:
    """One image (c, h, w) of one world, and both answers to it."""

    world: str
    image: Tensor
    ours: Tensor
    theirs: Tensor

    def figure(self) -> Any:
        """A matplotlib figure; the difference on a scale of its own, which its title says."""
        from matplotlib.figure import Figure

        difference = self.theirs - self.ours
        figure = Figure(figsize=(10, 2.8), layout="constrained")
        panels = [("image", self.image), ("the method", self.ours), ("yours", self.theirs)]
        panels.append(
            (f"yours - the method (up to {float(difference.abs().max()):.2g})", difference)
        )
        limit = float(max(self.ours.abs().max(), self.theirs.abs().max())) or 1.0
        limits = [1.0, limit, limit, float(difference.abs().max()) or 1.0]
        for axes, (title, map_), largest in zip(
            figure.subplots(1, len(panels)), panels, limits, strict=True
        ):
            signed = bool((map_ < 0).any()) or map_ is difference
            shown = map_.mean(0).cpu().numpy()
            axes.imshow(
                shown,
                cmap="RdBu_r" if signed else "gray",
                vmin=-largest if signed else 0.0,
                vmax=largest,
            )
            axes.set_title(title, fontsize=8)
            axes.set_axis_off()
        figure.suptitle(self.world, fontsize=8)
        return figure

    def png(self) -> bytes:
        """The figure as a PNG file."""
        file = io.BytesIO()
        self.figure().savefig(file, dpi=120)
        return file.getvalue()

    def as_html(self) -> str:
        """The figure as an <img> that needs no file."""
        data = base64.b64encode(self.png()).decode()
        words = "image, both answers and their difference"
        return f'<img alt="{words}" src="data:image/png;base64,{data}">'


def shown(subject: Subject, failing: Sequence[World]) -> Shown | None:
    """The failing world of fewest pixels, and in it the image of largest difference; else None."""
    for world in sorted(failing, key=lambda world: world.x.numel()):
        try:
            ours, theirs = subject.reference(world), subject(world).detach().double()
        except (CheckFailed, Skipped, ValueError, TypeError):
            continue
        if ours.shape != theirs.shape or not bool(theirs.isfinite().all()):
            continue
        worst = int((ours - theirs).abs().flatten(1).amax(1).argmax())
        return Shown(world.name, world.x[worst], ours[worst], theirs[worst])
    return None
