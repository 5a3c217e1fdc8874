"""How much memory something takes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


class Peak:
    """The most memory held inside, in MB beyond what was held before.

    Of the GPU, or of this process (Linux; elsewhere NaN).

        with Peak(x.device) as peak: ...
        peak.megabytes
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.megabytes, self.before = device, float("nan"), float("nan")

    def __enter__(self) -> Peak:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device) / 2**20
        else:
            # Where it is not allowed, the peak is the process's highest so far.
            with contextlib.suppress(OSError):
                CLEAR.write_text("5")
            self.before = _resident("VmRSS")
        return self

    def __exit__(self, *error: object) -> None:
        if self.device.type == "cuda":
            after = torch.cuda.max_memory_allocated(self.device) / 2**20
        else:
            after = _resident("VmHWM")
        self.megabytes = max(0.0, after - self.before)


def _resident(what: str) -> float:
    """VmRSS or its peak VmHWM of this process in MB."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return float("nan")
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(what))
