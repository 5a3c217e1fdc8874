"""Sum, mean and variance of tensors that come one at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Moments:
    """Of all tensors added so far: `total`, `mean`, and `squares`, the sum of squared distances.

    >>> moments = Moments.like(torch.zeros(2))
    >>> for value in (torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0])):
    ...     moments.add(value)
    >>> moments.mean.tolist(), moments.variance.tolist()
    ([2.0, 2.0], [2.0, 0.0])
    """

    count: int
    total: Tensor
    mean: Tensor
    squares: Tensor

    @classmethod
    def like(cls, value: Tensor) -> Moments:
        """Nothing added yet; in float64, of the shape and on the device of `value`."""
        return cls(0, *(torch.zeros_like(value, dtype=torch.float64) for _ in range(3)))

    def add(self, value: Tensor) -> None:
        """One more, by Welford's update (1962), which subtracts no large sums."""
        value = value.double()
        self.count += 1
        self.total += value
        away = value - self.mean
        self.mean += away / self.count
        self.squares += away * (value - self.mean)

    @property
    def variance(self) -> Tensor:
        """Unbiased; zero before the second tensor."""
        return self.squares / max(1, self.count - 1)
