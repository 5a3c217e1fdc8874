"""Films: frames as an animated GIF, WebP or MP4."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bridge.core.parameters import check_whole


def write_film(path: str | Path, frames: Sequence[np.ndarray], *, fps: int = 12) -> Path:
    """Write frames (h, w, 3), uint8, as a film of `fps` frames a second; returns `path`.

    What it is, the ending says: .gif and .webp by Pillow, .mp4 by imageio. Raises ValueError for
    another ending or no frames, ModuleNotFoundError naming what to install.
    """
    path = Path(path)
    if not len(frames):
        raise ValueError("a film needs at least one frame")
    check_whole("fps", fps, 1)
    if path.suffix in (".gif", ".webp"):
        from PIL import Image

        first, *others = (Image.fromarray(frame) for frame in frames)
        first.save(path, save_all=True, append_images=others, duration=round(1000 / fps), loop=0)
    elif path.suffix == ".mp4":
        try:
            import imageio.v2 as imageio
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "an MP4 needs imageio: pip install 'gradbridge[film]', or write a .gif"
            ) from error
        # Enlarged to whole blocks of 16 pixels, which the codec works in.
        scale = max(1, -(-128 // min(frames[0].shape[:2])))
        imageio.mimwrite(
            path,
            [frame.repeat(scale, 0).repeat(scale, 1) for frame in frames],
            fps=fps,
            macro_block_size=16,
        )
    else:
        raise ValueError(f"unknown kind of film {path.suffix!r}: expected .gif, .webp or .mp4")
    return path
