"""Small networks with the habits that break libraries: in-place ReLUs, dropout, reuse, skips."""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from bridge.core.method import Method
from bridge.core.model import ModelAdapter, wrap


def seeded(build: type[nn.Module], *args: int, seed: int = 0, **options: int) -> nn.Module:
    """A network with the same random weights every time, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(*args, **options).eval()


class Plain(nn.Sequential):
    """Convolutions with batch norm, in-place ReLU and dropout: what most people write."""

    def __init__(self, channels: int = 3, classes: int = 4) -> None:
        super().__init__(
            nn.Conv2d(channels, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, classes),
        )


class Skip(nn.Module):
    """h + f(relu(h)): the ReLU's input is also the skip path; Captum is wrong there."""

    def __init__(self, channels: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 8, 3, padding=1)
        self.relu = nn.ReLU()
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        h = h + self.second(self.relu(h))
        return self.head(h.mean((2, 3)))


class Reused(nn.Module):
    """One ReLU module for every layer, as torchvision's ResNet blocks have it."""

    def __init__(self, channels: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.second(self.relu(self.first(x)))).mean((2, 3)))


class Functional(nn.Module):
    """ReLUs without modules; in place on the input itself when there is no normalisation."""

    def __init__(self, channels: int = 3, classes: int = 4, mixed: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.relu = nn.ReLU() if mixed else nn.Identity()
        self.head = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.first(F.relu(x, inplace=True)))
        return self.head(F.relu(self.second(h), inplace=True).mean((2, 3)))


class Linear(nn.Module):
    """logits = W x: every method's answer is known."""

    def __init__(self, shape: tuple[int, int, int] = (2, 4, 5), classes: int = 3) -> None:
        super().__init__()
        count = shape[0] * shape[1] * shape[2]
        self.linear = nn.Linear(count, classes, bias=False)
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))

    def weights_of(self, target: Tensor) -> Tensor:
        return self.linear.weight.detach()[target].view(-1, *self.shape)


class Quadratic(nn.Module):
    """Logits 0 and q, q = sum_i slope_i u_i + bend_i u_i^2 / 2, u = x - 0.5; in float64."""

    def __init__(self, slope: list[float], bend: list[float]) -> None:
        super().__init__()
        self.slope, self.bend = (torch.tensor(v, dtype=torch.float64) for v in (slope, bend))

    def forward(self, x: Tensor) -> Tensor:
        u = x.flatten(1) - 0.5
        q = (self.slope * u + self.bend * u.square() / 2).sum(1)
        return torch.stack([torch.zeros_like(q), q], 1)


class Attentive(torchvision.models.VisionTransformer):
    """A small vision transformer of torchvision's, for square images of three channels."""

    def __init__(self, classes: int = 4, side: int = 12) -> None:
        super().__init__(side, 4, 2, 2, 8, 16, num_classes=classes)
        nn.init.normal_(self.heads.head.weight)  # zero before training


def attentive(method: Method) -> bool:
    """Whether a method looks at attention."""
    return bool(method.needs & {"attention", "tokens"})


def fitting(method: Method, **wrapping: Any) -> ModelAdapter:
    """A small network that a method can look at, for images of 3x12x12."""
    return wrap(seeded(Attentive if attentive(method) else Plain), **wrapping)


def images(n: int = 3, shape: tuple[int, int, int] = (3, 12, 12), seed: int = 0) -> Tensor:
    """Random images strictly inside [0, 1]."""
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)) * 0.8 + 0.1
