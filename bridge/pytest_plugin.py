"""The pytest plug-in: fixtures `bridge_model` and `bridge_batch`; nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.core.model import ModelAdapter


@pytest.fixture(scope="session")
def bridge_model() -> ModelAdapter:
    """The embedded Fashion-MNIST classifier, wrapped."""
    from bridge.load import load_model

    return load_model("zoo:fashion_cnn")


@pytest.fixture
def bridge_batch() -> tuple[Tensor, Tensor]:
    """Eight embedded Fashion-MNIST images with their labels: (x, labels)."""
    from bridge.load import load_batch

    x, labels = load_batch("samples:fashion_mnist", 8)
    assert labels is not None  # the embedded images have them
    return x, labels
