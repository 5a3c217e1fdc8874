"""The command line in this process, with a user's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bad_inputs._expectations import gradbridge

# A user's file: networks and functions of every kind, in one place.
MINE = """
import sys
import torch
from torch import nn

number = 3

class Net(nn.Module):
    def __init__(self, end=None):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(4, 10))
        self.end = end
    def forward(self, x):
        z = self.body(x)
        return z if self.end is None else self.end(z)

def network(): torch.manual_seed(0); return Net()
def pair(): return Net(lambda z: (z, z))
def nan(): return Net(lambda z: z * float("nan"))
def raises(): raise KeyError("boom")
def exits(): sys.exit(7)
def nothing(): return None
def _boom(z): raise KeyError("boom")
def raising(): return Net(_boom)
def _bye(z): sys.exit(7)
def exiting(): return Net(_bye)
def softmax(): return Net(lambda z: z.softmax(1))
def noisy(): return Net(lambda z: z + torch.randn_like(z))
def training(): return Net().train()

def fine(model, x, labels, *, epsilon): return x
def boom(model, x, labels, *, epsilon): raise KeyError("boom")
def bye(model, x, labels, *, epsilon): sys.exit(7)
def none(model, x, labels, *, epsilon): return None
def nans(model, x, labels, *, epsilon): return x * float("nan")
def no_epsilon(model, x, labels): return x
def breaks(model, x, labels, *, epsilon):
    next(model.parameters()).data.add_(1)
    return x
"""


SMALL = ["-n", "2", "--repeats", "1", "--methods", "saliency,fgsm", "--no-report"]


MISSING = "no/such/thing"


def files(place: Path) -> dict[str, Path]:
    """The user's files, by what stands for them in a command."""
    found = {name: place / name for name in ("mine.py", "syntax.py", "bad.py", "quits.py")}
    found["mine.py"].write_text(MINE)
    found["syntax.py"].write_text("def network(:\n")
    found["bad.py"].write_text("raise RuntimeError('boom')\n")
    found["quits.py"].write_text("import sys\nsys.exit(7)\n")
    found |= {"out": place / "out", "here": place}
    return found


def with_files(arguments: list[str], place: Path) -> list[str]:
    """{mine.py} and the others filled in."""
    paths = {name.replace(".", "_"): path for name, path in files(place).items()}
    return [each.format(**paths) for each in arguments]


def compare(arguments: list[str], place: Path) -> Any:
    return gradbridge("compare", *SMALL, "--out", place / "out", *with_files(arguments, place))


# Wrong usage ends with 2; what the user's own files, the disk or the network do, with either.
FAILS = (1, 2)
