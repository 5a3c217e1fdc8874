"""Train a zoo network: the one loop, for shipped weights and for models trained when loaded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def silent(epoch: int, loss: float) -> None:
    """Progress that nobody wants to see."""


def train(
    network: nn.Module,
    x: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    learning_rate: float,
    batch: int = 128,
    flip: bool = False,
    seed: int = 0,
    progress: Callable[[int, float], None] = silent,
) -> nn.Module:
    """AdamW under a one-cycle schedule; returns the network, trained and in evaluation mode.

    `x` (n, c, h, w) are normalised images, `labels` (n,) their classes. `flip` mirrors half of
    them left to right. The order of the images and the flips come from `seed` alone; dropout uses
    torch's global random state. `progress(epoch, mean_loss)` is called after every epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * -(-len(x) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=learning_rate, total_steps=steps, pct_start=0.2
    )
    network.train()
    for epoch in range(epochs):
        total = 0.0
        for index in torch.randperm(len(x), generator=generator).split(batch):
            images = x[index]
            if flip:
                mirrored = torch.rand(len(index), generator=generator) < 0.5
                images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
            loss = F.cross_entropy(network(images), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(index)
        progress(epoch, total / len(x))
    return network.eval()


@torch.no_grad()
def accuracy(network: nn.Module, x: Tensor, labels: Tensor, batch: int = 100) -> float:
    """Share of images `x` (n, c, h, w) whose largest logit is the label's, `batch` at a time."""
    correct = sum(
        int((network(i).argmax(1) == t).sum())
        for i, t in zip(x.split(batch), labels.split(batch), strict=True)
    )
    return correct / len(x)
