from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import settings

import bridge
from bridge.core.model import ModelAdapter

# Two OpenMP threads on a busy two-core machine wait for one another: up to fifty times slower.
torch.set_num_threads(1)
settings.register_profile("deterministic", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("deterministic")

SHARED = Path(os.environ.get("BRIDGE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> ModuleType:
    """The loaders of the real weights and images that stand beside the project."""
    if not (SHARED / "load.py").is_file():
        pytest.skip(f"no real data at {SHARED}")
    spec = importlib.util.spec_from_file_location("real_data", SHARED / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fashion() -> tuple[ModelAdapter, torch.Tensor, torch.Tensor]:
    """The embedded classifier and four embedded images."""
    return bridge.load_model("zoo:fashion_cnn"), *bridge.load_batch("samples:fashion_mnist", 4)


@pytest.fixture(scope="session")
def resnet20(real_data: ModuleType) -> tuple[ModelAdapter, torch.Tensor, torch.Tensor]:
    """A CIFAR-10 ResNet-20 trained by others, and the first hundred test images."""
    model = bridge.wrap(
        real_data.cifar_resnet(), mean=real_data.CIFAR_MEAN, std=real_data.CIFAR_STD, layer="layer3"
    )
    x, labels = real_data.cifar10_test()
    return model, x[:100], labels[:100]


@pytest.fixture(scope="session")
def squeezenet(real_data: ModuleType) -> tuple[ModelAdapter, torch.Tensor, torch.Tensor]:
    """ImageNet SqueezeNet and two photographs."""
    model = bridge.wrap(
        real_data.squeezenet(), mean=real_data.IMAGENET_MEAN, std=real_data.IMAGENET_STD
    )
    return model, *real_data.imagenet_samples(n=2, step=50)
