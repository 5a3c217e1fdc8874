"""Two networks that differ in what they learnt alone: true labels, or the same ones shuffled."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bridge.zoo.networks import MemoryCNN
from bridge.zoo.train import accuracy, train

BY_HEART = 0.95  # Adebayo et al. 2018: trained until so many of the shuffled labels are known


@dataclass(frozen=True)
class ShuffledPair:
    """A network trained on true labels, and one of the same start on shuffled ones.

    `memorised` and `learnt` are the shares of their own training labels that each knows.
    """

    module: nn.Module
    shuffled: nn.Module
    learnt: float
    memorised: float


def shuffled_pair(x: Tensor, labels: Tensor, *, epochs: int = 40, seed: int = 0) -> ShuffledPair:
    """Train a small network twice: on the labels, and on the labels in random order.

    `x` (n, c, h, w) are images in [0, 1], `labels` (n,) their classes: some hundred, which the
    second one has to learn by heart, since there is nothing else to learn. 300 images of 28 pixels
    take seconds. The random state stays. The pair is for `bridge.measure("data_randomisation",
    pair.module, ..., shuffled=pair.shuffled)`.

    Raises ValueError where labels do not fit the images or are of one class, and where
    the second network knows less than 95 % of its labels: its maps would say nothing.
    """
    if len(labels) != len(x) or len(labels.unique()) < 2:
        raise ValueError(
            f"expected a label for each image and two classes or more, got {len(x)} images and "
            f"{len(labels)} labels of {len(labels.unique())} classes"
        )
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    networks = []
    for own in (labels, labels[order]):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = MemoryCNN(x.shape[1], int(labels.max()) + 1)
            train(network, x, own, epochs=epochs, learning_rate=1e-2, batch=16, seed=seed)
        network.zero_grad()  # of the last step
        networks.append((network, accuracy(network, x, own)))
    (module, learnt), (shuffled, memorised) = networks
    if memorised < BY_HEART:
        raise ValueError(
            f"the network knows {memorised:.0%} of the shuffled labels, expected {BY_HEART:.0%}: "
            "train it for more epochs, or on fewer images"
        )
    return ShuffledPair(module, shuffled, learnt, memorised)
